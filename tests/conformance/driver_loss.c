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

/* Frames for a guest whose device nobody has open; and from it, where the device hears kicks itself. */
static void exchange_unattended(void **state, struct guest *g, struct guest *peer, uint32_t n)
{
	if (!suite_lacks(state, RIG_OWN_KICKS))
		guest_exchange(g, peer, n);
	guest_exchange(peer, g, n);
}

static void queues_go_on_while_nobody_has_the_device_open(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);

	guest_run(a);
	guest_exchange(a, b, 3);
	guest_close(a);
	exchange_unattended(state, a, b, 3);
	assert_int_equal(guest_open(a), 0);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
}

static void assert_tells_at_once(struct guest *g, enum driver_event_kind kind)
{
	struct pollfd p = { .fd = g->ops->event_fd(g->device), .events = POLLIN };
	struct driver_event event;

	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(guest_next_event(g, &event), 0);
	assert_int_equal(event.kind, kind);
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
	exchange_unattended(state, a, b, 7);
	assert_int_equal(guest_open(a), 0);

	if (suite_lacks(state, RIG_EXACT_CONFIG))
		assert_tells_at_once(a, DRIVER_EVENT_CONFIG);
	assert_int_equal(guest_next_event(a, &event), -EAGAIN);
	assert_int_equal(a->ops->queue_stats(a->device, 1, &stats), 0);
	assert_true(stats.running);
	if (!a->ops->caps(a->device)->ring_positions && !suite_lacks(state, RIG_FIGURES))
		assert_true(queue_position_equal(stats.position, a->rings[1].at));
	suite_need_known_positions(a);
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

/* Where nobody knows that, the guest's driver begins anew. */
static void find_start(struct guest *g, uint16_t queue)
{
	struct guest_ring *r = &g->rings[queue];

	if (guest_knows_positions(g)) {
		assert_int_equal(guest_lost_position(g, queue, &r->start), 0);
		return;
	}
	assert_int_equal(guest_lost_position(g, queue, &r->start), -ENOENT);
	guest_ring_init(g, queue, 0);
	if (queue % 2 == 0)
		guest_fill(g, queue);
}

/* The queues of a new device, from where the old one stood. */
static void resume_lost(struct guest *g)
{
	assert_int_equal(guest_setup(g), 0);
	for (uint16_t i = 0; i < g->n_queues; i++)
		find_start(g, i);
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
	assert_int_equal(guest_next_event(a, &event), -EAGAIN); /* once will do */
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(a->ops->get_config(a->device, &config), -ENODEV);
	assert_int_equal(guest_stop(a, at), -ENODEV);
	if (suite_rig(state)->waits & BIT(RIG_CALL_PREPARE))
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
	assert_int_equal(guest_next_event(a, &event), -EAGAIN);
	assert_true(guest_start(a) < 0);
	assert_true(guest_prepare(a) < 0); /* no map is there any more */
	resume_lost(a);
	assert_works(state, a);
}

static void assert_stood_where_the_rings_say(struct guest *g)
{
	struct queue_position at;

	for (uint16_t i = 0; i < 2; i++) {
		assert_int_equal(guest_lost_position(g, i, &at), 0);
		assert_int_equal(at.used, g->rings[i].at.used);
		assert_int_equal(at.used_wrap, g->rings[i].at.used_wrap);
	}
	assert_true(queue_position_equal(at, g->rings[1].at));
}

static void lost_positions_are_where_the_ring_says(void **state)
{
	struct guest *a = suite_guest_sized(state, 1, 8);

	suite_need_known_positions(a);
	guest_run(a);
	for (uint32_t n = 1; n <= 4; n++) {
		struct guest *b = suite_peer(state);

		guest_exchange(a, b, 3 * n);
		guest_exchange(b, a, 5 * n);
		lose(state);
		assert_stood_where_the_rings_say(a);
		assert_int_equal(reopen(a), 0);
		assert_stood_where_the_rings_say(a);
		suite_need_any_position(a);
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
	if (!a->ops->caps(a->device)->in_order && guest_lost_position(a, 1, at) == -ENOENT)
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

	if (a->ops->caps(a->device)->ring_positions)
		skip(); /* whether it ran or not */
	suite_need(state, RIG_OWN_POSITIONS);
	assert_int_equal(guest_prepare(a), 0);
	lose(state);
	assert_int_equal(reopen(a), 0);
	assert_int_equal(guest_lost_position(a, 1, &at), -ENOENT);
	assert_int_equal(at.avail, 77);
}

static void a_device_that_was_replaced_meanwhile_is_told_to_the_next_instance(void **state)
{
	struct guest *a = suite_guest(state, 1);
	enum driver_event_kind kind;

	guest_run(a);
	guest_close(a);
	lose(state);
	assert_int_equal(guest_open(a), 0);
	kind = guest_wait_event(a).kind;
	assert_true(kind == DRIVER_EVENT_REPLACED || kind == DRIVER_EVENT_GONE);
	assert_int_equal(reopen(a), 0);
	resume_lost(a);
	assert_works(state, a);
}

static int open_without(struct guest *g)
{
	int r = g->ops->open(NULL, 0, &g->keeper, &g->device);

	if (r == -EOPNOTSUPP)
		skip();
	return r;
}

static void a_device_that_is_gone_is_opened_by_what_is_kept_of_it(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	const struct driver_caps before = *a->ops->caps(a->device);
	const struct driver_caps *after;
	struct driver_queue_stats stats;
	struct driver_event event;

	suite_need_known_positions(a);
	guest_run(a);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 5);
	guest_close(a);
	lose(state);
	assert_int_equal(open_without(a), 0);
	after = a->ops->caps(a->device);
	assert_true(after->features == before.features && after->n_queues == before.n_queues &&
		    after->max_queue_size == before.max_queue_size &&
		    after->start_position == before.start_position &&
		    after->in_order == before.in_order && after->dirty_log == before.dirty_log);
	assert_stood_where_the_rings_say(a);
	assert_int_equal(a->ops->queue_stats(a->device, 1, &stats), 0);
	if (!suite_lacks(state, RIG_FIGURES))
		assert_int_equal(stats.completed_desc, 3);
	assert_int_equal(a->ops->next_event(a->device, &event), -EAGAIN);
	assert_int_equal(a->ops->reset(a->device), -ENODEV);
	assert_int_equal(guest_prepare(a), -ENODEV);
	assert_int_equal(reopen(a), 0);
	if (before.start_position == DRIVER_START_INITIAL)
		return; /* the rest is a relay's */
	resume_lost(a);
	assert_works(state, a);
}

static void nothing_is_known_of_a_device_that_was_never_there(void **state)
{
	struct guest *a = suite_guest(state, 1);
	static uint64_t nothing[DRIVER_MAX_DEVICE_FDS * 64];
	struct driver_keeper keeper = a->keeper;

	guest_close(a);
	keeper.state = nothing;
	assert_true(a->ops->open(NULL, 0, &keeper, &a->device) < 0);
	assert_null(a->device);
	assert_int_equal(guest_open(a), 0);
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
	BOTH(a_device_that_is_gone_is_opened_by_what_is_kept_of_it),
	ONCE(nothing_is_known_of_a_device_that_was_never_there),
	{ 0 },
};
