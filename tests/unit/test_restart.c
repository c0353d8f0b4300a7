/* SPDX-License-Identifier: BSD-2-Clause */
/* Restarts: slower each time, and an end to them. The clock is moved by changing what is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/vdpad/restart.h"

static void each_wait_is_longer_up_to_a_limit(void **state)
{
	static const uint64_t waits[RESTART_MAX] = { 50, 100, 200, 400, 800, 1600, 3000, 3000 };
	struct restart r = { 0 };
	uint64_t ms;

	for (int i = 0; i < RESTART_MAX; i++) {
		assert_true(restart_after(&r, &ms));
		assert_int_equal(ms, waits[i]);
	}
	assert_int_equal(r.total, RESTART_MAX);
}

static void one_death_too_many_is_the_end(void **state)
{
	struct restart r = { 0 };
	uint64_t ms = 0;

	for (int i = 0; i < RESTART_MAX; i++)
		assert_true(restart_after(&r, &ms));
	ms = 77;
	assert_false(restart_after(&r, &ms));
	assert_int_equal(ms, 77);
	assert_int_equal(r.total, RESTART_MAX + 1);
}

static void deaths_of_long_ago_do_not_count(void **state)
{
	struct restart r = { 0 };
	uint64_t ms;

	for (int i = 0; i < RESTART_MAX; i++)
		assert_true(restart_after(&r, &ms));
	for (int i = 0; i < RESTART_MAX; i++) {
		if (r.deaths[i] <= RESTART_WINDOW_NS)
			skip(); /* the host was started just now */
		r.deaths[i] -= RESTART_WINDOW_NS;
	}
	assert_true(restart_after(&r, &ms));
	assert_int_equal(ms, RESTART_FIRST_MS);
	assert_true(restart_after(&r, &ms));
	assert_int_equal(ms, 2 * RESTART_FIRST_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_wait_is_longer_up_to_a_limit),
		cmocka_unit_test(one_death_too_many_is_the_end),
		cmocka_unit_test(deaths_of_long_ago_do_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
