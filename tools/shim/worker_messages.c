/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a worker says. It parses a guest's and a front-end's bytes, so it may be anybody's by now:
 * every message is checked against its exact form, and a worker that says anything else is killed.
 * It reaches its own slots and the connection's, nothing else.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "tools/shim/shim.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"

struct incoming {
	struct shim_message message;
	int fds[SHIM_FDS_A_MESSAGE];
	size_t n_fds;
};

static int check_slots(const struct shim_slots *slots)
{
	if (slots->n > SHIM_FDS_A_MESSAGE)
		return -EBADMSG;
	for (uint32_t i = 0; i < slots->n; i++) {
		uint32_t slot = slots->slot[i];

		if (slot != SHIM_SLOT_CONN && (slot < SHIM_SLOT_FREE || slot >= SHIM_SLOT_STANDBY))
			return -EBADMSG;
	}
	return 0;
}

static int on_store(struct shim *s, struct incoming *in)
{
	const struct shim_slots *slots = &in->message.payload.slots;

	if (check_slots(slots) < 0 || in->n_fds != slots->n)
		return -EBADMSG;
	for (uint32_t i = 0; i < slots->n; i++)
		slot_put(s, slots->slot[i], TAKE_FD(in->fds[i]));
	return 0;
}

static int on_drop(struct shim *s, struct incoming *in)
{
	const struct shim_slots *slots = &in->message.payload.slots;

	if (check_slots(slots) < 0)
		return -EBADMSG;
	for (uint32_t i = 0; i < slots->n; i++)
		slot_drop(s, slots->slot[i]);
	return 0;
}

static int on_ready(struct shim *s, struct incoming *in)
{
	worker_is_ready(s);
	return 0;
}

static int on_disconnected(struct shim *s, struct incoming *in)
{
	connection_end(s);
	if (s->spec.flags & SHIM_SPEC_CLIENT)
		client_disconnected(s);
	return 0;
}

static bool too_many_events(struct shim *s)
{
	uint64_t now = clock_now_ns();

	if (now - s->worker.events_since > NS_PER_S) {
		s->worker.events_since = now;
		s->worker.n_events = 0;
	}
	return ++s->worker.n_events > SHIM_MAX_EVENTS;
}

/* A worker may be of a later version, and have more to tell: vdpad knows which ones there are. */
static int on_event(struct shim *s, struct incoming *in)
{
	const struct shim_event *event = &in->message.payload.event;

	if (event->kind < SHIM_EVENT_CONNECTED || event->kind >= SHIM_EVENT_WORKER_DIED ||
		!text_ends(event->text, sizeof(event->text)))
		return -EBADMSG;
	if (!too_many_events(s))
		control_event(s, (enum shim_event_kind)event->kind, event->text);
	return 0;
}

static int on_reply(struct shim *s, struct incoming *in)
{
	if (in->message.header.status > 0)
		return -EBADMSG;
	control_reply_pending(s, in->message.header.seq, in->message.header.status);
	return 0;
}

static const struct {
	enum shim_kind kind;
	size_t size; /* of the payload */
	int (*handle)(struct shim *s, struct incoming *in);
} kinds[] = {
	{ SHIM_STORE, sizeof(struct shim_slots), on_store },
	{ SHIM_DROP, sizeof(struct shim_slots), on_drop },
	{ SHIM_READY, 0, on_ready },
	{ SHIM_DISCONNECTED, 0, on_disconnected },
	{ SHIM_WORKER_EVENT, sizeof(struct shim_event), on_event },
	{ SHIM_REPLY, 0, on_reply },
};

static int handle(struct shim *s, struct incoming *in, size_t n)
{
	const struct shim_header *header = &in->message.header;

	if (n < sizeof(*header))
		return -EBADMSG;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (header->kind != (uint32_t)kinds[i].kind)
			continue;
		if (header->size != kinds[i].size || n != sizeof(*header) + kinds[i].size)
			return -EBADMSG;
		return kinds[i].handle(s, in);
	}
	return -EBADMSG;
}

int worker_receive(struct shim *s)
{
	struct incoming in = { .n_fds = 0 };
	ssize_t n;
	int r;

	if (s->poll_fd[SOURCE_WORKER] < 0)
		return 0;
	n = fdmsg_recv(s->poll_fd[SOURCE_WORKER], &in.message, sizeof(in.message), in.fds,
		ARRAY_SIZE(in.fds), &in.n_fds, MSG_DONTWAIT);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0 && n != -EBADMSG) {
		/*
		 * Its end is told by the pidfd. An error does not mean that there is nothing more to
		 * read: one that died without reading all of ours leaves ECONNRESET before its own words.
		 */
		if (n == 0)
			s->poll_fd[SOURCE_WORKER] = close_keep_errno(s->poll_fd[SOURCE_WORKER]);
		worker_kill(s, false);
		return n == 0 ? -ECONNRESET : (int)n;
	}
	r = n < 0 ? -EBADMSG : handle(s, &in, (size_t)n);
	for (size_t i = 0; i < in.n_fds; i++)
		close_keep_errno(in.fds[i]);
	if (r < 0) {
		log_error("worker %d said something that no worker says (kind %u, %zd bytes)",
			s->worker.pid, n >= (ssize_t)sizeof(in.message.header)
					       ? in.message.header.kind
					       : 0,
			n);
		/* Nothing that follows is believed, nor logged. */
		s->poll_fd[SOURCE_WORKER] = close_keep_errno(s->poll_fd[SOURCE_WORKER]);
		worker_kill(s, false);
		return r;
	}
	return 1;
}
