/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One event is taken at a time, so that a handler may remove any source, also its own: no event of
 * a removed source is left in a list. The kernel moves a served descriptor to the end of its
 * list, so none starves another.
 */
#include "tools/simnic/loop.h"

#include <errno.h>
#include <sys/epoll.h>

#include "vdpa/base/cleanup.h"

int loop_init(struct loop *loop)
{
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->stop = false;
	return loop->epoll_fd < 0 ? -errno : 0;
}

static int set_events(struct loop *loop, struct source *source, uint32_t events, int op)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(loop->epoll_fd, op, source->fd, &event) < 0 ? -errno : 0;
}

static int add(struct loop *loop, struct source *source, int fd, uint32_t events,
	void (*ready)(struct source *source))
{
	struct source added = { .fd = fd, .ready = ready };
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	*source = added;
	return 0;
}

int loop_add(struct loop *loop, struct source *source, int fd, void (*ready)(struct source *source))
{
	return add(loop, source, fd, EPOLLIN, ready);
}

int loop_add_edge(struct loop *loop, struct source *source, int fd,
	void (*ready)(struct source *source))
{
	return add(loop, source, fd, EPOLLIN | EPOLLET, ready);
}

void loop_remove(struct loop *loop, struct source *source)
{
	if (source->fd < 0)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = close_keep_errno(source->fd);
}

void loop_mute(struct loop *loop, struct source *source)
{
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
}

void loop_unmute(struct loop *loop, struct source *source)
{
	set_events(loop, source, EPOLLIN, EPOLL_CTL_ADD);
}

int loop_run(struct loop *loop)
{
	while (!loop->stop) {
		struct epoll_event event;
		struct source *source;
		int n = epoll_wait(loop->epoll_fd, &event, 1, -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		source = event.data.ptr;
		source->ready(source);
	}
	return 0;
}
