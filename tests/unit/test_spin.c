/* SPDX-License-Identifier: BSD-2-Clause */
/* How long a relay looks for work: as long as that finds some. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vdpa/base/clock.h"
#include "vdpa/base/spin.h"

#define LOOK_NS 100
#define LONGEST (SPIN_US * NS_PER_US)

/* Something moves, then nothing does until it is time to sleep. Return: nanoseconds looked. */
static uint64_t looked_in_vain(struct spin *s, uint64_t *now_ns)
{
	uint64_t from;

	*now_ns += NS_PER_MS;
	spin_found(s, *now_ns);
	from = *now_ns;
	while (spin_goes_on(s, *now_ns + LOOK_NS, LONGEST))
		*now_ns += LOOK_NS;
	return *now_ns - from;
}

static void tire(struct spin *s, uint64_t *now_ns)
{
	while (looked_in_vain(s, now_ns) > 0)
		;
}

static void each_time_in_vain_is_half_as_long_and_then_none(void **state)
{
	struct spin s = { 0 };
	uint64_t now_ns = NS_PER_S;

	for (unsigned int i = 0; i < SPIN_HALVES; i++)
		assert_in_range(looked_in_vain(&s, &now_ns), (LONGEST >> i) - LOOK_NS, LONGEST >> i);
	assert_int_equal(looked_in_vain(&s, &now_ns), 0);
}

static void a_find_makes_it_as_long_as_at_first(void **state)
{
	struct spin s = { 0 };
	uint64_t now_ns = NS_PER_S;

	looked_in_vain(&s, &now_ns);
	looked_in_vain(&s, &now_ns);
	spin_found(&s, now_ns += NS_PER_MS);
	assert_true(spin_goes_on(&s, now_ns += LOOK_NS, LONGEST));
	assert_in_range(looked_in_vain(&s, &now_ns), LONGEST - LOOK_NS, LONGEST);
}

/* What comes without a look, by a signal, says nothing about looking. */
static void work_that_comes_by_itself_does_not(void **state)
{
	struct spin s = { 0 };
	uint64_t now_ns = NS_PER_S;

	tire(&s, &now_ns);
	for (int i = 0; i < 5; i++)
		spin_found(&s, now_ns += NS_PER_MS);
	assert_int_equal(looked_in_vain(&s, &now_ns), 0);
}

static void after_some_sleeps_it_is_tried_anew(void **state)
{
	struct spin s = { 0 };
	uint64_t now_ns = NS_PER_S;

	tire(&s, &now_ns);
	for (int i = 1; i < SPIN_SLEEPS; i++)
		assert_int_equal(looked_in_vain(&s, &now_ns), 0);
	assert_in_range(looked_in_vain(&s, &now_ns), LONGEST - LOOK_NS, LONGEST);
}

/* A limit that no look is as short as: it was not looked, and there is a next time all the same. */
static void it_is_tried_anew_where_looks_are_long_too(void **state)
{
	struct spin s = { .in_vain = SPIN_HALVES - 1 };
	uint64_t now_ns = NS_PER_S;

	for (int i = 0; i < SPIN_SLEEPS; i++) {
		spin_found(&s, now_ns += NS_PER_MS);
		assert_false(spin_goes_on(&s, now_ns += 2 * (LONGEST >> s.in_vain), LONGEST));
	}
	assert_in_range(looked_in_vain(&s, &now_ns), LONGEST - LOOK_NS, LONGEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_time_in_vain_is_half_as_long_and_then_none),
		cmocka_unit_test(a_find_makes_it_as_long_as_at_first),
		cmocka_unit_test(work_that_comes_by_itself_does_not),
		cmocka_unit_test(after_some_sleeps_it_is_tried_anew),
		cmocka_unit_test(it_is_tried_anew_where_looks_are_long_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
