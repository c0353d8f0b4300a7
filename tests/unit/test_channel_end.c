/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a channel, and callbacks that bring it about: all is answered, nothing twice. */
#include "tests/unit/channel_stand.h"

/* All that is there is taken. */
static void run_idle(struct stand *s)
{
	while (sd_event_run(s->event, 0) > 0)
		continue;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(when_the_peer_is_gone_all_is_answered_and_then_told),
		TEST(the_owner_may_free_a_lost_channel),
		TEST(a_callback_may_free_the_channel),
		TEST(a_callback_may_ask_again),
		TEST(free_answers_what_is_pending),
		TEST(what_is_forgotten_is_not_answered),
		TEST(what_a_callback_forgets_is_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
