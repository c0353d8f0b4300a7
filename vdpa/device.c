/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device model. What is wanted is computed from the state alone (ring_is_wanted()), what runs
 * is in the state, and device_update() makes them equal; nothing else starts a ring.
 *
 * The driver's answers decide who failed: -ETIMEDOUT, -EIO and -EPROTO are the device's,
 * everything else refuses one ring. A failed device stays failed until a reset of it works: the
 * guest's, or the one when a front-end comes or leaves. A lost device (-ENODEV) is no failure: it comes
 * back, until then nothing is asked of it.
 */
#include "vdpa/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vdpa/base/clock.h"
#include "vdpa/base/eventfd.h"
#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"
#include "vdpa/position.h"
#include "vdpa/ring.h"

/* What a side adds to the offer, which it can only make smaller. */
static void limit_offer(struct device *d, const struct driver_caps *caps)
{
	d->offered &= caps->features;
	if (!device_can_translate(caps))
		d->offered &= ~BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	if (caps->n_queues < d->n_queues)
		d->n_queues = caps->n_queues;
	if (caps->max_queue_size < d->max_queue_size)
		d->max_queue_size = caps->max_queue_size;
}

void device_make_offer(struct device *d, uint64_t features, uint16_t max_pairs)
{
	d->offered = features;
	d->n_queues = max_pairs > 0 && max_pairs < QUEUE_MAX / 2 ? 2U * max_pairs : QUEUE_MAX;
	d->max_queue_size = QUEUE_SIZE_MAX;
	for (int i = 0; i < DEVICE_N_SIDES; i++) {
		struct driver_device *driver = d->sides[i].driver;

		if (driver)
			limit_offer(d, driver->ops->caps(driver));
	}
	if (d->n_queues <= 2)
		d->offered &= ~BIT_ULL(VIRTIO_NET_F_MQ);
	control_init(d);
	d->state->n_rings = d->n_queues;
}

void device_init(struct device *d, struct device_section *state, struct driver_device *driver,
	struct fdstore *fds, uint64_t features, uint16_t max_pairs)
{
	d->state = state;
	d->driver = driver;
	d->fds = fds;
	failover_init(d);
	device_make_offer(d, features, max_pairs);
	d->lost = false;
	d->log = NULL;
	d->inflight = NULL;
	d->relay_waits = false;
	d->doorbell_allowed = false;
	d->relays = NULL;
	d->iotlb = NULL;
}

int device_checkpoint(struct device *d)
{
	int r = d->checkpoint ? d->checkpoint(d) : 0;

	if (r < 0)
		device_fail(d, "state can't be kept: %s", strerror(-r));
	return r < 0 ? -EIO : 0;
}

bool device_is_packed(const struct device *d)
{
	return d->state->features & BIT_ULL(VIRTIO_F_RING_PACKED);
}

bool device_runs(const struct device *d)
{
	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running)
			return true;
	}
	return false;
}

bool device_is_relayed(const struct device *d)
{
	for (uint32_t i = 0; i < d->n_queues && !d->lost; i++) {
		if (d->state->rings[i].running && ring_is_relayed(d, i))
			return true;
	}
	return false;
}

enum datapath device_datapath(const struct device *d)
{
	if (d->lost || !device_runs(d))
		return DATAPATH_NONE;
	if (device_active_side(d) == DEVICE_STANDBY)
		return DATAPATH_SIM;
	return device_is_relayed(d) ? DATAPATH_RELAY : DATAPATH_DIRECT;
}

enum device_state device_state(const struct device *d)
{
	if (d->state->failed)
		return DEVICE_FAILED;
	if (device_runs(d))
		return DEVICE_RUNNING;
	return d->state->has_features ? DEVICE_CONFIGURED : DEVICE_IDLE;
}

bool device_is_away(const struct device *d)
{
	return d->lost || d->state->failed;
}

void device_fail(struct device *d, const char *format, ...)
{
	va_list args;

	if (d->state->failed)
		return;
	d->state->failed = 1;
	va_start(args, format);
	vsnprintf(d->state->reason, sizeof(d->state->reason), format, args);
	va_end(args);
	log_error("device failed: %s", d->state->reason);
	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running)
			device_ring_failed(d, i);
	}
}

int device_broke(struct device *d, const char *format, ...)
{
	char reason[DEVICE_REASON_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	if (!failover_can(d)) {
		device_fail(d, "%s", reason);
		return -EIO;
	}
	failover_note_failure(d, reason);
	return 0;
}

int device_check(struct device *d, int r, const char *what)
{
	if (r == -ENODEV) {
		log_warning("device is gone (%s); waiting for it to come back", what);
		d->lost = true;
		return 0;
	}
	if (r == -ETIMEDOUT || r == -EIO || r == -EPROTO) {
		d->hung = r == -ETIMEDOUT;
		return device_broke(d, "%s: %s", what, strerror(-r));
	}
	return r;
}

static void signal_eventfd(int fd)
{
	int r = eventfd_signal_lent(fd);

	if (r < 0)
		log_debug("eventfd: %s", strerror(-r));
}

void device_ring_failed(struct device *d, uint32_t index)
{
	if (index >= d->n_queues || d->state->rings[index].failed)
		return;
	d->state->rings[index].failed = 1;
	signal_eventfd(fdstore_get(d->fds, d->state->rings[index].err_slot));
}

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
 * All at once, since each command is a journey to the device. If it refuses one of them, each is tried
 * alone, and a refusal is that ring's failure. Return: how many are prepared; they are the first.
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
	const struct ring_state *ring = &d->state->rings[index];
	bool fresh = ring->base == 0 ||
		     ring->base == position_word_packed(queue_position_initial(true));

	if (!fresh && !ring_is_relayed(d, index))
		signal_eventfd(fdstore_get(d->fds, ring->kick_slot));
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
		if (!d->state->rings[i].running && ring_is_wanted(d, i) && ring_begin(d, i, &queues[n]))
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

static void ring_stopped_at(struct device *d, uint32_t index, struct queue_position position)
{
	struct ring_state *ring = &d->state->rings[index];

	ring->base = device_is_packed(d) ? position_word_packed(position)
					 : position_word_split(position);
	ring->running = 0;
}

/* Of a relayed ring, after @device is known, or not. */
static int relayed_ring_stopped(struct device *d, uint32_t index, const struct queue_position *device)
{
	struct queue_position position;
	int r = ring_relay_stop(d, index, device, &position);

	if (r < 0) {
		log_warning("queue %u: nobody knows where its relay stood: %s", index, strerror(-r));
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

static struct queue_set running_rings(const struct device *d)
{
	struct queue_set set = { 0 };

	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running)
			queue_set_add(&set, i);
	}
	return set;
}

/* @positions: of all rings of @set; NULL: the device does not say them. Return: true: one was relayed. */
static bool note_stopped(struct device *d, const struct queue_set *set,
	const struct queue_position *positions)
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
	const struct queue_set set = caps->together ? running_rings(d) : *some;
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

int device_pause_set(struct device *d, const struct queue_set *set)
{
	return stop_set(d, set, false);
}

int device_pause_all(struct device *d)
{
	const struct queue_set set = running_rings(d);

	return device_pause_set(d, &set);
}

static int stop_unwanted(struct device *d)
{
	struct queue_set set = { 0 };

	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running && !ring_is_wanted(d, i) &&
			!d->state->rings[i].failed)
			queue_set_add(&set, i);
	}
	return stop_set(d, &set, true);
}

/* Rings that are to be served in another way stop for it, all together. */
static int stop_wrong(struct device *d)
{
	struct queue_set set = { 0 };
	int r;

	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running && !d->state->rings[i].failed && ring_runs_wrongly(d, i))
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
	const struct queue_set running = running_rings(d);
	struct driver_queue ignored;

	if (queue_set_empty(&running) || !d->driver->ops->caps(d->driver)->together)
		return 0;
	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (!d->state->rings[i].running && ring_is_wanted(d, i) && ring_describe(d, i, &ignored))
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

int device_set_features(struct device *d, uint64_t features)
{
	struct device_section *state = d->state;
	bool relayout = (state->features ^ features) &
			(BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM));
	int r;

	if (features & ~d->offered)
		return -EINVAL;
	if (state->has_features && state->features == features)
		return 0;
	if (device_runs(d))
		return -EBUSY;
	if (!device_is_away(d)) {
		r = d->driver->ops->set_features(d->driver, features);
		if (r < 0 && (r = device_check(d, r, "set features")) < 0)
			return r;
	}
	iotlb_forget(d);
	if (relayout)
		device_forget_inflight(d);
	if (state->has_features)
		control_forget(d);
	relays_forget_known(d);
	for (uint32_t i = 0; i < d->n_queues && relayout && state->has_features; i++) {
		state->rings[i].size = 0;
		state->rings[i].has_addr = 0;
		state->rings[i].base = 0;
	}
	state->features = features;
	state->has_features = 1;
	return 0;
}

int device_suspend(struct device *d)
{
	const struct queue_set set = running_rings(d);

	d->state->suspended = 1;
	if (queue_set_empty(&set)) /* they may have been paused: taken back they are now */
		log_note_stop(d, clock_now_ns());
	return stop_set(d, &set, true);
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
		r = stop_set(d, &set, true);
	}
	ring->started = 0;
	ring->failed = 0;
	return r < 0 ? r : iotlb_rings_stopped(d);
}

int device_set_ring_fd(struct device *d, uint32_t index, enum driver_queue_fd which, int32_t slot)
{
	struct ring_state *ring = &d->state->rings[index];
	int32_t *member = which == DRIVER_FD_KICK   ? &ring->kick_slot
			  : which == DRIVER_FD_CALL ? &ring->call_slot
						    : &ring->err_slot;
	int r;

	if (ring->running && ring_is_relayed(d, index)) {
		ring_relay_set_fd(d, index, which, fdstore_get(d->fds, *member), fdstore_get(d->fds, slot));
	} else if (ring->running && !device_is_away(d)) {
		r = ring_set_fd(d, index, which, fdstore_get(d->fds, slot));
		if (r < 0 && (r = device_check(d, r, "set queue eventfd")) < 0)
			return r;
	}
	fdstore_remove(d->fds, *member);
	*member = slot;
	return 0;
}

/* Kicks and calls of a relayed ring are the relay's own. */
static int tell_eventfds(struct device *d, uint32_t index)
{
	const struct ring_state *ring = &d->state->rings[index];
	const struct kept_relay *relay = &d->state->relays[index];
	bool relayed = ring_is_relayed(d, index);
	int kick = fdstore_get(d->fds, relayed ? relay->kick_slot : ring->kick_slot);
	int call = fdstore_get(d->fds, relayed ? relay->call_slot : ring->call_slot);
	int r = ring_set_fd(d, index, DRIVER_FD_KICK, kick);

	return r < 0 ? r : ring_set_fd(d, index, DRIVER_FD_CALL, call);
}

void device_eventfds_resume(struct device *d)
{
	for (uint32_t i = 0; i < d->n_queues && !device_is_away(d); i++) {
		int r;

		if (!d->state->rings[i].running || !d->driver->ops->caps(d->driver)->forgets_fds)
			continue;
		r = tell_eventfds(d, i);
		if (r < 0 && device_check(d, r, "tell queue eventfds") < 0)
			device_ring_failed(d, i);
	}
}

int device_stop_all(struct device *d)
{
	const struct queue_set set = running_rings(d);
	int r = stop_set(d, &set, true);

	if (d->state->failed && !d->lost)
		r = device_recover(d);
	for (uint32_t i = 0; i < d->n_queues; i++) {
		d->state->rings[i].started = 0;
		d->state->rings[i].failed = 0;
	}
	return r < 0 ? r : iotlb_rings_stopped(d);
}

static void ring_forget_fds(struct device *d, struct ring_state *ring)
{
	fdstore_remove(d->fds, ring->kick_slot);
	fdstore_remove(d->fds, ring->call_slot);
	fdstore_remove(d->fds, ring->err_slot);
}

int device_clear(struct device *d)
{
	int r = device_stop_all(d);

	for (uint32_t i = 0; i < d->n_queues; i++) {
		ring_forget_fds(d, &d->state->rings[i]);
		ring_state_init(&d->state->rings[i]);
	}
	device_forget_inflight(d);
	iotlb_forget(d);
	control_forget(d);
	d->state->features = 0;
	d->state->has_features = 0;
	d->state->status = 0;
	return r < 0 ? r : device_set_logging(d, false);
}

int device_release(struct device *d)
{
	struct device_section *state = d->state;
	struct queue_set set = running_rings(d);
	int r = 0;

	/* The front-end may come back to these rings: what the device took of them is to be given back. */
	migration_step(&state->migration, MIGRATION_LEFT, clock_now_ns());
	stop_set(d, &set, true);
	if (!d->lost)
		r = d->driver->ops->reset(d->driver);
	for (uint32_t i = 0; i < d->n_queues; i++)
		ring_relay_forget(d, i);
	for (uint32_t i = 0; i < state->memory.n_regions; i++)
		fdstore_remove(d->fds, state->memory.regions[i].slot);
	for (uint32_t i = 0; i < QUEUE_MAX; i++)
		ring_forget_fds(d, &state->rings[i]);
	device_forget_log(d);
	device_forget_inflight(d);
	iotlb_forget(d);
	d->control_pending = false;
	device_section_forget(state);
	if (relays_memory_changed(d) < 0)
		log_warning("the guest's memory stays mapped for a while");
	if (r < 0 && device_check(d, r, "reset") < 0 && !state->failed)
		device_broke(d, "reset: %s", strerror(-r)); /* it may still reach that memory */
	return state->failed ? -EIO : 0;
}
