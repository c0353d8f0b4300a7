/* SPDX-License-Identifier: BSD-2-Clause */
/* A ring's description turned into what a driver needs. */
#ifndef VDPA_RING_H
#define VDPA_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "vdpa/device.h"

/** ring_size_ok() - may a ring of this layout have @size descriptors? virtio 1.2, 2.7 and 2.8. */
bool ring_size_ok(uint32_t size, bool packed);

/**
 * ring_used_size(), ring_desc_size() - bytes of the used ring (packed: device event area), and of the
 * descriptor table (packed: the ring).
 */
uint64_t ring_used_size(const struct device *d, uint32_t index);
uint64_t ring_desc_size(const struct device *d, uint32_t index);

/** ring_find() - each area over its full length. Return: as ring_locate(). */
int ring_find(const struct device *d, uint32_t index, struct ring_place *ret);

/** ring_ask_for() - have the front-end asked for translations that the ring lacks, if it needs any. */
void ring_ask_for(struct device *d, uint32_t index);

/** ring_asks_in() - has an area of the ring an address in [first, last], as the driver calls it? */
bool ring_asks_in(const struct device *d, uint32_t index, uint64_t first, uint64_t last);

/**
 * ring_locate() - translate a ring's three areas, each over its full length.
 * @q: index, size, desc, driver and device are written
 * Return: 0; -EFAULT an area is not in one memory region, or not translated; -EINVAL it is not aligned.
 */
int ring_locate(const struct device *d, uint32_t index, struct driver_queue *q);

/**
 * ring_position() - where the ring begins, from its base word and, split, its used index.
 * Return: 0; -EINVAL no such position; -EFAULT the used index can't be read.
 */
int ring_position(const struct device *d, const struct driver_queue *q,
	struct queue_position *ret);

/**
 * ring_copy_device_area() - copy what the device writes to: the used ring, or the packed ring.
 * @ret: allocated; the caller frees it
 * Return: 0; -EFAULT; -ENOMEM.
 */
int ring_copy_device_area(const struct device *d, uint32_t index, void **ret);

/* Words that a ring's two sides write. Split: flags, index. Packed: offset and wrap of an event, flags. */
struct ring_words {
	uint16_t driver[2];
	uint16_t device[2];
};

/**
 * ring_read_available() - the available index of a split ring, as it stands in the guest's memory now.
 * Return: as ring_read_words().
 */
int ring_read_available(const struct device *d, uint32_t index, uint16_t *ret);

/**
 * ring_read_words() - as they stand in the guest's memory now. For people: nothing depends on them.
 * Return: 0; -ENOENT the ring is not described; -EBUSY memory is on its way, and nobody may touch it;
 * -EFAULT.
 */
int ring_read_words(const struct device *d, uint32_t index, struct ring_words *ret);

/** ring_lies_in() - does an area of the ring touch @region? By the addresses the device uses. */
bool ring_lies_in(const struct device *d, uint32_t index, const struct memory_region *region);

#endif
