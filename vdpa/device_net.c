/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device is asked beside its rings: its configuration, its MTU, to announce where it is, and for
 * the page by which a guest kicks it.
 */
#include <errno.h>

#include "vdpa/device_internal.h"

/* Sorts the answer to a question whose refusal changes nothing. */
static int asked(struct device *d, int r, const char *what)
{
	if (r < 0)
		r = device_check(d, r, what);
	return r == 0 && device_is_away(d) ? -EBUSY : r;
}

int device_net_config(struct device *d, struct driver_net_config *ret)
{
	if (device_is_away(d))
		return -EBUSY;
	return asked(d, d->driver->ops->get_config(d->driver, ret), "read configuration");
}

int device_set_mtu(struct device *d, uint16_t mtu)
{
	int r;

	if (device_is_away(d))
		return -EBUSY;
	r = asked(d, d->driver->ops->set_mtu(d->driver, mtu), "set MTU");
	if (r == 0)
		d->state->failover.mtu = mtu;
	return r;
}

bool device_can_announce(const struct device *d)
{
	for (int i = 0; i < DEVICE_N_SIDES; i++) {
		struct driver_device *driver = d->sides[i].driver;

		if (driver && !driver->ops->caps(driver)->announces)
			return false;
	}
	return true;
}

int device_announce(struct device *d, const uint8_t mac[6])
{
	if (device_is_away(d))
		return -EBUSY;
	return asked(d, d->driver->ops->announce(d->driver, mac), "announce");
}

/* A page of one device is of no use while another one serves, and nobody can take it back at once. */
bool device_has_doorbell(const struct device *d)
{
	return d->doorbell_allowed && !device_has_standby(d) && d->driver->ops->caps(d->driver)->doorbell;
}

int device_open_doorbell(struct device *d, uint32_t index, int *ret_fd, uint64_t *ret)
{
	int r;

	if (!device_has_doorbell(d))
		return -EOPNOTSUPP;
	if (device_is_away(d))
		return -EBUSY;
	r = asked(d, ring_doorbell(d, index, ret_fd, ret),
		"open the doorbell page");
	if (r == 0)
		d->state->doorbell = 1;
	return r;
}

int device_close_doorbell(struct device *d)
{
	int none = -1;
	uint64_t nowhere;
	int r = 0;

	if (!d->state->doorbell)
		return 0;
	d->state->doorbell = 0;
	if (!device_is_away(d))
		r = d->driver->ops->doorbell(d->driver, false, 0, &none, &nowhere);
	return r < 0 ? device_check(d, r, "close the doorbell page") : 0;
}
