/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver's instance that ends while queues run, and a device that ends under its driver. The
 * first is what happens when a worker is replaced, the second when a NIC is reset.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"

static void queues_go_on_while_nobody_has_the_device_open(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_run(a);
	guest_exchange(a, b, 3);
	guest_close(a);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
	assert_int_equal(guest_open(a), 0);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
}

static void the_next_instance_finds_queues_running_and_positions_right(void **state)
{
	struct guest *a = suite_guest_sized(state, 1, 8), *b = suite_peer(state);
	struct queue_position at[QUEUE_MAX];
	struct driver_queue_stats stats;
	struct driver_event event;

	guest_run(a);
	guest_exchange(a, b, 3);
	guest_close(a);
	guest_exchange(a, b, 7);
	assert_int_equal(guest_open(a), 0);

	assert_int_equal(a->ops->next_event(a->device, &event), -EAGAIN);
	assert_int_equal(a->ops->queue_stats(a->device, 1, &stats), 0);
	assert_true(stats.running);
	assert_true(queue_position_equal(stats.position, a->rings[1].at));
	assert_int_equal(guest_stop(a, at), 0);
	assert_true(queue_position_equal(at[1], a->rings[1].at));
}

static void the_next_instance_repeats_what_its_predecessor_did(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_run(a);
	guest_exchange(a, b, 3);
	guest_close(a);
	assert_int_equal(guest_open(a), 0);
	assert_int_equal(guest_setup(a), 0);
	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(guest_start(a), 0);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
}

/* ------------------------------------------------------------------------ a lost device */

static void lose(void **state)
{
	if (!suite_rig(state)->lose)
		skip();
	suite_rig(state)->lose();
}

static int reopen(struct guest *g)
{
	return g->ops->reopen(g->device, g->nic_device->fds, g->nic_device->n_fds);
}

static int lost_position(struct guest *g, uint16_t queue, struct queue_position *ret)
{
	const struct driver_queue q = guest_facts(g, queue);
	const struct guest_ring *r = &g->rings[queue];

	return g->ops->lost_position(g->device, &q, g->packed,
		guest_at(g, g->packed ? r->desc : r->device), ret);
}

/* The queues of a new device, from where the old one stood. */
static void resume_lost(struct guest *g)
{
	assert_int_equal(guest_setup(g), 0);
	for (uint16_t i = 0; i < g->n_queues; i++)
		assert_int_equal(lost_position(g, i, &g->rings[i].start), 0);
	assert_int_equal(guest_prepare(g), 0);
	assert_int_equal(guest_start(g), 0);
}

/* Another guest to talk with, since the one of before has lost its device as well. */
static void assert_works(void **state, struct guest *g)
{
	struct guest *peer = suite_peer(state);

	guest_exchange(g, peer, 3);
	guest_exchange(peer, g, 3);
}

static void a_lost_device_is_told_and_no_call_hangs(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct driver_net_config config;
	struct queue_position at[QUEUE_MAX];
	struct driver_event event;
	struct pollfd p = { .fd = a->ops->event_fd(a->device), .events = POLLIN };

	guest_run(a);
	lose(state);
	assert_int_equal(guest_wait_event(a).kind, DRIVER_EVENT_GONE);
	assert_int_equal(a->ops->next_event(a->device, &event), -EAGAIN); /* once will do */
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(a->ops->get_config(a->device, &config), -ENODEV);
	assert_int_equal(guest_stop(a, at), -ENODEV);
	assert_int_equal(guest_prepare(a), -ENODEV);
	assert_int_equal(a->ops->reset(a->device), -ENODEV);
}

static void a_loss_that_a_call_comes_upon_is_told_as_well(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct driver_net_config config;

	lose(state);
	assert_int_equal(a->ops->get_config(a->device, &config), -ENODEV);
	assert_int_equal(guest_wait_event(a).kind, DRIVER_EVENT_GONE);
}

static void a_replaced_device_begins_anew_in_the_same_instance(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct driver_event event;

	guest_run(a);
	lose(state);
	assert_int_equal(guest_wait_event(a).kind, DRIVER_EVENT_GONE);
	assert_int_equal(reopen(a), 0);
	assert_int_equal(a->ops->next_event(a->device, &event), -EAGAIN);
	assert_true(guest_start(a) < 0);
	assert_true(guest_prepare(a) < 0); /* no map is there any more */
	resume_lost(a);
	assert_works(state, a);
}

static void assert_stood_where_the_rings_say(struct guest *g)
{
	struct queue_position at;

	for (uint16_t i = 0; i < 2; i++) {
		assert_int_equal(lost_position(g, i, &at), 0);
		assert_int_equal(at.used, g->rings[i].at.used);
		assert_int_equal(at.used_wrap, g->rings[i].at.used_wrap);
	}
	assert_true(queue_position_equal(at, g->rings[1].at));
}

static void lost_positions_are_where_the_ring_says(void **state)
{
	struct guest *a = suite_guest_sized(state, 1, 8);

	suite_need_any_position(a);
	guest_run(a);
	for (uint32_t n = 1; n <= 4; n++) {
		struct guest *b = suite_peer(state);

		guest_exchange(a, b, 3 * n);
		guest_exchange(b, a, 5 * n);
		lose(state);
		assert_stood_where_the_rings_say(a);
		assert_int_equal(reopen(a), 0);
		assert_stood_where_the_rings_say(a);
		resume_lost(a);
		assert_works(state, a);
	}
}

static void chains_that_a_lost_device_had_not_done_are_done_by_the_next(void **state)
{
	struct guest *a = suite_guest(state, 1), *b;
	const struct queue_set tx = guest_set(1, 1);
	struct queue_position at[QUEUE_MAX];
	uint32_t got = 0;

	suite_need_any_position(a);
	guest_run(a);
	b = suite_peer(state);
	guest_exchange(a, b, 2);
	assert_int_equal(a->ops->stop(a->device, &tx, at), 0);
	assert_int_equal(a->ops->start(a->device, &tx), 0);
	for (uint32_t n = 0; n < 20; n++)
		assert_true(guest_offer_frame(a, 0, b->nic_device->mac, n) >= 0);
	guest_kick(a, 1);
	lose(state);
	assert_int_equal(reopen(a), 0);
	if (!a->ops->caps(a->device)->in_order && lost_position(a, 1, at) == -ENOENT)
		return; /* some were in flight, and nobody knows which */
	resume_lost(a);
	while (got < 20) { /* each comes back once: guest_take() sees to it */
		guest_wait(a, 1, NULL);
		got++;
	}
	assert_works(state, a);
}

static void positions_of_queues_that_did_not_run_are_not_known(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct queue_position at = { .avail = 77 };

	assert_int_equal(guest_prepare(a), 0);
	lose(state);
	assert_int_equal(reopen(a), 0);
	assert_int_equal(lost_position(a, 1, &at), -ENOENT);
	assert_int_equal(at.avail, 77);
}

static void a_device_that_was_replaced_meanwhile_is_told_to_the_next_instance(void **state)
{
	struct guest *a = suite_guest(state, 1);

	guest_run(a);
	guest_close(a);
	lose(state);
	assert_int_equal(guest_open(a), 0);
	assert_int_equal(guest_wait_event(a).kind, DRIVER_EVENT_GONE);
	assert_int_equal(reopen(a), 0);
	resume_lost(a);
	assert_works(state, a);
}

const struct suite_test driver_loss_tests[] = {
	BOTH(queues_go_on_while_nobody_has_the_device_open),
	BOTH(the_next_instance_finds_queues_running_and_positions_right),
	BOTH(the_next_instance_repeats_what_its_predecessor_did),
	BOTH(a_lost_device_is_told_and_no_call_hangs),
	ONCE(a_loss_that_a_call_comes_upon_is_told_as_well),
	BOTH(a_replaced_device_begins_anew_in_the_same_instance),
	BOTH(lost_positions_are_where_the_ring_says),
	BOTH(chains_that_a_lost_device_had_not_done_are_done_by_the_next),
	BOTH(positions_of_queues_that_did_not_run_are_not_known),
	BOTH(a_device_that_was_replaced_meanwhile_is_told_to_the_next_instance),
	{ 0 },
};
