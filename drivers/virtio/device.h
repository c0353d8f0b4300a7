/* SPDX-License-Identifier: BSD-2-Clause */
/* The driver of virtio-net functions, whatever its transport: struct driver_ops of vdpa/driver.h. */
#ifndef DRIVERS_VIRTIO_DEVICE_H
#define DRIVERS_VIRTIO_DEVICE_H

#include "drivers/virtio/transport.h"
#include "vdpa/driver.h"

/**
 * virtio_device_open() - @open of struct driver_ops, on a transport.
 * @transport: the instance's from now on, also on failure
 */
int virtio_device_open(struct virtio_transport *transport, struct driver_keeper *keeper,
	struct driver_device **ret);

#endif
