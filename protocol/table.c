/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All messages of the specification. A row without a handler names a message that this program
 * does not speak, and says why: it is refused like one that nobody knows, and the protocol feature
 * behind it is not offered.
 *
 * Source: vhost-user specification, "Front-end message types".
 */
#include "protocol/table.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "protocol/handlers.h"
#include "vdpa/base/bits.h"
#include "vdpa/health.h"

#define WORKING	 (BIT(DEVICE_IDLE) | BIT(DEVICE_CONFIGURED) | BIT(DEVICE_RUNNING))
#define ANY_STATE (WORKING | BIT(DEVICE_FAILED))

static const struct message_desc messages[WIRE_N_REQUESTS] = {
	[WIRE_NONE] = {
		.name = "NONE",
		.why = "nothing is asked by it",
	},
	[WIRE_GET_FEATURES] = {
		.name = "GET_FEATURES",
		.handle = on_get_features,
		.states = ANY_STATE,
		.reply = REPLY_OWN,
	},
	[WIRE_SET_FEATURES] = {
		.name = "SET_FEATURES",
		.handle = on_set_features,
		.size = sizeof(uint64_t),
		.states = ANY_STATE,
	},
	[WIRE_SET_OWNER] = {
		.name = "SET_OWNER",
		.handle = on_set_owner,
		.states = ANY_STATE,
	},
	[WIRE_RESET_OWNER] = {
		.name = "RESET_OWNER",
		.handle = on_reset_owner,
		.states = ANY_STATE,
	},
	[WIRE_SET_MEM_TABLE] = {
		.name = "SET_MEM_TABLE",
		.handle = on_set_mem_table,
		.size = 8,
		.check_size = check_mem_table_size,
		.sizes = "8, and 32 for each of up to 8 regions",
		.fds = FDS_PER_REGION,
		.states = ANY_STATE,
		.reply = REPLY_ACK_OR_OWN,
	},
	[WIRE_SET_LOG_BASE] = {
		.name = "SET_LOG_BASE",
		.handle = on_set_log_base,
		.size = sizeof(struct wire_log),
		.fds = FDS_ONE,
		.needs = NEEDS(WIRE_PF_LOG_SHMFD),
		.states = ANY_STATE,
		.reply = REPLY_ACK_ALWAYS,
	},
	[WIRE_SET_LOG_FD] = {
		.name = "SET_LOG_FD",
		.handle = on_set_log_fd,
		.fds = FDS_ONE,
		.states = ANY_STATE,
	},
	[WIRE_SET_VRING_NUM] = {
		.name = "SET_VRING_NUM",
		.handle = on_set_vring_num,
		.size = sizeof(struct wire_vring_state),
		.ring = RING_IN_STATE,
		.ring_state = RING_STOPPED,
		.states = ANY_STATE,
	},
	[WIRE_SET_VRING_ADDR] = {
		.name = "SET_VRING_ADDR",
		.handle = on_set_vring_addr,
		.size = sizeof(struct wire_vring_addr),
		.ring = RING_IN_ADDR,
		.states = ANY_STATE,
	},
	[WIRE_SET_VRING_BASE] = {
		.name = "SET_VRING_BASE",
		.handle = on_set_vring_base,
		.size = sizeof(struct wire_vring_state),
		.ring = RING_IN_STATE,
		.ring_state = RING_STOPPED,
		.states = ANY_STATE,
	},
	[WIRE_GET_VRING_BASE] = {
		.name = "GET_VRING_BASE",
		.handle = on_get_vring_base,
		.size = sizeof(struct wire_vring_state),
		.ring = RING_IN_STATE,
		.states = ANY_STATE,
		.reply = REPLY_OWN,
	},
	[WIRE_SET_VRING_KICK] = {
		.name = "SET_VRING_KICK",
		.handle = on_set_vring_kick,
		.size = sizeof(uint64_t),
		.fds = FDS_BY_WORD,
		.ring = RING_IN_FD_WORD,
		.states = ANY_STATE,
	},
	[WIRE_SET_VRING_CALL] = {
		.name = "SET_VRING_CALL",
		.handle = on_set_vring_call,
		.size = sizeof(uint64_t),
		.fds = FDS_BY_WORD,
		.ring = RING_IN_FD_WORD,
		.states = ANY_STATE,
	},
	[WIRE_SET_VRING_ERR] = {
		.name = "SET_VRING_ERR",
		.handle = on_set_vring_err,
		.size = sizeof(uint64_t),
		.fds = FDS_BY_WORD,
		.ring = RING_IN_FD_WORD,
		.states = ANY_STATE,
	},
	[WIRE_GET_PROTOCOL_FEATURES] = {
		.name = "GET_PROTOCOL_FEATURES",
		.handle = on_get_protocol_features,
		.states = ANY_STATE,
		.reply = REPLY_OWN,
	},
	[WIRE_SET_PROTOCOL_FEATURES] = {
		.name = "SET_PROTOCOL_FEATURES",
		.handle = on_set_protocol_features,
		.size = sizeof(uint64_t),
		.states = ANY_STATE,
	},
	[WIRE_GET_QUEUE_NUM] = {
		.name = "GET_QUEUE_NUM",
		.handle = on_get_queue_num,
		.needs = NEEDS(WIRE_PF_MQ),
		.states = ANY_STATE,
		.reply = REPLY_OWN,
	},
	[WIRE_SET_VRING_ENABLE] = {
		.name = "SET_VRING_ENABLE",
		.handle = on_set_vring_enable,
		.size = sizeof(struct wire_vring_state),
		.ring = RING_IN_STATE,
		.states = ANY_STATE,
	},
	[WIRE_SEND_RARP] = {
		.name = "SEND_RARP",
		.handle = on_send_rarp,
		.size = sizeof(uint64_t),
		.needs = NEEDS(WIRE_PF_RARP),
		.states = WORKING,
	},
	[WIRE_NET_SET_MTU] = {
		.name = "NET_SET_MTU",
		.handle = on_net_set_mtu,
		.size = sizeof(uint64_t),
		.needs = NEEDS(WIRE_PF_MTU),
		.needs_virtio = BIT_ULL(VIRTIO_NET_F_MTU),
		.states = WORKING,
	},
	[WIRE_SET_BACKEND_REQ_FD] = {
		.name = "SET_BACKEND_REQ_FD",
		.handle = on_set_backend_req_fd,
		.fds = FDS_ONE,
		.needs = NEEDS(WIRE_PF_BACKEND_REQ),
		.states = ANY_STATE,
	},
	[WIRE_IOTLB_MSG] = {
		.name = "IOTLB_MSG",
		.handle = on_iotlb_msg,
		.size = WIRE_IOTLB_HEAD,
		.check_size = check_iotlb_size,
		.sizes = "26 or 32",
		.needs_accepted = BIT_ULL(VIRTIO_F_ACCESS_PLATFORM),
		.states = ANY_STATE,
		.reply = REPLY_ACK_ALWAYS,
	},
	[WIRE_SET_VRING_ENDIAN] = {
		.name = "SET_VRING_ENDIAN",
		.why = "a modern device (VERSION_1) is little-endian always",
		.needs = NEEDS(WIRE_PF_CROSS_ENDIAN),
	},
	[WIRE_GET_CONFIG] = {
		.name = "GET_CONFIG",
		.handle = on_get_config,
		.size = WIRE_CONFIG_HEAD,
		.check_size = check_config_size,
		.sizes = "12, and up to 256 of the configuration",
		.needs = NEEDS(WIRE_PF_CONFIG),
		.states = WORKING,
		.reply = REPLY_OWN_EMPTY,
	},
	[WIRE_SET_CONFIG] = {
		.name = "SET_CONFIG",
		.handle = on_set_config,
		.size = WIRE_CONFIG_HEAD,
		.check_size = check_config_size,
		.sizes = "12, and up to 256 of the configuration",
		.needs = NEEDS(WIRE_PF_CONFIG),
		.states = WORKING,
	},
	[WIRE_CREATE_CRYPTO_SESSION] = {
		.name = "CREATE_CRYPTO_SESSION",
		.why = "a crypto device's, and this is a network device",
		.needs = NEEDS(WIRE_PF_CRYPTO_SESSION),
	},
	[WIRE_CLOSE_CRYPTO_SESSION] = {
		.name = "CLOSE_CRYPTO_SESSION",
		.why = "a crypto device's, and this is a network device",
		.needs = NEEDS(WIRE_PF_CRYPTO_SESSION),
	},
	[WIRE_POSTCOPY_ADVISE] = {
		.name = "POSTCOPY_ADVISE",
		.handle = on_postcopy_advise,
		.needs = NEEDS(WIRE_PF_PAGEFAULT),
		.states = WORKING,
		.reply = REPLY_OWN_EMPTY,
	},
	[WIRE_POSTCOPY_LISTEN] = {
		.name = "POSTCOPY_LISTEN",
		.handle = on_postcopy_listen,
		.needs = NEEDS(WIRE_PF_PAGEFAULT),
		.states = WORKING,
		.reply = REPLY_ACK_ALWAYS,
	},
	[WIRE_POSTCOPY_END] = {
		.name = "POSTCOPY_END",
		.handle = on_postcopy_end,
		.needs = NEEDS(WIRE_PF_PAGEFAULT),
		.states = ANY_STATE,
		.reply = REPLY_ACK_ALWAYS,
	},
	[WIRE_GET_INFLIGHT_FD] = {
		.name = "GET_INFLIGHT_FD",
		.handle = on_get_inflight_fd,
		.size = WIRE_INFLIGHT_HEAD,
		.check_size = check_inflight_size,
		.sizes = "20 or 24",
		.needs = NEEDS(WIRE_PF_INFLIGHT_SHMFD),
		.states = WORKING,
		.reply = REPLY_OWN_ZERO,
	},
	[WIRE_SET_INFLIGHT_FD] = {
		.name = "SET_INFLIGHT_FD",
		.handle = on_set_inflight_fd,
		.size = WIRE_INFLIGHT_HEAD,
		.check_size = check_inflight_size,
		.sizes = "20 or 24",
		.fds = FDS_ONE,
		.needs = NEEDS(WIRE_PF_INFLIGHT_SHMFD),
		.states = WORKING,
	},
	[WIRE_GPU_SET_SOCKET] = {
		.name = "GPU_SET_SOCKET",
		.why = "a GPU's, and this is a network device",
	},
	[WIRE_RESET_DEVICE] = {
		.name = "RESET_DEVICE",
		.handle = on_reset_device,
		.needs = NEEDS(WIRE_PF_RESET_DEVICE),
		.states = ANY_STATE,
	},
	[WIRE_VRING_KICK] = {
		.name = "VRING_KICK",
		.handle = on_vring_kick,
		.size = sizeof(struct wire_vring_state),
		.ring = RING_IN_STATE,
		.needs = NEEDS(WIRE_PF_INBAND_NOTIFICATIONS),
		.states = ANY_STATE,
	},
	[WIRE_GET_MAX_MEM_SLOTS] = {
		.name = "GET_MAX_MEM_SLOTS",
		.handle = on_get_max_mem_slots,
		.needs = NEEDS(WIRE_PF_CONFIGURE_MEM_SLOTS),
		.states = ANY_STATE,
		.reply = REPLY_OWN,
	},
	[WIRE_ADD_MEM_REG] = {
		.name = "ADD_MEM_REG",
		.handle = on_add_mem_reg,
		.size = sizeof(struct wire_single_region),
		.fds = FDS_ONE,
		.needs = NEEDS(WIRE_PF_CONFIGURE_MEM_SLOTS),
		.states = ANY_STATE,
		.reply = REPLY_ACK_OR_OWN,
	},
	[WIRE_REM_MEM_REG] = {
		.name = "REM_MEM_REG",
		.handle = on_rem_mem_reg,
		.size = sizeof(struct wire_single_region),
		.fds = FDS_ONE_OR_NONE,
		.needs = NEEDS(WIRE_PF_CONFIGURE_MEM_SLOTS),
		.states = ANY_STATE,
	},
	[WIRE_SET_STATUS] = {
		.name = "SET_STATUS",
		.handle = on_set_status,
		.size = sizeof(uint64_t),
		.needs = NEEDS(WIRE_PF_STATUS),
		.states = ANY_STATE,
	},
	[WIRE_GET_STATUS] = {
		.name = "GET_STATUS",
		.handle = on_get_status,
		.needs = NEEDS(WIRE_PF_STATUS),
		.states = ANY_STATE,
		.reply = REPLY_OWN,
	},
	[WIRE_GET_SHARED_OBJECT] = {
		.name = "GET_SHARED_OBJECT",
		.why = "a network device shares no buffers with other devices",
		.needs = NEEDS(WIRE_PF_SHARED_OBJECT),
	},
	[WIRE_SET_DEVICE_STATE_FD] = {
		.name = "SET_DEVICE_STATE_FD",
		.handle = on_set_device_state_fd,
		.size = sizeof(struct wire_transfer),
		.fds = FDS_ONE,
		.needs = NEEDS(WIRE_PF_DEVICE_STATE),
		.states = WORKING,
		.reply = REPLY_ACK_NO_FD,
	},
	[WIRE_CHECK_DEVICE_STATE] = {
		.name = "CHECK_DEVICE_STATE",
		.handle = on_check_device_state,
		.needs = NEEDS(WIRE_PF_DEVICE_STATE),
		.states = ANY_STATE,
		.reply = REPLY_ACK_ALWAYS,
	},
	[WIRE_GET_SHMEM_CONFIG] = {
		.name = "GET_SHMEM_CONFIG",
		.why = "a network device has no shared memory regions",
		.needs = NEEDS(WIRE_PF_SHMEM),
	},
};

const struct message_desc *message_find(uint32_t request)
{
	return request < WIRE_N_REQUESTS ? &messages[request] : NULL;
}

size_t message_expected_fds(const struct message *m)
{
	const struct message_desc *desc = message_find(m->header.request);

	switch (desc ? desc->fds : FDS_NONE) {
	case FDS_ONE:
		return 1;
	case FDS_ONE_OR_NONE: /* one that may be the next message's is that message's */
		return m->n_fds == 1 && !m->fds_doubtful;
	case FDS_BY_WORD:
		return m->payload.u64 & WIRE_VRING_NO_FD ? 0 : 1;
	case FDS_PER_REGION:
		return m->payload.memory.n_regions;
	default:
		return 0;
	}
}

const char *message_name(uint32_t request)
{
	return request < WIRE_N_REQUESTS ? messages[request].name : "unknown message";
}
