/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inflight area: made here, kept by the front-end, and handed to the back-end of its next
 * connection.
 *
 * Source: vhost-user specification, "Inflight I/O tracking", VHOST_USER_GET_INFLIGHT_FD,
 * VHOST_USER_SET_INFLIGHT_FD.
 */
#include <errno.h>
#include <fcntl.h>

#include "protocol/handlers.h"
#include "vdpa/base/memfile.h"

int check_inflight_size(const struct message *m)
{
	return m->header.size == WIRE_INFLIGHT_HEAD || m->header.size == sizeof(struct wire_inflight)
		       ? 0
		       : -EBADMSG;
}

int on_get_inflight_fd(struct session *s, struct message *m, uint32_t ring)
{
	struct wire_inflight area = m->payload.inflight;
	int fd, copy, slot, r;

	if (area.n_queues > s->device->n_queues || area.queue_size > s->device->max_queue_size)
		return -EINVAL;
	area.size = device_inflight_size(s->device, area.n_queues, area.queue_size);
	area.offset = 0;
	fd = memfile_create("inflight", area.size);
	if (fd < 0)
		return -EMFILE;
	slot = fdstore_add(s->transaction.fds, fd);
	if (slot < 0)
		return slot;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	r = copy < 0 ? -EMFILE : session_reply_fd(s, m, &area, m->header.size, copy);
	if (r < 0)
		return r;
	return device_set_inflight(s->device, slot, 0, area.size, area.n_queues, area.queue_size, false);
}

int on_set_inflight_fd(struct session *s, struct message *m, uint32_t ring)
{
	const struct wire_inflight area = m->payload.inflight;
	int slot = fdstore_add(s->transaction.fds, message_take_fd(m, 0));

	if (slot < 0)
		return slot;
	return device_set_inflight(s->device, slot, area.offset, area.size, area.n_queues,
		area.queue_size, true);
}
