/* SPDX-License-Identifier: BSD-2-Clause */
/* The drivers there are. To add one: its folder, its row in drivers.c, docs/adding-a-driver.md. */
#ifndef DRIVERS_DRIVERS_H
#define DRIVERS_DRIVERS_H

#include "vdpa/driver.h"

extern const struct driver_ops ifc_driver, sim_driver, virtio_driver;

/** driver_find() - the driver called @name, or NULL. */
const struct driver_ops *driver_find(const char *name);

#endif
