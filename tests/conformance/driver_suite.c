/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The conformance suite of drivers: each rule that vdpa/driver.h states is a test, named by it. The
 * suite knows no driver and no device; a rig (driver_rig.h) brings both.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"

#define MAX_TESTS  256
#define MAX_GUESTS 16

struct fixture {
	enum guest_layout layout;
	struct guest *guests[MAX_GUESTS];
	size_t n_guests;
};

static const struct driver_rig *the_rig;
static const enum guest_layout split = GUEST_SPLIT, packed = GUEST_PACKED;

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->layout = *(const enum guest_layout *)*state;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	while (f->n_guests > 0)
		guest_free(f->guests[--f->n_guests]);
	free(f);
	return 0;
}

const struct driver_rig *suite_rig(void **state)
{
	return the_rig;
}

enum guest_layout suite_layout(void **state)
{
	return ((const struct fixture *)*state)->layout;
}

static struct guest *add_guest(struct fixture *f, enum guest_layout layout, uint16_t pairs,
	uint32_t size)
{
	struct guest *g = guest_new_sized(the_rig, layout, pairs, size);

	assert_true(f->n_guests < MAX_GUESTS);
	f->guests[f->n_guests++] = g;
	return g;
}

struct guest *suite_guest_sized(void **state, uint16_t pairs, uint32_t size)
{
	struct fixture *f = *state;

	return add_guest(f, f->layout, pairs, size);
}

struct guest *suite_guest(void **state, uint16_t pairs)
{
	return suite_guest_sized(state, pairs, GUEST_MAX_SIZE);
}

struct guest *suite_peer(void **state)
{
	struct guest *g = add_guest(*state, GUEST_SPLIT, 1, GUEST_MAX_SIZE);

	guest_run(g);
	return g;
}

uint16_t suite_beyond_queues(struct guest *g)
{
	const struct driver_caps *caps = g->ops->caps(g->device);

	return (uint16_t)(caps->n_queues + caps->control_queue);
}

void suite_need_any_position(struct guest *g)
{
	if (g->ops->caps(g->device)->start_position == DRIVER_START_ANY)
		return;
	print_message("the device begins in fresh rings only\n");
	skip();
}

void suite_need_known_positions(struct guest *g)
{
	if (guest_knows_positions(g))
		return;
	print_message("the device does not say where a packed ring stands\n");
	skip();
}

void suite_need_lone_queues(struct guest *g)
{
	if (!g->ops->caps(g->device)->together)
		return;
	print_message("the device starts and stops all queues together\n");
	skip();
}

bool suite_lacks(void **state, enum rig_lack lack)
{
	return suite_rig(state)->lacks & lack;
}

void suite_need(void **state, enum rig_lack lack)
{
	static const struct {
		enum rig_lack lack;
		const char *why;
	} reasons[] = {
		{ RIG_OWN_KICKS, "kicks reach the device only through the driver" },
		{ RIG_QUEUE_ERRORS, "a ring that breaks the rules fails the whole device" },
		{ RIG_FIGURES, "the device counts nothing" },
		{ RIG_IDLE_EVENTS, "a device that does not run tells nothing" },
		{ RIG_EXACT_CONFIG, "the device is said to have changed when it may have" },
		{ RIG_OWN_POSITIONS, "a ring says where it stands, whether its queue ran or not" },
		{ RIG_LOG_FRAMES, "the device loses frames while its log is replaced" },
		{ RIG_FILES, "the device goes on in memory whose file is cut short" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		if (reasons[i].lack == lack && suite_lacks(state, lack)) {
			print_message("%s\n", reasons[i].why);
			skip();
		}
	}
}

static struct CMUnitTest make_test(const struct suite_test *test, const enum guest_layout *layout)
{
	static char names[MAX_TESTS][160];
	static size_t n;
	char *name = names[n++];

	snprintf(name, sizeof(names[0]), "%s%s", test->name,
		test->layouts == SUITE_ONCE ? "" : layout == &split ? " [split]" : " [packed]");
	return (struct CMUnitTest){
		.name = name,
		.test_func = test->run,
		.setup_func = setup,
		.teardown_func = teardown,
		.initial_state = (void *)(uintptr_t)layout,
	};
}

int driver_suite_run(const struct driver_rig *rig)
{
	static const struct suite_test *const lists[] = {
		driver_call_tests, driver_memory_tests, driver_position_tests, driver_stop_tests,
		driver_eventfd_tests, driver_loss_tests, driver_fact_tests, driver_deadline_tests,
		driver_log_tests, driver_log_page_tests, driver_postcopy_tests,
		driver_control_tests,
		driver_iotlb_tests,
	};
	static struct CMUnitTest tests[MAX_TESTS]; /* those without a name are passed over */
	size_t n = 0;

	the_rig = rig;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		for (const struct suite_test *t = lists[i]; t->name && n + 2 <= MAX_TESTS; t++) {
			tests[n++] = make_test(t, &split);
			if (t->layouts == SUITE_BOTH_LAYOUTS)
				tests[n++] = make_test(t, &packed);
		}
	}
	return cmocka_run_group_tests_name(rig->driver->name, tests, NULL, NULL);
}
