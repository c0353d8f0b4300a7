/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One front-end at a time. A connection is in its slot before the first message is read, so that
 * it outlives this process; it is shut down before the device is reset, so that a successor which
 * finds it half gone finds its end and nothing else.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "tools/worker/worker.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

#define ACCEPT_PAUSE_MS 1000

static int connection_fd(const struct worker *w)
{
	return fdstore_get(&w->fds, SHIM_SLOT_CONN);
}

static void end(struct worker *w, const char *reason)
{
	log_info("connection ended: %s", reason);
	shim_link_event(w, SHIM_EVENT_DISCONNECTED, "%s", reason);
	epoll_ctl(w->epoll, EPOLL_CTL_DEL, connection_fd(w), NULL);
	shutdown(connection_fd(w), SHUT_RDWR);
	session_end(&w->session);
	fdstore_put(&w->fds, SHIM_SLOT_CONN, -1);
	w->more_messages = false;
	shim_link_send(w, SHIM_DISCONNECTED);
	report_health(w);
}

static int watch_connection(struct worker *w)
{
	int fd = connection_fd(w);

	return worker_watch(w, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, WORKER_SOURCE_CONNECTION);
}

void connection_take(struct worker *w)
{
	int r;

	if (w->session_section.connected) /* the shim knew of its end before we did */
		session_end(&w->session);
	r = session_begin(&w->session, connection_fd(w));
	if (r == 0)
		r = watch_connection(w);
	if (r < 0) {
		end(w, w->session.reason[0] ? w->session.reason : strerror(-r));
		return;
	}
	log_info("front-end connected, pid %d uid %u", w->session_section.frontend_pid,
		w->session_section.frontend_uid);
	shim_link_event(w, SHIM_EVENT_CONNECTED, "pid %d", w->session_section.frontend_pid);
	report_health(w);
	connection_receive(w);
}

void connection_receive(struct worker *w)
{
	int r;

	if (connection_fd(w) < 0)
		return;
	r = session_receive(&w->session);
	w->more_messages = r == 1;
	if (r < 0 && !w->stopping)
		end(w, w->session.reason);
}

void connection_check_deadline(struct worker *w)
{
	if (connection_fd(w) >= 0 && session_check_deadline(&w->session) < 0)
		end(w, w->session.reason);
}

void connection_transfer(struct worker *w)
{
	transfer_run(&w->session);
}

/* Once for each round: the descriptor may be closed at any time, and be the front-end's as well. */
void connection_watch_transfer(struct worker *w)
{
	const struct transfer *t = &w->session.transfer;
	struct epoll_event event = {
		.events = (t->load ? EPOLLIN : EPOLLOUT) | EPOLLONESHOT,
		.data.u32 = WORKER_SOURCE_TRANSFER,
	};

	if (t->fd < 0 || epoll_ctl(w->epoll, EPOLL_CTL_MOD, t->fd, &event) == 0)
		return;
	if (errno != ENOENT || epoll_ctl(w->epoll, EPOLL_CTL_ADD, t->fd, &event) < 0)
		log_warning("the device's state can't be moved by itself: %s", strerror(errno));
}

void connection_notify(struct worker *w)
{
	session_notify(&w->session);
}

/* Once for each round: a message may have changed which rings these are. */
void connection_watch_inband(struct worker *w)
{
	bool fresh;
	int fd = session_inband_fd(&w->session, &fresh);

	if (fd >= 0 && fresh && worker_watch(w, fd, EPOLLIN, WORKER_SOURCE_INBAND) < 0)
		log_error("in-band notifications can't be waited for");
}

static void watch_listener(struct worker *w, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u32 = WORKER_SOURCE_LISTENER };

	if (epoll_ctl(w->epoll, EPOLL_CTL_MOD, fdstore_get(&w->fds, SHIM_SLOT_LISTEN), &event) < 0)
		log_error("the listener can't be watched: %s", strerror(errno));
}

/* Who waits to be accepted goes on waiting, and would wake us again at once. */
static void pause_accept(struct worker *w, const char *reason)
{
	log_warning("accept: %s; tried again in %d ms", reason, ACCEPT_PAUSE_MS);
	watch_listener(w, 0);
	w->accept_again_ns = clock_now_ns() + ACCEPT_PAUSE_MS * NS_PER_MS;
}

void connection_resume_accept(struct worker *w)
{
	if (w->accept_again_ns == 0 || clock_now_ns() < w->accept_again_ns)
		return;
	w->accept_again_ns = 0;
	watch_listener(w, EPOLLIN);
}

void connection_accept(struct worker *w)
{
	const uint32_t slot = SHIM_SLOT_CONN;
	int fd = accept4(fdstore_get(&w->fds, SHIM_SLOT_LISTEN), NULL, NULL,
		SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			pause_accept(w, strerror(errno));
		return;
	}
	if (connection_fd(w) >= 0) {
		log_warning("a second front-end was turned away: one is connected already, pid %d",
			w->session_section.frontend_pid);
		close_keep_errno(fd);
		return;
	}
	fdstore_put(&w->fds, slot, fd);
	if (w->fd_keeper.store(&w->fd_keeper, &slot, &fd, 1) == 0)
		connection_take(w);
}

/* The connection that a predecessor had, in whatever state it left it. */
static void take_over(struct worker *w)
{
	int r;

	if (connection_fd(w) < 0) {
		if (w->session_section.connected)
			session_end(&w->session);
		return;
	}
	if (!w->session_section.connected) {
		connection_take(w);
		return;
	}
	r = session_resume(&w->session, connection_fd(w));
	if (r == 0)
		r = watch_connection(w);
	if (r < 0)
		end(w, w->session.reason[0] ? w->session.reason : strerror(-r));
	else
		connection_receive(w);
}

int connection_watch(struct worker *w)
{
	int listener = fdstore_get(&w->fds, SHIM_SLOT_LISTEN);

	take_over(w);
	return listener < 0 ? 0 : worker_watch(w, listener, EPOLLIN, WORKER_SOURCE_LISTENER);
}
