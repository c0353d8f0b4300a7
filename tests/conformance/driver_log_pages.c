/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each page that a device wrote is marked. The guest writes only while its device is stopped or has
 * nothing to do, so that all that changes in between is the device's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/conformance/driver_marks.h"
#include "vdpa/base/bits.h"

#define RING   32U
#define ROUNDS 25

/* What the guest's transmit queues get to do, at most @max frames each. */
static void offer_some(struct guest *g, const struct guest *to, uint32_t max)
{
	for (uint16_t pair = 0; pair < g->n_queues / 2; pair++) {
		uint32_t n = (uint32_t)rand() % (max + 1);

		for (uint32_t i = 0; i < n; i++)
			assert_true(guest_offer_frame(g, pair, to->nic_device->mac, i) >= 0);
	}
}

static void drain(struct guest *g)
{
	uint32_t number;

	while (guest_received(g, &number))
		continue;
	while (guest_take(g, 1, NULL) >= 0)
		continue;
}

static void changed_pages_are_marked(void **state, uint16_t pairs)
{
	struct guest *a = marks_guest(state, pairs, RING), *b = suite_peer(state);
	struct marks m = marks_new(0);
	struct queue_position at[QUEUE_MAX];

	srand(pairs);
	for (uint16_t i = 0; i < a->n_queues; i++)
		at[i] = a->rings[i].start;
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t n = (uint32_t)rand() % (RING / 2);
		uint8_t *before;

		marks_fill(a);
		offer_some(a, b, 12);
		marks_clear(&m);
		before = marks_memory(a);
		marks_set(a, &m);
		marks_resume(a, at);
		marks_offer_flows(b, a, n);
		marks_wait_received(a, n);
		marks_wait_sent(a);
		assert_int_equal(guest_stop(a, at), 0);
		marks_assert_all(a, before, &m, NULL);
		free(before);
		marks_wait_sent(b);
		drain(b);
	}
	marks_free(&m);
}

static void all_pages_that_changed_are_marked_with_one_pair(void **state)
{
	changed_pages_are_marked(state, 1);
}

static void all_pages_that_changed_are_marked_with_four_pairs(void **state)
{
	changed_pages_are_marked(state, 4);
}

/* Hints of whether to kick are written when a queue starts and when it falls asleep. */
static void what_an_idle_queue_writes_is_marked(void **state)
{
	struct guest *a = marks_guest(state, 1, RING), *b = suite_peer(state), *c = suite_peer(state);
	struct marks m = marks_new(0);
	uint8_t *before;

	for (uint16_t i = 0; i < 2; i++) {
		uint16_t *hint = guest_at(a, a->rings[i].device);

		hint[a->packed ? 1 : 0] = 3; /* what no device writes */
	}
	assert_int_equal(guest_prepare(a), 0);
	marks_set(a, &m);
	before = marks_memory(a);
	assert_int_equal(guest_start(a), 0);
	guest_exchange(b, c, 20);
	marks_set(a, &m); /* what was written before is marked then */
	marks_assert_all(a, before, &m, NULL);
	free(before);
	marks_free(&m);
}

static void a_stop_finds_all_marked_and_nothing_is_marked_later(void **state)
{
	struct guest *a = marks_guest(state, 1, RING), *b = suite_peer(state);
	struct marks m = marks_new(0);
	struct queue_position at[QUEUE_MAX] = { a->rings[0].start, a->rings[1].start };

	for (int round = 0; round < ROUNDS; round++) {
		uint8_t *before, *marked;

		marks_fill(a);
		marks_clear(&m);
		marks_set(a, &m);
		before = marks_memory(a);
		marks_resume(a, at);
		marks_offer_flows(b, a, RING / 2);
		for (int i = round * 100; i > 0; i--) /* stops come at different times */
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
		assert_int_equal(guest_stop(a, at), 0);
		marked = marks_copy(&m);
		marks_assert_all(a, before, &m, NULL);
		marks_wait_sent(b);
		assert_memory_equal(m.file, marked, m.file_size);
		while (guest_take(a, 0, NULL) >= 0)
			continue;
		free(before);
		free(marked);
	}
	marks_free(&m);
}

/* All @n frames, or those of them that were not lost meanwhile. */
static void receive_all(void **state, struct guest *g, struct guest *from, uint32_t n)
{
	if (!suite_lacks(state, RIG_LOG_FRAMES)) {
		marks_wait_received(g, n);
		return;
	}
	marks_wait_sent(from);
	while (guest_take(g, 0, NULL) >= 0)
		continue;
}

static void a_log_is_replaced_under_traffic_and_the_old_one_left_alone(void **state)
{
	struct guest *a = marks_guest(state, 1, RING), *b = suite_peer(state);
	struct marks logs[2] = { marks_new(0), marks_new(64) };

	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(guest_start(a), 0);
	for (int round = 0; round < 4 * ROUNDS; round++) {
		struct marks *old = &logs[round % 2], *new = &logs[(round + 1) % 2];
		uint8_t *before, *left;

		marks_fill(a);
		marks_clear(old);
		marks_clear(new);
		marks_set(a, old);
		before = marks_memory(a);
		marks_offer_flows(b, a, RING);
		marks_set(a, new);
		left = marks_copy(old);
		receive_all(state, a, b, RING);
		marks_set(a, new); /* what was written before is marked then */
		marks_assert_all(a, before, old, new);
		assert_memory_equal(old->file, left, old->file_size);
		marks_wait_sent(b);
		free(before);
		free(left);
	}
	marks_free(&logs[0]);
	marks_free(&logs[1]);
}

static void a_reader_that_takes_marks_meanwhile_misses_nothing(void **state)
{
	struct guest *a = marks_guest(state, 1, RING), *b = suite_peer(state);
	struct marks m = marks_new(0);
	struct queue_position at[QUEUE_MAX] = { a->rings[0].start, a->rings[1].start };

	for (int round = 0; round < ROUNDS; round++) {
		uint8_t *copy;

		marks_fill(a);
		marks_clear(&m);
		copy = marks_memory(a);
		marks_set(a, &m);
		marks_resume(a, at);
		for (int i = 0; i < 4; i++) {
			marks_offer_flows(b, a, RING / 4);
			marks_take(&m, a, copy);
		}
		while (a->rings[0].n_free < RING) {
			marks_wait_received(a, 1);
			marks_take(&m, a, copy);
		}
		assert_int_equal(guest_stop(a, at), 0);
		marks_take(&m, a, copy);
		assert_memory_equal(a->memory, copy, GUEST_MEMORY);
		marks_wait_sent(b);
		free(copy);
	}
	marks_free(&m);
}

const struct suite_test driver_log_page_tests[] = {
	BOTH(all_pages_that_changed_are_marked_with_one_pair),
	BOTH(all_pages_that_changed_are_marked_with_four_pairs),
	BOTH(what_an_idle_queue_writes_is_marked),
	BOTH(a_stop_finds_all_marked_and_nothing_is_marked_later),
	BOTH(a_log_is_replaced_under_traffic_and_the_old_one_left_alone),
	BOTH(a_reader_that_takes_marks_meanwhile_misses_nothing),
	{ 0 },
};
