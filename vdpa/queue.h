/* SPDX-License-Identifier: BSD-2-Clause */
/* What virtio says of any queue, whoever serves it: sets of queues, and positions in a ring. */
#ifndef VDPA_QUEUE_H
#define VDPA_QUEUE_H

#include <endian.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vdpa/base/bits.h"

#define QUEUE_MAX      256 /* an index fits the byte that vhost-user gives it */
#define QUEUE_SIZE_MAX 32768

/* A set of queue indices below QUEUE_MAX. */
struct queue_set {
	uint64_t bits[QUEUE_MAX / 64];
};

static inline void queue_set_add(struct queue_set *set, unsigned int index)
{
	set->bits[index / 64] |= BIT_ULL(index % 64);
}

static inline void queue_set_remove(struct queue_set *set, unsigned int index)
{
	set->bits[index / 64] &= ~BIT_ULL(index % 64);
}

static inline bool queue_set_has(const struct queue_set *set, unsigned int index)
{
	return index < QUEUE_MAX && (set->bits[index / 64] & BIT_ULL(index % 64));
}

static inline bool queue_set_empty(const struct queue_set *set)
{
	static const struct queue_set none;

	return memcmp(set, &none, sizeof(none)) == 0;
}

/**
 * struct queue_position - where a device stands in a ring; all that can be carried to another one.
 * @avail: split: next available index, free-running; packed: 0..size-1
 * @used:  split: next used index, free-running; packed: 0..size-1
 * @avail_wrap, @used_wrap: packed only; both are true at the start; false for split
 */
struct queue_position {
	uint16_t avail;
	uint16_t used;
	bool avail_wrap;
	bool used_wrap;
};

static inline bool queue_position_equal(struct queue_position a, struct queue_position b)
{
	return a.avail == b.avail && a.used == b.used && a.avail_wrap == b.avail_wrap &&
	       a.used_wrap == b.used_wrap;
}

/** queue_position_initial() - position of a ring nobody has used. Source: virtio 1.2, 2.7, 2.8. */
static inline struct queue_position queue_position_initial(bool packed)
{
	return (struct queue_position){ .avail_wrap = packed, .used_wrap = packed };
}

/**
 * queue_position_published() - where a device that works in order stands, by the used ring of a split
 * ring: what it gave back was done, and the rest is the guest's still.
 * @used: at least its flags and index; a guest that writes an index of its own is its own trouble
 */
static inline struct queue_position queue_position_published(const struct vring_used *used)
{
	uint16_t index = le16toh(used->idx);

	return (struct queue_position){ .avail = index, .used = index };
}

#endif
