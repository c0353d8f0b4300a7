/* SPDX-License-Identifier: BSD-2-Clause */
/* Traffic through the relay, each page audited; and to and fro between relay and device. */
#include "relay_lab.h"

#include <errno.h>
#include <string.h>

static const uint64_t features[] = {
	0,
	LAB_EVENT,
	LAB_INDIRECT,
	LAB_IN_ORDER,
	LAB_EVENT | LAB_INDIRECT,
	LAB_EVENT | LAB_INDIRECT | LAB_IN_ORDER,
};

/* Sizes of a split ring come first. */
static const uint32_t sizes[] = { 1, 2, 4, 256, 3, 5, 21 };
#define N_SPLIT_SIZES 4

typedef void (*test_fn)(struct lab *lab);

/* A lab for each size, layout, set of features, and order of completion. */
static void for_each_ring(test_fn test)
{
	for (size_t i = 0; i < 2 * ARRAY_SIZE(sizes) * ARRAY_SIZE(features) * 2; i++) {
		bool in_order = i % 2, packed = i / 2 % 2;
		uint64_t f = features[i / 4 % ARRAY_SIZE(features)];
		size_t size = i / 4 / ARRAY_SIZE(features);
		struct lab lab;

		if ((!packed && size >= N_SPLIT_SIZES) || ((f & LAB_IN_ORDER) && !in_order))
			continue;
		lab_open(&lab, sizes[size], f | (packed ? LAB_PACKED : 0));
		lab.dev.in_order = in_order;
		test(&lab);
		lab_close(&lab);
	}
}

static void fail_ring(const struct lab *lab, const char *what, int64_t value)
{
	fail_msg("%s %#lx; size %u, %s, features %#lx, %s", what, (unsigned long)value, lab->size,
		lab->packed ? "packed" : "split", (unsigned long)(lab->features & ~LAB_PACKED),
		lab->dev.in_order ? "in order" : "any order");
}

static void expect_audit(struct lab *lab)
{
	int64_t page = lab_audit(lab);

	if (page >= 0)
		fail_ring(lab, "a change without a mark at", page);
}

static void expect_run(struct lab *lab)
{
	int r = lab_relay_run(lab);

	if (r != 0)
		fail_ring(lab, relay_reason(lab->relay), r);
}

/* One round of everything; what the device has afterwards is left there. */
static void round_trip(struct lab *lab, bool audit)
{
	uint32_t some = lab->size < 64 ? lab->size + 1 : 64;

	lab_give_some(lab, some);
	if (audit)
		lab_audit_begin(lab);
	expect_run(lab);
	lab_take(lab, lab_below(&lab->rng, some + 1));
	lab_complete(lab, lab_below(&lab->rng, some + 1));
	expect_run(lab);
	if (lab_below(&lab->rng, 3) == 0)
		relay_sleep(lab->relay);
	if (audit)
		expect_audit(lab);
	lab_get(lab);
}

/* A device that has taken all stands where the relay puts the next ones. */
static void expect_next_offered(struct lab *lab)
{
	struct queue_position next = relay_next_offered(lab->relay);

	if (next.avail != lab->dev.at.avail || next.avail_wrap != lab->dev.at.avail_wrap)
		fail_ring(lab, "is said to be next", next.avail);
}

static void drain(struct lab *lab)
{
	for (int i = 0; i < 200000 && lab_out(lab) > 0; i++) {
		expect_run(lab);
		lab_take(lab, lab->size);
		expect_next_offered(lab);
		lab_complete(lab, lab->size);
		expect_run(lab);
		lab_get(lab);
	}
	if (lab_out(lab) > 0)
		fail_ring(lab, "never came back", lab_out(lab));
}

static void open_at_start(struct lab *lab)
{
	lab_relay_open(lab, queue_position_initial(lab->packed), RELAY_FRESH);
	lab_device_shadow(lab);
}

static void traffic(struct lab *lab)
{
	int rounds = lab->size > 64 ? 150 : 400;

	open_at_start(lab);
	for (int i = 0; i < rounds; i++) {
		if (i % 50 == 0)
			lab_log(lab, i % 200 != 150, i % 100 == 0);
		round_trip(lab, i % 200 < 150);
	}
	drain(lab);
	assert_int_equal(lab->n_empty, 0);
	assert_false(dirty_log_failed(lab->log));
}

static void chains_come_back_once_and_each_change_is_marked(void **state)
{
	for_each_ring(traffic);
}

/* The relay ends; chains that were forced come back empty, those taken back are the next device's.
 */
static struct queue_position leave_relay(struct lab *lab)
{
	struct queue_position stopped = lab_device_stop(lab), at, again;
	struct relay_stats stats;
	uint64_t empty = lab->n_empty;

	assert_int_equal(relay_finish(lab->relay, &stopped, &at), 0);
	relay_stats(lab->relay, &stats);
	lab_get(lab);
	if (lab->dev.in_order && stats.forced != 0)
		fail_ring(lab, "forced", (int64_t)stats.forced);
	if (lab->n_empty - empty != stats.forced)
		fail_ring(lab, "came back empty", (int64_t)(lab->n_empty - empty));
	assert_int_equal(at.used, lab->at.used);
	assert_int_equal(at.used_wrap, lab->at.used_wrap);
	assert_int_equal(at.avail, at.used);
	assert_int_equal(at.avail_wrap, at.used_wrap);
	assert_int_equal(relay_finish(lab->relay, &stopped, &again), 0);
	assert_true(queue_position_equal(at, again));
	relay_close(lab->relay);
	lab->relay = NULL;
	return at;
}

/* A device that completes in any order is left no chains by its owner. */
static struct queue_position leave_direct(struct lab *lab)
{
	struct queue_position at;

	if (!lab->dev.in_order)
		lab_complete(lab, lab->size);
	at = lab_device_stop(lab);
	at.avail = at.used;
	at.avail_wrap = at.used_wrap;
	return at;
}

static void direct_round(struct lab *lab)
{
	lab_give_some(lab, 64);
	lab_take(lab, lab_below(&lab->rng, 64));
	lab_complete(lab, lab_below(&lab->rng, 64));
	lab_get(lab);
}

static void switching(struct lab *lab)
{
	struct queue_position at = queue_position_initial(lab->packed);
	int times = lab->size > 64 ? 60 : 150;

	for (int i = 0; i < times; i++) {
		lab_device_direct(lab, at);
		for (uint32_t n = lab_below(&lab->rng, 4); n > 0; n--)
			direct_round(lab);
		at = leave_direct(lab);

		lab_relay_open(lab, at, RELAY_FRESH);
		lab_log(lab, true, true);
		lab_device_shadow(lab);
		lab_get(lab);
		lab_audit_begin(lab);
		for (uint32_t n = lab_below(&lab->rng, 5); n > 0; n--)
			round_trip(lab, true);
		lab_give_some(lab, 64);
		lab_audit_begin(lab);
		expect_run(lab);
		lab_take(lab, lab_below(&lab->rng, 64));
		lab_complete(lab, lab_below(&lab->rng, 4));
		at = leave_relay(lab);
		expect_audit(lab);
	}
	lab_device_direct(lab, at);
	for (int i = 0; i < 1000 && lab_out(lab) > 0; i++) {
		lab_take(lab, lab->size);
		lab_complete(lab, lab->size);
		lab_get(lab);
	}
	assert_int_equal(lab_out(lab), 0);
}

static void rings_change_hands_and_nothing_is_lost_or_doubled(void **state)
{
	for_each_ring(switching);
}

/* A ring that ran for a while before the relay came: its indices are about to go round. */
static void positions_wrap(void **state)
{
	for (int packed = 0; packed < 2; packed++) {
		uint16_t start = packed ? 60 : 65500;
		struct lab lab;

		lab_open(&lab, 64, LAB_EVENT | (packed ? LAB_PACKED : 0));
		lab_begin_at(&lab, start);
		lab.dev.in_order = true;
		lab_relay_open(&lab, lab.at, RELAY_FRESH);
		lab_log(&lab, true, true);
		lab_device_shadow(&lab);
		while (lab.n_given < 600)
			round_trip(&lab, true);
		drain(&lab);
		lab_close(&lab);

		/* Those of the shadow ring go round later. */
		lab_open(&lab, 64, LAB_EVENT | (packed ? LAB_PACKED : 0));
		lab.max_pieces = 1;
		lab_begin_at(&lab, start);
		lab_relay_open(&lab, lab.at, RELAY_FRESH);
		lab_log(&lab, true, true);
		lab_device_shadow(&lab);
		while (lab.n_given < 65536 + 200)
			round_trip(&lab, lab.n_given > 65536 - 200);
		drain(&lab);
		lab_close(&lab);
	}
}

/* Of a ring that fits one page any mark would do. */
static void marks_are_on_the_pages_of_the_ring_that_change(void **state)
{
	for (int packed = 0; packed < 2; packed++) {
		struct lab lab;

		lab_open_slots(&lab, 2048, LAB_EVENT | (packed ? LAB_PACKED : 0), 256);
		lab.max_pieces = 1;
		open_at_start(&lab);
		lab_log(&lab, true, true);
		for (int i = 0; i < 300; i++) {
			lab_give_some(&lab, i % 2 ? 20 : 2048);
			lab_audit_begin(&lab);
			expect_run(&lab);
			lab_take(&lab, 2048);
			lab_complete(&lab, lab_below(&lab.rng, i % 2 ? 20 : 2048));
			expect_run(&lab);
			expect_audit(&lab);
			lab_get(&lab);
		}
		lab_close(&lab);
	}
}

static void the_largest_ring_is_filled_and_emptied(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct lab lab;

		lab_open(&lab, QUEUE_SIZE_MAX,
			LAB_EVENT | (i % 2 ? LAB_PACKED : 0) | (i / 2 ? LAB_IN_ORDER : 0));
		lab.dev.in_order = true; /* any other takes long to play */
		open_at_start(&lab);
		lab_log(&lab, true, true);
		for (int round = 0; round < 3; round++) {
			while (lab_give(&lab))
				;
			lab_audit_begin(&lab);
			expect_run(&lab);
			lab_take(&lab, QUEUE_SIZE_MAX);
			if (lab.in_order || round == 0)
				lab_complete(&lab, lab.in_order ? QUEUE_SIZE_MAX : 100);
			expect_run(&lab);
			expect_audit(&lab);
			lab_get(&lab);
		}
		lab_close(&lab);
	}
}

static void a_flat_chain_waits_for_room_in_the_shadow_ring(void **state)
{
	for (int packed = 0; packed < 2; packed++) {
		struct relay_stats stats;
		struct lab lab;

		lab_open(&lab, 8, LAB_INDIRECT | (packed ? LAB_PACKED : 0));
		open_at_start(&lab);
		for (int i = 0; i < 2000; i++)
			round_trip(&lab, false);
		drain(&lab);
		relay_stats(lab.relay, &stats);
		assert_true(stats.waits > 0);
		assert_int_equal(stats.offered, lab.n_given);
		assert_int_equal(stats.returned, lab.n_given);
		assert_int_equal(stats.in_flight, 0);
		lab_close(&lab);
	}
}

/* It loses what it took, which is still in the shadow ring. */
static void stopping(struct lab *lab)
{
	struct driver_queue q;

	if (!lab->dev.in_order)
		return;
	open_at_start(lab);
	for (int i = 0; i < 200; i++) {
		round_trip(lab, false);
		lab_take(lab, lab_below(&lab->rng, 8));
		if (lab_complete(lab, 1) > 0)
			assert_int_equal(relay_device_queue(lab->relay, &q), -EBUSY);
		expect_run(lab);
		lab_device_stop(lab);
		lab_device_shadow(lab);
	}
	drain(lab);
	assert_int_equal(lab->n_empty, 0);
}

static void a_device_that_stopped_goes_on_in_the_shadow_ring(void **state)
{
	for_each_ring(stopping);
}

static void a_budget_is_kept_and_the_rest_is_told(void **state)
{
	struct relay_work work;
	struct lab lab;

	lab_open(&lab, 256, 0);
	lab.max_pieces = 1;
	open_at_start(&lab);
	while (lab_give(&lab))
		;
	assert_int_equal(relay_run(lab.relay, 200, &work), 0);
	assert_int_equal(work.offered, 200);
	assert_true(work.more);
	assert_false(relay_sleep(lab.relay));
	assert_int_equal(relay_run(lab.relay, 56, &work), 0);
	assert_int_equal(work.offered, 56);
	assert_false(work.more);
	assert_true(relay_sleep(lab.relay));
	lab_take(&lab, 256);
	lab_complete(&lab, 1);
	assert_false(relay_sleep(lab.relay));
	assert_int_equal(relay_run(lab.relay, 0, &work), 0);
	assert_int_equal(work.returned, 1);
	lab_close(&lab);
}

/* Also after a single run, which does not say so by itself. */
static void both_sides_are_silent_during_a_nap_and_asked_before_a_sleep(void **state)
{
	const struct vring_used *used;
	const struct vring_avail *shadow;
	struct lab lab;

	lab_open(&lab, 8, 0);
	open_at_start(&lab);
	lab_device_shadow(&lab);
	used = (const void *)(lab.ram + lab.device);
	shadow = (const void *)lab.dev.driver;
	for (int i = 0; i < 2; i++) {
		assert_true(relay_sleep(lab.relay));
		assert_int_equal(used->flags, 0);
		assert_int_equal(shadow->flags, 0);
		assert_true(lab_give(&lab));
		assert_int_equal(relay_run(lab.relay, 8, &(struct relay_work){ 0 }), 0);
		relay_nap(lab.relay);
		assert_int_equal(used->flags, VRING_USED_F_NO_NOTIFY);
		assert_int_equal(shadow->flags, VRING_AVAIL_F_NO_INTERRUPT);
	}
	lab_close(&lab);
}

/* The guest offers a buffer, then a frame, while the relay is between the two rings. */
static void what_was_offered_first_is_there_first(void **state)
{
	static const uint64_t layouts[] = { 0, LAB_PACKED };

	for (int i = 0; i < 2; i++) {
		struct lab receive, transmit;
		struct relay_work work;

		lab_open(&receive, 512, layouts[i]);
		lab_open(&transmit, 512, layouts[i]);
		receive.max_pieces = transmit.max_pieces = 1;
		open_at_start(&receive);
		open_at_start(&transmit);
		for (uint32_t n = 1; n <= 300; n += 299) {
			assert_int_equal(relay_run(receive.relay, 256, &work), 0);
			for (uint32_t k = 0; k < n; k++)
				assert_true(lab_give(&receive));
			assert_true(lab_give(&transmit));
			assert_int_equal(relay_run_after(transmit.relay, receive.relay, 256, &work), 0);
			assert_int_equal(work.offered, 1);
			assert_int_equal(lab_take(&transmit, 2), 1);
			assert_int_equal(lab_take(&receive, 512), n);
		}
		lab_close(&receive);
		lab_close(&transmit);
	}
}

static void a_ring_that_is_broken_stops_no_other_one(void **state)
{
	struct lab receive, transmit;
	struct relay_work work;

	lab_open(&receive, 8, 0);
	lab_open(&transmit, 8, 0);
	open_at_start(&receive);
	open_at_start(&transmit);
	((struct vring_avail *)(void *)(receive.ram + receive.driver))->idx = 100;
	assert_true(lab_give(&transmit));
	assert_int_equal(relay_run_after(transmit.relay, receive.relay, 256, &work), 0);
	assert_int_equal(lab_take(&transmit, 2), 1);
	assert_int_equal(relay_run(receive.relay, 256, &work), -EBADMSG);
	assert_true(lab_give(&transmit));
	assert_int_equal(relay_run_after(transmit.relay, receive.relay, 256, &work), 0);
	assert_int_equal(lab_take(&transmit, 2), 1);
	lab_close(&receive);
	lab_close(&transmit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains_come_back_once_and_each_change_is_marked),
		cmocka_unit_test(rings_change_hands_and_nothing_is_lost_or_doubled),
		cmocka_unit_test(positions_wrap),
		cmocka_unit_test(marks_are_on_the_pages_of_the_ring_that_change),
		cmocka_unit_test(the_largest_ring_is_filled_and_emptied),
		cmocka_unit_test(a_flat_chain_waits_for_room_in_the_shadow_ring),
		cmocka_unit_test(a_device_that_stopped_goes_on_in_the_shadow_ring),
		cmocka_unit_test(a_budget_is_kept_and_the_rest_is_told),
		cmocka_unit_test(both_sides_are_silent_during_a_nap_and_asked_before_a_sleep),
		cmocka_unit_test(what_was_offered_first_is_there_first),
		cmocka_unit_test(a_ring_that_is_broken_stops_no_other_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
