/* SPDX-License-Identifier: BSD-2-Clause */
/* The three areas of a virtqueue: how long they are, and what a device does there. */
#ifndef VDPA_BASE_RINGAREAS_H
#define VDPA_BASE_RINGAREAS_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "vdpa/base/bits.h"

enum ring_area { RING_DESC, RING_DRIVER, RING_DEVICE, RING_AREAS };

struct ring_area_facts {
	uint64_t size;	/* bytes */
	uint64_t align; /* of its address, bytes */
	bool read, written; /* by the device */
};

/**
 * ring_area_facts() - of one area. Without VIRTIO_RING_F_EVENT_IDX nobody looks behind the entries of a split
 * ring, and what lies there may be anything, or nothing.
 * @size: entries of the ring
 * @features: what was negotiated
 *
 * Source: virtio 1.2, 2.7 "Split Virtqueues", and 2.8.10 "Driver and Device Event Suppression".
 */
static inline struct ring_area_facts ring_area_facts(enum ring_area which, uint32_t size, uint64_t features)
{
	const uint64_t event = features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX) ? 2 : 0;
	const bool packed = features & BIT_ULL(VIRTIO_F_RING_PACKED);

	switch (which) {
	case RING_DESC:
		return (struct ring_area_facts){ 16ULL * size, 16, true, packed };
	case RING_DRIVER:
		return packed ? (struct ring_area_facts){ 4, 4, true, false } :
				(struct ring_area_facts){ 4 + 2ULL * size + event, 2, true, false };
	default:
		return packed ? (struct ring_area_facts){ 4, 4, false, true } :
				(struct ring_area_facts){ 4 + 8ULL * size + event, 4, false, true };
	}
}

#endif
