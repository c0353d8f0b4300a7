/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's side of a device: its memory, the driver's instance, the keeper. Rings are in
 * driver_ring.c. Everything is checked; what fails ends the test.
 *
 * Memory: for each queue its ring, and behind it a buffer for each slot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/conformance/driver_guest.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define GUEST_MOST 16 /* at a time */

static struct guest *guests[GUEST_MOST]; /* those that there are */

static void enlist(struct guest *g)
{
	size_t at = 0;

	while (at < GUEST_MOST && guests[at])
		at++;
	assert_true(at < GUEST_MOST);
	guests[at] = g;
}

static void strike_off(const struct guest *g)
{
	for (size_t i = 0; i < GUEST_MOST; i++) {
		if (guests[i] == g)
			guests[i] = NULL;
	}
}

/* Once is enough for what is not yet known. */
static void note(struct guest *g, struct driver_event event)
{
	for (size_t i = 0; i < g->n_events; i++) {
		if (g->events[i].kind == event.kind && g->events[i].queue == event.queue)
			return;
	}
	assert_true(g->n_events < GUEST_EVENTS);
	g->events[g->n_events++] = event;
}

void guest_pump(struct guest *g)
{
	struct pollfd p = { .events = POLLIN };
	struct driver_event event;

	if (!g->device || !(g->rig->lacks & RIG_OWN_KICKS))
		return;
	p.fd = g->ops->event_fd(g->device);
	if (poll(&p, 1, 0) <= 0)
		return;
	while (g->ops->next_event(g->device, &event) == 0)
		note(g, event);
}

void guest_pause(uint64_t since_ns, const char *what)
{
	const struct timespec little = { .tv_nsec = 200000 };

	if (clock_now_ns() - since_ns > GUEST_PATIENCE_MS * NS_PER_MS)
		fail_msg("waited %d ms for %s", GUEST_PATIENCE_MS, what);
	for (size_t i = 0; i < GUEST_MOST; i++) {
		if (guests[i])
			guest_pump(guests[i]);
	}
	nanosleep(&little, NULL);
}

/* ----------------------------------------------------------------------------- keeper */

static struct guest *guest_of(struct driver_keeper *keeper)
{
	return (struct guest *)((char *)keeper - offsetof(struct guest, keeper));
}

static int keep_fd(struct driver_keeper *keeper, int fd)
{
	struct guest *g = guest_of(keeper);

	for (int i = 0; i < GUEST_KEPT; i++) {
		if (g->kept[i] < 0) {
			g->kept[i] = dup(fd);
			return i;
		}
	}
	return -ENOSPC;
}

static int get_fd(struct driver_keeper *keeper, int number)
{
	return number >= 0 && number < GUEST_KEPT ? guest_of(keeper)->kept[number] : -1;
}

static void drop_fd(struct driver_keeper *keeper, int number)
{
	struct guest *g = guest_of(keeper);

	assert_true(number >= 0 && number < GUEST_KEPT && g->kept[number] >= 0);
	g->kept[number] = close_keep_errno(g->kept[number]);
}

static int next_available(struct driver_keeper *keeper, uint16_t queue, struct queue_position *ret)
{
	struct guest *g = guest_of(keeper);

	assert_true(queue < g->n_queues);
	*ret = g->rings[queue].at;
	return 0;
}

/* ----------------------------------------------------------------------------- device */

void *guest_at(struct guest *g, uint64_t iova)
{
	assert_true(iova >= GUEST_BASE && iova < GUEST_BASE + GUEST_MEMORY);
	return g->memory + (iova - GUEST_BASE);
}

static uint64_t take_memory(struct guest *g, uint64_t size)
{
	uint64_t at = align_up(g->next, 4096);

	assert_true(at + size <= GUEST_MEMORY);
	g->next = at + size;
	return GUEST_BASE + at;
}

static void tell_fds(struct guest *g, uint16_t queue)
{
	const int fds[] = { g->rings[queue].kick, g->rings[queue].call, g->rings[queue].err };
	struct driver_queue_stats stats;

	assert_int_equal(g->ops->queue_stats(g->device, queue, &stats), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds) && stats.running; i++)
		assert_int_equal(g->ops->set_queue_fd(g->device, queue,
					 DRIVER_FD_KICK + (enum driver_queue_fd)i, fds[i]), 0);
}

int guest_open(struct guest *g)
{
	int r = g->ops->open(g->nic_device->fds, g->nic_device->n_fds, &g->keeper, &g->device);

	for (uint16_t i = 0; r == 0 && i < g->n_queues; i++) {
		if (g->ops->caps(g->device)->forgets_fds)
			tell_fds(g, i);
	}
	return r;
}

void guest_close(struct guest *g)
{
	g->n_events = 0;
	g->ops->close(g->device);
	g->device = NULL;
}

struct driver_map guest_map(struct guest *g)
{
	return (struct driver_map){
		.iova = GUEST_BASE,
		.size = GUEST_MEMORY,
		.fd = g->memory_fd,
		.perm = DRIVER_PERM_READ | DRIVER_PERM_WRITE,
	};
}

int guest_setup(struct guest *g)
{
	const struct driver_map map = guest_map(g);
	int r = g->ops->set_features(g->device, g->features);

	return r == 0 ? g->ops->map(g->device, &map) : r;
}

static void make_ring(struct guest *g, uint16_t queue, uint32_t size)
{
	struct guest_ring *r = &g->rings[queue];

	r->size = size;
	r->desc = take_memory(g, 16ULL * size);
	r->driver = take_memory(g, 6 + 2ULL * size);
	r->device = take_memory(g, 6 + 8ULL * size);
	r->buffers = take_memory(g, (uint64_t)GUEST_BUFFER * size);
	r->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r->err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_true(r->kick >= 0 && r->call >= 0 && r->err >= 0);
	guest_ring_init(g, queue, 0);
}

static void make_memory(struct guest *g)
{
	g->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(g->memory_fd >= 0);
	assert_int_equal(ftruncate(g->memory_fd, GUEST_MEMORY), 0);
	g->memory = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, g->memory_fd, 0);
	assert_ptr_not_equal(g->memory, MAP_FAILED);
}

void guest_rings_new(struct guest *g, uint16_t n_queues, uint32_t size)
{
	assert_true(n_queues <= GUEST_MAX_QUEUES && size <= GUEST_MAX_SIZE);
	g->n_queues = n_queues;
	make_memory(g);
	for (uint16_t i = 0; i < n_queues; i++)
		make_ring(g, i, size);
}

void guest_rings_free(struct guest *g)
{
	for (uint16_t i = 0; i < g->n_queues; i++) {
		close_keep_errno(g->rings[i].kick);
		close_keep_errno(g->rings[i].call);
		close_keep_errno(g->rings[i].err);
	}
	munmap(g->memory, GUEST_MEMORY);
	close_keep_errno(g->memory_fd);
}

struct guest *guest_new_sized(const struct driver_rig *rig, enum guest_layout layout,
	uint16_t pairs, uint32_t size)
{
	struct guest *g = calloc(1, sizeof(*g));
	const struct driver_caps *caps;

	assert_non_null(g);
	g->rig = rig;
	g->ops = rig->driver;
	g->packed = layout == GUEST_PACKED;
	g->keeper = (struct driver_keeper){ g->kept_state, sizeof(g->kept_state), keep_fd, get_fd,
		drop_fd, next_available };
	for (int i = 0; i < GUEST_KEPT; i++)
		g->kept[i] = -1;
	guest_rings_new(g, (uint16_t)(2 * pairs), size);
	g->nic_device = rig->device_new(pairs);
	enlist(g);
	assert_int_equal(guest_open(g), 0);

	caps = g->ops->caps(g->device);
	g->features = BIT_ULL(VIRTIO_F_VERSION_1);
	if (pairs > 1)
		g->features |= caps->features & BIT_ULL(VIRTIO_NET_F_MQ);
	if (g->packed)
		g->features |= BIT_ULL(VIRTIO_F_RING_PACKED);
	if (g->features & ~caps->features) {
		guest_free(g);
		skip();
	}
	assert_int_equal(guest_setup(g), 0);
	return g;
}

struct guest *guest_new(const struct driver_rig *rig, enum guest_layout layout, uint16_t pairs)
{
	return guest_new_sized(rig, layout, pairs, GUEST_MAX_SIZE);
}

void guest_free(struct guest *g)
{
	if (!g)
		return;
	strike_off(g);
	guest_close(g);
	g->rig->device_free(g->nic_device);
	for (int i = 0; i < GUEST_KEPT; i++)
		close_keep_errno(g->kept[i]);
	guest_rings_free(g);
	free(g);
}

/* ----------------------------------------------------------------------------- queues */

struct driver_queue guest_facts(struct guest *g, uint16_t queue)
{
	const struct guest_ring *r = &g->rings[queue];

	return (struct driver_queue){
		.index = queue,
		.size = r->size,
		.desc = r->desc,
		.driver = r->driver,
		.device = r->device,
		.position = r->start,
		.kick_fd = r->kick,
		.call_fd = r->call,
		.err_fd = r->err,
	};
}

struct queue_set guest_set(unsigned int first, unsigned int last)
{
	struct queue_set set = { 0 };

	for (unsigned int i = first; i <= last; i++)
		queue_set_add(&set, i);
	return set;
}

int guest_prepare(struct guest *g)
{
	struct driver_queue queues[GUEST_MAX_QUEUES];

	for (uint16_t i = 0; i < g->n_queues; i++)
		queues[i] = guest_facts(g, i);
	return g->ops->prepare(g->device, queues, g->n_queues);
}

int guest_start(struct guest *g)
{
	const struct queue_set all = guest_set(0, g->n_queues - 1U);

	return g->ops->start(g->device, &all);
}

int guest_stop(struct guest *g, struct queue_position *ret)
{
	const struct queue_set all = guest_set(0, g->n_queues - 1U);

	return guest_stop_set(g, &all, ret);
}

int guest_lost_position(struct guest *g, uint16_t queue, struct queue_position *ret)
{
	const struct driver_queue q = guest_facts(g, queue);
	const struct guest_ring *r = &g->rings[queue];

	return g->ops->lost_position(g->device, &q, g->packed,
		guest_at(g, g->packed ? r->desc : r->device), ret);
}

bool guest_knows_positions(struct guest *g)
{
	return !g->packed || !g->ops->caps(g->device)->ring_positions;
}

int guest_stop_set(struct guest *g, const struct queue_set *set, struct queue_position *ret)
{
	bool by_ring = g->ops->caps(g->device)->ring_positions;
	int r = g->ops->stop(g->device, set, ret);

	for (uint16_t i = 0; r == 0 && by_ring && !g->packed && i < g->n_queues; i++) {
		if (queue_set_has(set, i))
			assert_int_equal(guest_lost_position(g, i, &ret[i]), 0);
	}
	return r;
}

int guest_restart_set(struct guest *g, const struct queue_set *set)
{
	bool again = g->ops->caps(g->device)->ring_positions;

	for (uint16_t i = 0; again && i < g->n_queues; i++) {
		const struct driver_queue q = guest_facts(g, i);

		if (queue_set_has(set, i))
			assert_int_equal(g->ops->prepare(g->device, &q, 1), 0);
	}
	return g->ops->start(g->device, set);
}

void guest_run(struct guest *g)
{
	for (uint16_t i = 0; i < g->n_queues; i += 2)
		guest_fill(g, i);
	assert_int_equal(guest_prepare(g), 0);
	assert_int_equal(guest_start(g), 0);
}

int guest_next_event(struct guest *g, struct driver_event *ret)
{
	if (g->n_events == 0)
		return g->ops->next_event(g->device, ret);
	*ret = g->events[0];
	memmove(&g->events[0], &g->events[1], --g->n_events * sizeof(g->events[0]));
	return 0;
}

struct driver_event guest_wait_event(struct guest *g)
{
	struct driver_event event;
	struct pollfd p = { .fd = g->ops->event_fd(g->device), .events = POLLIN };
	int r;

	do {
		if (g->n_events == 0)
			assert_int_equal(poll(&p, 1, GUEST_PATIENCE_MS), 1);
		r = guest_next_event(g, &event);
	} while (r == -EAGAIN);
	assert_int_equal(r, 0);
	return event;
}
