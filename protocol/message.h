/* SPDX-License-Identifier: BSD-2-Clause */
/* One message of a front-end, whole, with the descriptors that came with it. */
#ifndef PROTOCOL_MESSAGE_H
#define PROTOCOL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/wire.h"

/**
 * struct message - a received message; it owns its descriptors.
 * @payload: @header.size bytes of it are valid, the rest is zero
 * @fds_doubtful: they may be the next message's, which gets its own all the same
 */
struct message {
	struct wire_header header;
	union wire_payload payload;
	int fds[WIRE_MAX_FDS];
	size_t n_fds;
	bool fds_doubtful;
};

/** message_take_fd() - take descriptor @i, the caller's from now on; -1 when there is none. */
int message_take_fd(struct message *m, size_t i);

/** message_close_fds() - close what nobody took. */
void message_close_fds(struct message *m);

#endif
