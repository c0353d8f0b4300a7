/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An event may wait in the mailbox, or here: one that arrived while a reply was awaited, or the
 * news that the function was replaced. An epoll descriptor over both stands for all of them, and
 * stays the same when the mailbox is replaced.
 */
#include "drivers/sim/events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "vdpa/base/cleanup.h"

static int add(struct sim_events *events, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(events->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int sim_events_init(struct sim_events *events)
{
	events->sock = -1;
	events->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	events->pending_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (events->epoll_fd < 0 || events->pending_fd < 0)
		return -errno;
	return add(events, events->pending_fd);
}

void sim_events_free(struct sim_events *events)
{
	events->sock = close_keep_errno(events->sock);
	events->pending_fd = close_keep_errno(events->pending_fd);
	events->epoll_fd = close_keep_errno(events->epoll_fd);
}

int sim_events_watch(struct sim_events *events, int sock)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (events->sock >= 0)
		epoll_ctl(events->epoll_fd, EPOLL_CTL_DEL, events->sock, NULL);
	events->sock = close_keep_errno(events->sock);
	if (sock < 0)
		return 0;
	fd = fcntl(sock, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	r = add(events, fd);
	if (r == 0)
		events->sock = TAKE_FD(fd);
	return r;
}

void sim_events_set_pending(struct sim_events *events, bool pending)
{
	uint64_t value = 1;

	if (pending && write(events->pending_fd, &value, sizeof(value)) < 0)
		return; /* full: it is readable */
	if (!pending && read(events->pending_fd, &value, sizeof(value)) < 0)
		return; /* empty already */
}
