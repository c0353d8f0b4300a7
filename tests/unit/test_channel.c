/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests over a channel: each is answered exactly once, whatever the peer does. */
#include "tests/unit/channel_stand.h"

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

static void a_request_may_do_without_its_answer(void **state)
{
	struct stand *s = *state;
	struct channel_request q = { .kind = 5, .payload = "request", .size = 8, .deadline_ms = 20 };
	struct call late = { 0 }, call = { 0 };

	assert_int_equal(channel_call(s->channel, &q), 0);
	take_request(s);
	request(s, &late, 0, 50);
	RUN_UNTIL(s, late.n);
	take_request(s);
	q.deadline_ms = PATIENCE_MS;
	assert_int_equal(channel_call(s->channel, &q), 0);
	answer(s, take_request(s).header.seq, 0, "");
	request(s, &call, 0, PATIENCE_MS);
	answer(s, take_request(s).header.seq, 0, "");
	RUN_UNTIL(s, call.n);
	assert_int_equal(channel_call(s->channel, &q), 0);
	free_channel(s);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answers_find_their_requests_in_any_order),
		TEST(a_second_answer_and_one_nobody_waits_for_are_dropped),
		TEST(answers_that_are_no_good_are_told_as_such),
		TEST(a_descriptor_comes_along_or_is_closed),
		TEST(a_request_may_do_without_its_answer),
		TEST(each_request_has_a_deadline_of_its_own),
		TEST(several_deadlines_pass_at_once),
		TEST(nonsense_ends_the_connection),
		TEST(events_are_told_and_a_flood_leaves_room),
		TEST(a_peer_that_does_not_read_is_told_at_once),
		TEST(nobody_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
