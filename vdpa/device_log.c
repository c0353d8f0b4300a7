/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log of the pages that the device writes: where it is, and whether it is wanted. Both come from
 * the front-end, in either order, and may change while rings run. As long as logging is wanted and
 * there is no log, no ring starts (log_is_missing()); a log that is too small for the guest's memory
 * or for a ring's log address is refused, since a page that can't be marked is lost on the other side.
 *
 * Who marks: the device, if it has a dirty log of its own. What it marked for a ring that it gives
 * back is completed here, from the ring's log address: a ring may be logged elsewhere than it lies. The
 * log address of a ring that needs a translation needs one too; such a ring is logged where it lies.
 *
 * Some devices mark buffers only. All that they may have written of a ring is marked here after their
 * last write: when the ring has stopped, and, if the log ends before that, in the one that ends, after the
 * device has left it. A front-end reads both for the last time only then.
 */
#include <errno.h>
#include <string.h>

#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"
#include "vdpa/dirty_log.h"
#include "vdpa/ring.h"

bool device_can_log(const struct device *d)
{
	return true; /* by the device, or by relaying its rings */
}

/*
 * A device whose rings are relayed for another reason can't log: shadow rings lie beyond any log. An inflight
 * area counts also when this process can't map it: the device was not told of the log.
 */
bool device_logs_itself(const struct device *d)
{
	const struct driver_caps *caps = d->driver->ops->caps(d->driver);

	return caps->dirty_log && caps->start_position == DRIVER_START_ANY &&
	       d->state->inflight.slot == DEVICE_NO_INFLIGHT && !failover_wants_relay(d);
}

bool log_is_missing(const struct device *d)
{
	return d->state->logging && !d->log;
}

/* Everything that may be written lies in the guest's memory; the rings' log addresses are words. */
static bool log_covers(const struct device *d, const struct dirty_log *log,
	const struct memory_table *table)
{
	for (uint32_t i = 0; i < table->n_regions; i++) {
		if (!dirty_log_reaches(log, table->regions[i].gpa, table->regions[i].size))
			return false;
	}
	return true;
}

bool log_covers_memory(const struct device *d, const struct memory_table *table)
{
	return !d->state->logging || !d->log || log_covers(d, d->log, table);
}

bool device_log_reaches(const struct device *d, uint32_t index, uint32_t flags, uint64_t log_addr)
{
	return !d->log || !(flags & RING_F_LOG) || device_translates(d) ||
	       dirty_log_reaches(d->log, log_addr, ring_used_size(d, index));
}

/* Tells the device; the same again is fine. */
static int tell_device(struct device *d, bool on, const struct driver_log *log)
{
	int r;

	if (!device_logs_itself(d) || device_is_away(d))
		return 0;
	r = d->driver->ops->set_log(d->driver, on ? log : NULL);
	return r < 0 ? device_check(d, r, "log dirty pages") : 0;
}

static struct driver_log log_now(const struct device *d)
{
	return (struct driver_log){
		.fd = fdstore_get(d->fds, d->state->log_slot),
		.offset = d->state->log_offset,
		.size = d->state->log_size,
	};
}

int log_renew(struct device *d)
{
	const struct driver_log log = log_now(d);

	if (!d->state->logging || !d->log || !device_logs_itself(d))
		return 0;
	return d->driver->ops->set_log(d->driver, &log);
}

int device_log_open(struct device *d)
{
	const struct device_section *state = d->state;

	if (state->log_slot == DEVICE_NO_LOG)
		return 0;
	return dirty_log_open(fdstore_get(d->fds, state->log_slot), state->log_offset, state->log_size,
		0, &d->log);
}

/* A log is over in which a device that runs on has marked nothing of its rings. */
static void complete_rings(struct device *d)
{
	if (d->driver->ops->caps(d->driver)->dirty_log != DRIVER_LOG_BUFFERS)
		return;
	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running && !ring_is_relayed(d, i))
			log_mark_ring(d, i);
	}
}

static void swap_log(struct device *d, struct dirty_log *log, int32_t slot, uint64_t offset,
	uint64_t size)
{
	struct dirty_log *before = d->log;

	if (d->state->log_slot != DEVICE_NO_LOG)
		fdstore_remove(d->fds, d->state->log_slot);
	d->log = log;
	relays_sync_log(d);
	dirty_log_close(before);
	d->state->log_slot = slot;
	d->state->log_offset = offset;
	d->state->log_size = size;
}

static bool covers_rings(struct device *d, const struct dirty_log *log)
{
	for (uint32_t i = 0; i < d->n_queues; i++) {
		const struct ring_state *ring = &d->state->rings[i];

		if (ring->running && ring->addr_flags & RING_F_LOG && !device_translates(d) &&
			!dirty_log_reaches(log, ring->log_addr, ring_used_size(d, i)))
			return false;
	}
	return true;
}

int device_set_log(struct device *d, int32_t slot, uint64_t offset, uint64_t size)
{
	const struct driver_log next = { .fd = fdstore_get(d->fds, slot), .offset = offset, .size = size };
	struct dirty_log *log;
	int r = dirty_log_open(next.fd, offset, size, 0, &log);

	if (r < 0)
		return r;
	if (log_covers(d, log, &d->state->memory) && covers_rings(d, log)) {
		r = tell_device(d, d->state->logging, &next);
	} else {
		log_warning("a log of %llu bytes does not cover the guest's memory and rings",
			(unsigned long long)size);
		r = -EINVAL;
	}
	if (r < 0) {
		dirty_log_close(log);
		return r;
	}
	complete_rings(d);
	swap_log(d, log, slot, offset, size);
	return 0;
}

void device_forget_log(struct device *d)
{
	migration_step(&d->state->migration, MIGRATION_LEFT, clock_now_ns());
	swap_log(d, NULL, DEVICE_NO_LOG, 0, 0);
	d->state->logging = 0;
}

/* May it be so, as things are? */
static int check_logging(const struct device *d, bool on)
{
	if (!on || d->state->logging)
		return 0;
	if (device_postcopy_listens(d))
		return -EBUSY; /* pages that are on their way can't be sent on */
	if (d->log ? !log_covers(d, d->log, &d->state->memory) : device_runs(d))
		return -EINVAL;
	return 0;
}

int device_set_logging(struct device *d, bool on)
{
	const struct driver_log log = log_now(d);
	uint64_t asked = clock_now_ns();
	int r;

	if (d->state->logging == on)
		return 0;
	r = check_logging(d, on);
	if (r == 0)
		r = tell_device(d, on && d->log, &log);
	if (r < 0)
		return r;
	complete_rings(d);
	d->state->logging = on;
	d->state->log_asked_ns = asked;
	if (!on)
		migration_step(&d->state->migration, MIGRATION_LOG_OFF, d->state->log_asked_ns);
	return 0;
}

/* With other features a device may have to log that did not, since its rings were relayed. */
static int follow_features(struct device *d, bool logging)
{
	const struct driver_log log = log_now(d);

	if (logging && d->state->logging && d->log)
		return tell_device(d, true, &log);
	return device_set_logging(d, logging);
}

int device_negotiate(struct device *d, uint64_t features, bool logging)
{
	bool same = d->state->has_features && d->state->features == features;
	int r = check_logging(d, logging);

	if (r == 0)
		r = device_set_features(d, features);
	if (r < 0)
		return r;
	if (same)
		return device_set_logging(d, logging);
	r = follow_features(d, logging);
	if (r < 0 && !d->state->failed) /* what was forgotten for other features does not come back */
		r = device_broke(d, "log dirty pages: %s", strerror(-r));
	return r;
}

void log_note_start(struct device *d)
{
	if (d->state->logging && d->log && device_runs(d))
		migration_logged(&d->state->migration,
			device_is_relayed(d) ? MIGRATION_BY_RELAY : MIGRATION_BY_DEVICE,
			d->state->log_asked_ns, clock_now_ns());
}

void log_note_stop(struct device *d, uint64_t begun_ns)
{
	migration_step(&d->state->migration, MIGRATION_RING_STOPPED, begun_ns);
	if (!device_runs(d))
		migration_step(&d->state->migration, MIGRATION_LAST_RING_STOPPED, clock_now_ns());
}

/* All of what the device writes of a ring, wherever in it. */
void log_mark_ring(struct device *d, uint32_t index)
{
	const struct ring_state *ring = &d->state->rings[index];
	struct ring_place place;

	if (!d->state->logging || !d->log)
		return;
	if (ring_find(d, index, &place) == 0) {
		dirty_log_mark(d->log, place.device, ring_used_size(d, index));
		if (device_is_packed(d))
			dirty_log_mark(d->log, place.desc, ring_desc_size(d, index));
	}
	if (ring->addr_flags & RING_F_LOG && !device_translates(d))
		dirty_log_mark(d->log, ring->log_addr, ring_used_size(d, index));
}
