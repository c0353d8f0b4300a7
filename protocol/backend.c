/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/backend.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "protocol/wire.h"
#include "vdpa/base/log.h"

static void send_request(int sock, enum wire_backend_request request, const char *name, const void *payload,
	size_t size)
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
	size_t total = sizeof(msg.header) + size;
	ssize_t n;

	if (sock < 0)
		return;
	if (size > 0)
		memcpy(msg.payload, payload, size);
	n = send(sock, &msg, total, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		log_warning("back-end channel: %s not sent: %s", name, strerror(errno));
}

void backend_config_change(int sock)
{
	send_request(sock, WIRE_BACKEND_CONFIG_CHANGE, "CONFIG_CHANGE", NULL, 0);
}

void backend_iotlb(int sock, const struct driver_miss *miss)
{
	const struct wire_iotlb iotlb = {
		.iova = miss->iova,
		.perm = (uint8_t)miss->perm,
		.type = miss->refused ? WIRE_IOTLB_ACCESS_FAIL : WIRE_IOTLB_MISS,
	};

	send_request(sock, WIRE_BACKEND_IOTLB_MSG, miss->refused ? "ACCESS_FAIL" : "IOTLB miss", &iotlb,
		sizeof(iotlb));
}
