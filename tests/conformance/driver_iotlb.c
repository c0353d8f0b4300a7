/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses that need a translation: @iotlb_update, @iotlb_invalidate, @queue_miss. And the page that
 * kicks: @doorbell. The guest's memory is mapped elsewhere than its driver believes, so that nothing
 * works by chance.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <sys/mman.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define ELSEWHERE (1ULL << 40) /* so much further the memory is mapped */
#define PAGE	  4096ULL

static const uint32_t both = DRIVER_PERM_READ | DRIVER_PERM_WRITE;

static int update(struct guest *g, uint64_t iova, uint64_t size, uint32_t perm)
{
	return g->ops->iotlb_update(g->device,
		&(struct driver_iotlb){
			.iova = iova, .size = size, .address = iova + ELSEWHERE, .perm = perm });
}

/* Nothing is translated yet. */
static struct guest *translated_guest(void **state)
{
	struct guest *g = suite_guest(state, 1);
	struct driver_map map = guest_map(g);

	if (!g->ops->caps(g->device)->iotlb)
		skip();
	assert_int_equal(g->ops->unmap(g->device, map.iova, map.size), 0);
	map.iova += ELSEWHERE;
	assert_int_equal(g->ops->map(g->device, &map), 0);
	g->features |= BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	assert_int_equal(g->ops->set_features(g->device, g->features), 0);
	return g;
}

/* Its rings are, and run; its buffers are not. */
static struct guest *running_guest(void **state)
{
	struct guest *g = translated_guest(state);

	for (uint16_t i = 0; i < 2; i++)
		assert_int_equal(update(g, g->rings[i].desc, g->rings[i].buffers - g->rings[i].desc, both), 0);
	guest_fill(g, 0);
	assert_int_equal(guest_prepare(g), 0);
	assert_int_equal(guest_start(g), 0);
	return g;
}

static int tell_buffers(struct guest *g, uint16_t queue, uint32_t perm)
{
	return update(g, g->rings[queue].buffers, g->rings[queue].size * (uint64_t)GUEST_BUFFER, perm);
}

static struct driver_miss wait_miss(struct guest *g, uint16_t queue)
{
	const struct driver_event event = guest_wait_event(g);
	struct driver_miss miss;

	assert_int_equal(event.kind, DRIVER_EVENT_MISS);
	assert_int_equal(event.queue, queue);
	assert_int_equal(g->ops->queue_miss(g->device, queue, &miss), 0);
	assert_false(miss.refused);
	return miss;
}

static void a_ring_that_is_not_translated_is_not_prepared(void **state)
{
	struct guest *g = translated_guest(state);
	struct guest_ring *ring = &g->rings[0];

	assert_int_equal(guest_prepare(g), -EFAULT);
	assert_int_equal(update(g, ring->desc, ring->buffers - ring->desc, DRIVER_PERM_READ), 0);
	assert_int_equal(guest_prepare(g), -EFAULT); /* the device writes to it, too */
}

static void a_queue_waits_for_what_it_needs_and_goes_on(void **state)
{
	struct guest *g = running_guest(state), *peer = suite_peer(state);
	struct driver_miss miss;

	assert_int_equal(g->ops->queue_miss(g->device, 1, &miss), -ENOENT);
	assert_true(guest_offer_frame(g, 0, peer->nic_device->mac, 7) >= 0);
	guest_kick(g, 1);
	miss = wait_miss(g, 1);
	assert_int_equal(miss.iova, g->rings[1].buffers);
	assert_int_equal(miss.perm, DRIVER_PERM_READ);
	assert_int_equal(tell_buffers(g, 1, DRIVER_PERM_READ), 0);
	assert_int_equal(guest_receive(peer), 7);
	assert_true(guest_wait(g, 1, NULL) >= 0);
	assert_int_equal(g->ops->queue_miss(g->device, 1, &miss), -ENOENT);
}

static void a_frame_waits_for_its_buffer(void **state)
{
	struct guest *g = running_guest(state), *peer = suite_peer(state);
	struct driver_miss miss;

	guest_send(peer, 0, g->nic_device->mac, 8);
	miss = wait_miss(g, 0);
	assert_int_equal(miss.perm, DRIVER_PERM_WRITE);
	guest_send(peer, 0, g->nic_device->mac, 9);
	assert_int_equal(tell_buffers(g, 0, DRIVER_PERM_WRITE), 0);
	assert_int_equal(guest_receive(g), 8);
	assert_int_equal(guest_receive(g), 9);
}

static void what_was_taken_back_is_not_used(void **state)
{
	struct guest *g = running_guest(state), *peer = suite_peer(state);
	struct guest_ring *ring = &g->rings[1];

	assert_int_equal(tell_buffers(g, 0, both), 0);
	assert_int_equal(tell_buffers(g, 1, both), 0);
	guest_exchange(g, peer, 3);
	assert_int_equal(g->ops->iotlb_invalidate(g->device, ring->buffers, UINT64_MAX), 0);
	assert_true(guest_offer_frame(g, 0, peer->nic_device->mac, 4) >= 0);
	guest_kick(g, 1);
	wait_miss(g, 1);
	assert_int_equal(tell_buffers(g, 1, both), 0);
	assert_int_equal(guest_receive(peer), 4);
}

static void a_running_ring_is_not_moved_and_a_stopped_one_is_prepared_again(void **state)
{
	struct guest *g = running_guest(state);
	const uint64_t desc = g->rings[0].desc;
	const struct driver_iotlb moved = {
		.iova = desc, .size = PAGE, .address = desc + ELSEWHERE + PAGE, .perm = both };
	struct queue_position positions[QUEUE_MAX];

	assert_int_equal(g->ops->iotlb_invalidate(g->device, desc, 1), -EBUSY);
	assert_int_equal(g->ops->iotlb_update(g->device, &moved), -EBUSY);
	assert_int_equal(update(g, desc, g->rings[0].buffers - desc, both), 0); /* as it is */
	assert_int_equal(guest_stop(g, positions), 0);
	assert_int_equal(g->ops->iotlb_invalidate(g->device, desc, 1), 0);
	assert_int_equal(guest_start(g), -EINVAL);
}

/* Told by other pieces than before, as by a guest that maps large pages. */
static void a_running_ring_that_stays_where_it_is_runs_on(void **state)
{
	struct guest *g = running_guest(state), *peer = suite_peer(state);

	for (uint16_t i = 0; i < 2; i++) {
		const struct guest_ring *r = &g->rings[i];

		assert_int_equal(update(g, r->desc, PAGE, both), 0);
		assert_int_equal(update(g, r->device, 2 * PAGE, both), 0);
		assert_int_equal(update(g, r->device, PAGE, DRIVER_PERM_READ), -EBUSY);
	}
	assert_int_equal(update(g, GUEST_BASE, GUEST_MEMORY, both), 0);
	guest_exchange(g, peer, 3);
	guest_exchange(peer, g, 3);
}

static void a_queue_that_waits_can_be_stopped_and_says_nothing_any_more(void **state)
{
	struct guest *g = running_guest(state), *peer = suite_peer(state);
	struct queue_position positions[QUEUE_MAX];
	struct driver_miss miss;

	assert_true(guest_offer_frame(g, 0, peer->nic_device->mac, 7) >= 0);
	guest_kick(g, 1);
	wait_miss(g, 1);
	assert_int_equal(guest_stop(g, positions), 0);
	assert_int_equal(positions[1].avail, g->rings[1].start.avail);
	assert_int_equal(g->ops->queue_miss(g->device, 1, &miss), -ENOENT);
}

static void whoever_opens_the_device_can_ask_what_a_queue_waits_for(void **state)
{
	struct guest *g = running_guest(state), *peer = suite_peer(state);
	struct driver_miss miss;

	assert_true(guest_offer_frame(g, 0, peer->nic_device->mac, 7) >= 0);
	guest_kick(g, 1);
	wait_miss(g, 1);
	guest_close(g);
	assert_int_equal(guest_open(g), 0);
	assert_int_equal(g->ops->queue_miss(g->device, 1, &miss), 0);
	assert_int_equal(miss.iova, g->rings[1].buffers);
	assert_int_equal(tell_buffers(g, 1, both), 0);
	assert_int_equal(guest_receive(peer), 7);
}

static void what_is_not_permitted_gives_the_queue_up(void **state)
{
	struct guest *g = running_guest(state), *peer = suite_peer(state);
	struct driver_event event;
	struct driver_miss miss;

	assert_int_equal(tell_buffers(g, 0, DRIVER_PERM_READ), 0);
	guest_send(peer, 0, g->nic_device->mac, 8);
	event = guest_wait_event(g);
	assert_int_equal(event.kind, DRIVER_EVENT_QUEUE_ERROR);
	assert_int_equal(event.queue, 0);
	assert_int_equal(g->ops->queue_miss(g->device, 0, &miss), 0);
	assert_true(miss.refused);
	assert_int_equal(miss.perm, DRIVER_PERM_WRITE);
}

static void the_table_is_empty_after_features_and_reset(void **state)
{
	struct guest *g = translated_guest(state);

	for (uint16_t i = 0; i < 2; i++)
		assert_int_equal(update(g, g->rings[i].desc, g->rings[i].buffers - g->rings[i].desc, both), 0);
	assert_int_equal(guest_prepare(g), 0);
	assert_int_equal(g->ops->set_features(g->device, g->features), 0);
	assert_int_equal(guest_prepare(g), -EFAULT);
	assert_int_equal(g->ops->reset(g->device), 0);
	assert_int_equal(update(g, g->rings[0].desc, PAGE, both), -EINVAL);
}

static void a_page_kicks_where_there_is_one(void **state)
{
	struct guest *g = suite_guest(state, 1), *peer = suite_peer(state);
	_cleanup_close_ int fd = -1;
	uint64_t offset;
	uint8_t *page;
	int none = -1;

	if (!g->ops->caps(g->device)->doorbell)
		skip();
	guest_run(g);
	assert_int_equal(g->ops->doorbell(g->device, true, 1, &fd, &offset), 0);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	assert_ptr_not_equal(page, MAP_FAILED);
	for (uint32_t i = 0; i < 5; i++) {
		assert_true(guest_offer_frame(g, 0, peer->nic_device->mac, i) >= 0);
		*(volatile uint16_t *)(void *)page = 1;
		assert_int_equal(guest_receive(peer), i);
		assert_true(guest_wait(g, 1, NULL) >= 0);
	}
	assert_int_equal(g->ops->doorbell(g->device, false, 1, &none, &offset), 0);
	munmap(page, PAGE);
	guest_exchange(g, peer, 2);
}

const struct suite_test driver_iotlb_tests[] = {
	BOTH(a_ring_that_is_not_translated_is_not_prepared),
	BOTH(a_queue_waits_for_what_it_needs_and_goes_on),
	BOTH(a_frame_waits_for_its_buffer),
	BOTH(what_was_taken_back_is_not_used),
	BOTH(a_running_ring_is_not_moved_and_a_stopped_one_is_prepared_again),
	BOTH(a_running_ring_that_stays_where_it_is_runs_on),
	BOTH(a_queue_that_waits_can_be_stopped_and_says_nothing_any_more),
	BOTH(whoever_opens_the_device_can_ask_what_a_queue_waits_for),
	BOTH(what_is_not_permitted_gives_the_queue_up),
	BOTH(the_table_is_empty_after_features_and_reset),
	BOTH(a_page_kicks_where_there_is_one),
	{ 0 },
};
