/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Peeking with SO_PEEK_OFF: each peek goes on where the last one ended, and taking bytes out moves
 * the offset back by as many. So after a message was handled, the offset is what is left of it in
 * the socket, for anybody who holds the socket.
 *
 * Descriptors come with the first byte; with a later byte they mean nothing in the protocol and are
 * refused. A peek ends behind the first write that carries descriptors, and goes on through later
 * writes until it finds some, whatever size was asked for (Linux up to 6.18 at least). So a peek
 * asks for more than any message: what came with no more than this message's bytes is this
 * message's. What came with more is most likely the next one's: message.fds_doubtful.
 *
 * Source: vhost-user specification, "Message Specification" (header, flags); unix(7) (SO_PEEK_OFF,
 * SCM_RIGHTS).
 */
#include "protocol/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

int message_take_fd(struct message *m, size_t i)
{
	return i < m->n_fds ? TAKE_FD(m->fds[i]) : -1;
}

void message_close_fds(struct message *m)
{
	for (size_t i = 0; i < m->n_fds; i++)
		m->fds[i] = close_keep_errno(m->fds[i]);
	m->n_fds = 0;
}

static int set_peek_offset(int sock, size_t offset)
{
	int value = (int)offset;

	return setsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &value, sizeof(value)) < 0 ? -errno : 0;
}

int stream_unconsumed(int sock)
{
	socklen_t size = sizeof(int);
	int value;

	if (getsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &value, &size) < 0)
		return -errno;
	return value < 0 ? 0 : value;
}

static void begin_message(struct stream *s)
{
	message_close_fds(&s->message);
	s->have = 0;
	s->total = 0;
}

int stream_open(struct stream *s, int sock)
{
	s->sock = sock;
	s->fault = "";
	s->message.n_fds = 0;
	begin_message(s);
	return set_peek_offset(sock, 0);
}

void stream_close(struct stream *s)
{
	begin_message(s);
	s->sock = -1;
}

bool stream_is_partial(const struct stream *s)
{
	return s->have > 0;
}

static int bad(struct stream *s, const char *fault)
{
	s->fault = fault;
	return -EBADMSG;
}

/* Collects every descriptor of every control message. Return: how many, all of which are kept in
 * @fds up to @max; the rest is closed. */
static size_t collect_fds(struct msghdr *header, int *fds, size_t max)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < max)
				fds[n] = fd;
			else
				close_keep_errno(fd);
			n++;
		}
	}
	return n;
}

/* One peek of up to @want bytes. Return: bytes; 0 end of file; -errno; -EBADMSG too many
 * descriptors. */
static ssize_t peek_some(struct stream *s, size_t want, int *fds, size_t *ret_n_fds)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int) * (WIRE_MAX_FDS + 1))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = s->bytes + s->have, .iov_len = want };
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buffer,
		.msg_controllen = sizeof(control.buffer),
	};
	ssize_t n = recvmsg(s->sock, &header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	size_t n_fds;

	*ret_n_fds = 0;
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	n_fds = collect_fds(&header, fds, WIRE_MAX_FDS);
	if (n_fds > WIRE_MAX_FDS || header.msg_flags & MSG_CTRUNC) {
		for (size_t i = 0; i < n_fds && i < WIRE_MAX_FDS; i++)
			close_keep_errno(fds[i]);
		return bad(s, "more descriptors than a message may have");
	}
	*ret_n_fds = n_fds;
	return n;
}

static int check_header(struct stream *s)
{
	const uint32_t known = WIRE_VERSION_MASK | WIRE_REPLY | WIRE_NEED_REPLY;
	const struct wire_header *h = &s->message.header;

	if ((h->flags & WIRE_VERSION_MASK) != WIRE_VERSION)
		return bad(s, "protocol version is not 1");
	if (h->flags & WIRE_REPLY)
		return bad(s, "a reply that nobody asked for");
	if (h->flags & ~known)
		return bad(s, "reserved flags are set");
	if (h->size > WIRE_MAX_PAYLOAD)
		return bad(s, "message is too long");
	return 0;
}

/* More came than this message: the next peek begins behind it. */
static int give_back_excess(struct stream *s)
{
	s->have = s->total;
	return set_peek_offset(s->sock, s->total);
}

static int take_chunk(struct stream *s, size_t before, int *fds, size_t n_fds)
{
	bool over;
	int r;

	if (s->total == 0 && s->have >= sizeof(struct wire_header)) {
		memcpy(&s->message.header, s->bytes, sizeof(struct wire_header));
		r = check_header(s);
		if (r < 0)
			goto close_fds;
		s->total = sizeof(struct wire_header) + s->message.header.size;
	}
	over = s->total > 0 && s->have > s->total;
	r = over ? give_back_excess(s) : 0;
	if (r < 0)
		goto close_fds;
	if (n_fds > 0 && before > 0) {
		r = over ? 0 : bad(s, "descriptors in the middle of a message");
		goto close_fds;
	}
	s->message.fds_doubtful = over;
	for (size_t i = 0; i < n_fds; i++)
		s->message.fds[s->message.n_fds++] = fds[i];
	return 0;

close_fds:
	for (size_t i = 0; i < n_fds; i++)
		close_keep_errno(fds[i]);
	return r;
}

static int finish_message(struct stream *s)
{
	size_t size = s->total - sizeof(struct wire_header);

	memcpy(&s->message.payload, s->bytes + sizeof(struct wire_header), size);
	memset(s->message.payload.bytes + size, 0, sizeof(s->message.payload) - size);
	return 1;
}

int stream_peek(struct stream *s)
{
	while (s->total == 0 || s->have < s->total) {
		size_t before = s->have;
		int fds[WIRE_MAX_FDS], r;
		size_t n_fds;
		ssize_t n = peek_some(s, sizeof(s->bytes) - before, fds, &n_fds);

		if (n == -EINTR)
			continue; /* nobody says once more that there is something */
		if (n == -EAGAIN)
			return 0;
		if (n == 0)
			return before > 0 ? bad(s, "closed in the middle of a message") : -ECONNRESET;
		if (n < 0)
			return (int)n;
		s->have += (size_t)n;
		r = take_chunk(s, before, fds, n_fds);
		if (r < 0)
			return r;
	}
	return finish_message(s);
}

static ssize_t send_with_fd(int sock, const void *data, size_t size, int fd)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buffer,
		.msg_controllen = sizeof(control.buffer),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&header);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(sock, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int stream_send(struct stream *s, const void *data, size_t size, int fd)
{
	ssize_t n = fd >= 0 ? send_with_fd(s->sock, data, size, fd)
			    : send(s->sock, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EAGAIN;
}

int stream_consume(struct stream *s, size_t size)
{
	uint8_t sink[512];

	begin_message(s);
	while (size > 0) {
		size_t want = size < sizeof(sink) ? size : sizeof(sink);
		ssize_t n = recv(s->sock, sink, want, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		size -= (size_t)n;
	}
	return 0;
}
