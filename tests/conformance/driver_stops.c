/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a stopped queue leaves alone, and what goes on beside it. That the device had its chance to
 * do wrong is shown by what it does at the same time for others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"

static void assert_untouched(struct guest *g, const uint8_t *before)
{
	assert_memory_equal(g->memory, before, GUEST_MEMORY);
	for (uint16_t i = 0; i < g->n_queues; i++) {
		assert_int_equal(guest_count(g->rings[i].call), 0);
		assert_int_equal(guest_count(g->rings[i].err), 0);
	}
}

static void after_a_stop_neither_ring_nor_buffers_nor_eventfds_are_touched(void **state)
{
	struct guest *a = suite_guest(state, 2), *b = suite_peer(state), *c = suite_peer(state);
	struct queue_position at[QUEUE_MAX];
	uint8_t *before = test_malloc(GUEST_MEMORY);

	guest_run(a);
	guest_exchange(a, b, 5);
	guest_exchange(b, a, 5);
	assert_int_equal(guest_stop(a, at), 0);
	for (uint16_t i = 0; i < 4; i++) {
		guest_count(a->rings[i].call);
		guest_count(a->rings[i].err);
	}
	for (uint32_t n = 0; n < 5; n++)
		guest_offer_frame(a, n % 2, b->nic_device->mac, n);
	memcpy(before, a->memory, GUEST_MEMORY);

	guest_kick(a, 1);
	guest_kick(a, 3);
	for (uint32_t n = 0; n < 5; n++)
		guest_send(b, 0, a->nic_device->mac, n);
	guest_exchange(b, c, 5);
	guest_exchange(c, b, 5);
	assert_untouched(a, before);
	test_free(before);
}

static void a_prepared_queue_touches_nothing(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state), *c = suite_peer(state);
	uint8_t *before = test_malloc(GUEST_MEMORY);

	guest_fill(a, 0);
	assert_true(guest_offer_frame(a, 0, b->nic_device->mac, 1) >= 0);
	assert_int_equal(guest_prepare(a), 0);
	memcpy(before, a->memory, GUEST_MEMORY);
	guest_kick(a, 1);
	guest_send(b, 0, a->nic_device->mac, 1);
	guest_exchange(b, c, 5);
	guest_exchange(c, b, 5);
	assert_untouched(a, before);
	test_free(before);
}

static void after_a_reset_nothing_is_touched(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state), *c = suite_peer(state);
	uint8_t *before = test_malloc(GUEST_MEMORY);

	guest_run(a);
	guest_exchange(a, b, 5);
	guest_exchange(b, a, 5);
	assert_int_equal(a->ops->reset(a->device), 0);
	guest_count(a->rings[0].call);
	guest_count(a->rings[1].call);
	assert_true(guest_offer_frame(a, 0, b->nic_device->mac, 1) >= 0);
	memcpy(before, a->memory, GUEST_MEMORY);
	guest_kick(a, 1);
	guest_send(b, 0, a->nic_device->mac, 1);
	guest_exchange(b, c, 5);
	guest_exchange(c, b, 5);
	assert_untouched(a, before);
	test_free(before);
}

static void a_lone_queue_stops_while_the_others_run(void **state)
{
	struct guest *a = suite_guest(state, 2), *b = suite_peer(state);
	const struct queue_set lone = guest_set(3, 3);
	struct queue_position at[QUEUE_MAX];

	suite_need_lone_queues(a);
	guest_run(a);
	assert_int_equal(a->ops->stop(a->device, &lone, at), 0);
	assert_true(guest_offer_frame(a, 1, b->nic_device->mac, 99) >= 0);
	guest_kick(a, 3);
	guest_exchange(a, b, 5); /* 99 is not among them */
	guest_exchange(b, a, 5);

	assert_int_equal(guest_restart_set(a, &lone), 0);
	assert_int_equal(guest_receive(b), 99);
}

static void a_set_stops_and_starts_as_a_whole(void **state)
{
	struct guest *a = suite_guest(state, 3), *b = suite_peer(state);
	const struct queue_set some = guest_set(2, 5);
	struct queue_position at[QUEUE_MAX];
	struct driver_queue_stats stats;

	suite_need_lone_queues(a);
	guest_run(a);
	assert_int_equal(a->ops->stop(a->device, &some, at), 0);
	for (uint16_t i = 0; i < 6; i++) {
		assert_int_equal(a->ops->queue_stats(a->device, i, &stats), 0);
		assert_int_equal(stats.running, i < 2);
	}
	guest_exchange(a, b, 3);
	assert_int_equal(guest_restart_set(a, &some), 0);
	for (uint16_t pair = 0; pair < 3; pair++)
		guest_send(a, pair, b->nic_device->mac, pair);
}

static void send_flows(struct guest *from, const struct guest *to, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		assert_true(guest_offer_flow(from, 0, to->nic_device->mac, (uint16_t)(2000 + i),
				    i) >= 0);
		guest_kick(from, 1);
		guest_wait(from, 1, NULL);
	}
}

static void frames_come_to_the_receive_queues_that_run(void **state)
{
	struct guest *a = suite_guest(state, 3), *b = suite_peer(state);
	const struct queue_set rx2 = guest_set(2, 2);
	struct queue_position at[QUEUE_MAX];

	guest_run(a);
	for (int lap = 0; lap < 2; lap++) {
		send_flows(b, a, 50);
		for (int i = 0; i < 50; i++)
			guest_receive(a);
		if (lap == 0) {
			assert_true(a->rings[2].n_used > 0);
			a->rings[2].n_used = 0;
			suite_need_lone_queues(a);
			assert_int_equal(a->ops->stop(a->device, &rx2, at), 0);
		}
	}
	assert_int_equal(a->rings[2].n_used, 0);
	assert_true(a->rings[0].n_used > 0 && a->rings[4].n_used > 0);
}

static void a_device_whose_queues_stop_together_refuses_a_part_of_them(void **state)
{
	struct guest *a = suite_guest(state, 2), *b = suite_peer(state);
	const struct queue_set some = guest_set(0, 1), others = guest_set(2, 3);
	struct queue_position at[QUEUE_MAX];
	struct driver_queue_stats stats;

	if (!a->ops->caps(a->device)->together)
		skip();
	guest_run(a);
	assert_int_equal(a->ops->stop(a->device, &some, at), -EOPNOTSUPP);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
	assert_int_equal(guest_stop(a, at), 0);

	for (uint16_t i = 0; i < 4; i++)
		guest_ring_init(a, i, 0);
	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(a->ops->start(a->device, &some), 0);
	assert_int_equal(a->ops->start(a->device, &others), -EOPNOTSUPP);
	assert_int_equal(a->ops->queue_stats(a->device, 2, &stats), 0);
	assert_false(stats.running);
	guest_exchange(a, b, 3);
}

const struct suite_test driver_stop_tests[] = {
	BOTH(after_a_stop_neither_ring_nor_buffers_nor_eventfds_are_touched),
	BOTH(a_prepared_queue_touches_nothing),
	BOTH(after_a_reset_nothing_is_touched),
	BOTH(a_lone_queue_stops_while_the_others_run),
	BOTH(a_set_stops_and_starts_as_a_whole),
	BOTH(a_device_whose_queues_stop_together_refuses_a_part_of_them),
	BOTH(frames_come_to_the_receive_queues_that_run),
	{ 0 },
};
