/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory whose pages are still on their way: @postcopy_advise to @postcopy_end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/conformance/driver_mover.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

/* One frame waits in the transmit ring, and nothing of it has come. */
static void set_off(void **state, struct mover *m, struct guest *to, bool deaf)
{
	struct guest *g = mover_guest(state, 1);

	guest_fill(g, 0);
	assert_true(guest_offer_frame(g, 0, to->nic_device->mac, 4711) >= 0);
	mover_begin(m, g);
	assert_int_equal(guest_prepare(g), 0);
	assert_int_equal(guest_start(g), 0);
	mover_run(m, deaf);
}

static void assert_lives(struct guest *a, struct guest *b)
{
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
}

static void pages_come_when_the_device_needs_them(void **state)
{
	struct guest *peer = suite_peer(state);
	struct mover m;

	set_off(state, &m, peer, false);
	assert_int_equal(guest_receive(peer), 4711);
	assert_true(m.n_asked >= 3);
	assert_false(mover_has(&m, GUEST_BASE + GUEST_MEMORY - 1)); /* only what was needed */
	mover_land(&m);
	assert_true(guest_wait(m.guest, 1, NULL) >= 0);
	assert_lives(m.guest, peer);
}

static void frames_arrive_in_buffers_that_come_when_they_are_needed(void **state)
{
	struct guest *peer = suite_peer(state);
	struct mover m;
	uint64_t since = clock_now_ns();
	struct driver_device_stats stats;

	set_off(state, &m, peer, false);
	do { /* a frame without a buffer is dropped, and tells which page is missing */
		guest_send(peer, 0, m.guest->nic_device->mac, 5);
		assert_int_equal(m.guest->ops->device_stats(m.guest->device, &stats), 0);
		guest_pause(since, "a frame to find its buffer");
	} while (stats.rx_frames == 0);
	mover_land(&m);
	assert_int_equal(guest_receive(m.guest), 5);
}

static void nothing_is_asked_for_and_no_page_made_before_register(void **state)
{
	struct guest *g = mover_guest(state, 1), *peer = suite_peer(state);
	struct mover m;

	guest_fill(g, 0);
	assert_true(guest_offer_frame(g, 0, peer->nic_device->mac, 1) >= 0);
	mover_begin(&m, g);
	assert_int_equal(guest_prepare(g), 0);
	assert_int_equal(guest_start(g), 0);
	guest_kick(g, 1);
	guest_send(peer, 0, g->nic_device->mac, 2); /* its device has looked at both queues */
	for (uint64_t at = 0; at < GUEST_MEMORY; at += 4096)
		assert_false(mover_has(&m, GUEST_BASE + at));
	mover_run(&m, false);
	assert_int_equal(guest_receive(peer), 1);
	mover_free(&m);
	close_keep_errno(m.target);
}

static void others_go_on_while_a_page_is_missing(void **state)
{
	struct guest *b = suite_peer(state), *c = suite_peer(state);
	uint64_t since = clock_now_ns();
	struct mover m;

	set_off(state, &m, b, true);
	mover_wait_asked(&m, 1);
	while (clock_now_ns() - since < 1000 * NS_PER_MS) {
		guest_exchange(b, c, 3);
		guest_exchange(c, b, 3);
		guest_kick(m.guest, 1);
		guest_send(b, 0, m.guest->nic_device->mac, 7); /* to whom nothing can be given */
	}
	assert_int_equal(m.n_asked, 1);
	m.deaf = false;
	for (uint64_t at = 0; at < GUEST_MEMORY; at += 4096)
		mover_give(&m, GUEST_BASE + at);
	assert_int_equal(guest_receive(b), 4711);
	mover_land(&m);
	assert_true(guest_wait(m.guest, 1, NULL) >= 0);
	assert_lives(m.guest, b);
}

static void a_reset_does_not_wait_for_pages(void **state)
{
	struct guest *peer = suite_peer(state);
	struct mover m;

	set_off(state, &m, peer, true);
	mover_wait_asked(&m, 1);
	assert_int_equal(m.guest->ops->reset(m.guest->device), 0);
	for (uint64_t at = 0; at < GUEST_MEMORY; at += 4096)
		assert_false(mover_has(&m, GUEST_BASE + at));
	mover_free(&m);
	close_keep_errno(m.target);
	guest_ring_init(m.guest, 0, 0);
	guest_ring_init(m.guest, 1, 0);
	assert_int_equal(guest_setup(m.guest), 0);
	guest_run(m.guest);
	assert_lives(m.guest, peer);
}

static void a_queue_stops_while_its_page_is_missing(void **state)
{
	struct guest *peer = suite_peer(state);
	struct queue_position at[QUEUE_MAX];
	struct mover m;

	set_off(state, &m, peer, true);
	mover_wait_asked(&m, 1);
	assert_int_equal(guest_stop(m.guest, at), 0);
	if (guest_knows_positions(m.guest))
		assert_true(queue_position_equal(at[1], queue_position_initial(m.guest->packed)));
	assert_int_equal(m.guest->ops->unmap(m.guest->device, GUEST_BASE, GUEST_MEMORY), 0);
	assert_false(mover_has(&m, m.guest->rings[1].desc));
	mover_free(&m);
	close_keep_errno(m.target);
}

static void the_end_sets_all_queues_free(void **state)
{
	struct guest *peer = suite_peer(state);
	struct mover m;

	set_off(state, &m, peer, true);
	mover_wait_asked(&m, 1);
	mover_land(&m);
	assert_int_equal(guest_receive(peer), 4711);
	assert_true(guest_wait(m.guest, 1, NULL) >= 0);
	assert_lives(m.guest, peer);
	assert_int_equal(m.guest->ops->postcopy_end(m.guest->device), 0); /* once more */
}

static void the_used_index_is_the_rings(void **state)
{
	struct guest *g = mover_guest(state, 1), *peer = suite_peer(state);
	struct queue_position at[QUEUE_MAX];
	struct mover m;

	if (g->packed)
		skip();
	suite_need_any_position(g);
	guest_ring_init(g, 1, 100);
	assert_true(guest_offer_frame(g, 0, peer->nic_device->mac, 1) >= 0);
	assert_true(guest_offer_frame(g, 0, peer->nic_device->mac, 2) >= 0);
	g->rings[1].start.avail = g->rings[1].start.used = 101; /* the first one was taken */
	mover_begin(&m, g);
	assert_int_equal(guest_prepare(g), 0);
	assert_int_equal(guest_start(g), 0);
	mover_run(&m, false);
	assert_int_equal(guest_receive(peer), 2);
	assert_int_equal(guest_stop(g, at), 0);
	assert_int_equal(at[1].avail, 102);
	assert_int_equal(at[1].used, 101);
	mover_free(&m);
	close_keep_errno(m.target);
}

static void the_same_range_keeps_its_address(void **state)
{
	struct guest *g = mover_guest(state, 1);
	struct driver_map map = guest_map(g);
	uint64_t again;
	struct mover m;

	mover_begin(&m, g);
	map.fd = m.target;
	assert_int_equal(g->ops->postcopy_map(g->device, &map, &again), 0);
	assert_int_equal(again, m.address);
	map.iova += 4096;
	assert_int_equal(g->ops->postcopy_map(g->device, &map, &again), -EEXIST);
	mover_free(&m);
	close_keep_errno(m.target);
}

static void another_advise_gives_another_userfaultfd(void **state)
{
	struct guest *g = mover_guest(state, 1);
	const struct driver_map map = guest_map(g);
	int first, second;
	struct mover m;

	assert_int_equal(g->ops->postcopy_end(g->device), 0); /* without effect */
	for (int i = 0; i < 100; i++) {
		assert_int_equal(g->ops->postcopy_advise(g->device, &first), 0);
		assert_int_equal(g->ops->postcopy_advise(g->device, &second), 0);
		assert_int_not_equal(first, second);
		close(first);
		close(second);
	}
	mover_begin(&m, g);
	assert_int_equal(g->ops->postcopy_advise(g->device, &first), -EBUSY);
	mover_free(&m);
	close_keep_errno(m.target);
	assert_int_equal(g->ops->reset(g->device), 0);
	assert_int_equal(g->ops->map(g->device, &map), 0);
}

static void what_can_not_be_waited_for_is_refused(void **state)
{
	struct guest *g = mover_guest(state, 1);
	_cleanup_close_ int event = eventfd(0, EFD_CLOEXEC), uffd = -1;
	_cleanup_close_ int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct driver_map map = guest_map(g);
	uint64_t address;

	assert_int_equal(g->ops->unmap(g->device, map.iova, map.size), 0);
	assert_int_equal(g->ops->postcopy_map(g->device, &map, &address), -EINVAL);
	assert_int_equal(g->ops->postcopy_register(g->device), -EINVAL);
	assert_int_equal(g->ops->postcopy_advise(g->device, &uffd), 0);
	map.fd = event;
	assert_int_equal(g->ops->postcopy_map(g->device, &map, &address), -EINVAL);
	map.fd = sealed;
	assert_int_equal(g->ops->postcopy_map(g->device, &map, &address), -EINVAL);
	assert_int_equal(ftruncate(sealed, GUEST_MEMORY), 0);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(g->ops->postcopy_map(g->device, &map, &address), -EINVAL);
	map.fd = g->memory_fd;
	assert_int_equal(g->ops->postcopy_map(g->device, &map, &address), 0);
	assert_int_equal(g->ops->postcopy_register(g->device), 0);
}

const struct suite_test driver_postcopy_tests[] = {
	BOTH(pages_come_when_the_device_needs_them),
	BOTH(frames_arrive_in_buffers_that_come_when_they_are_needed),
	BOTH(nothing_is_asked_for_and_no_page_made_before_register),
	BOTH(others_go_on_while_a_page_is_missing),
	BOTH(a_reset_does_not_wait_for_pages),
	BOTH(a_queue_stops_while_its_page_is_missing),
	BOTH(the_end_sets_all_queues_free),
	BOTH(the_used_index_is_the_rings),
	ONCE(the_same_range_keeps_its_address),
	ONCE(another_advise_gives_another_userfaultfd),
	ONCE(what_can_not_be_waited_for_is_refused),
	{ 0 },
};
