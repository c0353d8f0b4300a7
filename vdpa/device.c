/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device model: what it is, how it fails, and what front-ends set. Which rings run is in device_update.c.
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
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vdpa/base/clock.h"
#include "vdpa/base/eventfd.h"
#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"

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

void device_signal(int fd)
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
	device_signal(fdstore_get(d->fds, d->state->rings[index].err_slot));
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
	struct queue_set set = device_running_rings(d);
	int r = 0;

	/* The front-end may come back to these rings: what the device took of them is to be given back. */
	migration_step(&state->migration, MIGRATION_LEFT, clock_now_ns());
	device_stop_set(d, &set);
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
