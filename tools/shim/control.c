/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdpad's side. One connection at a time; a newer one takes the place of an older one, whose vdpad
 * is gone or about to go. Requests are answered one by one; those that only the worker can answer
 * wait under their number, and vdpad has its own deadline for them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/shim/shim.h"
#include "vdpa/base/acceptor.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"
#include "vdpa/sandbox/sandbox.h"

struct request {
	struct shim_message message;
	int fds[SHIM_FDS_A_MESSAGE];
	size_t n_fds;
};

static void send_to_vdpad(struct shim *s, const struct shim_header *header, const void *payload,
	const int *fds, size_t n_fds)
{
	int r;

	if (s->poll_fd[SOURCE_CONTROL] < 0)
		return;
	r = message_send(s->poll_fd[SOURCE_CONTROL], header, payload, fds, n_fds);
	if (r < 0) {
		log_warning("vdpad does not listen: %s", strerror(-r));
		s->poll_fd[SOURCE_CONTROL] = close_keep_errno(s->poll_fd[SOURCE_CONTROL]);
	}
}

void control_reply(struct shim *s, uint32_t seq, int status)
{
	const struct shim_header header = { .kind = SHIM_REPLY, .seq = seq, .status = status };

	send_to_vdpad(s, &header, NULL, NULL, 0);
}

void control_refuse(struct shim *s, uint32_t seq, int status, const char *why)
{
	struct shim_reason reason = { 0 };
	const struct shim_header header = {
		.kind = SHIM_REPLY,
		.seq = seq,
		.status = status,
		.size = sizeof(reason),
	};

	snprintf(reason.text, sizeof(reason.text), "%s", why);
	send_to_vdpad(s, &header, &reason, NULL, 0);
}

void control_event(struct shim *s, enum shim_event_kind kind, const char *text)
{
	struct shim_event event = { .kind = kind };
	const struct shim_header header = { .kind = SHIM_EVENT, .size = sizeof(event) };

	snprintf(event.text, sizeof(event.text), "%s", text);
	send_to_vdpad(s, &header, &event, NULL, 0);
}

/* Return: the number under which the worker gets the request; 0: too many wait already. */
static uint32_t add_pending(struct shim *s, uint32_t seq)
{
	for (size_t i = 0; i < SHIM_MAX_PENDING; i++) {
		if (s->pending[i].number != 0)
			continue;
		if (++s->last_number == 0)
			s->last_number = 1;
		s->pending[i].number = s->last_number;
		s->pending[i].seq = seq;
		return s->last_number;
	}
	return 0;
}

static void end_pending(struct shim *s, size_t i, int status)
{
	if (s->pending[i].seq != 0)
		control_reply(s, s->pending[i].seq, status);
	s->pending[i].seq = s->pending[i].number = 0;
}

void control_reply_pending(struct shim *s, uint32_t number, int status)
{
	for (size_t i = 0; number != 0 && i < SHIM_MAX_PENDING; i++) {
		if (s->pending[i].number == number)
			end_pending(s, i, status);
	}
}

void control_fail_pending(struct shim *s, int status)
{
	for (size_t i = 0; i < SHIM_MAX_PENDING; i++)
		end_pending(s, i, status);
}

static bool spec_ok(const struct shim_spec *spec)
{
	return text_ends(spec->name, sizeof(spec->name)) &&
	       text_ends(spec->driver, sizeof(spec->driver)) &&
	       text_ends(spec->socket_path, sizeof(spec->socket_path)) &&
	       text_ends(spec->worker_path, sizeof(spec->worker_path)) &&
	       text_ends(spec->standby, sizeof(spec->standby)) &&
	       spec->worker_path[0] == '/' && !(spec->flags & ~(uint32_t)SHIM_SPEC_ALL) &&
	       (!(spec->flags & SHIM_SPEC_CLIENT) || spec->socket_path[0] == '/');
}

/* The handlers return what is answered; 1: the answer comes later. */

static int on_hello(struct shim *s, struct request *q)
{
	struct shim_status status = {
		.version = SHIM_WIRE_VERSION,
		.state = s->state,
		.pid = getpid(),
		.worker_pid = s->worker.pid,
		.restarts = s->restarts,
		.spec = s->spec,
	};
	const struct shim_header header = {
		.kind = SHIM_REPLY,
		.seq = q->message.header.seq,
		.size = sizeof(status),
	};

	snprintf(status.reason, sizeof(status.reason), "%s", s->reason);
	send_to_vdpad(s, &header, &status, &s->health_readonly, 1);
	return 1;
}

static int on_configure(struct shim *s, struct request *q)
{
	const struct shim_spec *spec = &q->message.payload.spec;
	size_t n_listeners = spec->flags & SHIM_SPEC_CLIENT ? 0 : 1;
	int r;

	if (s->configured)
		return -EALREADY;
	if (!spec_ok(spec) || q->n_fds < n_listeners ||
		q->n_fds - n_listeners > SHIM_MAX_DEVICE_FDS)
		return -EINVAL;
	if (!(spec->flags & SHIM_SPEC_CLIENT)) {
		r = sandbox_keep_capabilities(SHIM_CAPABILITIES);
		if (r < 0)
			return r;
	}
	s->spec = *spec;
	s->spec.flags &= ~(uint32_t)SHIM_SPEC_NOW;
	s->configured = true;
	log_set_level((enum log_level)spec->log_level);
	if (n_listeners > 0)
		slot_put(s, SHIM_SLOT_LISTEN, TAKE_FD(q->fds[0]));
	slots_put_device(s, SHIM_SLOT_DEVICE, q->fds + n_listeners, q->n_fds - n_listeners);
	worker_start_or_give_up(s);
	if (s->state == SHIM_GIVEN_UP)
		return -EHOSTDOWN;
	if (spec->flags & SHIM_SPEC_CLIENT)
		client_connect(s);
	return 0;
}

static int take_device_fds(struct shim *s, struct request *q, enum shim_slot first, enum shim_kind news)
{
	slots_put_device(s, first, q->fds, q->n_fds);
	if (s->state == SHIM_GIVEN_UP)
		return worker_revive(s);
	worker_send(s, news, NULL, 0, s->slots + first, q->n_fds);
	return 0;
}

static int on_device_fds(struct shim *s, struct request *q)
{
	if (!s->configured || q->n_fds > SHIM_MAX_DEVICE_FDS)
		return -EINVAL;
	return take_device_fds(s, q, SHIM_SLOT_DEVICE, SHIM_DEVICE_CHANGED);
}

static int on_standby_fds(struct shim *s, struct request *q)
{
	if (q->n_fds > SHIM_MAX_DEVICE_FDS)
		return -EINVAL;
	if (s->configured)
		return take_device_fds(s, q, SHIM_SLOT_STANDBY, SHIM_STANDBY_CHANGED);
	slots_put_device(s, SHIM_SLOT_STANDBY, q->fds, q->n_fds);
	return 0;
}

static int on_set_spec(struct shim *s, struct request *q)
{
	const struct shim_spec *spec = &q->message.payload.spec;
	struct shim_spec news;

	if (!s->configured || !spec_ok(spec))
		return -EINVAL;
	memcpy(s->spec.worker_path, spec->worker_path, sizeof(s->spec.worker_path));
	s->spec.log_level = spec->log_level;
	s->spec.flags = (s->spec.flags & ~(uint32_t)SHIM_SPEC_CHANGES) | (spec->flags & SHIM_SPEC_CHANGES);
	log_set_level((enum log_level)spec->log_level);
	news = s->spec;
	news.flags |= spec->flags & SHIM_SPEC_NOW;
	worker_send(s, SHIM_SPEC_CHANGED, &news, sizeof(news), NULL, 0);
	return 0;
}

static int on_upgrade(struct shim *s, struct request *q)
{
	if (!s->configured)
		return -EINVAL;
	worker_upgrade(s, q->message.header.seq);
	return 1;
}

static int on_stop(struct shim *s, struct request *q)
{
	s->stopping = true;
	return 0;
}

/* For the worker, under a number of ours; answered when it answers, or at its end. */
static int pass_on(struct shim *s, struct request *q)
{
	struct shim_header header = q->message.header;

	if (s->worker.pid == 0 || !s->worker.ready)
		return -EHOSTDOWN;
	header.seq = add_pending(s, header.seq);
	if (header.seq == 0)
		return -EBUSY;
	if (message_send(s->poll_fd[SOURCE_WORKER], &header, NULL, q->fds, q->n_fds) < 0)
		control_reply_pending(s, header.seq, -EHOSTDOWN);
	return 1;
}

static const struct {
	enum shim_kind kind;
	size_t size; /* of the payload */
	int (*handle)(struct shim *s, struct request *q);
} kinds[] = {
	{ SHIM_HELLO, 0, on_hello },
	{ SHIM_CONFIGURE, sizeof(struct shim_spec), on_configure },
	{ SHIM_DEVICE_FDS, 0, on_device_fds },
	{ SHIM_STANDBY_FDS, 0, on_standby_fds },
	{ SHIM_SET_SPEC, sizeof(struct shim_spec), on_set_spec },
	{ SHIM_UPGRADE, 0, on_upgrade },
	{ SHIM_STOP, 0, on_stop },
	{ SHIM_REFRESH, 0, pass_on },
	{ SHIM_DUMP, 0, pass_on },
};

static int handle(struct shim *s, struct request *q, size_t n)
{
	const struct shim_header *header = &q->message.header;

	if (header->seq == 0 || header->size != n - sizeof(*header))
		return -EBADMSG;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (header->kind == (uint32_t)kinds[i].kind)
			return header->size == kinds[i].size ? kinds[i].handle(s, q) : -EBADMSG;
	}
	return -EOPNOTSUPP;
}

static void disconnect(struct shim *s)
{
	s->poll_fd[SOURCE_CONTROL] = close_keep_errno(s->poll_fd[SOURCE_CONTROL]);
	for (size_t i = 0; i < SHIM_MAX_PENDING; i++)
		s->pending[i].seq = 0;
	s->worker.upgrade_seq = 0;
}

void control_receive(struct shim *s)
{
	struct request q = { .n_fds = 0 };
	ssize_t n;
	int r;

	if (s->poll_fd[SOURCE_CONTROL] < 0)
		return;
	n = fdmsg_recv(s->poll_fd[SOURCE_CONTROL], &q.message, sizeof(q.message), q.fds,
		ARRAY_SIZE(q.fds), &q.n_fds, MSG_DONTWAIT);
	if (n == -EAGAIN)
		return;
	if (n < (ssize_t)sizeof(q.message.header)) {
		for (size_t i = 0; i < q.n_fds; i++)
			close_keep_errno(q.fds[i]);
		disconnect(s);
		return;
	}
	r = handle(s, &q, (size_t)n);
	for (size_t i = 0; i < q.n_fds; i++)
		close_keep_errno(q.fds[i]);
	if (r <= 0)
		control_reply(s, q.message.header.seq, r);
}

void control_accept(struct shim *s)
{
	_cleanup_close_ int fd = acceptor_take(s->poll_fd[SOURCE_LISTEN], SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ||
		(peer.uid != 0 && peer.uid != geteuid())) {
		log_warning("a process that is not vdpad was turned away");
		return;
	}
	disconnect(s);
	s->poll_fd[SOURCE_CONTROL] = TAKE_FD(fd);
}
