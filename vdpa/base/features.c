/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names are tables by bit number. Source: virtio 1.2, 5.1.3 and 6; iproute2, vdpa(8);
 * vhost-user, "Protocol features".
 */
#include "vdpa/base/features.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vdpa/base/bits.h"

static const char *const names[] = {
	[0] = "CSUM",
	[1] = "GUEST_CSUM",
	[2] = "CTRL_GUEST_OFFLOADS",
	[3] = "MTU",
	[5] = "MAC",
	[7] = "GUEST_TSO4",
	[8] = "GUEST_TSO6",
	[9] = "GUEST_ECN",
	[10] = "GUEST_UFO",
	[11] = "HOST_TSO4",
	[12] = "HOST_TSO6",
	[13] = "HOST_ECN",
	[14] = "HOST_UFO",
	[15] = "MRG_RXBUF",
	[16] = "STATUS",
	[17] = "CTRL_VQ",
	[18] = "CTRL_RX",
	[19] = "CTRL_VLAN",
	[20] = "CTRL_RX_EXTRA",
	[21] = "GUEST_ANNOUNCE",
	[22] = "MQ",
	[23] = "CTRL_MAC_ADDR",
	[24] = "NOTIFY_ON_EMPTY",
	[27] = "ANY_LAYOUT",
	[28] = "RING_INDIRECT_DESC",
	[29] = "RING_EVENT_IDX",
	[32] = "VERSION_1",
	[33] = "ACCESS_PLATFORM",
	[34] = "RING_PACKED",
	[35] = "IN_ORDER",
	[36] = "ORDER_PLATFORM",
	[37] = "SR_IOV",
	[38] = "NOTIFICATION_DATA",
	[57] = "HASH_REPORT",
	[60] = "RSS",
	[61] = "RSC_EXT",
	[62] = "STANDBY",
	[63] = "SPEED_DUPLEX",
};

static const char *const protocol_names[] = {
	[0] = "MQ",
	[1] = "LOG_SHMFD",
	[2] = "RARP",
	[3] = "REPLY_ACK",
	[4] = "MTU",
	[5] = "BACKEND_REQ",
	[6] = "CROSS_ENDIAN",
	[7] = "CRYPTO_SESSION",
	[8] = "PAGEFAULT",
	[9] = "CONFIG",
	[10] = "BACKEND_SEND_FD",
	[11] = "HOST_NOTIFIER",
	[12] = "INFLIGHT_SHMFD",
	[13] = "RESET_DEVICE",
	[14] = "INBAND_NOTIFICATIONS",
	[15] = "CONFIGURE_MEM_SLOTS",
	[16] = "STATUS",
	[17] = "XEN_MMAP",
	[18] = "SHARED_OBJECT",
	[19] = "DEVICE_STATE",
	[20] = "GET_VRING_BASE_INFLIGHT",
	[21] = "GPA_ADDRESSES",
	[22] = "SHMEM",
};

const char *feature_name(unsigned int bit)
{
	return bit < ARRAY_SIZE(names) ? names[bit] : NULL;
}

const char *protocol_feature_name(unsigned int bit)
{
	return bit < ARRAY_SIZE(protocol_names) ? protocol_names[bit] : NULL;
}

int features_parse(const char *text, uint64_t *ret)
{
	uint64_t value;
	char *end;

	if (strncmp(text, "0x", 2) != 0)
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 16);
	if (errno || *end)
		return -EINVAL;
	*ret = value;
	return 0;
}

const char *feature_text(unsigned int bit, char ret[FEATURE_TEXT_SIZE])
{
	const char *name = feature_name(bit);

	if (name)
		return name;
	snprintf(ret, FEATURE_TEXT_SIZE, "bit_%u", bit);
	return ret;
}
