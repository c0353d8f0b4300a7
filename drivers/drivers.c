/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of drivers: nothing else in the program names one. */
#include "drivers/drivers.h"

#include <string.h>

#include "vdpa/base/bits.h"

static const struct driver_ops *const drivers[] = {
	&ifc_driver,
	&sim_driver,
	&virtio_driver,
};

const struct driver_ops *driver_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (strcmp(drivers[i]->name, name) == 0)
			return drivers[i];
	}
	return NULL;
}
