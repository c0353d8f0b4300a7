/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One connection to a shim or to simnic. Both speak the same form: a header and the payload of its
 * kind over SOCK_SEQPACKET. Requests are answered in any order under their number, each within its
 * own deadline, so that a peer that hangs delays nobody but who asked it. An answer that comes too
 * late is dropped with its descriptors.
 *
 * A callback may free the channel: whoever calls one looks at the channel again only after it made
 * sure that it is still there.
 */
#include "tools/vdpad/channel.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "drivers/sim/mailbox.h"
#include "tools/shim/wire.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/fdmsg.h"

#define SAME_HEADER(type, first)                                                                   \
	_Static_assert(sizeof(struct type) == sizeof(struct channel_header) &&                     \
			       offsetof(struct type, first) == 0 &&                                \
			       offsetof(struct type, seq) == 4 &&                                  \
			       offsetof(struct type, status) == 8 &&                               \
			       offsetof(struct type, size) == 12,                                  \
		"one form of header")
SAME_HEADER(shim_header, kind);
SAME_HEADER(sim_header, command);

#define MESSAGE_SIZE 2048
_Static_assert(sizeof(struct shim_message) <= MESSAGE_SIZE && sizeof(struct sim_message) <= MESSAGE_SIZE,
	"a message of either kind fits");

/* Messages taken before others get their turn. */
#define BATCH 16

struct pending {
	TAILQ_ENTRY(pending) link;
	uint32_t seq;
	size_t answer_size;
	uint64_t deadline_ns;
	channel_done done;
	void *arg;
};

struct channel {
	struct channel_owner owner;
	int fd;
	sd_event_source *io, *timer;
	uint32_t last_seq;
	TAILQ_HEAD(, pending) pending;
	bool in_loop; /* one of our callbacks runs below us */
	bool dead;    /* channel_free() was called meanwhile: the loop frees the memory */
};

struct message {
	struct channel_header header;
	uint8_t payload[MESSAGE_SIZE - sizeof(struct channel_header)];
};

static void finish(struct channel *ch, struct pending *p, struct channel_answer *answer)
{
	TAILQ_REMOVE(&ch->pending, p, link);
	if (p->done)
		p->done(p->arg, answer);
	close_keep_errno(answer->fd);
	free(p);
}

/*
 * Answers all with @status. They stay in the list until it is their turn, since a callback may forget
 * others; requests that it makes come after those, and are not touched.
 */
static void finish_all(struct channel *ch, int status)
{
	uint32_t last = ch->last_seq;
	struct pending *p;

	while ((p = TAILQ_FIRST(&ch->pending)) && (int32_t)(p->seq - last) <= 0) {
		struct channel_answer answer = { .status = status, .fd = -1 };

		finish(ch, p, &answer);
	}
}

static void arm_timer(struct channel *ch)
{
	uint64_t next = UINT64_MAX;
	struct pending *p;

	TAILQ_FOREACH(p, &ch->pending, link) {
		if (p->deadline_ns < next)
			next = p->deadline_ns;
	}
	if (next == UINT64_MAX) {
		sd_event_source_set_enabled(ch->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(ch->timer, next / NS_PER_US);
	sd_event_source_set_enabled(ch->timer, SD_EVENT_ONESHOT);
}

static void leave_loop(struct channel *ch)
{
	ch->in_loop = false;
	if (ch->dead)
		free(ch);
	else
		arm_timer(ch);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct channel *ch = arg;
	uint64_t now = clock_now_ns();
	struct pending *p;

	ch->in_loop = true;
again:
	TAILQ_FOREACH(p, &ch->pending, link) {
		struct channel_answer answer = { .status = -ETIMEDOUT, .fd = -1 };

		if (p->deadline_ns / NS_PER_US > now / NS_PER_US)
			continue;
		finish(ch, p, &answer);
		if (ch->dead)
			break;
		goto again;
	}
	leave_loop(ch);
	return 0;
}

static void lost(struct channel *ch)
{
	sd_event_source_set_enabled(ch->io, SD_EVENT_OFF);
	finish_all(ch, -ECONNRESET);
	if (!ch->dead)
		ch->owner.on_lost(ch->owner.arg);
}

static void take_answer(struct channel *ch, const struct message *m, size_t size, int fd)
{
	struct channel_answer answer = { .payload = m->payload, .size = size, .fd = fd };
	struct pending *p;

	TAILQ_FOREACH(p, &ch->pending, link) {
		if (p->seq != m->header.seq)
			continue;
		answer.status = m->header.status > 0 ? -EBADMSG : m->header.status;
		if (answer.status == 0 && size != p->answer_size)
			answer.status = -EBADMSG;
		finish(ch, p, &answer);
		return;
	}
	close_keep_errno(fd);
}

/* Return: 0 go on, 1 nothing more or the channel is gone. */
static int receive(struct channel *ch)
{
	struct message m;
	int fd = -1;
	size_t n_fds = 0, size;
	ssize_t n = fdmsg_recv(ch->fd, &m, sizeof(m), &fd, 1, &n_fds, MSG_DONTWAIT);

	if (n == -EAGAIN || n == -EINTR)
		return 1;
	if (n < (ssize_t)sizeof(m.header) || m.header.size != (size_t)n - sizeof(m.header)) {
		if (n_fds > 0)
			close_keep_errno(fd);
		lost(ch);
		return 1;
	}
	size = m.header.size;
	if (m.header.seq != 0) {
		take_answer(ch, &m, size, n_fds > 0 ? fd : -1);
		return 0;
	}
	if (n_fds > 0)
		close_keep_errno(fd);
	if (ch->owner.on_event)
		ch->owner.on_event(ch->owner.arg, m.header.kind, m.payload, size);
	return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct channel *ch = arg;

	ch->in_loop = true;
	for (int i = 0; i < BATCH; i++) {
		if (receive(ch) != 0 || ch->dead)
			break;
	}
	leave_loop(ch);
	return 0;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int channel_open(sd_event *event, const char *path, const struct channel_owner *owner,
	struct channel **ret)
{
	struct channel *ch = calloc(1, sizeof(*ch));
	int r;

	if (!ch)
		return -ENOMEM;
	ch->owner = *owner;
	TAILQ_INIT(&ch->pending);
	r = ch->fd = connect_to(path);
	if (r >= 0)
		r = sd_event_add_io(event, &ch->io, ch->fd, EPOLLIN, on_io, ch);
	if (r >= 0)
		r = sd_event_add_time(event, &ch->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, ch);
	if (r >= 0)
		r = sd_event_source_set_enabled(ch->timer, SD_EVENT_OFF);
	if (r < 0) {
		channel_free(ch);
		return r;
	}
	*ret = ch;
	return 0;
}

void channel_free(struct channel *ch)
{
	if (!ch || ch->dead)
		return;
	ch->io = sd_event_source_disable_unref(ch->io);
	ch->timer = sd_event_source_disable_unref(ch->timer);
	ch->fd = close_keep_errno(ch->fd);
	ch->dead = true;
	finish_all(ch, -ECANCELED);
	if (!ch->in_loop)
		free(ch);
}

void channel_forget(struct channel *ch, const void *arg)
{
	struct pending *p;

	if (!ch)
		return;
	TAILQ_FOREACH(p, &ch->pending, link) {
		if (p->arg == arg)
			p->done = NULL;
	}
}

int channel_call(struct channel *ch, const struct channel_request *q)
{
	struct message m = { .header = { .kind = q->kind, .size = (uint32_t)q->size } };
	struct pending *p;
	int r;

	if (!ch || ch->fd < 0)
		return -ENOTCONN;
	p = malloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	if (++ch->last_seq == 0)
		ch->last_seq = 1;
	m.header.seq = ch->last_seq;
	if (q->size > 0)
		memcpy(m.payload, q->payload, q->size);
	r = fdmsg_send(ch->fd, &m, sizeof(m.header) + q->size, q->fds, q->n_fds);
	if (r < 0) {
		free(p);
		return r;
	}
	*p = (struct pending){
		.seq = m.header.seq,
		.answer_size = q->answer_size,
		.deadline_ns = clock_now_ns() + q->deadline_ms * NS_PER_MS,
		.done = q->done,
		.arg = q->arg,
	};
	TAILQ_INSERT_TAIL(&ch->pending, p, link);
	arm_timer(ch);
	return 0;
}
