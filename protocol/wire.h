/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user as it is on the wire: numbers in host byte order, structures without holes.
 * Source: vhost-user specification, "Message Specification".
 */
#ifndef PROTOCOL_WIRE_H
#define PROTOCOL_WIRE_H

#include <stdint.h>

#define WIRE_VERSION	  1U
#define WIRE_VERSION_MASK 3U
#define WIRE_REPLY	  4U
#define WIRE_NEED_REPLY	  8U

#define WIRE_MAX_PAYLOAD 4096 /* bytes; more closes the connection */
#define WIRE_MAX_FDS	 8    /* descriptors with one message */
#define WIRE_MAX_REGIONS 8    /* in one memory table */
#define WIRE_MAX_CONFIG	 256  /* bytes of device configuration in one message */

/* Feature bit that says: there are protocol features. */
#define WIRE_F_LOG_ALL		 26
#define WIRE_F_PROTOCOL_FEATURES 30

enum wire_request {
	WIRE_NONE = 0,
	WIRE_GET_FEATURES = 1,
	WIRE_SET_FEATURES = 2,
	WIRE_SET_OWNER = 3,
	WIRE_RESET_OWNER = 4,
	WIRE_SET_MEM_TABLE = 5,
	WIRE_SET_LOG_BASE = 6,
	WIRE_SET_LOG_FD = 7,
	WIRE_SET_VRING_NUM = 8,
	WIRE_SET_VRING_ADDR = 9,
	WIRE_SET_VRING_BASE = 10,
	WIRE_GET_VRING_BASE = 11,
	WIRE_SET_VRING_KICK = 12,
	WIRE_SET_VRING_CALL = 13,
	WIRE_SET_VRING_ERR = 14,
	WIRE_GET_PROTOCOL_FEATURES = 15,
	WIRE_SET_PROTOCOL_FEATURES = 16,
	WIRE_GET_QUEUE_NUM = 17,
	WIRE_SET_VRING_ENABLE = 18,
	WIRE_SEND_RARP = 19,
	WIRE_NET_SET_MTU = 20,
	WIRE_SET_BACKEND_REQ_FD = 21,
	WIRE_IOTLB_MSG = 22,
	WIRE_SET_VRING_ENDIAN = 23,
	WIRE_GET_CONFIG = 24,
	WIRE_SET_CONFIG = 25,
	WIRE_CREATE_CRYPTO_SESSION = 26,
	WIRE_CLOSE_CRYPTO_SESSION = 27,
	WIRE_POSTCOPY_ADVISE = 28,
	WIRE_POSTCOPY_LISTEN = 29,
	WIRE_POSTCOPY_END = 30,
	WIRE_GET_INFLIGHT_FD = 31,
	WIRE_SET_INFLIGHT_FD = 32,
	WIRE_GPU_SET_SOCKET = 33,
	WIRE_RESET_DEVICE = 34,
	WIRE_VRING_KICK = 35,
	WIRE_GET_MAX_MEM_SLOTS = 36,
	WIRE_ADD_MEM_REG = 37,
	WIRE_REM_MEM_REG = 38,
	WIRE_SET_STATUS = 39,
	WIRE_GET_STATUS = 40,
	WIRE_GET_SHARED_OBJECT = 41,
	WIRE_SET_DEVICE_STATE_FD = 42,
	WIRE_CHECK_DEVICE_STATE = 43,
	WIRE_GET_SHMEM_CONFIG = 44,
	WIRE_N_REQUESTS
};

/* Requests that a back-end sends, on a channel of its own. */
enum wire_backend_request {
	WIRE_BACKEND_NONE = 0,
	WIRE_BACKEND_IOTLB_MSG = 1,
	WIRE_BACKEND_CONFIG_CHANGE = 2,
	WIRE_BACKEND_VRING_HOST_NOTIFIER = 3,
	WIRE_BACKEND_VRING_CALL = 4,
	WIRE_BACKEND_VRING_ERR = 5,
	WIRE_BACKEND_SHARED_OBJECT_ADD = 6,
	WIRE_BACKEND_SHARED_OBJECT_REMOVE = 7,
	WIRE_BACKEND_SHARED_OBJECT_LOOKUP = 8,
	WIRE_BACKEND_SHMEM_MAP = 9,
	WIRE_BACKEND_SHMEM_UNMAP = 10,
	WIRE_BACKEND_N_REQUESTS
};

enum wire_protocol_feature {
	WIRE_PF_MQ = 0,
	WIRE_PF_LOG_SHMFD = 1,
	WIRE_PF_RARP = 2,
	WIRE_PF_REPLY_ACK = 3,
	WIRE_PF_MTU = 4,
	WIRE_PF_BACKEND_REQ = 5,
	WIRE_PF_CROSS_ENDIAN = 6,
	WIRE_PF_CRYPTO_SESSION = 7,
	WIRE_PF_PAGEFAULT = 8,
	WIRE_PF_CONFIG = 9,
	WIRE_PF_BACKEND_SEND_FD = 10,
	WIRE_PF_HOST_NOTIFIER = 11,
	WIRE_PF_INFLIGHT_SHMFD = 12,
	WIRE_PF_RESET_DEVICE = 13,
	WIRE_PF_INBAND_NOTIFICATIONS = 14,
	WIRE_PF_CONFIGURE_MEM_SLOTS = 15,
	WIRE_PF_STATUS = 16,
	WIRE_PF_XEN_MMAP = 17,
	WIRE_PF_SHARED_OBJECT = 18,
	WIRE_PF_DEVICE_STATE = 19,
	WIRE_PF_GET_VRING_BASE_INFLIGHT = 20,
	WIRE_PF_GPA_ADDRESSES = 21,
	WIRE_PF_SHMEM = 22,
};

struct wire_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* payload bytes that follow */
};

struct wire_vring_state {
	uint32_t index;
	uint32_t num;
};

#define WIRE_VRING_F_LOG 1U

struct wire_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc; /* front-end's addresses */
	uint64_t used;
	uint64_t avail;
	uint64_t log;  /* guest-physical */
};

#define WIRE_VRING_INDEX_MASK 0xffU
#define WIRE_VRING_NO_FD      0x100U

struct wire_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva;
	uint64_t offset;
};

struct wire_single_region {
	uint64_t padding;
	struct wire_region region;
};

struct wire_memory {
	uint32_t n_regions;
	uint32_t padding;
	struct wire_region regions[WIRE_MAX_REGIONS];
};

/* The log of dirty pages: where in the file it is. */
struct wire_log {
	uint64_t size;
	uint64_t offset;
};

/* The inflight area: where in the file it is, and for which rings. */
struct wire_inflight {
	uint64_t size;
	uint64_t offset;
	uint16_t n_queues;
	uint16_t queue_size;
	uint32_t padding; /* that some front-ends do not send */
};

#define WIRE_INFLIGHT_HEAD 20 /* bytes before wire_inflight.padding */

enum wire_transfer_direction {
	WIRE_TRANSFER_SAVE, /* to the front-end */
	WIRE_TRANSFER_LOAD,
};

#define WIRE_TRANSFER_STOPPED 0 /* the only phase */
#define WIRE_TRANSFER_NO_FD   0x100U /* of a reply: it brings no descriptor */

struct wire_transfer {
	uint32_t direction; /* enum wire_transfer_direction */
	uint32_t phase;
};

enum wire_iotlb_type {
	WIRE_IOTLB_MISS = 1, /* from the back-end */
	WIRE_IOTLB_UPDATE = 2,
	WIRE_IOTLB_INVALIDATE = 3,
	WIRE_IOTLB_ACCESS_FAIL = 4, /* from the back-end */
};

struct wire_iotlb {
	uint64_t iova;
	uint64_t size;
	uint64_t uva;
	uint8_t perm; /* 1 read, 2 write */
	uint8_t type; /* enum wire_iotlb_type */
	uint8_t padding[6]; /* that some front-ends do not send */
};

#define WIRE_IOTLB_HEAD 26 /* bytes before wire_iotlb.padding */

struct wire_vring_area {
	uint64_t word; /* WIRE_VRING_INDEX_MASK, WIRE_VRING_NO_FD */
	uint64_t size;
	uint64_t offset;
};

#define WIRE_CONFIG_F_MIGRATION 1U

struct wire_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t bytes[WIRE_MAX_CONFIG];
};

#define WIRE_CONFIG_HEAD 12 /* bytes before wire_config.bytes */

/* Every payload begins at the header's end, which is no multiple of 8: it is copied here. */
union wire_payload {
	uint64_t u64;
	struct wire_vring_state state;
	struct wire_vring_addr addr;
	struct wire_memory memory;
	struct wire_single_region single;
	struct wire_config config;
	struct wire_log log;
	struct wire_inflight inflight;
	struct wire_transfer transfer;
	struct wire_iotlb iotlb;
	uint8_t bytes[WIRE_MAX_PAYLOAD];
};

_Static_assert(sizeof(struct wire_header) == 12, "header as specified");
_Static_assert(sizeof(struct wire_vring_addr) == 40, "vring address as specified");
_Static_assert(sizeof(struct wire_memory) == 8 + 32 * WIRE_MAX_REGIONS, "table as specified");

#endif
