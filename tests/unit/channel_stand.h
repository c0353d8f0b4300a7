/* SPDX-License-Identifier: BSD-2-Clause */
/* A channel with the test at both ends, for the tests that include it. */
#ifndef TESTS_CHANNEL_STAND_H
#define TESTS_CHANNEL_STAND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/vdpad/channel.h"
#include "tools/vdpad/listener.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/fdmsg.h"

#define PATIENCE_MS 20000

struct message {
	struct channel_header header;
	char payload[32];
};

/* What came for one request, and what its callback is to do. */
struct call {
	struct stand *stand;
	unsigned int n; /* answers */
	int status;
	char payload[32];
	size_t size;
	int fd;
	bool frees;		/* the channel */
	const void *forgets;	/* another request's arg */
	struct call *again;	/* makes this request */
};

struct stand {
	sd_event *event;
	int listener, peer;
	struct channel *channel;
	unsigned int n_events, n_lost;
	uint32_t last_kind;
	bool lost_frees;
};

static char path[64];

static void on_event(void *arg, uint32_t kind, const void *payload, size_t size)
{
	struct stand *s = arg;

	s->n_events++;
	s->last_kind = kind;
}

static void free_channel(struct stand *s)
{
	channel_free(s->channel);
	s->channel = NULL;
}

static void on_lost(void *arg)
{
	struct stand *s = arg;

	s->n_lost++;
	if (s->lost_frees)
		free_channel(s);
}

static void request(struct stand *s, struct call *call, size_t answer_size, uint64_t deadline_ms);

static void on_answer(void *arg, struct channel_answer *answer)
{
	struct call *call = arg;

	call->n++;
	call->status = answer->status;
	call->size = answer->size;
	if (answer->payload && answer->size <= sizeof(call->payload))
		memcpy(call->payload, answer->payload, answer->size);
	call->fd = TAKE_FD(answer->fd);
	if (call->forgets)
		channel_forget(call->stand->channel, call->forgets);
	if (call->frees)
		free_channel(call->stand);
	if (call->again)
		request(call->stand, call->again, 0, PATIENCE_MS);
}

static int try_request(struct stand *s, struct call *call, size_t answer_size,
	uint64_t deadline_ms)
{
	const struct channel_request q = {
		.kind = 5,
		.payload = "request",
		.size = 8,
		.answer_size = answer_size,
		.deadline_ms = deadline_ms,
		.done = on_answer,
		.arg = call,
	};

	call->stand = s;
	call->fd = -1;
	return channel_call(s->channel, &q);
}

static void request(struct stand *s, struct call *call, size_t answer_size, uint64_t deadline_ms)
{
	assert_int_equal(try_request(s, call, answer_size, deadline_ms), 0);
}

static void connect_again(struct stand *s)
{
	const struct channel_owner owner = { on_event, on_lost, s };

	assert_int_equal(channel_open(s->event, path, &owner, &s->channel), 0);
	s->peer = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(s->peer >= 0);
}

static int setup(void **state)
{
	struct stand *s = calloc(1, sizeof(*s));
	struct failure why;

	if (!s || sd_event_new(&s->event) < 0)
		return -1;
	snprintf(path, sizeof(path), "/tmp/vdpad-channel-%d", (int)getpid());
	s->listener = listener_make(path, SOCK_SEQPACKET, 0600, (gid_t)-1, &why);
	connect_again(s);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct stand *s = *state;

	channel_free(s->channel);
	close_keep_errno(s->peer);
	close_keep_errno(s->listener);
	sd_event_unref(s->event);
	free(s);
	return unlink(path);
}

/* Runs the loop until @what has become true. */
#define RUN_UNTIL(s, what)                                                                         \
	do {                                                                                       \
		uint64_t _since = clock_now_ns();                                                  \
		while (!(what)) {                                                                  \
			assert_true(clock_now_ns() - _since < PATIENCE_MS * NS_PER_MS);            \
			assert_true(sd_event_run((s)->event, 10000) >= 0);                         \
		}                                                                                  \
	} while (0)

static struct message take_request(struct stand *s)
{
	struct message m;
	ssize_t n = fdmsg_recv(s->peer, &m, sizeof(m), NULL, 0, NULL, 0);

	assert_int_equal(n, sizeof(m.header) + 8);
	assert_int_equal(m.header.kind, 5);
	assert_int_equal(m.header.size, 8);
	assert_string_equal(m.payload, "request");
	assert_int_not_equal(m.header.seq, 0);
	return m;
}

static void answer(struct stand *s, uint32_t seq, int status, const char *payload)
{
	struct message m = { .header = { .kind = 128, .seq = seq, .status = status,
				     .size = (uint32_t)strlen(payload) } };

	memcpy(m.payload, payload, strlen(payload));
	assert_int_equal(fdmsg_send(s->peer, &m, sizeof(m.header) + m.header.size, NULL, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
