/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inflight area of a device (vdpa/inflight.h): where it is, and which rings have a part in it.
 *
 * Only what hands the chains over can note them, and no device does. So while there is an area its
 * rings are relayed. A device that completes in order needs none of this, since positions alone say
 * what is in flight: device_can_note_inflight().
 *
 * The area is exchanged while no ring runs. A ring that is larger or smaller than its part, or has
 * none, runs without.
 */
#include <errno.h>
#include <stdlib.h>

#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"
#include "vdpa/filemap.h"
#include "vdpa/inflight.h"

struct inflight_map {
	struct filemap map;
	atomic_bool lost;
};

bool device_can_note_inflight(const struct device *d)
{
	for (int i = 0; i < DEVICE_N_SIDES; i++) {
		struct driver_device *driver = d->sides[i].driver;

		if (driver && driver->ops->caps(driver)->in_order)
			return false;
	}
	return true;
}

uint64_t device_inflight_size(const struct device *d, uint32_t n_rings, uint32_t ring_size)
{
	return n_rings * inflight_part_size(ring_size, device_is_packed(d));
}

uint8_t *inflight_part(const struct device *d, uint32_t index)
{
	const struct kept_inflight *area = &d->state->inflight;

	if (!d->inflight || index >= area->n_rings || d->state->rings[index].size != area->ring_size)
		return NULL;
	return d->inflight->map.at + device_inflight_size(d, index, area->ring_size);
}

bool inflight_is_lost(const struct device *d)
{
	return d->inflight && atomic_load_explicit(&d->inflight->lost, memory_order_relaxed);
}

static int map_area(int fd, uint64_t offset, uint64_t size, struct inflight_map **ret)
{
	struct memory_region file = { .offset = offset, .size = size };
	_cleanup_free_ struct inflight_map *map = NULL;
	int r;

	if (memory_quick_file_check(fd, &file, "the inflight area") < 0)
		return -EINVAL;
	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	r = filemap_open(fd, offset, size, &map->lost, &map->map);
	if (r == 0)
		*ret = TAKE_PTR(map);
	return r;
}

static void unmap_area(struct device *d)
{
	if (!d->inflight)
		return;
	filemap_close(&d->inflight->map);
	free(d->inflight);
	d->inflight = NULL;
}

int device_inflight_open(struct device *d)
{
	const struct kept_inflight *area = &d->state->inflight;

	if (area->slot == DEVICE_NO_INFLIGHT)
		return 0;
	return map_area(fdstore_get(d->fds, area->slot), area->offset,
		device_inflight_size(d, area->n_rings, area->ring_size), &d->inflight);
}

void device_forget_inflight(struct device *d)
{
	unmap_area(d);
	if (d->state->inflight.slot != DEVICE_NO_INFLIGHT)
		fdstore_remove(d->fds, d->state->inflight.slot);
	d->state->inflight = (struct kept_inflight){ .slot = DEVICE_NO_INFLIGHT };
	for (uint32_t i = 0; i < d->n_queues; i++)
		d->state->rings[i].resubmits = 0;
}

/* May there be another area now, of this shape? */
static int check_change(const struct device *d, uint32_t n_rings, uint32_t ring_size)
{
	if (n_rings == 0 || n_rings > d->n_queues || ring_size == 0 || ring_size > d->max_queue_size)
		return -EINVAL;
	return device_runs(d) || d->state->logging ? -EBUSY : 0;
}

int device_set_inflight(struct device *d, int32_t slot, uint64_t offset, uint64_t size,
	uint32_t n_rings, uint32_t ring_size, bool resubmits)
{
	const struct kept_inflight area = {
		.slot = slot,
		.n_rings = (uint16_t)n_rings,
		.ring_size = (uint16_t)ring_size,
		.offset = offset,
	};
	uint64_t needed;
	struct inflight_map *map;
	int r = check_change(d, n_rings, ring_size);

	if (r < 0)
		return r;
	needed = device_inflight_size(d, n_rings, ring_size);
	if (size < needed || offset % 8 != 0) {
		log_warning("an inflight area of %llu bytes at %llu: %u rings of %u need %llu",
			(unsigned long long)size, (unsigned long long)offset, n_rings, ring_size,
			(unsigned long long)needed);
		return -EINVAL;
	}
	r = map_area(fdstore_get(d->fds, slot), offset, needed, &map);
	if (r < 0)
		return r;
	device_forget_inflight(d);
	d->inflight = map;
	d->state->inflight = area;
	for (uint32_t i = 0; i < n_rings; i++)
		d->state->rings[i].resubmits = resubmits;
	return 0;
}
