/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests over a channel: each is answered exactly once, whatever the peer does. */
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

/* All that is there is taken. */
static void run_idle(struct stand *s)
{
	while (sd_event_run(s->event, 0) > 0)
		continue;
}

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

static void answers_find_their_requests_in_any_order(void **state)
{
	struct stand *s = *state;
	struct call calls[3] = { 0 };
	uint32_t seqs[3];

	for (int i = 0; i < 3; i++) {
		request(s, &calls[i], 3, PATIENCE_MS);
		seqs[i] = take_request(s).header.seq;
	}
	assert_true(seqs[0] != seqs[1] && seqs[1] != seqs[2] && seqs[0] != seqs[2]);
	answer(s, seqs[2], 0, "two");
	answer(s, seqs[0], -ENOENT, "");
	answer(s, seqs[1], 0, "one");
	RUN_UNTIL(s, calls[1].n);
	assert_memory_equal(calls[2].payload, "two", 3);
	assert_memory_equal(calls[1].payload, "one", 3);
	assert_int_equal(calls[0].status, -ENOENT);
	for (int i = 0; i < 3; i++)
		assert_int_equal(calls[i].n, 1);
}

static void a_second_answer_and_one_nobody_waits_for_are_dropped(void **state)
{
	struct stand *s = *state;
	struct call first = { 0 }, second = { 0 };
	uint32_t seq;

	request(s, &first, 0, PATIENCE_MS);
	seq = take_request(s).header.seq;
	answer(s, seq + 7, 0, "");
	answer(s, seq, 0, "");
	answer(s, seq, -EIO, "");
	request(s, &second, 0, PATIENCE_MS);
	answer(s, take_request(s).header.seq, 0, "");
	RUN_UNTIL(s, second.n);
	assert_int_equal(first.n, 1);
	assert_int_equal(first.status, 0);
}

static void answers_that_are_no_good_are_told_as_such(void **state)
{
	static const struct {
		int status;
		const char *payload;
	} cases[] = { { 0, "" }, { 0, "12" }, { 0, "1234" }, { 1, "123" } };
	struct stand *s = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct call call = { 0 };

		request(s, &call, 3, PATIENCE_MS);
		answer(s, take_request(s).header.seq, cases[i].status, cases[i].payload);
		RUN_UNTIL(s, call.n);
		assert_int_equal(call.status, -EBADMSG);
	}
	assert_int_equal(s->n_lost, 0);
}

static void a_descriptor_comes_along_or_is_closed(void **state)
{
	struct stand *s = *state;
	struct call call = { 0 };
	struct message m = { .header = { .kind = 128 } };
	int fd = eventfd(0, EFD_CLOEXEC), lowest;

	request(s, &call, 0, PATIENCE_MS);
	m.header.seq = take_request(s).header.seq;
	lowest = dup(fd);
	close_keep_errno(lowest);
	assert_int_equal(fdmsg_send(s->peer, &m, sizeof(m.header), &fd, 1), 0);
	RUN_UNTIL(s, call.n);
	assert_true(call.fd >= 0);
	close_keep_errno(call.fd);
	for (int i = 0; i < 2; i++) { /* an answer too many, an event */
		assert_int_equal(fdmsg_send(s->peer, &m, sizeof(m.header), &fd, 1), 0);
		m.header.seq = 0;
	}
	RUN_UNTIL(s, s->n_events);
	assert_int_equal(dup(fd), lowest); /* none is left open below it */
	close_keep_errno(lowest);
	close_keep_errno(fd);
}

static void each_request_has_a_deadline_of_its_own(void **state)
{
	struct stand *s = *state;
	struct call fast = { 0 }, slow = { 0 };
	uint64_t begin = clock_now_ns();
	uint32_t seq;

	request(s, &slow, 0, PATIENCE_MS);
	request(s, &fast, 0, 50);
	seq = take_request(s).header.seq;
	RUN_UNTIL(s, fast.n);
	assert_int_equal(fast.status, -ETIMEDOUT);
	assert_true(clock_now_ns() - begin >= 50 * NS_PER_MS);
	assert_int_equal(slow.n, 0);
	answer(s, take_request(s).header.seq, 0, ""); /* too late */
	answer(s, seq, 0, "");
	RUN_UNTIL(s, slow.n);
	assert_int_equal(slow.status, 0);
	assert_int_equal(fast.n, 1);
}

static void several_deadlines_pass_at_once(void **state)
{
	struct stand *s = *state;
	struct call calls[5] = { 0 };

	for (int i = 0; i < 5; i++)
		request(s, &calls[i], 0, 20);
	RUN_UNTIL(s, calls[4].n);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(calls[i].n, 1);
		assert_int_equal(calls[i].status, -ETIMEDOUT);
	}
}

static void when_the_peer_is_gone_all_is_answered_and_then_told(void **state)
{
	struct stand *s = *state;
	struct call calls[3] = { 0 };

	for (int i = 0; i < 3; i++)
		request(s, &calls[i], 0, PATIENCE_MS);
	s->peer = close_keep_errno(s->peer);
	RUN_UNTIL(s, s->n_lost);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(calls[i].n, 1);
		assert_int_equal(calls[i].status, -ECONNRESET);
	}
	assert_true(try_request(s, &calls[0], 0, 1000) < 0);
	run_idle(s);
	assert_int_equal(s->n_lost, 1);
}

static void the_owner_may_free_a_lost_channel(void **state)
{
	struct stand *s = *state;
	struct call call = { 0 };

	s->lost_frees = true;
	request(s, &call, 0, PATIENCE_MS);
	s->peer = close_keep_errno(s->peer);
	RUN_UNTIL(s, s->n_lost);
	assert_null(s->channel);
	assert_int_equal(call.n, 1);
}

static void nonsense_ends_the_connection(void **state)
{
	static const struct {
		size_t size;
		uint32_t says;
	} cases[] = { { 1, 0 }, { 15, 0 }, { 16, 1 }, { 20, 3 }, { 20, 5 }, { 20, UINT32_MAX },
		{ 3000, 2984 } };
	struct stand *s = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct call call = { 0 };
		char data[3000] = "";
		struct channel_header header = { .kind = 128, .size = cases[i].says };

		request(s, &call, 0, PATIENCE_MS);
		header.seq = take_request(s).header.seq;
		memcpy(data, &header, sizeof(header));
		assert_int_equal(send(s->peer, data, cases[i].size, 0), cases[i].size);
		RUN_UNTIL(s, s->n_lost == i + 1);
		assert_int_equal(call.n, 1);
		assert_int_equal(call.status, -ECONNRESET);
		free_channel(s);
		close_keep_errno(s->peer);
		connect_again(s);
	}
}

static void a_callback_may_free_the_channel(void **state)
{
	struct stand *s = *state;

	for (int how = 0; how < 3; how++) { /* in an answer, at a deadline, at the peer's end */
		struct call first = { .frees = true }, second = { 0 }, third = { 0 };

		request(s, &first, 0, how == 1 ? 10 : PATIENCE_MS);
		request(s, &second, 0, PATIENCE_MS);
		request(s, &third, 0, PATIENCE_MS);
		if (how == 0)
			answer(s, take_request(s).header.seq, 0, "");
		if (how == 2)
			s->peer = close_keep_errno(s->peer);
		RUN_UNTIL(s, third.n);
		assert_int_equal(first.n + second.n + third.n, 3);
		assert_true(second.status < 0 && third.status < 0);
		assert_int_equal(s->n_lost, 0);
		close_keep_errno(s->peer);
		connect_again(s);
	}
}

static void a_callback_may_ask_again(void **state)
{
	struct stand *s = *state;
	struct call second = { 0 }, first = { .again = &second };

	request(s, &first, 0, PATIENCE_MS);
	answer(s, take_request(s).header.seq, 0, "");
	RUN_UNTIL(s, first.n);
	assert_int_equal(second.n, 0);
	answer(s, take_request(s).header.seq, 0, "");
	RUN_UNTIL(s, second.n);
	assert_int_equal(first.n, 1);
}

static void free_answers_what_is_pending(void **state)
{
	struct stand *s = *state;
	struct call call = { 0 };

	request(s, &call, 0, PATIENCE_MS);
	free_channel(s);
	assert_int_equal(call.n, 1);
	assert_int_equal(call.status, -ECANCELED);
	channel_free(NULL);
	assert_int_equal(try_request(s, &call, 0, 1), -ENOTCONN);
}

static void what_is_forgotten_is_not_answered(void **state)
{
	struct stand *s = *state;
	struct call first = { 0 }, second = { 0 };

	request(s, &first, 0, PATIENCE_MS);
	request(s, &second, 0, PATIENCE_MS);
	channel_forget(s->channel, &first);
	channel_forget(NULL, &first);
	answer(s, take_request(s).header.seq, 0, "");
	answer(s, take_request(s).header.seq, 0, "");
	RUN_UNTIL(s, second.n);
	assert_int_equal(first.n, 0);
}

/* While all are answered, one callback may take away what another request belongs to. */
static void what_a_callback_forgets_is_not_answered(void **state)
{
	struct stand *s = *state;

	for (int how = 0; how < 3; how++) {
		struct call second = { 0 }, third = { 0 }, first = { .forgets = &second };

		request(s, &first, 0, how == 1 ? 10 : PATIENCE_MS);
		request(s, &second, 0, how == 1 ? 10 : PATIENCE_MS);
		request(s, &third, 0, how == 1 ? 10 : PATIENCE_MS);
		if (how == 0)
			s->peer = close_keep_errno(s->peer);
		if (how == 2)
			channel_free(s->channel);
		RUN_UNTIL(s, third.n);
		assert_int_equal(first.n, 1);
		assert_int_equal(second.n, 0);
		if (how != 2)
			channel_free(s->channel);
		close_keep_errno(s->peer);
		connect_again(s);
	}
}

static void events_are_told_and_a_flood_leaves_room(void **state)
{
	struct stand *s = *state;
	struct message m = { .header = { .kind = 129, .size = 4 } };
	unsigned int n = 0, before;

	assert_int_equal(fcntl(s->peer, F_SETFL, O_NONBLOCK), 0);
	while (fdmsg_send(s->peer, &m, sizeof(m.header) + 4, NULL, 0) == 0)
		n++;
	assert_true(n > 50);
	before = s->n_events;
	assert_true(sd_event_run(s->event, 0) > 0);
	assert_true(s->n_events > before && s->n_events < n); /* others get their turn */
	RUN_UNTIL(s, s->n_events == n);
	assert_int_equal(s->last_kind, 129);
}

static void a_peer_that_does_not_read_is_told_at_once(void **state)
{
	struct stand *s = *state;
	static struct call calls[5000];
	unsigned int n = 0;
	int r;

	while ((r = try_request(s, &calls[n], 0, PATIENCE_MS)) == 0 && n < ARRAY_SIZE(calls) - 1)
		n++;
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(calls[n].n, 0);
	free_channel(s);
	assert_int_equal(calls[n].n, 0); /* it was refused, and is not answered as well */
	assert_int_equal(calls[n - 1].n, 1);
}

static void nobody_listens(void **state)
{
	struct stand *s = *state;
	const struct channel_owner owner = { on_event, on_lost, s };
	struct channel *channel = NULL;
	char longest[200];

	assert_int_equal(channel_open(s->event, "/nowhere/at/all", &owner, &channel), -ENOENT);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(channel_open(s->event, longest, &owner, &channel), -ENAMETOOLONG);
	s->listener = close_keep_errno(s->listener);
	assert_int_equal(channel_open(s->event, path, &owner, &channel), -ECONNREFUSED);
	assert_null(channel);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answers_find_their_requests_in_any_order),
		TEST(a_second_answer_and_one_nobody_waits_for_are_dropped),
		TEST(answers_that_are_no_good_are_told_as_such),
		TEST(a_descriptor_comes_along_or_is_closed),
		TEST(each_request_has_a_deadline_of_its_own),
		TEST(several_deadlines_pass_at_once),
		TEST(when_the_peer_is_gone_all_is_answered_and_then_told),
		TEST(the_owner_may_free_a_lost_channel),
		TEST(nonsense_ends_the_connection),
		TEST(a_callback_may_free_the_channel),
		TEST(a_callback_may_ask_again),
		TEST(free_answers_what_is_pending),
		TEST(what_is_forgotten_is_not_answered),
		TEST(what_a_callback_forgets_is_not_answered),
		TEST(events_are_told_and_a_flood_leaves_room),
		TEST(a_peer_that_does_not_read_is_told_at_once),
		TEST(nobody_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
