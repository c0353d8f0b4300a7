/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/backend.h"

#include <string.h>

#include "protocol/wire.h"
#include "vdpa/base/fdmsg.h"

static int send_with(int sock, enum wire_backend_request request, const void *payload, size_t size,
	const int *fds, size_t n_fds)
{
	struct {
		struct wire_header header;
		uint8_t payload[64];
	} msg = {
		.header = {
			.request = request,
			.flags = WIRE_VERSION,
			.size = (uint32_t)size,
		},
	};

	if (size > 0)
		memcpy(msg.payload, payload, size);
	return fdmsg_send(sock, &msg, sizeof(msg.header) + size, fds, n_fds);
}

static int send_request(int sock, enum wire_backend_request request, const void *payload, size_t size)
{
	return send_with(sock, request, payload, size, NULL, 0);
}

int backend_config_change(int sock)
{
	return send_request(sock, WIRE_BACKEND_CONFIG_CHANGE, NULL, 0);
}

int backend_iotlb(int sock, const struct driver_miss *miss)
{
	const struct wire_iotlb iotlb = {
		.iova = miss->iova,
		.perm = (uint8_t)miss->perm,
		.type = miss->refused ? WIRE_IOTLB_ACCESS_FAIL : WIRE_IOTLB_MISS,
	};

	return send_request(sock, WIRE_BACKEND_IOTLB_MSG, &iotlb, sizeof(iotlb));
}

int backend_vring(int sock, uint32_t ring, bool error)
{
	const struct wire_vring_state state = { .index = ring };

	return send_request(sock, error ? WIRE_BACKEND_VRING_ERR : WIRE_BACKEND_VRING_CALL, &state,
		sizeof(state));
}

int backend_host_notifier(int sock, uint32_t ring, int fd, uint64_t offset, uint64_t size)
{
	const struct wire_vring_area area = { .word = ring, .size = size, .offset = offset };

	return send_with(sock, WIRE_BACKEND_VRING_HOST_NOTIFIER, &area, sizeof(area), &fd, 1);
}
