/* SPDX-License-Identifier: BSD-2-Clause */
/* The form that messages to vdpad and to the worker share: a header, then exactly its payload. */
#include "tools/shim/shim.h"

#include <errno.h>
#include <string.h>

#include "vdpa/base/fdmsg.h"

int message_send(int sock, const struct shim_header *header, const void *payload, const int *fds,
	size_t n_fds)
{
	struct shim_message message = { .header = *header };

	if (header->size > sizeof(message.payload))
		return -EINVAL;
	if (header->size > 0)
		memcpy(&message.payload, payload, header->size);
	return fdmsg_send(sock, &message, sizeof(message.header) + header->size, fds, n_fds);
}

bool text_ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}
