/* SPDX-License-Identifier: BSD-2-Clause */
/* The limit of frames to all, as several data threads with clocks of their own ask for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/simnic/flood.h"

#define HZ  3000000000U
#define NOW (1000ULL * HZ)

/* Of @n frames at once, how many may be sent? */
static unsigned int take(struct flood *f, uint64_t now, uint64_t rate, unsigned int n)
{
	unsigned int taken = 0;

	while (n-- > 0)
		taken += flood_take(f, now, HZ, rate);
	return taken;
}

static void a_quarter_of_a_second_s_frames_may_come_at_once(void **state)
{
	struct flood f = { 0 };

	assert_int_equal(take(&f, NOW, 5000, 5000), 1250);
	assert_int_equal(take(&f, NOW + HZ / 10, 5000, 5000), 500);
	assert_int_equal(take(&f, NOW + 10ULL * HZ, 100000000, 1000), 1000);
}

static void the_smallest_limits_let_that_many_through(void **state)
{
	for (uint64_t rate = 1; rate <= 4; rate++) {
		struct flood f = { 0 };
		unsigned int taken = 0;

		for (uint64_t i = 0; i < 1000; i++) /* for ten seconds */
			taken += take(&f, NOW + i * HZ / 100, rate, 10);
		assert_in_range(taken, 9 * rate, 10 * rate + 1);
	}
}

static void a_thread_whose_clock_is_behind_earns_nothing(void **state)
{
	struct flood f = { 0 };

	assert_int_equal(take(&f, NOW, 5000, 5000), 1250);
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(take(&f, NOW - 1 - i, 5000, 100), 0);
		assert_int_equal(take(&f, NOW, 5000, 100), 0);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quarter_of_a_second_s_frames_may_come_at_once),
		cmocka_unit_test(the_smallest_limits_let_that_many_through),
		cmocka_unit_test(a_thread_whose_clock_is_behind_earns_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
