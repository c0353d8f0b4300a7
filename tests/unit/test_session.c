/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conversations that the fuzzer found once (tests/fuzz/play.h). What has to hold is checked there, after
 * each step and by the driver double at each call; the program ends when it does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "tests/fuzz/play.h"
#include "vdpa/base/bits.h"

/* Numbers of steps.c: 0 and 4096. */
enum { OFF = 56, A_PAGE = 22 };

/* Which of the errors of STEP_FAIL. */
enum { REFUSES, HAS_NO_ROOM, IS_GONE, TIMES_OUT };

#define PLAY(...)                                                                                  \
	do {                                                                                       \
		static const struct step steps[] = { __VA_ARGS__ };                                \
                                                                                                   \
		for (size_t i = 0; i < ARRAY_SIZE(steps); i++)                                     \
			play_step(&steps[i]);                                                      \
	} while (0)

#define MESSAGE(name, ...) { .request = WIRE_##name, __VA_ARGS__ }
#define FAIL(after, how)   { .kind = STEP_FAIL, .ring = (how), .more = { (after) } }
#define RESTART		   { .kind = STEP_RESTART }

/* The first ring runs relayed: the device has no log, and the front-end wants one. */
#define RELAYED                                                                                    \
	MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_FEATURES), MESSAGE(SET_MEM_TABLE),  \
		MESSAGE(SET_LOG_BASE), MESSAGE(SET_VRING_NUM), MESSAGE(SET_VRING_BASE, .value = { 31 }), \
		MESSAGE(SET_VRING_ADDR), MESSAGE(SET_VRING_KICK), MESSAGE(SET_VRING_ENABLE)

static const uint8_t plain[STEPS_HEAD_SIZE];

static int begin(void **state)
{
	play_begin(plain);
	return 0;
}

static int end(void **state)
{
	play_end();
	return 0;
}

static const struct device_section *device(void)
{
	return &play_stand()->device_section;
}

static void nothing_is_kept_of_a_message_that_came_when_the_device_failed(void **state)
{
	PLAY(MESSAGE(SET_PROTOCOL_FEATURES, .ring = 5), MESSAGE(SET_FEATURES, .ring = 1), FAIL(0, TIMES_OUT),
		MESSAGE(SET_MEM_TABLE, .flags = 1));
	assert_true(device()->failed);
	assert_int_equal(device()->memory.n_regions, 0);
}

static void a_device_that_refuses_its_reset_has_failed_until_one_works(void **state)
{
	PLAY(MESSAGE(SET_MEM_TABLE), FAIL(0, REFUSES), { .kind = STEP_CLOSE });
	assert_true(device()->failed);
	PLAY(MESSAGE(GET_FEATURES));
	assert_false(device()->failed);
	assert_int_equal(play_stand()->driver.n_maps, 0);
}

static void a_size_from_before_the_layout_was_known_does_not_spoil_the_page(void **state)
{
	PLAY(MESSAGE(SET_VRING_NUM, .value = { 3 }), RESTART);
	assert_int_equal(device()->rings[0].size, 3);
	PLAY(MESSAGE(SET_FEATURES, .ring = 7), RESTART); /* split, and it can't run */
	assert_int_equal(device()->rings[0].size, 3);
}

static void a_ring_is_relayed(void **state)
{
	PLAY(RELAYED);
	assert_true(device()->rings[0].running);
	assert_int_not_equal(device()->relays[0].kept_slot, RELAY_NO_SLOT);
}

/* At each call of the way to a relay. */
static void a_device_that_goes_while_a_relay_begins_is_asked_nothing_more(void **state)
{
	static const struct step enable = MESSAGE(SET_VRING_ENABLE);

	for (uint8_t how = REFUSES; how <= TIMES_OUT; how++) {
		for (uint8_t after = 0; after < 6; after++) {
			const struct step fail = FAIL(after, how);

			PLAY(RELAYED, MESSAGE(SET_VRING_ENABLE, .value = { OFF }));
			play_step(&fail);
			play_step(&enable);
			PLAY({ .kind = STEP_RETURN }, { .kind = STEP_CLOSE });
		}
	}
}

static void a_device_that_was_replaced_before_anybody_noticed_is_not_asked_about_its_relays(void **state)
{
	PLAY(RELAYED, { .kind = STEP_RETURN });
	assert_true(device()->rings[0].running);
}

/* Steps that were not done are not undone: at the same place there may be something else. */
static void memory_that_is_refused_leaves_the_memory_of_before(void **state)
{
	for (uint8_t after = 0; after < 5; after++) {
		const struct step fail = FAIL(after, HAS_NO_ROOM);

		PLAY({ .kind = STEP_CLOSE }, MESSAGE(SET_PROTOCOL_FEATURES), MESSAGE(SET_MEM_TABLE, .value = { 1 }));
		play_step(&fail);
		PLAY(MESSAGE(SET_MEM_TABLE, .flags = 1, .value = { 2, 0, A_PAGE })); /* five calls */
		assert_false(device()->failed);
		assert_int_equal(device()->memory.n_regions, 2);
	}
}

static void a_device_that_fails_when_it_is_back_works_after_a_reset(void **state)
{
	PLAY(RELAYED, FAIL(0, TIMES_OUT), { .kind = STEP_RETURN });
	assert_true(device()->failed);
	PLAY({ .kind = STEP_CLOSE }, RESTART, RELAYED);
	assert_false(device()->failed);
	assert_true(device()->rings[0].running);
}

static void a_device_that_keeps_a_shadow_ring_has_failed_until_a_reset(void **state)
{
	PLAY(RELAYED, FAIL(1, REFUSES), MESSAGE(GET_VRING_BASE));
	assert_true(device()->failed);
	PLAY({ .kind = STEP_CLOSE }, RELAYED);
	assert_true(device()->rings[0].running);
}

/* In each message, before each call to the device or the shim. */
static void a_worker_that_dies_in_a_message_is_followed_by_one_that_does_all_of_it(void **state)
{
	static const struct step all[] = { RELAYED };

	for (size_t where = 0; where < ARRAY_SIZE(all); where++) {
		for (uint8_t after = 0; after < 8; after++) {
			const struct step die = { .kind = STEP_DIE, .more = { after } };

			for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
				if (i == where)
					play_step(&die);
				play_step(&all[i]);
			}
			assert_true(device()->rings[0].running);
			assert_int_not_equal(device()->relays[0].kept_slot, RELAY_NO_SLOT);
			PLAY({ .kind = STEP_CLOSE });
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			nothing_is_kept_of_a_message_that_came_when_the_device_failed, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_refuses_its_reset_has_failed_until_one_works, begin, end),
		cmocka_unit_test_setup_teardown(
			a_size_from_before_the_layout_was_known_does_not_spoil_the_page, begin, end),
		cmocka_unit_test_setup_teardown(a_ring_is_relayed, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_goes_while_a_relay_begins_is_asked_nothing_more, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_was_replaced_before_anybody_noticed_is_not_asked_about_its_relays,
			begin, end),
		cmocka_unit_test_setup_teardown(
			memory_that_is_refused_leaves_the_memory_of_before, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_fails_when_it_is_back_works_after_a_reset, begin, end),
		cmocka_unit_test_setup_teardown(
			a_device_that_keeps_a_shadow_ring_has_failed_until_a_reset, begin, end),
		cmocka_unit_test_setup_teardown(
			a_worker_that_dies_in_a_message_is_followed_by_one_that_does_all_of_it,
			begin, end),
	};

	play_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
