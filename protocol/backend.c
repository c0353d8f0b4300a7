/* SPDX-License-Identifier: BSD-2-Clause */
/* The channel is written without waiting: the front-end may be waiting for us meanwhile. */
#include "protocol/backend.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "protocol/wire.h"
#include "vdpa/base/log.h"

void backend_config_change(int sock)
{
	const struct wire_header header = {
		.request = WIRE_BACKEND_CONFIG_CHANGE,
		.flags = WIRE_VERSION,
	};

	if (sock >= 0 && send(sock, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_warning("back-end channel: CONFIG_CHANGE not sent: %s", strerror(errno));
}
