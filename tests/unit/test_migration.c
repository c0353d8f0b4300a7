/* SPDX-License-Identifier: BSD-2-Clause */
/* Every edge of the phases of a migration. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vdpa/base/bits.h"
#include "vdpa/migration.h"

/* Where each input leads from each phase; written down here a second time, on purpose. */
static const enum migration_phase leads_to[MIGRATION_N_PHASES][MIGRATION_N_INPUTS] = {
	[MIGRATION_NONE] = { MIGRATION_LOGGING, MIGRATION_NONE, MIGRATION_NONE, MIGRATION_NONE,
		MIGRATION_NONE, MIGRATION_NONE },
	[MIGRATION_LOGGING] = { MIGRATION_LOGGING, MIGRATION_NONE, MIGRATION_STOPPING,
		MIGRATION_STOPPED, MIGRATION_LOGGING, MIGRATION_NONE },
	[MIGRATION_STOPPING] = { MIGRATION_STOPPING, MIGRATION_NONE, MIGRATION_STOPPING,
		MIGRATION_STOPPED, MIGRATION_LOGGING, MIGRATION_NONE },
	[MIGRATION_STOPPED] = { MIGRATION_STOPPED, MIGRATION_NONE, MIGRATION_STOPPED,
		MIGRATION_STOPPED, MIGRATION_LOGGING, MIGRATION_NONE },
};

static void each_input_leads_where_it_should(void **state)
{
	for (uint32_t phase = 0; phase < MIGRATION_N_PHASES; phase++) {
		for (int input = 0; input < MIGRATION_N_INPUTS; input++) {
			struct migration_record m = { .phase = phase };

			migration_step(&m, (enum migration_input)input, 1);
			assert_int_equal(m.phase, leads_to[phase][input]);
		}
	}
}

static struct migration_record logging(void)
{
	struct migration_record m = { .number = 4 };

	migration_logged(&m, MIGRATION_BY_RELAY, 10, 15);
	return m;
}

static void a_migration_that_succeeds_has_all_its_times(void **state)
{
	struct migration_record m = logging();

	assert_int_equal(m.phase, MIGRATION_LOGGING);
	assert_int_equal(m.number, 5);
	migration_step(&m, MIGRATION_RING_STOPPED, 100);
	migration_step(&m, MIGRATION_RING_STOPPED, 110);
	migration_step(&m, MIGRATION_LAST_RING_STOPPED, 120);
	assert_int_equal(m.outcome, MIGRATION_UNKNOWN);
	migration_step(&m, MIGRATION_LEFT, 200);
	assert_int_equal(m.outcome, MIGRATION_HANDED_OVER);
	assert_int_equal(m.method, MIGRATION_BY_RELAY);
	assert_int_equal(m.asked_ns, 10);
	assert_int_equal(m.logged_ns, 15);
	assert_int_equal(m.stop_ns, 100);
	assert_int_equal(m.stopped_ns, 120);
	assert_int_equal(m.ended_ns, 200);
}

static void a_guest_that_goes_on_is_no_migration_yet(void **state)
{
	struct migration_record m = logging();

	migration_step(&m, MIGRATION_LAST_RING_STOPPED, 100);
	assert_int_equal(m.stop_ns, 100);
	assert_int_equal(m.stopped_ns, 100);
	migration_step(&m, MIGRATION_RING_STARTED, 110);
	migration_step(&m, MIGRATION_LOG_OFF, 120);
	assert_int_equal(m.outcome, MIGRATION_CANCELLED);
	assert_int_equal(m.ended_ns, 120);
}

static void a_front_end_that_leaves_early_broke_it_off(void **state)
{
	struct migration_record m = logging();

	migration_step(&m, MIGRATION_RING_STOPPED, 100);
	migration_step(&m, MIGRATION_LEFT, 110);
	assert_int_equal(m.outcome, MIGRATION_BROKEN_OFF);
}

static void the_next_migration_begins_a_new_record(void **state)
{
	struct migration_record m = logging();

	migration_step(&m, MIGRATION_LOG_OFF, 20);
	migration_logged(&m, MIGRATION_BY_DEVICE, 30, 31);
	assert_int_equal(m.number, 6);
	assert_int_equal(m.outcome, MIGRATION_UNKNOWN);
	assert_int_equal(m.ended_ns, 0);
	migration_logged(&m, MIGRATION_BY_RELAY, 40, 41); /* it goes on already */
	assert_int_equal(m.number, 6);
	assert_int_equal(m.method, MIGRATION_BY_DEVICE);
}

static void only_spans_that_were_reached_are_known(void **state)
{
	static const uint64_t us[MIGRATION_N_SPANS] = { 5, 85, 20, 80 };
	struct migration_record m = { .number = 1 };
	uint64_t n;

	for (int i = 0; i < MIGRATION_N_SPANS; i++)
		assert_false(migration_span_us(&m, (enum migration_span)i, &n));
	migration_logged(&m, MIGRATION_BY_DEVICE, 10000, 15000);
	assert_true(migration_span_us(&m, MIGRATION_SPAN_SWITCH, &n));
	assert_false(migration_span_us(&m, MIGRATION_SPAN_LOGGING, &n));
	migration_step(&m, MIGRATION_RING_STOPPED, 100000);
	assert_false(migration_span_us(&m, MIGRATION_SPAN_STOP, &n));
	migration_step(&m, MIGRATION_LAST_RING_STOPPED, 120000);
	assert_false(migration_span_us(&m, MIGRATION_SPAN_LEAVE, &n));
	migration_step(&m, MIGRATION_LEFT, 200000);
	for (int i = 0; i < MIGRATION_N_SPANS; i++) {
		assert_true(migration_span_us(&m, (enum migration_span)i, &n));
		assert_int_equal(n, us[i]);
	}
}

#define MAX_INPUTS 6

/* Inputs after logging began, and what is news of them. */
static const struct {
	const char *what;
	enum migration_input inputs[MAX_INPUTS];
	size_t n_inputs;
	enum migration_news news[MIGRATION_N_NEWS];
	size_t n_news;
} stories[] = {
	{ "it goes on", { 0 }, 0, { MIGRATION_NEWS_LOGGING }, 1 },
	{ "handed over", { MIGRATION_RING_STOPPED, MIGRATION_LAST_RING_STOPPED, MIGRATION_LEFT }, 3,
		{ MIGRATION_NEWS_LOGGING, MIGRATION_NEWS_STOPPED, MIGRATION_NEWS_HANDED_OVER }, 3 },
	{ "cancelled", { MIGRATION_LOG_OFF }, 1,
		{ MIGRATION_NEWS_LOGGING, MIGRATION_NEWS_CANCELLED }, 2 },
	{ "broken off", { MIGRATION_RING_STOPPED, MIGRATION_LEFT }, 2,
		{ MIGRATION_NEWS_LOGGING, MIGRATION_NEWS_BROKEN_OFF }, 2 },
	{ "one ring was away", { MIGRATION_RING_STOPPED, MIGRATION_RING_STARTED, MIGRATION_LOG_OFF }, 3,
		{ MIGRATION_NEWS_LOGGING, MIGRATION_NEWS_RESUMED, MIGRATION_NEWS_CANCELLED }, 3 },
	{ "stopped twice",
		{ MIGRATION_LAST_RING_STOPPED, MIGRATION_RING_STARTED, MIGRATION_LAST_RING_STOPPED,
			MIGRATION_LEFT }, 4,
		{ MIGRATION_NEWS_LOGGING, MIGRATION_NEWS_STOPPED, MIGRATION_NEWS_RESUMED,
			MIGRATION_NEWS_STOPPED, MIGRATION_NEWS_HANDED_OVER }, 5 },
};

/* What somebody hears who asks after each step. */
static void news_is_told_once_and_in_order(void **state)
{
	for (size_t s = 0; s < ARRAY_SIZE(stories); s++) {
		struct migration_record m = logging(), told = { .number = 4 };
		enum migration_news got[2 * MAX_INPUTS + MIGRATION_N_NEWS];
		size_t n = migration_news(&told, &m, got);

		for (size_t i = 0; i < stories[s].n_inputs; i++) {
			told = m;
			migration_step(&m, stories[s].inputs[i], 100 + i);
			n += migration_news(&told, &m, got + n);
		}
		assert_int_equal(n, stories[s].n_news);
		assert_memory_equal(got, stories[s].news, n * sizeof(got[0]));
		assert_int_equal(migration_news(&m, &m, got), 0);
	}
}

static void news_of_several_steps_is_told_at_once(void **state)
{
	static const enum migration_news all[] = { MIGRATION_NEWS_LOGGING, MIGRATION_NEWS_STOPPED,
		MIGRATION_NEWS_HANDED_OVER };
	struct migration_record m = logging(), told = { .number = 4, .outcome = MIGRATION_CANCELLED };
	enum migration_news got[MIGRATION_N_NEWS];

	migration_step(&m, MIGRATION_LAST_RING_STOPPED, 100);
	migration_step(&m, MIGRATION_LEFT, 200);
	assert_int_equal(migration_news(&told, &m, got), ARRAY_SIZE(all));
	assert_memory_equal(got, all, sizeof(all));
}

static void a_device_that_never_migrated_has_no_news(void **state)
{
	struct migration_record m = { 0 }, told = logging();
	enum migration_news got[MIGRATION_N_NEWS];

	assert_int_equal(migration_news(&m, &m, got), 0);
	assert_int_equal(migration_news(&told, &m, got), 0); /* its state was lost */
}

static void a_record_from_elsewhere_is_checked(void **state)
{
	static const struct migration_record wrong[] = {
		{ .phase = MIGRATION_N_PHASES },
		{ .method = MIGRATION_N_METHODS },
		{ .outcome = MIGRATION_N_OUTCOMES },
	};
	struct migration_record m = logging();

	assert_int_equal(migration_check(&m), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(migration_check(&wrong[i]), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_input_leads_where_it_should),
		cmocka_unit_test(a_migration_that_succeeds_has_all_its_times),
		cmocka_unit_test(a_guest_that_goes_on_is_no_migration_yet),
		cmocka_unit_test(a_front_end_that_leaves_early_broke_it_off),
		cmocka_unit_test(the_next_migration_begins_a_new_record),
		cmocka_unit_test(only_spans_that_were_reached_are_known),
		cmocka_unit_test(news_is_told_once_and_in_order),
		cmocka_unit_test(news_of_several_steps_is_told_at_once),
		cmocka_unit_test(a_device_that_never_migrated_has_no_news),
		cmocka_unit_test(a_record_from_elsewhere_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
