/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a maker added to the functions of virtio: registers by which a queue begins and stops anywhere,
 * and a log of the pages that the device writes. The driver does the rest of it; here is what differs
 * from maker to maker. Nothing here waits.
 */
#ifndef DRIVERS_VIRTIO_VARIANT_H
#define DRIVERS_VIRTIO_VARIANT_H

#include <stdbool.h>
#include <stdint.h>

#include "drivers/virtio/function.h"
#include "vdpa/queue.h"

/**
 * struct virtio_variant - such functions. They complete chains in the order in which they took them, stop
 * a queue when its queue_enable is written as 0, and mark buffers in their log, not rings.
 * @lacks: features that are not offered to guests, whatever the function says
 */
struct virtio_variant {
	uint64_t lacks;

	/** @present: has the function these registers, for so many pairs? Else it is one of virtio alone. */
	bool (*present)(struct virtio_function *f, uint16_t pairs);

	/** @set_pairs: how many pairs are used, 1 or more; between FEATURES_OK and the next reset. */
	void (*set_pairs)(struct virtio_function *f, uint16_t pairs);

	/** @set_position: where a queue that is not enabled begins; after FEATURES_OK. */
	void (*set_position)(struct virtio_function *f, uint16_t queue, struct queue_position position);

	/** @position: where a queue stood when it stopped. All ones of a function that is gone. */
	struct queue_position (*position)(struct virtio_function *f, uint16_t queue);

	/**
	 * @log: mark the pages of buffers in memory at [@iova, @iova + @size); bit n % 8 of byte n / 8 is
	 * page n. With @size 0, nowhere. Where there is a log in force no queue runs. Again: no effect.
	 */
	void (*log)(struct virtio_function *f, uint64_t iova, uint64_t size);
};

#endif
