/* SPDX-License-Identifier: BSD-2-Clause */
/* The suite's tests, by subject. Each runs for both layouts of rings unless it has none. */
#ifndef TESTS_DRIVER_SUITE_H
#define TESTS_DRIVER_SUITE_H

#include "tests/conformance/driver_guest.h"

struct suite_test {
	const char *name; /* NULL: end of the list */
	void (*run)(void **state);
	enum { SUITE_BOTH_LAYOUTS, SUITE_ONCE } layouts;
};

#define BOTH(test) { #test, test, SUITE_BOTH_LAYOUTS }
#define ONCE(test) { #test, test, SUITE_ONCE }

extern const struct suite_test driver_call_tests[], driver_memory_tests[], driver_position_tests[],
	driver_stop_tests[], driver_eventfd_tests[], driver_loss_tests[], driver_fact_tests[],
	driver_deadline_tests[], driver_log_tests[], driver_log_page_tests[],
	driver_postcopy_tests[], driver_control_tests[], driver_iotlb_tests[];

/** suite_rig() - the stand of the running test. */
const struct driver_rig *suite_rig(void **state);

/** suite_layout() - of the running test's rings. */
enum guest_layout suite_layout(void **state);

/** suite_beyond_queues() - the first index that no queue of the device has. */
uint16_t suite_beyond_queues(struct guest *g);

/** suite_need_any_position() - skip the test when the device begins in fresh rings only. */
void suite_need_any_position(struct guest *g);

/** suite_need_known_positions() - skip it when nobody can know where the guest's rings stand. */
void suite_need_known_positions(struct guest *g);

/** suite_need_lone_queues() - skip it when the device's queues start and stop all together. */
void suite_need_lone_queues(struct guest *g);

/** suite_lacks() - whether the stand lacks this. */
bool suite_lacks(void **state, enum rig_lack lack);

/** suite_need() - skip the test when it does. */
void suite_need(void **state, enum rig_lack lack);

/** suite_guest() - a guest on a fresh device; it ends with the test. */
struct guest *suite_guest(void **state, uint16_t pairs);

/** suite_guest_sized() - the same with rings of @size descriptors. */
struct guest *suite_guest_sized(void **state, uint16_t pairs, uint32_t size);

/** suite_peer() - the same with one pair and split rings, running: for the other end. */
struct guest *suite_peer(void **state);

#endif
