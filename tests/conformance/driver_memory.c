/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Maps: what a device reaches, and that it reaches nothing else. Ring addresses and buffer
 * addresses are checked at different times, so both are tried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define BEYOND (GUEST_BASE + GUEST_MEMORY)

static int new_file(size_t size)
{
	int fd = memfd_create("more", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void a_range_is_mapped_and_unmapped_twice(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	const struct driver_map map = guest_map(a);

	assert_int_equal(a->ops->map(a->device, &map), 0);
	assert_int_equal(a->ops->unmap(a->device, map.iova, map.size), 0);
	assert_int_equal(a->ops->unmap(a->device, map.iova, map.size), 0);
	assert_int_equal(a->ops->unmap(a->device, 0x5000, 0x1000), 0);
	assert_int_equal(a->ops->map(a->device, &map), 0);
	guest_run(a);
	guest_exchange(a, b, 3);
}

static void ranges_that_overlap_are_refused(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	_cleanup_close_ int fd = new_file(3 * 4096);
	const uint64_t begins[] = { GUEST_BASE - 4096, GUEST_BASE + 4096, BEYOND - 4096 };
	struct driver_map map = { .size = 2 * 4096, .fd = fd, .perm = DRIVER_PERM_READ };

	for (size_t i = 0; i < ARRAY_SIZE(begins); i++) {
		map.iova = begins[i];
		assert_int_equal(a->ops->map(a->device, &map), -EEXIST);
	}
	map.iova = BEYOND; /* next to it is not over it */
	assert_int_equal(a->ops->map(a->device, &map), 0);
	guest_run(a);
	guest_exchange(a, b, 3);
}

static void a_file_that_is_no_memory_or_too_short_is_refused(void **state)
{
	struct guest *a = suite_guest(state, 1);
	_cleanup_close_ int file = new_file(4096), event = eventfd(0, EFD_CLOEXEC);
	const struct driver_map cases[] = {
		{ .iova = BEYOND, .size = 4096, .fd = event, .perm = DRIVER_PERM_READ },
		{ .iova = BEYOND, .size = 8192, .fd = file, .perm = DRIVER_PERM_READ },
		{ .iova = BEYOND, .size = 4096, .fd = file, .offset = 4096,
			.perm = DRIVER_PERM_READ },
		{ .iova = BEYOND, .size = 4096, .fd = file, .offset = UINT64_MAX - 4095,
			.perm = DRIVER_PERM_READ },
	};
	const struct driver_map good = { .iova = BEYOND, .size = 4096, .fd = file,
		.perm = DRIVER_PERM_READ };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(a->ops->map(a->device, &cases[i]), -EINVAL);
	assert_int_equal(a->ops->map(a->device, &good), 0);
}

static void files_stay_the_callers(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	int lent[4] = { dup(a->memory_fd), dup(a->rings[1].kick), dup(a->rings[1].call),
		dup(a->rings[1].err) };
	struct driver_map map = guest_map(a);
	struct driver_queue q = guest_facts(a, 1);

	assert_int_equal(a->ops->unmap(a->device, map.iova, map.size), 0);
	map.fd = lent[0];
	q.kick_fd = lent[1];
	q.call_fd = lent[2];
	q.err_fd = lent[3];
	assert_int_equal(a->ops->map(a->device, &map), 0);
	assert_int_equal(a->ops->prepare(a->device, &q, 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lent); i++)
		assert_int_equal(close(lent[i]), 0);

	const struct queue_set tx = guest_set(1, 1);

	assert_int_equal(a->ops->start(a->device, &tx), 0);
	guest_exchange(a, b, 3);
	guest_wait_count(a->rings[1].call);
}

static void memory_below_a_running_queues_ring_stays(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct queue_position at[QUEUE_MAX];

	guest_run(a);
	assert_int_equal(a->ops->unmap(a->device, GUEST_BASE, GUEST_MEMORY), -EBUSY);
	guest_exchange(a, b, 3);
	assert_int_equal(guest_stop(a, at), 0);
	assert_int_equal(a->ops->unmap(a->device, GUEST_BASE, GUEST_MEMORY), 0);
}

/* Without the event index there is nothing behind a ring's entries, and nobody looks. */
static void a_ring_may_end_where_memory_ends(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	const uint64_t end = GUEST_BASE + GUEST_MEMORY, size = a->rings[0].size;
	const uint64_t driver = a->packed ? 4 : 4 + 2 * size, device = a->packed ? 4 : 4 + 8 * size;

	a->rings[1].driver = end - driver + 4;
	assert_int_equal(guest_prepare(a), -EFAULT);
	a->rings[1].driver = end - driver;
	a->rings[0].device = end - driver - device;
	guest_run(a);
	guest_exchange(a, b, 2 * (uint32_t)size);
	guest_exchange(b, a, 2 * (uint32_t)size);
	assert_int_equal(a->ops->reset(a->device), 0);

	for (uint16_t i = 0; i < 2; i++)
		guest_ring_init(a, i, 0);
	a->rings[0].device = end - device;
	a->rings[1].driver = end - driver - device;
	memset(guest_at(a, a->rings[1].driver), 0, driver + device);
	assert_int_equal(guest_setup(a), 0);
	guest_run(a);
	guest_exchange(a, b, 2 * (uint32_t)size);
	guest_exchange(b, a, 2 * (uint32_t)size);
}

static void a_queue_whose_ring_was_unmapped_is_prepared_again(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	const struct driver_map map = guest_map(a);

	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(a->ops->unmap(a->device, map.iova, map.size), 0);
	assert_true(guest_start(a) < 0);
	assert_int_equal(guest_prepare(a), -EFAULT);
	assert_int_equal(a->ops->map(a->device, &map), 0);
	assert_true(guest_start(a) < 0);
	guest_run(a);
	guest_exchange(a, b, 3);
}

static void rings_outside_the_map_are_refused(void **state)
{
	struct guest *a = suite_guest(state, 1);
	const uint64_t places[] = { 0, 0x1000, GUEST_BASE - 16, BEYOND - 16, BEYOND,
		UINT64_MAX - 15 };

	for (size_t i = 0; i < 3 * ARRAY_SIZE(places); i++) {
		struct driver_queue q = guest_facts(a, 1);
		uint64_t *const areas[] = { &q.desc, &q.driver, &q.device };

		if (i % 3 > 0 && a->packed && places[i / 3] == BEYOND - 16)
			continue; /* an event area has room there */
		*areas[i % 3] = places[i / 3];
		assert_int_equal(a->ops->prepare(a->device, &q, 1), -EFAULT);
	}
}

static void a_ring_must_be_writable_where_the_device_writes(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct driver_map map = guest_map(a);

	assert_int_equal(a->ops->unmap(a->device, map.iova, map.size), 0);
	map.perm = DRIVER_PERM_READ;
	assert_int_equal(a->ops->map(a->device, &map), 0);
	assert_int_equal(guest_prepare(a), -EFAULT);
}

/* ------------------------------------------------------------------- buffers outside */

static void wait_failed(struct guest *g, uint16_t queue)
{
	uint64_t since = clock_now_ns();
	struct driver_queue_stats stats;

	do {
		assert_int_equal(g->ops->queue_stats(g->device, queue, &stats), 0);
		if (!stats.failed)
			guest_pause(since, "a queue to fail");
	} while (!stats.failed);
	assert_false(stats.running);
	assert_true(stats.errors > 0);
}

static void assert_given_up(struct guest *g, uint16_t queue)
{
	struct driver_event event;

	guest_wait_count(g->rings[queue].err);
	wait_failed(g, queue);
	event = guest_wait_event(g);
	assert_int_equal(event.kind, DRIVER_EVENT_QUEUE_ERROR);
	assert_int_equal(event.queue, queue);
}

static void renew_ring(struct guest *g, uint16_t queue)
{
	struct driver_queue q;

	guest_ring_init(g, queue, 0);
	if (queue % 2 == 0)
		guest_fill(g, queue);
	q = guest_facts(g, queue);
	assert_int_equal(g->ops->prepare(g->device, &q, 1), 0);
}

/* Stopped, with a ring that obeys the rules, it works again; the others with it, where they must. */
static void assert_recovers(struct guest *g, uint16_t queue)
{
	bool together = g->ops->caps(g->device)->together;
	const struct queue_set set = together ? guest_set(0, g->n_queues - 1U) : guest_set(queue, queue);
	struct queue_position at[QUEUE_MAX];

	assert_int_equal(g->ops->stop(g->device, &set, at), 0);
	for (uint16_t i = 0; i < g->n_queues; i++) {
		if (queue_set_has(&set, i))
			renew_ring(g, i);
	}
	assert_int_equal(g->ops->start(g->device, &set), 0);
}

struct bad_buffer {
	uint64_t iova;
	uint32_t size;
};

static const struct bad_buffer bad_buffers[] = {
	{ 0x1000, 100 }, { GUEST_BASE - 50, 100 }, { BEYOND - 50, 100 }, { BEYOND, 100 },
	{ UINT64_MAX - 50, 100 },
};

static void a_transmit_buffer_outside_the_map_fails_that_queue_only(void **state)
{
	struct guest *a = suite_guest(state, 2), *b = suite_peer(state);

	suite_need(state, RIG_QUEUE_ERRORS);
	guest_run(a);
	for (size_t i = 0; i < ARRAY_SIZE(bad_buffers); i++) {
		guest_add_at(a, 3, bad_buffers[i].iova, bad_buffers[i].size);
		guest_kick(a, 3);
		assert_given_up(a, 3);
		guest_exchange(a, b, 3);
		guest_exchange(b, a, 3);
		assert_recovers(a, 3);
		guest_send(a, 1, b->nic_device->mac, 77);
		assert_int_equal(guest_receive(b), 77);
	}
}

static void a_receive_buffer_outside_the_map_fails_that_queue_only(void **state)
{
	struct guest *b = suite_peer(state), *c = suite_peer(state);

	suite_need(state, RIG_QUEUE_ERRORS);
	for (size_t i = 0; i < ARRAY_SIZE(bad_buffers); i++) {
		struct guest *a = suite_guest(state, 1);

		assert_int_equal(guest_prepare(a), 0);
		assert_int_equal(guest_start(a), 0);
		guest_add_at(a, 0, bad_buffers[i].iova, bad_buffers[i].size);
		guest_send(b, 0, a->nic_device->mac, 1);
		assert_given_up(a, 0);
		guest_exchange(a, b, 3); /* its transmit queue goes on */
		guest_exchange(b, c, 3);
		assert_recovers(a, 0);
		guest_exchange(b, a, 3);
	}
}

static void assert_device_fails(void **state, struct guest *g)
{
	struct driver_event event;

	do
		event = guest_wait_event(g);
	while (suite_lacks(state, RIG_EXACT_CONFIG) && event.kind == DRIVER_EVENT_CONFIG);
	assert_int_equal(event.kind, DRIVER_EVENT_FAILED);
}

static void begin_anew(struct guest *g)
{
	assert_int_equal(g->ops->reset(g->device), 0);
	for (uint16_t i = 0; i < g->n_queues; i++)
		guest_ring_init(g, i, 0);
	assert_int_equal(guest_setup(g), 0);
}

static void a_buffer_outside_the_map_fails_the_device_until_its_reset(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state), *c = suite_peer(state);

	if (!suite_lacks(state, RIG_QUEUE_ERRORS))
		skip();
	for (size_t i = 0; i < 2 * ARRAY_SIZE(bad_buffers); i++) {
		const struct bad_buffer *bad = &bad_buffers[i / 2];
		uint16_t queue = i % 2;

		assert_int_equal(guest_prepare(a), 0);
		assert_int_equal(guest_start(a), 0);
		guest_add_at(a, queue, bad->iova, bad->size);
		guest_kick(a, queue);
		if (queue == 0)
			guest_send(b, 0, a->nic_device->mac, 1);
		assert_device_fails(state, a);
		assert_int_equal(guest_take(a, queue, NULL), -1);
		guest_exchange(b, c, 3);
		begin_anew(a);
	}
	guest_run(a);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
}

static void assert_fails(void **state, struct guest *g, struct guest *peer, uint16_t queue)
{
	if (suite_lacks(state, RIG_QUEUE_ERRORS)) {
		assert_device_fails(state, g);
		return;
	}
	assert_given_up(g, queue);
	guest_exchange(g, peer, 3);
}

static void memory_that_was_unmapped_is_not_reached_any_more(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	_cleanup_close_ int fd = new_file(4096);
	const struct driver_map more = { .iova = BEYOND, .size = 4096, .fd = fd,
		.perm = DRIVER_PERM_READ | DRIVER_PERM_WRITE };
	uint8_t before[4096], after[4096];
	uint32_t size;

	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(guest_start(a), 0);
	assert_int_equal(a->ops->map(a->device, &more), 0);
	guest_add_at(a, 0, BEYOND, GUEST_BUFFER);
	guest_kick(a, 0);
	guest_send(b, 0, a->nic_device->mac, 1);
	guest_wait(a, 0, &size);
	assert_int_equal(size, GUEST_HEADER + 60);

	assert_int_equal(a->ops->unmap(a->device, BEYOND, 4096), 0);
	assert_int_equal(pread(fd, before, sizeof(before), 0), sizeof(before));
	guest_add_at(a, 0, BEYOND, GUEST_BUFFER);
	guest_kick(a, 0);
	guest_send(b, 0, a->nic_device->mac, 2);
	assert_fails(state, a, b, 0);
	assert_int_equal(pread(fd, after, sizeof(after), 0), sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
}

const struct suite_test driver_memory_tests[] = {
	ONCE(a_range_is_mapped_and_unmapped_twice),
	ONCE(ranges_that_overlap_are_refused),
	ONCE(a_file_that_is_no_memory_or_too_short_is_refused),
	ONCE(files_stay_the_callers),
	BOTH(memory_below_a_running_queues_ring_stays),
	BOTH(a_ring_may_end_where_memory_ends),
	BOTH(a_queue_whose_ring_was_unmapped_is_prepared_again),
	BOTH(rings_outside_the_map_are_refused),
	BOTH(a_ring_must_be_writable_where_the_device_writes),
	BOTH(a_transmit_buffer_outside_the_map_fails_that_queue_only),
	BOTH(a_receive_buffer_outside_the_map_fails_that_queue_only),
	BOTH(a_buffer_outside_the_map_fails_the_device_until_its_reset),
	BOTH(memory_that_was_unmapped_is_not_reached_any_more),
	{ 0 },
};
