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
		cmocka_unit_test(a_record_from_elsewhere_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
