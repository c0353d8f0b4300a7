/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/backend.h"

#include <assert.h>
#include <string.h>

#include "vdpa/base/fdmsg.h"

static const struct backend_desc requests[WIRE_BACKEND_N_REQUESTS] = {
	[WIRE_BACKEND_NONE] = { .name = "NONE", .why = "nothing is asked by it" },
	[WIRE_BACKEND_IOTLB_MSG] = {
		.name = "IOTLB_MSG",
		.size = sizeof(struct wire_iotlb),
		.needs = WIRE_PF_BACKEND_REQ,
		.when = "the device needs a translation, or one does not allow what it does",
	},
	[WIRE_BACKEND_CONFIG_CHANGE] = {
		.name = "CONFIG_CHANGE_MSG",
		.needs = WIRE_PF_CONFIG,
		.when = "the configuration became another, as when the link goes up or down",
	},
	[WIRE_BACKEND_VRING_HOST_NOTIFIER] = {
		.name = "VRING_HOST_NOTIFIER_MSG",
		.size = sizeof(struct wire_vring_area),
		.needs = WIRE_PF_HOST_NOTIFIER,
		.when = "a ring runs on a device by which its operator allows to be rung",
	},
	[WIRE_BACKEND_VRING_CALL] = {
		.name = "VRING_CALL",
		.size = sizeof(struct wire_vring_state),
		.needs = WIRE_PF_INBAND_NOTIFICATIONS,
		.when = "buffers came back in a ring without a call eventfd",
	},
	[WIRE_BACKEND_VRING_ERR] = {
		.name = "VRING_ERR",
		.size = sizeof(struct wire_vring_state),
		.needs = WIRE_PF_INBAND_NOTIFICATIONS,
		.when = "a ring without an err eventfd broke the rules",
	},
	[WIRE_BACKEND_SHARED_OBJECT_ADD] = {
		.name = "SHARED_OBJECT_ADD",
		.needs = WIRE_PF_SHARED_OBJECT,
		.why = "a network device shares no buffers with other devices",
	},
	[WIRE_BACKEND_SHARED_OBJECT_REMOVE] = {
		.name = "SHARED_OBJECT_REMOVE",
		.needs = WIRE_PF_SHARED_OBJECT,
		.why = "a network device shares no buffers with other devices",
	},
	[WIRE_BACKEND_SHARED_OBJECT_LOOKUP] = {
		.name = "SHARED_OBJECT_LOOKUP",
		.needs = WIRE_PF_SHARED_OBJECT,
		.why = "a network device shares no buffers with other devices",
	},
	[WIRE_BACKEND_SHMEM_MAP] = {
		.name = "SHMEM_MAP",
		.needs = WIRE_PF_SHMEM,
		.why = "a network device has no shared memory regions",
	},
	[WIRE_BACKEND_SHMEM_UNMAP] = {
		.name = "SHMEM_UNMAP",
		.needs = WIRE_PF_SHMEM,
		.why = "a network device has no shared memory regions",
	},
};

const struct backend_desc *backend_find(enum wire_backend_request request)
{
	return &requests[request];
}

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

	assert(requests[request].when && requests[request].size == size);
	if (size > 0)
		memcpy(msg.payload, payload, size);
	return fdmsg_send_now(sock, &msg, sizeof(msg.header) + size, fds, n_fds);
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

int backend_vring(int sock, uint32_t ring, enum wire_backend_request request)
{
	const struct wire_vring_state state = { .index = ring };

	return send_request(sock, request, &state, sizeof(state));
}

int backend_host_notifier(int sock, uint32_t ring, int fd, uint64_t offset, uint64_t size)
{
	const struct wire_vring_area area = { .word = ring, .size = size, .offset = offset };

	return send_with(sock, WIRE_BACKEND_VRING_HOST_NOTIFIER, &area, sizeof(area), &fd, 1);
}
