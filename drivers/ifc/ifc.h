/* SPDX-License-Identifier: BSD-2-Clause */
/* Intel's IFC functions, whatever their transport: what drivers.h lists is made of these. */
#ifndef DRIVERS_IFC_IFC_H
#define DRIVERS_IFC_IFC_H

#include "drivers/virtio/device.h"

/**
 * ifc_device_open() - @open of struct driver_ops, on a transport.
 * @transport: the instance's from now on, also on failure
 *
 * Return: as @open; -EPROTO also for a function that is none of Intel's.
 */
int ifc_device_open(const struct driver_ops *ops, struct virtio_transport *transport,
	struct driver_keeper *keeper, struct driver_device **ret);

/** ifc_device_open_absent() - @open without descriptors: of a function that is gone. */
int ifc_device_open_absent(const struct driver_ops *ops, struct driver_keeper *keeper,
	struct driver_device **ret);

/** ifc_device_reopen() - @reopen of struct driver_ops; the rest as above. */
int ifc_device_reopen(struct driver_device *device, struct virtio_transport *transport);

#endif
