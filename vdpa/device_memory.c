/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device's memory, replaced by difference.
 *
 * The order is: check all; stop the rings that can't go on meanwhile; unmap what goes; map what
 * comes; let device_update() start the rings that have memory again. When a map fails the steps
 * are undone in reverse. A region that goes away while others stay, or that the front-end calls by
 * other addresses, stops the rings whose areas lie in it; a region whose addresses are given to other
 * memory stops all, since any buffer may be there, and so does each of these where translations end with it.
 */
#include <errno.h>
#include <string.h>

#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"
#include "vdpa/ring.h"

static const struct memory_region *find_same(const struct memory_table *table,
	const struct memory_region *region)
{
	for (uint32_t i = 0; i < table->n_regions; i++) {
		if (memory_same_mapping(&table->regions[i], region))
			return &table->regions[i];
	}
	return NULL;
}

/* For the device and for the front-end, which calls rings by its own addresses. */
static bool stays_where_it_is(const struct memory_table *next, const struct memory_region *region)
{
	const struct memory_region *same = find_same(next, region);

	return same && same->uva == region->uva;
}

static bool is_replaced(const struct memory_table *by, const struct memory_region *region)
{
	for (uint32_t i = 0; i < by->n_regions; i++) {
		if (memory_gpa_overlap(&by->regions[i], region))
			return true;
	}
	return false;
}

/* The rings that have to stand still while @next takes the place of the present table. */
static struct queue_set affected_rings(const struct device *d, const struct memory_table *next)
{
	const struct memory_table *now = &d->state->memory;
	struct queue_set set = { 0 };

	for (uint32_t i = 0; i < now->n_regions; i++) {
		const struct memory_region *region = &now->regions[i];
		bool all;

		if (stays_where_it_is(next, region))
			continue;
		all = device_translates(d) || (!find_same(next, region) && is_replaced(next, region));
		for (uint32_t q = 0; q < d->n_queues; q++) {
			if (d->state->rings[q].running && (all || ring_lies_in(d, q, region)))
				queue_set_add(&set, q);
		}
	}
	if (relay_window_is_hit(d, next)) { /* together, so that none works while its partner stands still */
		for (uint32_t q = 0; q < d->n_queues; q++) {
			if (d->state->rings[q].running && ring_is_relayed(d, q))
				queue_set_add(&set, q);
		}
	}
	return set;
}

/* Does a region go away, or change its place? */
static bool loses_memory(const struct memory_table *now, const struct memory_table *next)
{
	for (uint32_t i = 0; i < now->n_regions; i++) {
		if (!stays_where_it_is(next, &now->regions[i]))
			return true;
	}
	return false;
}

struct driver_map memory_driver_map(const struct device *d, const struct memory_region *region)
{
	return (struct driver_map){
		.iova = region->gpa,
		.size = region->size,
		.fd = fdstore_get(d->fds, region->slot),
		.offset = region->offset,
		.perm = DRIVER_PERM_READ | DRIVER_PERM_WRITE,
	};
}

static int map_region(struct device *d, const struct memory_region *region)
{
	const struct driver_map map = memory_driver_map(d, region);

	return device_postcopy_listens(d) ? postcopy_map(d, &map) :
					    d->driver->ops->map(d->driver, &map);
}

int memory_map_all(struct device *d)
{
	int r = 0;

	for (uint32_t i = 0; i < d->state->memory.n_regions && r == 0; i++)
		r = map_region(d, &d->state->memory.regions[i]);
	return r;
}

/* Step @step from one table to another, or @back: unmap what only @from has, then map what only @to has. */
static int change_one(struct device *d, const struct memory_table *from, const struct memory_table *to,
	uint32_t step, bool back)
{
	bool comes = step >= from->n_regions;
	const struct memory_region *region = comes ? &to->regions[step - from->n_regions] : &from->regions[step];

	if (find_same(comes ? from : to, region))
		return 0;
	return comes != back ? map_region(d, region) : d->driver->ops->unmap(d->driver, region->gpa, region->size);
}

/* @ret_done: steps that were done, also on failure; the one that failed changed nothing. */
static int change_maps(struct device *d, const struct memory_table *from, const struct memory_table *to,
	uint32_t *ret_done)
{
	int r = 0;

	for (*ret_done = 0; *ret_done < from->n_regions + to->n_regions; ++*ret_done) {
		r = change_one(d, from, to, *ret_done, false);
		if (r < 0)
			break;
	}
	return r;
}

static void undo_maps(struct device *d, const struct memory_table *from, const struct memory_table *to,
	uint32_t done)
{
	int r = 0;

	while (done-- > 0 && r == 0)
		r = change_one(d, from, to, done, true);
	if (r < 0 && device_check(d, r, "restore memory") < 0 && !d->state->failed)
		device_broke(d, "restore memory: %s", strerror(-r));
}

/* Slots that @next does not name are given up. */
static void take_table(struct device *d, const struct memory_table *next)
{
	static uint8_t named[FDSTORE_MAX_SLOTS];
	struct memory_table *now = &d->state->memory;

	memset(named, 0, sizeof(named));
	for (uint32_t i = 0; i < next->n_regions; i++)
		named[next->regions[i].slot] = 1;
	for (uint32_t i = 0; i < now->n_regions; i++) {
		if (!named[now->regions[i].slot])
			fdstore_remove(d->fds, now->regions[i].slot);
	}
	now->n_regions = next->n_regions;
	memcpy(now->regions, next->regions, next->n_regions * sizeof(next->regions[0]));
}

int device_set_memory(struct device *d, const struct memory_table *next)
{
	struct queue_set affected;
	uint32_t done;
	int r;

	r = memory_table_check(next);
	if (r == 0 && !log_covers_memory(d, next))
		r = -EINVAL;
	if (r < 0)
		return r;

	affected = affected_rings(d, next);
	r = device_pause_set(d, &affected);
	if (r == 0 && loses_memory(&d->state->memory, next))
		r = iotlb_memory_changes(d);
	if (r == 0 && !device_is_away(d) && !postcopy_hides_memory(d)) {
		r = change_maps(d, &d->state->memory, next, &done);
		if (r < 0)
			r = device_check(d, r, "map memory");
		if (r < 0 && !device_is_away(d))
			undo_maps(d, &d->state->memory, next, done);
	}
	if (r == 0) {
		take_table(d, next);
		r = relays_memory_changed(d);
		if (r < 0)
			device_fail(d, "map the guest's memory: %s", strerror(-r));
		return r < 0 ? -EIO : 0;
	}
	if (!device_is_away(d) && !queue_set_empty(&affected)) {
		device_update(d); /* the rings that were stopped for the change go on */
		device_checkpoint(d);
	}
	return d->state->failed ? -EIO : r;
}

/* The page that a guest may have stays where it is; what is rung there is another device's by now. */
static int open_doorbell_again(struct device *d)
{
	_cleanup_close_ int fd = -1;
	uint64_t offset;

	return ring_doorbell(d, 0, &fd, &offset);
}

/* To a device that has nothing: features, and all maps instead of a difference. */
int memory_give_all(struct device *d)
{
	int r = 0;

	iotlb_forget(d);

	if (d->state->has_features)
		r = d->driver->ops->set_features(d->driver, d->state->features);
	if (r == 0 && d->state->doorbell)
		r = open_doorbell_again(d);
	postcopy_note_loss(d);
	if (r == 0 && !postcopy_hides_memory(d))
		r = memory_map_all(d);
	return r < 0 ? r : log_renew(d);
}

int device_recover(struct device *d)
{
	int r = d->driver->ops->reset(d->driver);

	if (r == 0)
		r = memory_give_all(d);
	if (r < 0 && device_check(d, r, "reset") < 0)
		return -EIO;
	d->state->returning = 0;
	d->state->control_used = 0;
	d->control_pending = false;
	d->state->failed = 0;
	d->state->reason[0] = '\0';
	return 0;
}

int device_returned(struct device *d, const int *fds, size_t n_fds)
{
	int r;

	d->lost = true; /* also when nobody noticed yet */
	d->broken = d->hung = false;
	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (d->state->rings[i].running)
			device_ring_lost(d, i);
	}
	d->state->failed = 0;
	d->state->reason[0] = '\0';
	d->state->returning = 1;
	if (device_checkpoint(d) < 0)
		return -EIO;
	control_keep(d);
	r = d->driver->ops->reopen(d->driver, fds, n_fds);
	if (r == 0)
		r = memory_give_all(d);
	if (r == 0)
		r = control_restore(d);
	if (r == -ENODEV)
		return 0; /* lost once more; it will be announced again */
	d->lost = false;
	d->state->returning = 0;
	if (r < 0) { /* it is there, and a reset may help */
		r = device_broke(d, "take the device back: %s", strerror(-r));
		return r < 0 ? r : device_update(d);
	}
	if (!postcopy_hides_memory(d))
		log_info("device is back; %u memory regions mapped again",
			d->state->memory.n_regions);
	return device_update(d);
}

void device_resume_return(struct device *d)
{
	if (d->state->returning && !d->lost && device_recover(d) < 0)
		device_broke(d, "take the device back: it does not begin anew");
}
