/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues of a virtio function: what they can be, and making them run. */
#ifndef DRIVERS_VIRTIO_QUEUE_H
#define DRIVERS_VIRTIO_QUEUE_H

#include "drivers/virtio/function.h"
#include "vdpa/queue.h"

/**
 * struct virtio_queue_facts - a queue as its registers tell.
 * @size:    descriptors: after a reset the most it can have, and then what was set; 0: not there
 * @vector:  MSI-X vector, VIRTIO_MSI_NO_VECTOR for none
 * @enabled: it runs when the device does
 */
struct virtio_queue_facts {
	uint16_t size;
	uint16_t vector;
	bool enabled;
};

/**
 * struct virtio_queue_setup - what a queue runs with.
 * @index:  below n_queues
 * @size:   descriptors, 1 to what the device offers; a power of two unless packed
 * @vector: MSI-X vector, or VIRTIO_MSI_NO_VECTOR for none
 * @desc:   address, as the device sees it, of the descriptor table (packed: the ring); of 16 bytes
 * @driver: of the available ring, of 2 bytes (packed: driver event area, of 4)
 * @device: of the used ring (packed: device event area), of 4 bytes
 */
struct virtio_queue_setup {
	uint16_t index;
	uint16_t size;
	uint16_t vector;
	uint64_t desc;
	uint64_t driver;
	uint64_t device;
};

/**
 * struct virtio_doorbell - where and how a queue is notified.
 * @window: its register: 2 bytes, or 4 with VIRTIO_F_NOTIFICATION_DATA
 * @value:  what names the queue there: its index, or what the device wants to see instead
 */
struct virtio_doorbell {
	struct pci_window window;
	uint16_t value;
};

/**
 * virtio_queue_read() - a queue's facts. Changes nothing that the device does.
 * @index: below n_queues
 *
 * Return: 0; -EINVAL no such index; -ENODEV; -EPROTO a size that no queue can have.
 */
int virtio_queue_read(struct virtio_function *f, uint16_t index, struct virtio_queue_facts *ret);

/**
 * virtio_queue_enable() - set a queue up, and let it run as soon as the device does.
 *
 * After virtio_function_negotiate(), before virtio_function_run(), or after virtio_queue_reset(). There
 * is no way back but a reset: virtio has no disabling of queues.
 *
 * Source: virtio 1.2, 4.1.5.1.3 and 4.1.4.3.
 * Return: 0; -EINVAL an index, size, address or vector that can't be; -ENOENT the device does not have
 *         this queue; -EBUSY it is enabled, or nothing was negotiated; -ENOSPC no room for the
 *         vector; -ENODEV; -EIO the device does not keep what it was told.
 */
int virtio_queue_enable(struct virtio_function *f, const struct virtio_queue_setup *setup);

/**
 * virtio_queue_reset() - stop one queue while others run. One that is not enabled: no effect.
 * @deadline_ms: how long it may take, 1 or more
 *
 * On success the device reaches nothing of this queue any more, and it may be set up anew; its
 * registers are those after a reset.
 * Source: virtio 1.2, 2.6.1 and 4.1.4.3.
 * Return: 0; -EINVAL no such index; -EOPNOTSUPP VIRTIO_F_RING_RESET was not negotiated; -ENODEV;
 *         -ETIMEDOUT.
 */
int virtio_queue_reset(struct virtio_function *f, uint16_t index, unsigned int deadline_ms);

/**
 * virtio_queue_disable() - have one queue stop by its queue_enable, as functions of some makers do; virtio
 * has no such thing.
 * virtio_queue_wait_disabled() - wait until it has.
 * @index: below n_queues
 * @deadline_ms: how long it may take, 1 or more
 *
 * On success the device reaches nothing of this queue any more, and it may be set up anew.
 * Return: 0; -ENODEV; -ETIMEDOUT.
 */
void virtio_queue_disable(struct virtio_function *f, uint16_t index);
int virtio_queue_wait_disabled(struct virtio_function *f, uint16_t index, unsigned int deadline_ms);

/**
 * virtio_queue_doorbell() - where a queue is notified, with the features that were negotiated.
 *
 * Source: virtio 1.2, 4.1.4.4 and 4.1.5.2.
 * Return: 0; -EINVAL no such index; -EBUSY nothing was negotiated; -ENODEV; -EPROTO outside of what the
 *         device has for this.
 */
int virtio_queue_doorbell(struct virtio_function *f, uint16_t index, struct virtio_doorbell *ret);

/**
 * virtio_doorbell_ring() - say that there are new buffers.
 * @next: where the driver will put the next ones: @avail, and packed @avail_wrap; used only with
 *        VIRTIO_F_NOTIFICATION_DATA
 *
 * Source: virtio 1.2, 2.9 and 4.1.5.2.
 */
void virtio_doorbell_ring(struct virtio_function *f, const struct virtio_doorbell *bell,
	struct queue_position next);

#endif
