/* SPDX-License-Identifier: BSD-2-Clause */
/* The front-end: its connection, what it sends, and the replies that come of it. */
#include "tests/fuzz/play_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/table.h"
#include "tests/fuzz/must.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

/* ---------------------------------------------------------------------------- connection */

void play_disconnect(struct play *p)
{
	shutdown(play_sock(p), SHUT_RDWR);
	session_end(&p->stand.session);
	fdstore_put(&p->stand.fds, SHIM_SLOT_CONN, -1);
	p->stand.kept[SHIM_SLOT_CONN] = close_keep_errno(p->stand.kept[SHIM_SLOT_CONN]);
	p->peer = close_keep_errno(p->peer);
	p->n_expected = 0;
}

void play_connect(struct play *p)
{
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
		"socketpair: %s", strerror(errno));
	p->peer = ends[1];
	fdstore_put(&p->stand.fds, SHIM_SLOT_CONN, ends[0]);
	p->stand.kept[SHIM_SLOT_CONN] = dup(ends[0]);
	p->died = false;
	must(session_begin(&p->stand.session, ends[0]) == 0, "a connection is of no use: %s",
		p->stand.session.reason);
}

/* ------------------------------------------------------------------------------- replies */

/* What the front-end reads: header and body of each reply, whose descriptors are closed. */
static bool read_reply(
	const struct play *p, struct wire_header *ret, uint8_t *body, size_t *ret_fds)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int) * 4)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
	struct msghdr header = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buffer,
		.msg_controllen = sizeof(control.buffer) };
	ssize_t n = recvmsg(p->peer, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n <= 0)
		return false;
	*ret_fds = 0;
	must(n == (ssize_t)sizeof(*ret) || p->forged, "half a reply");
	if (n != (ssize_t)sizeof(*ret))
		return true;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
		int fd;

		must(c->cmsg_len == CMSG_LEN(sizeof(int)), "a reply with several descriptors");
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		close(fd);
		++*ret_fds;
	}
	if (p->forged) { /* the reply is in the page */
		while (recv(p->peer, body, WIRE_MAX_PAYLOAD, MSG_DONTWAIT) > 0)
			;
		return true;
	}
	must(ret->size <= WIRE_MAX_PAYLOAD, "a reply of %u bytes", ret->size);
	must(ret->size == 0 || recv(p->peer, body, ret->size, MSG_DONTWAIT) == (ssize_t)ret->size,
		"a reply without its end");
	return true;
}

/* Does a message that was accepted have a body of its own? */
static bool has_own_body(const struct message_desc *desc)
{
	return desc->reply == REPLY_OWN || desc->reply == REPLY_OWN_EMPTY ||
	       desc->reply == REPLY_OWN_ZERO || desc->reply == REPLY_ACK_OR_OWN;
}

static void check_reply(const struct wire_header *m, const struct wire_header *reply, size_t n_fds)
{
	const struct message_desc *desc = message_find(m->request);

	must(reply->request == m->request, "message %u is answered as %u", m->request,
		reply->request);
	must(reply->flags == (WIRE_VERSION | WIRE_REPLY), "a reply with flags %#x", reply->flags);
	must(n_fds == 0 || (desc && has_own_body(desc)), "message %u is answered with a descriptor",
		m->request);
	must((desc && has_own_body(desc)) || reply->size == sizeof(uint64_t),
		"message %u is answered with %u bytes", m->request, reply->size);
	must((desc && desc->reply != REPLY_ACK) || m->flags & WIRE_NEED_REPLY,
		"message %u is answered, and nobody asked", m->request);
}

static bool may_be_answered(const struct wire_header *m)
{
	const struct message_desc *desc = message_find(m->request);

	return m->flags & WIRE_NEED_REPLY || (desc && desc->reply != REPLY_ACK);
}

static bool must_be_answered(const struct wire_header *m)
{
	const struct message_desc *desc = message_find(m->request);

	return desc && (desc->reply == REPLY_ACK_ALWAYS || desc->reply == REPLY_ACK_NO_FD ||
			       (has_own_body(desc) && desc->reply != REPLY_ACK_OR_OWN));
}

/*
 * Replies come in the order of the messages; those that have none are passed over.
 * @ends: so does the connection, and a message may have no reply for it
 */
static void read_replies(const struct play *p, uint32_t n_handled, bool ends)
{
	uint8_t body[WIRE_MAX_PAYLOAD];
	struct wire_header reply;
	size_t n_fds;
	uint32_t i = 0;

	while (read_reply(p, &reply, body, &n_fds)) {
		if (p->forged || p->died)
			continue;
		while (i < n_handled && (p->expected[i].request != reply.request ||
						!may_be_answered(&p->expected[i]))) {
			must(!must_be_answered(&p->expected[i]), "message %u has no answer",
				p->expected[i].request);
			i++;
		}
		must(i < n_handled, "a reply to message %u, which nobody sent", reply.request);
		check_reply(&p->expected[i++], &reply, n_fds);
	}
	for (; i < n_handled && !ends && !p->forged && !p->died; i++)
		must(!must_be_answered(&p->expected[i]), "message %u has no answer",
			p->expected[i].request);
}

void play_receive(struct play *p)
{
	uint64_t before = p->stand.session_section.messages;
	uint32_t n_handled;
	int r;

	do
		r = session_receive(&p->stand.session);
	while (r == 1);
	n_handled = (uint32_t)(p->stand.session_section.messages - before);
	if (p->forged || p->died)
		n_handled = p->n_expected;
	must(n_handled <= p->n_expected, "%u messages were handled, %u were sent", n_handled,
		p->n_expected);
	read_replies(p, n_handled, r < 0);
	p->n_expected -= n_handled;
	memmove(p->expected, p->expected + n_handled, p->n_expected * sizeof(p->expected[0]));
	play_check_refused(p);
	if (r < 0) {
		must(p->stand.session.reason[0] != '\0', "a connection ends for no reason: %d", r);
		play_disconnect(p);
	}
}

/* ------------------------------------------------------------------------------ messages */

static void send_bytes(
	const struct play *p, const void *data, size_t size, const int *fds, size_t n_fds)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int) * (WIRE_MAX_FDS + 2))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (n_fds > 0) {
		header.msg_control = control.buffer;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&header);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	(void)!sendmsg(p->peer, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void note_message(struct play *p, const struct wire_header *header)
{
	if (!p->aligned) { /* nobody knows what it will be taken for */
		play_disconnect(p);
		p->aligned = true;
		return;
	}
	if (p->n_expected < ARRAY_SIZE(p->expected))
		p->expected[p->n_expected++] = *header;
}

void play_message(struct play *p, const struct step *step)
{
	struct step_message m;
	uint32_t size;

	steps_message(&p->stand.session, step, &m);
	size = m.header.size < WIRE_MAX_PAYLOAD ? m.header.size : WIRE_MAX_PAYLOAD;
	note_message(p, &m.header);
	if (p->peer < 0)
		return;
	if (step->kind == STEP_PARTIAL) {
		uint8_t bytes[sizeof(m.header) + WIRE_MAX_PAYLOAD];
		size_t whole = sizeof(m.header) + size, part = step->more[0];

		part = part < whole ? part : whole;
		memcpy(bytes, &m.header, sizeof(m.header));
		memcpy(bytes + sizeof(m.header), &m.payload, size);
		send_bytes(p, bytes, part, m.fds, part > 0 ? m.n_fds : 0);
		play_receive(p);
		if (p->peer < 0)
			return;
		if (step->more[1] % 2)
			send_bytes(p, bytes + part, whole - part, m.fds,
				step->more[1] % 4 == 3 ? 1 : 0);
		else
			p->aligned = false;
	} else {
		struct {
			struct wire_header header;
			uint8_t payload[WIRE_MAX_PAYLOAD];
		} whole = { .header = m.header };

		memcpy(whole.payload, &m.payload, size);
		send_bytes(p, &whole, sizeof(m.header) + size, m.fds, m.n_fds);
	}
	if (step->kind == STEP_HOLD)
		return;
	play_receive(p);
	play_check_taken_back(p, &m);
}

void play_bytes(struct play *p, const struct step *step)
{
	send_bytes(p, step, sizeof(*step), NULL, 0);
	p->aligned = false;
	if (p->n_expected < ARRAY_SIZE(p->expected))
		memcpy(&p->expected[p->n_expected++], step, sizeof(p->expected[0]));
	play_receive(p);
}
