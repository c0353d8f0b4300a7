/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a front-end's addresses to the device's. Guest memory is read by pread(2) of its file, not
 * through a mapping: a file that was cut short then answers with an error, not with a signal.
 */
#include "vdpa/ring.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/ringareas.h"
#include "vdpa/device_internal.h"
#include "vdpa/position.h"

struct area {
	uint64_t uva; /* or the driver's address, with device_translates() */
	uint64_t size;
	uint64_t align;
	uint32_t perm; /* DRIVER_PERM_, what the device does there */
	const uint64_t *place; /* where it was translated to when the ring started; NULL: the table tells */
};

/* A page of an earlier program has none, and no ring has all of its areas at one address. */
static const uint64_t *place_of(const struct device *d, const struct ring_state *ring, enum ring_area which)
{
	const struct ring_place *place = &d->state->places[ring - d->state->rings];
	const uint64_t *const at[RING_AREAS] = { &place->desc, &place->driver, &place->device };
	bool known = device_translates(d) && place->desc != place->device;

	return known ? at[which] : NULL;
}

static struct area area_of(const struct device *d, const struct ring_state *ring, enum ring_area which)
{
	const uint64_t at[RING_AREAS] = { ring->desc_uva, ring->avail_uva, ring->used_uva };
	const struct ring_area_facts facts = ring_area_facts(which, ring->size, d->state->features);

	return (struct area){
		.uva = at[which],
		.size = facts.size,
		.align = facts.align,
		.perm = (facts.read ? DRIVER_PERM_READ : 0) | (facts.written ? DRIVER_PERM_WRITE : 0),
		.place = place_of(d, ring, which),
	};
}

bool ring_size_ok(uint32_t size, bool packed)
{
	return size > 0 && size <= QUEUE_SIZE_MAX && (packed || (size & (size - 1)) == 0);
}

uint64_t ring_used_size(const struct device *d, uint32_t index)
{
	return area_of(d, &d->state->rings[index], RING_DEVICE).size;
}

uint64_t ring_desc_size(const struct device *d, uint32_t index)
{
	return area_of(d, &d->state->rings[index], RING_DESC).size;
}

/* The region that has all of @area, and where it is there. Return: 0; -EFAULT. */
static int find_area(const struct device *d, struct area area, const struct memory_region **ret,
	uint64_t *ret_gpa)
{
	if (device_translates(d)) {
		if (area.place)
			*ret_gpa = *area.place;
		else if (iotlb_locate(d, area.uva, area.size, area.perm, ret_gpa) < 0)
			return -EFAULT;
		*ret = memory_find_gpa(&d->state->memory, *ret_gpa, area.size);
		return *ret ? 0 : -EFAULT;
	}
	*ret = memory_find_uva(&d->state->memory, area.uva, area.size);
	if (!*ret)
		return -EFAULT;
	*ret_gpa = (*ret)->gpa + (area.uva - (*ret)->uva);
	return 0;
}

static int locate(const struct device *d, struct area area, uint64_t *ret)
{
	const struct memory_region *region;
	uint64_t gpa;
	int r = find_area(d, area, &region, &gpa);

	if (r < 0)
		return r;
	if (gpa % area.align)
		return -EINVAL;
	*ret = gpa;
	return 0;
}

int ring_find(const struct device *d, uint32_t index, struct ring_place *ret)
{
	const struct ring_state *ring = &d->state->rings[index];
	int r = locate(d, area_of(d, ring, RING_DESC), &ret->desc);

	if (r == 0)
		r = locate(d, area_of(d, ring, RING_DRIVER), &ret->driver);
	if (r == 0)
		r = locate(d, area_of(d, ring, RING_DEVICE), &ret->device);
	return r;
}

int ring_locate(const struct device *d, uint32_t index, struct driver_queue *q)
{
	const struct ring_state *ring = &d->state->rings[index];
	struct ring_place place;
	int r = ring_find(d, index, &place);

	q->index = (uint16_t)index;
	q->size = ring->size;
	if (r < 0)
		return r;
	if (device_translates(d))
		place = (struct ring_place){ ring->desc_uva, ring->avail_uva, ring->used_uva };
	q->desc = place.desc;
	q->driver = place.driver;
	q->device = place.device;
	return 0;
}

void ring_ask_for(struct device *d, uint32_t index)
{
	for (int which = 0; which < RING_AREAS && device_translates(d); which++) {
		struct area area = area_of(d, &d->state->rings[index], (enum ring_area)which);

		iotlb_ask_for(d, area.uva, area.size, area.perm);
	}
}

bool ring_asks_in(const struct device *d, uint32_t index, uint64_t first, uint64_t last)
{
	for (int which = 0; which < RING_AREAS; which++) {
		struct area area = area_of(d, &d->state->rings[index], (enum ring_area)which);

		if (area.uva <= last && first <= area.uva + (area.size - 1))
			return true;
	}
	return false;
}

/* Reads guest memory at @area, from @offset on. */
static int read_area(const struct device *d, struct area area, uint64_t offset, void *data,
	size_t size)
{
	const struct memory_region *region;
	uint64_t gpa, at;
	int fd;

	if (find_area(d, area, &region, &gpa) < 0)
		return -EFAULT;
	fd = fdstore_get(d->fds, region->slot);
	at = region->offset + (gpa - region->gpa) + offset;
	if (fd < 0 || pread(fd, data, size, (off_t)at) != (ssize_t)size)
		return -EFAULT;
	return 0;
}

int ring_position(const struct device *d, const struct driver_queue *q,
	struct queue_position *ret)
{
	const struct ring_state *ring = &d->state->rings[q->index];
	uint16_t used;
	int r;

	if (device_is_packed(d))
		return position_from_packed(ring->base, ring->size, ret);

	if (device_postcopy_listens(d)) /* the device finds it, when it has come */
		return position_from_split(ring->base, (uint16_t)ring->base, ring->size, ret);
	r = read_area(d, area_of(d, ring, RING_DEVICE), offsetof(struct vring_used, idx), &used,
		sizeof(used));
	return r < 0 ? r : position_from_split(ring->base, used, ring->size, ret);
}

int ring_copy_device_area(const struct device *d, uint32_t index, void **ret)
{
	const struct ring_state *ring = &d->state->rings[index];
	struct area area =
		area_of(d, ring, device_is_packed(d) ? RING_DESC : RING_DEVICE);
	_cleanup_free_ void *copy = malloc(area.size);
	int r;

	if (!copy)
		return -ENOMEM;
	r = read_area(d, area, 0, copy, area.size);
	if (r == 0)
		*ret = TAKE_PTR(copy);
	return r;
}

static int may_read(const struct device *d, const struct ring_state *ring)
{
	if (!ring->has_addr || ring->size == 0)
		return -ENOENT;
	return device_postcopy_listens(d) ? -EBUSY : 0;
}

int ring_read_available(const struct device *d, uint32_t index, uint16_t *ret)
{
	const struct ring_state *ring = &d->state->rings[index];
	int r = may_read(d, ring);

	if (r < 0)
		return r;
	return read_area(d, area_of(d, ring, RING_DRIVER), offsetof(struct vring_avail, idx), ret, sizeof(*ret));
}

int ring_read_words(const struct device *d, uint32_t index, struct ring_words *ret)
{
	const struct ring_state *ring = &d->state->rings[index];
	int r = may_read(d, ring);

	if (r < 0)
		return r;
	r = read_area(d, area_of(d, ring, RING_DRIVER), 0, ret->driver, sizeof(ret->driver));
	if (r == 0)
		r = read_area(d, area_of(d, ring, RING_DEVICE), 0, ret->device, sizeof(ret->device));
	return r;
}

bool ring_lies_in(const struct device *d, uint32_t index, const struct memory_region *region)
{
	for (int which = 0; which < RING_AREAS; which++) {
		struct area area = area_of(d, &d->state->rings[index], (enum ring_area)which);
		const struct memory_region *found;
		uint64_t gpa;

		if (find_area(d, area, &found, &gpa) < 0 || memory_gpa_overlap(found, region))
			return true;
	}
	return false;
}
