/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which rings run. What is wanted is computed from the state alone (ring_is_wanted()), what runs is
 * in the state, and device_update() makes them equal; nothing else starts a ring.
 */
#include "vdpa/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"
#include "vdpa/ring.h"

/* Without the look at memory, which does not change under a running ring. */
static bool ring_is_wanted(const struct device *d, uint32_t index)
{
	const struct device_section *state = d->state;
	const struct ring_state *ring = &state->rings[index];

	if (!ring->started || !ring->enabled || ring->failed || !ring->has_addr || ring->size == 0)
		return false;
	if (!state->has_features || state->suspended || log_is_missing(d) ||
		postcopy_holds_rings(d) ||
		(state->waits_for_driver && !(state->status & VIRTIO_CONFIG_S_DRIVER_OK)))
		return false;
	return ring_has_use(d, index);
}

/* Everything a driver needs of a ring that is wanted; a ring that makes no sense has failed. */
static bool ring_describe(struct device *d, uint32_t index, struct driver_queue *q)
{
	const struct ring_state *ring = &d->state->rings[index];
	int r = ring_size_ok(ring->size, device_is_packed(d)) ? ring_locate(d, index, q) : -EINVAL;

	if (r == -EFAULT) { /* memory may still come, or a translation */
		ring_ask_for(d, index);
		return false;
	}
	if (r == 0)
		r = ring_position(d, q, &q->position);
	if (r == 0 && !device_log_reaches(d, index, ring->addr_flags, ring->log_addr))
		r = -ERANGE;
	if (r < 0) {
		log_warning("queue %u: can't start, size %u, base %#x: %s", index, ring->size,
			ring->base,
			r == -ERANGE   ? "its log address is not in the log"
			: r == -EINVAL ? "no such size or position, or ring not aligned"
				       : strerror(-r));
		device_ring_failed(d, index);
		return false;
	}
	q->kick_fd = fdstore_get(d->fds, ring->kick_slot);
	q->call_fd = fdstore_get(d->fds, ring->call_slot);
	q->err_fd = fdstore_get(d->fds, ring->err_slot);
	return true;
}

/* The device, or what relays for it, does not take the ring. */
static void ring_refused(struct device *d, uint32_t index, int r)
{
	bool away = device_is_away(d) || device_check(d, r, "prepare queues") == -EIO || d->lost;

	ring_relay_forget(d, index);
	if (away)
		return;
	log_warning("queue %u: the device refuses its ring: %s", index, strerror(-r));
	device_ring_failed(d, index);
}

/* A ring that is wanted, ready to be prepared; with its relay, if it needs one. */
static bool ring_begin(struct device *d, uint32_t index, struct driver_queue *q)
{
	bool relayed;
	int r;

	if (!ring_describe(d, index, q))
		return false;
	relayed = ring_wants_relay(d, index, q->position);
	if (relayed && device_postcopy_listens(d))
		return postcopy_makes_wait(d);
	r = relayed ? ring_relay_start(d, index, q) : 0;
	if (r < 0)
		ring_refused(d, index, r);
	return r == 0;
}

/*
 * All at once, since each command is a journey to the device. If it refuses one of them, each is
 * tried alone, and a refusal is that ring's failure. Return: how many are prepared; they are the
 * first.
 */
static size_t prepare_all(struct device *d, struct driver_queue *queues, size_t n)
{
	int r = n > 0 ? rings_prepare(d, queues, n) : 0;
	size_t n_ready = 0;

	if (r == 0)
		return n;
	device_check(d, r, "prepare queues");
	for (size_t i = 0; i < n; i++) {
		r = device_is_away(d) ? -ENODEV : rings_prepare(d, &queues[i], 1);

		if (r == 0)
			queues[n_ready++] = queues[i];
		else
			ring_refused(d, queues[i].index, r);
	}
	return n_ready;
}

/* What was offered while nobody asked for kicks is not found otherwise. */
static void wake_device(const struct device *d, uint32_t index)
{
	if (!ring_is_relayed(d, index))
		device_signal(fdstore_get(d->fds, d->state->rings[index].kick_slot));
}

/* It lies there as long as it runs, whoever knows its translations by then. */
static void note_place(struct device *d, uint32_t index)
{
	struct ring_place place;

	if (device_translates(d) && ring_find(d, index, &place) == 0)
		d->state->places[index] = place;
}

/* Return: 0; -EIO; then none of them runs, and the same when the device is gone. */
static int start_prepared(struct device *d, const struct driver_queue *queues, size_t n)
{
	struct queue_set set = { 0 };
	int r;

	for (size_t i = 0; i < n; i++)
		queue_set_add(&set, queues[i].index);
	r = rings_start(d, &set);
	if (r < 0) {
		r = device_check(d, r, "start queues");
		return r == 0 || r == -EIO ? r : device_broke(d, "start queues: %s", strerror(-r));
	}
	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (!queue_set_has(&set, i))
			continue;
		note_place(d, i);
		d->state->rings[i].running = 1;
		d->state->rings[i].resubmits = 0;
		wake_device(d, i);
	}
	migration_step(&d->state->migration, MIGRATION_RING_STARTED, clock_now_ns());
	return 0;
}

static int start_wanted(struct device *d)
{
	struct driver_queue queues[QUEUE_MAX];
	size_t n = 0;
	int r = 0;

	for (uint32_t i = 0; i < d->n_queues && !device_is_away(d); i++) {
		if (!d->state->rings[i].running && ring_is_wanted(d, i) &&
			ring_begin(d, i, &queues[n]))
			n++;
	}
	if (!device_is_away(d))
		n = prepare_all(d, queues, n);
	if (!device_is_away(d) && n > 0)
		r = start_prepared(d, queues, n);
	for (size_t i = 0; i < n && device_is_away(d); i++)
		ring_relay_forget(d, queues[i].index);
	return d->state->failed ? -EIO : r;
}

static int stop_unwanted(struct device *d)
{
	struct queue_set set = { 0 };

	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running && !ring_is_wanted(d, i) &&
			!d->state->rings[i].failed)
			queue_set_add(&set, i);
	}
	return device_stop_set(d, &set);
}

/* Rings that are to be served in another way stop for it, all together. */
static int stop_wrong(struct device *d)
{
	struct queue_set set = { 0 };
	int r;

	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running && !d->state->rings[i].failed &&
			ring_runs_wrongly(d, i))
			queue_set_add(&set, i);
	}
	if (queue_set_empty(&set))
		return 0;
	r = device_pause_set(d, &set);
	return r < 0 ? r : device_checkpoint(d);
}

/*
 * Where all queues start together, those that run stop for one that is to join them. They go on by
 * relay, unless nothing has moved in them.
 */
static int stop_for_others(struct device *d)
{
	const struct queue_set running = device_running_rings(d);
	struct driver_queue ignored;

	if (queue_set_empty(&running) || !d->driver->ops->caps(d->driver)->together)
		return 0;
	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (!d->state->rings[i].running && ring_is_wanted(d, i) &&
			ring_describe(d, i, &ignored))
			return device_pause_set(d, &running);
	}
	return 0;
}

/* What is found to be lost meanwhile, its standby takes over in the next round. */
static int update_once(struct device *d)
{
	int r = failover_follow(d);

	if (r < 0)
		return r;
	relays_sync_log(d);
	r = stop_unwanted(d);
	if (r == 0 && !d->lost)
		r = stop_wrong(d);
	if (r == 0 && !d->lost)
		r = stop_for_others(d);
	if (r == 0 && !d->lost)
		r = start_wanted(d);
	if (r == 0)
		log_note_start(d);
	return r;
}

int device_update(struct device *d)
{
	int r = 0;

	for (int round = 0; round <= DEVICE_N_SIDES && !d->state->failed; round++) {
		r = update_once(d);
		if (r < 0 || !d->lost || !failover_can(d))
			break;
	}
	failover_announce(d);
	return r;
}
