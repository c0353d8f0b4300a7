/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver of virtio-net functions, whatever their transport: all operations of struct driver_ops but
 * @open and @reopen, which make the transport. A driver's table lists them.
 */
#ifndef DRIVERS_VIRTIO_DEVICE_H
#define DRIVERS_VIRTIO_DEVICE_H

#include "drivers/virtio/transport.h"
#include "drivers/virtio/variant.h"
#include "vdpa/driver.h"

/**
 * virtio_device_open() - @open of struct driver_ops, on a transport.
 * @ops: the driver's table
 * @variant: what its functions have beyond virtio, if they have it; NULL: nothing
 * @transport: the instance's from now on, also on failure
 */
int virtio_device_open(const struct driver_ops *ops, const struct virtio_variant *variant,
	struct virtio_transport *transport, struct driver_keeper *keeper, struct driver_device **ret);

/** virtio_device_open_absent() - @open without descriptors: of a function that is gone. */
int virtio_device_open_absent(const struct driver_ops *ops, const struct virtio_variant *variant,
	struct driver_keeper *keeper, struct driver_device **ret);

/** virtio_device_let_go() - give up all that is held of the function, which is gone. Again: no effect. */
void virtio_device_let_go(struct driver_device *device);

/** virtio_device_reopen() - @reopen of struct driver_ops; @transport as above. */
int virtio_device_reopen(struct driver_device *device, struct virtio_transport *transport);

void virtio_close(struct driver_device *device);
const struct driver_caps *virtio_caps(struct driver_device *device);
int virtio_reset(struct driver_device *device);
int virtio_set_features(struct driver_device *device, uint64_t features);
int virtio_map(struct driver_device *device, const struct driver_map *map);
int virtio_unmap(struct driver_device *device, uint64_t iova, uint64_t size);
int virtio_set_log(struct driver_device *device, const struct driver_log *log);
int virtio_doorbell(struct driver_device *device, bool on, uint16_t queue, int *ret_fd, uint64_t *ret);
int virtio_prepare(struct driver_device *device, const struct driver_queue *queues, size_t n);
int virtio_start(struct driver_device *device, const struct queue_set *set);
int virtio_stop(struct driver_device *device, const struct queue_set *set,
	struct queue_position *ret);
int virtio_set_queue_fd(struct driver_device *device, uint16_t queue, enum driver_queue_fd which,
	int fd);
int virtio_lost_position(struct driver_device *device, const struct driver_queue *queue, bool packed,
	const void *ring, struct queue_position *ret);
int virtio_get_config(struct driver_device *device, struct driver_net_config *ret);
int virtio_set_mtu(struct driver_device *device, uint16_t mtu);
int virtio_queue_stats(struct driver_device *device, uint16_t queue, struct driver_queue_stats *ret);
int virtio_device_stats(struct driver_device *device, struct driver_device_stats *ret);
int virtio_event_fd(struct driver_device *device);
int virtio_next_event(struct driver_device *device, struct driver_event *ret);

#endif
