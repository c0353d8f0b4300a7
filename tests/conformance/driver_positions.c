/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a queue stands when it was stopped, and that another device, or this one, goes on from
 * there: no chain is lost and none comes twice. The guest's own count is what it is compared with.
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

static void assert_position(struct queue_position got, struct queue_position wanted)
{
	assert_int_equal(got.avail, wanted.avail);
	assert_int_equal(got.used, wanted.used);
	assert_int_equal(got.avail_wrap, wanted.avail_wrap);
	assert_int_equal(got.used_wrap, wanted.used_wrap);
}

/* What was taken was given back, and the guest has seen all of it. */
static void assert_all_given_back(const struct guest *g, uint16_t queue, struct queue_position at)
{
	struct queue_position wanted = g->rings[queue].at;

	wanted.avail = wanted.used;
	wanted.avail_wrap = wanted.used_wrap;
	assert_position(at, wanted);
}

static void resume(struct guest *g, const struct queue_position *at)
{
	suite_need_any_position(g);
	for (uint16_t i = 0; i < g->n_queues; i++)
		g->rings[i].start = at[i];
	assert_int_equal(guest_prepare(g), 0);
	assert_int_equal(guest_start(g), 0);
}

/* @n frames each way, stopped and resumed after each @n, @laps times. */
static void exchange_and_resume(struct guest *a, struct guest *b, uint32_t n, uint32_t laps)
{
	struct queue_position at[QUEUE_MAX];

	suite_need_known_positions(a);
	for (uint32_t i = 0; i < laps; i++) {
		guest_exchange(a, b, n);
		guest_exchange(b, a, n);
		assert_int_equal(guest_stop(a, at), 0);
		assert_position(at[1], a->rings[1].at);
		assert_all_given_back(a, 0, at[0]);
		resume(a, at);
	}
}

static void positions_are_right_in_every_place_of_the_ring(void **state)
{
	struct guest *a = suite_guest_sized(state, 1, 8), *b = suite_peer(state);

	guest_run(a);
	exchange_and_resume(a, b, 1, 20); /* around, more than twice */
	exchange_and_resume(a, b, 5, 10);
	exchange_and_resume(a, b, 8, 3);
	exchange_and_resume(a, b, 0, 2);
}

static void positions_are_right_in_rings_of_any_size(void **state)
{
	const uint32_t sizes[] = { 1, 2, 3, 7, 64 };
	struct guest *b = suite_peer(state);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct guest *a;

		if (suite_layout(state) == GUEST_SPLIT && sizes[i] & (sizes[i] - 1))
			continue; /* split rings are powers of two */
		a = suite_guest_sized(state, 1, sizes[i]);
		guest_run(a);
		exchange_and_resume(a, b, 3, 5);
	}
}

static void a_split_ring_begins_anywhere_and_wraps_at_65536(void **state)
{
	struct guest *a = suite_guest_sized(state, 1, 8), *b = suite_peer(state);

	suite_need_any_position(a);
	if (a->packed)
		skip();
	guest_ring_init(a, 0, 65530);
	guest_ring_init(a, 1, 65533);
	guest_run(a);
	exchange_and_resume(a, b, 1, 10);
	assert_int_equal(a->rings[0].at.used, (uint16_t)(65530 + 10));
	assert_int_equal(a->rings[1].at.used, (uint16_t)(65533 + 10));
}

static void each_queue_has_its_own_position(void **state)
{
	struct guest *a = suite_guest(state, 3), *b = suite_peer(state);
	struct queue_position at[QUEUE_MAX];

	suite_need_known_positions(a);
	guest_run(a);
	for (uint16_t pair = 0; pair < 3; pair++) {
		for (uint32_t n = 0; n <= 5U * pair; n++) {
			guest_send(a, pair, b->nic_device->mac, n);
			assert_int_equal(guest_receive(b), n);
		}
	}
	guest_exchange(b, a, 20);
	assert_int_equal(guest_stop(a, at), 0);
	for (uint16_t pair = 0; pair < 3; pair++) {
		assert_position(at[2 * pair + 1], a->rings[2 * pair + 1].at);
		assert_int_equal(a->rings[2 * pair + 1].n_used, 5 * pair + 1);
		assert_all_given_back(a, (uint16_t)(2 * pair), at[2 * pair]);
	}
	resume(a, at);
	guest_exchange(b, a, 20);
}

static void chains_that_were_not_taken_are_taken_after_the_resume(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct queue_position at[QUEUE_MAX];

	guest_run(a);
	guest_exchange(a, b, 2);
	assert_int_equal(guest_stop(a, at), 0);
	for (uint32_t n = 0; n < 10; n++)
		assert_true(guest_offer_frame(a, 0, b->nic_device->mac, n) >= 0);
	assert_int_equal(guest_stop(a, at), 0);
	resume(a, at);
	guest_kick(a, 1);
	for (uint32_t n = 0; n < 10; n++)
		assert_int_equal(guest_receive(b), n);
}

static void chains_in_the_ring_at_the_start_need_no_kick(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	assert_true(guest_offer_frame(a, 0, b->nic_device->mac, 5) >= 0);
	guest_run(a);
	assert_int_equal(guest_receive(b), 5);
}

static void a_stop_under_load_loses_nothing(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	uint32_t sent = 0, got = 0, number;
	struct queue_position at[QUEUE_MAX];

	suite_need_known_positions(a);
	guest_run(a);
	for (int lap = 0; lap < 30; lap++) {
		while (sent - got < 32 && guest_offer_frame(a, 0, b->nic_device->mac, sent) >= 0)
			sent++;
		guest_kick(a, 1);
		if (lap % 2)
			guest_wait(a, 1, NULL); /* then it is in the middle of them */
		assert_int_equal(guest_stop(a, at), 0);
		while (guest_take(a, 1, NULL) >= 0)
			continue;
		assert_all_given_back(a, 1, at[1]);
		resume(a, at);
		while (got < sent) {
			number = guest_receive(b);
			assert_int_equal(number, got);
			got++;
			while (guest_take(a, 1, NULL) >= 0)
				continue;
		}
	}
}

static void a_device_that_begins_in_fresh_rings_refuses_other_positions(void **state)
{
	struct guest *a = suite_guest_sized(state, 1, 8), *b = suite_peer(state);
	struct driver_queue q = guest_facts(a, 1);
	const struct queue_set tx = guest_set(1, 1);
	const struct queue_set stopped = a->ops->caps(a->device)->together ? guest_set(0, 1) : tx;
	struct queue_position at[QUEUE_MAX];

	if (a->ops->caps(a->device)->start_position == DRIVER_START_ANY)
		skip();
	q.position.avail = q.position.used = 1;
	assert_int_equal(a->ops->prepare(a->device, &q, 1), -EINVAL);
	assert_true(a->ops->start(a->device, &tx) < 0);
	guest_run(a);
	guest_exchange(a, b, 8); /* around: a packed ring stands at 0 again, with other counters */
	assert_int_equal(guest_stop_set(a, &stopped, at), 0);
	if (guest_knows_positions(a))
		assert_position(at[1], a->rings[1].at);
	assert_int_equal(a->ops->start(a->device, &tx), -EINVAL);
	q.position = a->rings[1].at;
	assert_int_equal(a->ops->prepare(a->device, &q, 1), -EINVAL);

	guest_ring_init(a, 1, 0);
	q = guest_facts(a, 1);
	assert_int_equal(a->ops->prepare(a->device, &q, 1), 0);
	assert_int_equal(a->ops->start(a->device, &tx), 0);
	assert_int_equal(a->ops->start(a->device, &tx), 0);
	guest_exchange(a, b, 3);
}

static void a_stopped_queue_answers_its_last_position(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct queue_position first[QUEUE_MAX], second[QUEUE_MAX];

	suite_need_known_positions(a);
	guest_run(a);
	guest_exchange(a, b, 5);
	assert_int_equal(guest_stop(a, first), 0);
	assert_int_equal(guest_stop(a, second), 0);
	assert_position(second[0], first[0]);
	assert_position(second[1], first[1]);
}

static void a_prepared_queue_answers_where_it_would_begin(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct queue_position at[QUEUE_MAX];

	suite_need_known_positions(a);
	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(guest_stop(a, at), 0);
	assert_position(at[0], a->rings[0].start);
	assert_position(at[1], a->rings[1].start);
}

static void a_split_ring_says_what_its_device_does_not(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	const struct queue_set all = guest_set(0, 1);
	struct queue_position at[QUEUE_MAX];

	if (!a->ops->caps(a->device)->ring_positions)
		skip();
	guest_run(a);
	guest_exchange(a, b, 3);
	assert_int_equal(a->ops->stop(a->device, &all, at), 0);
	for (uint16_t i = 0; i < 2; i++) {
		assert_int_equal(guest_lost_position(a, i, &at[i]), a->packed ? -ENOENT : 0);
		if (!a->packed)
			assert_all_given_back(a, i, at[i]);
	}
}

static void positions_of_other_queues_are_not_written(void **state)
{
	struct guest *a = suite_guest(state, 2);
	struct queue_position at[QUEUE_MAX], before[QUEUE_MAX];
	struct queue_set set = guest_set(1, 2);

	suite_need_lone_queues(a);
	suite_need_known_positions(a);
	guest_run(a);
	memset(at, 0x5a, sizeof(at));
	memcpy(before, at, sizeof(at));
	queue_set_add(&set, QUEUE_MAX - 1); /* no device has it */
	assert_int_equal(guest_stop_set(a, &set, at), 0);
	assert_position(at[1], a->rings[1].at);
	before[1] = at[1];
	before[2] = at[2];
	assert_memory_equal(at, before, sizeof(at));
}

const struct suite_test driver_position_tests[] = {
	BOTH(positions_are_right_in_every_place_of_the_ring),
	BOTH(positions_are_right_in_rings_of_any_size),
	ONCE(a_split_ring_begins_anywhere_and_wraps_at_65536),
	BOTH(each_queue_has_its_own_position),
	BOTH(chains_that_were_not_taken_are_taken_after_the_resume),
	BOTH(chains_in_the_ring_at_the_start_need_no_kick),
	BOTH(a_stop_under_load_loses_nothing),
	BOTH(a_device_that_begins_in_fresh_rings_refuses_other_positions),
	BOTH(a_stopped_queue_answers_its_last_position),
	BOTH(a_prepared_queue_answers_where_it_would_begin),
	BOTH(a_split_ring_says_what_its_device_does_not),
	BOTH(positions_of_other_queues_are_not_written),
	{ 0 },
};
