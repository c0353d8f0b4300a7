/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls that are repeated, and calls in the wrong order. What a call must not have changed is
 * shown by frames that still pass, or still don't.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"

static bool running(struct guest *g, uint16_t queue)
{
	struct driver_queue_stats stats;

	assert_int_equal(g->ops->queue_stats(g->device, queue, &stats), 0);
	return stats.running;
}

static void a_queue_is_prepared_twice(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_fill(a, 0);
	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(guest_start(a), 0);
	guest_exchange(a, b, 3);
}

static void prepare_of_a_running_queue_with_the_same_facts_changes_nothing(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_run(a);
	guest_exchange(a, b, 3);
	assert_int_equal(guest_prepare(a), 0);
	assert_true(running(a, 0) && running(a, 1));
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
}

static void prepare_of_a_running_queue_with_other_facts_is_refused(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct driver_queue other;

	guest_run(a);
	for (int i = 0; i < 4; i++) {
		other = guest_facts(a, 1);
		if (i == 0)
			other.size /= 2;
		if (i == 1)
			other.desc = a->rings[1].buffers;
		if (i == 2)
			other.driver = a->rings[1].buffers;
		if (i == 3)
			other.device = a->rings[1].buffers;
		assert_int_equal(a->ops->prepare(a->device, &other, 1), -EBUSY);
	}
	guest_exchange(a, b, 3);
}

static void prepare_refuses_sizes_that_no_ring_has(void **state)
{
	struct guest *a = suite_guest(state, 1);
	const uint32_t sizes[] = { 0, a->ops->caps(a->device)->max_queue_size * 2, UINT32_MAX };
	struct driver_queue q = guest_facts(a, 1);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		q.size = sizes[i];
		assert_int_equal(a->ops->prepare(a->device, &q, 1), -EINVAL);
	}
	q.size = 7;
	q.position = queue_position_initial(a->packed);
	assert_int_equal(a->ops->prepare(a->device, &q, 1), a->packed ? 0 : -EINVAL);
}

static void prepare_refuses_a_queue_that_the_device_does_not_have(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct driver_queue q = guest_facts(a, 1);

	q.index = suite_beyond_queues(a);
	assert_int_equal(a->ops->prepare(a->device, &q, 1), -EINVAL);
	q.index = UINT16_MAX;
	assert_int_equal(a->ops->prepare(a->device, &q, 1), -EINVAL);
}

static void a_queue_that_runs_is_started_again(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_run(a);
	guest_exchange(a, b, 3);
	assert_int_equal(guest_start(a), 0);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
}

static void start_runs_all_queues_or_none(void **state)
{
	struct guest *a = suite_guest(state, 2);
	struct driver_queue queues[3] = { guest_facts(a, 0), guest_facts(a, 1), guest_facts(a, 2) };

	assert_int_equal(a->ops->prepare(a->device, queues, 3), 0);
	assert_true(guest_start(a) < 0);
	for (uint16_t i = 0; i < 4; i++)
		assert_false(running(a, i));
}

static void start_of_nothing_succeeds(void **state)
{
	struct guest *a = suite_guest(state, 1);
	const struct queue_set none = { 0 };
	struct queue_position at[QUEUE_MAX];

	assert_int_equal(a->ops->start(a->device, &none), 0);
	assert_int_equal(a->ops->stop(a->device, &none, at), 0);
	assert_int_equal(a->ops->prepare(a->device, NULL, 0), 0);
}

static void queues_before_the_one_that_fails_may_be_prepared(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct driver_queue queues[2] = { guest_facts(a, 0), guest_facts(a, 1) };

	queues[1].desc = GUEST_BASE + GUEST_MEMORY;
	assert_int_equal(a->ops->prepare(a->device, queues, 2), -EFAULT);
	guest_run(a); /* again, all of them, is right in any case */
	guest_exchange(a, b, 3);
}

static void features_beyond_the_devices_are_refused(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	uint64_t beyond = ~a->ops->caps(a->device)->features;

	assert_true(beyond != 0);
	assert_int_equal(a->ops->set_features(a->device, a->features | (beyond & -beyond)),
		-EINVAL);
	guest_run(a);
	guest_exchange(a, b, 3);
}

static void features_do_not_change_while_a_queue_runs(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_run(a);
	assert_int_equal(a->ops->set_features(a->device, a->features), 0);
	assert_int_equal(a->ops->set_features(a->device, 0), -EBUSY);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
}

static void new_features_want_queues_prepared_again(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(a->ops->set_features(a->device, 0), 0);
	assert_true(guest_start(a) < 0);
	assert_int_equal(a->ops->set_features(a->device, a->features), 0);
	assert_true(guest_start(a) < 0);
	guest_run(a);
	guest_exchange(a, b, 3);
}

/* A ring of a size that only packed rings have is refused to a guest that asked for none. */
static void assert_features_forgotten(struct guest *g)
{
	const struct driver_map map = guest_map(g);
	struct driver_queue q = guest_facts(g, 1);

	q.size = 7;
	q.position = queue_position_initial(false);
	assert_int_equal(g->ops->map(g->device, &map), 0);
	assert_int_equal(g->ops->prepare(g->device, &q, 1), -EINVAL);
	assert_int_equal(g->ops->unmap(g->device, map.iova, map.size), 0);
}

static void reset_forgets_queues_memory_and_features(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_run(a);
	guest_exchange(a, b, 3);
	assert_int_equal(a->ops->reset(a->device), 0);
	assert_false(running(a, 0) || running(a, 1));
	assert_true(guest_start(a) < 0);
	assert_true(guest_prepare(a) < 0); /* its rings are not mapped any more */
	assert_features_forgotten(a);

	for (uint16_t i = 0; i < 2; i++)
		guest_ring_init(a, i, 0);
	assert_int_equal(guest_setup(a), 0);
	guest_run(a);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
}

static void reset_is_repeated(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	assert_int_equal(a->ops->reset(a->device), 0);
	assert_int_equal(a->ops->reset(a->device), 0);
	assert_int_equal(guest_setup(a), 0);
	guest_run(a);
	guest_exchange(a, b, 3);
}

static void close_takes_nothing(void **state)
{
	suite_rig(state)->driver->close(NULL);
}

const struct suite_test driver_call_tests[] = {
	BOTH(a_queue_is_prepared_twice),
	BOTH(prepare_of_a_running_queue_with_the_same_facts_changes_nothing),
	BOTH(prepare_of_a_running_queue_with_other_facts_is_refused),
	BOTH(prepare_refuses_sizes_that_no_ring_has),
	ONCE(prepare_refuses_a_queue_that_the_device_does_not_have),
	BOTH(a_queue_that_runs_is_started_again),
	BOTH(start_runs_all_queues_or_none),
	ONCE(start_of_nothing_succeeds),
	BOTH(queues_before_the_one_that_fails_may_be_prepared),
	ONCE(features_beyond_the_devices_are_refused),
	BOTH(features_do_not_change_while_a_queue_runs),
	BOTH(new_features_want_queues_prepared_again),
	BOTH(reset_forgets_queues_memory_and_features),
	ONCE(reset_is_repeated),
	ONCE(close_takes_nothing),
	{ 0 },
};
