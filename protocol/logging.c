/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the front-end wants to read which pages were written. That it wants it is feature bit 26 of
 * SET_FEATURES (negotiate.c).
 *
 * Source: vhost-user specification, "Migration", VHOST_USER_SET_LOG_BASE, VHOST_USER_SET_LOG_FD.
 */
#include <errno.h>

#include "protocol/handlers.h"

/** on_set_log_base() - the answer says that every write from now on is marked in this log. */
int on_set_log_base(struct session *s, struct message *m, uint32_t ring)
{
	const struct wire_log log = m->payload.log;
	int slot = fdstore_add(s->transaction.fds, message_take_fd(m, 0));

	return slot < 0 ? slot : device_set_log(s->device, slot, log.offset, log.size);
}

/*
 * A front-end that reads the log at its own pace needs no signal, and all of them do: the descriptor
 * is accepted, and closed by the dispatcher.
 */
int on_set_log_fd(struct session *s, struct message *m, uint32_t ring)
{
	return 0;
}
