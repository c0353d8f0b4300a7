/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings stop: because the front-end takes them back, or for a change after which device_update()
 * starts them again. Either way it is noted where each stands, by who served it, or from the ring
 * when nobody can say.
 */
#include "vdpa/device.h"

#include <string.h>

#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"
#include "vdpa/position.h"
#include "vdpa/ring.h"

static void ring_stopped_at(struct device *d, uint32_t index, struct queue_position position)
{
	struct ring_state *ring = &d->state->rings[index];

	ring->base = device_is_packed(d) ? position_word_packed(position)
					 : position_word_split(position);
	ring->running = 0;
}

/* Of a relayed ring, after @device is known, or not. */
static int relayed_ring_stopped(
	struct device *d, uint32_t index, const struct queue_position *device)
{
	struct queue_position position;
	int r = ring_relay_stop(d, index, device, &position);

	if (r < 0) {
		log_warning(
			"queue %u: nobody knows where its relay stood: %s", index, strerror(-r));
		device_ring_failed(d, index);
		d->state->rings[index].running = 0;
		return r;
	}
	ring_stopped_at(d, index, position);
	return 0;
}

static void note_lost_position(struct device *d, uint32_t index)
{
	struct driver_queue q = { .kick_fd = -1, .call_fd = -1, .err_fd = -1 };
	_cleanup_free_ void *area = NULL;
	struct queue_position position;

	if (ring_is_relayed(d, index)) {
		relayed_ring_stopped(d, index, NULL);
		return;
	}
	if (ring_locate(d, index, &q) == 0 && ring_copy_device_area(d, index, &area) == 0 &&
		ring_lost_position(d, &q, area, &position) == 0)
		ring_stopped_at(d, index, position);
	else if (!device_is_away(d))
		device_ring_failed(d, index);
	else
		log_warning("queue %u: nobody knows where it stood; going on from %#x", index,
			d->state->rings[index].base);
	d->state->rings[index].running = 0;
}

/* The device writes to it no more, and it may start elsewhere. */
static void leave_ring(struct device *d, uint32_t index)
{
	log_mark_ring(d, index);
	d->state->places[index] = (struct ring_place){ 0 };
}

void device_ring_lost(struct device *d, uint32_t index)
{
	note_lost_position(d, index);
	leave_ring(d, index);
}

struct queue_set device_running_rings(const struct device *d)
{
	struct queue_set set = { 0 };

	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running)
			queue_set_add(&set, i);
	}
	return set;
}

/* @positions: of all rings of @set; NULL: the device does not say them. Return: true: one was
 * relayed. */
static bool note_stopped(
	struct device *d, const struct queue_set *set, const struct queue_position *positions)
{
	bool relayed = false;

	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (!queue_set_has(set, i))
			continue;
		relayed = relayed || ring_is_relayed(d, i);
		if (!positions)
			note_lost_position(d, i);
		else if (ring_is_relayed(d, i))
			relayed_ring_stopped(d, i, &positions[i]);
		else
			ring_stopped_at(d, i, positions[i]);
		leave_ring(d, i);
	}
	return relayed;
}

/* @taken_back: by the front-end, which is part of a migration's record. */
static int stop_set(struct device *d, const struct queue_set *some, bool taken_back)
{
	const struct driver_caps *caps = d->driver->ops->caps(d->driver);
	const struct queue_set set = caps->together ? device_running_rings(d) : *some;
	struct queue_position positions[QUEUE_MAX];
	uint64_t begun = clock_now_ns();
	bool relayed, silent;
	int r;

	if (queue_set_empty(some))
		return 0;
	if (!device_is_away(d)) {
		r = rings_stop(d, &set, positions);
		if (r < 0 && device_check(d, r, "stop queues") < 0 && !d->state->failed)
			device_broke(d, "stop queues: %s", strerror(-r));
	}
	silent = device_is_away(d) || caps->ring_positions;
	relayed = note_stopped(d, &set, silent ? NULL : positions);
	if (taken_back)
		log_note_stop(d, begun);
	if (relayed && device_checkpoint(d) < 0)
		return -EIO;
	return d->state->failed ? -EIO : 0;
}

int device_stop_set(struct device *d, const struct queue_set *set)
{
	return stop_set(d, set, true);
}

int device_pause_set(struct device *d, const struct queue_set *set)
{
	return stop_set(d, set, false);
}

int device_pause_all(struct device *d)
{
	const struct queue_set set = device_running_rings(d);

	return device_pause_set(d, &set);
}

int device_suspend(struct device *d)
{
	const struct queue_set set = device_running_rings(d);

	d->state->suspended = 1;
	if (queue_set_empty(&set)) /* they may have been paused: taken back they are now */
		log_note_stop(d, clock_now_ns());
	return device_stop_set(d, &set);
}

void device_unsuspend(struct device *d)
{
	d->state->suspended = 0;
}

int device_stop_ring(struct device *d, uint32_t index)
{
	struct ring_state *ring = &d->state->rings[index];
	struct queue_set set = { 0 };
	int r = 0;

	if (ring->running) {
		queue_set_add(&set, index);
		r = device_stop_set(d, &set);
	}
	ring->started = 0;
	ring->failed = 0;
	return r < 0 ? r : iotlb_rings_stopped(d);
}

int device_stop_all(struct device *d)
{
	const struct queue_set set = device_running_rings(d);
	int r = device_stop_set(d, &set);

	if (d->state->failed && !d->lost)
		r = device_recover(d);
	for (uint32_t i = 0; i < d->n_queues; i++) {
		d->state->rings[i].started = 0;
		d->state->rings[i].failed = 0;
	}
	return r < 0 ? r : iotlb_rings_stopped(d);
}
