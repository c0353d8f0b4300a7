/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that arrives by postcopy: it runs here while most of its memory is still elsewhere.
 *
 *          advise          listen            set_memory        acknowledged
 *   NONE ---------> ADVISED ------> LISTENING ---------> TOLD -------------> ARRIVING
 *     ^                                                    ^---- set_memory ----'
 *     `------------------------------- end, or release ---------------------------
 *
 * From LISTENING on nobody here may touch the guest's memory but the device, which knows how to wait
 * for a page. So the used index of a split ring is the device's to find (ring_position()), a ring that
 * needs a relay waits for the end, and no page is logged. In TOLD no ring runs: the front-end
 * can't answer yet for the addresses that it was told.
 *
 * A device that was lost or reset took the userfaultfd with it. The one that comes in its place is
 * blind: it gets no memory, and its rings wait, until all pages are there.
 */
#include <errno.h>
#include <string.h>

#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"

bool device_can_postcopy(const struct device *d)
{
	for (int i = 0; i < DEVICE_N_SIDES; i++) {
		struct driver_device *driver = d->sides[i].driver;

		if (driver && !driver->ops->caps(driver)->page_faults)
			return false;
	}
	return true;
}

bool device_postcopy_listens(const struct device *d)
{
	return d->state->postcopy >= POSTCOPY_LISTENING;
}

bool device_postcopy_waits(const struct device *d)
{
	return d->state->postcopy == POSTCOPY_TOLD;
}

bool postcopy_hides_memory(const struct device *d)
{
	return device_postcopy_listens(d) && d->state->postcopy_blind;
}

bool postcopy_holds_rings(const struct device *d)
{
	return device_postcopy_waits(d) || postcopy_hides_memory(d);
}

void postcopy_note_loss(struct device *d)
{
	d->state->postcopy_blind = d->state->postcopy != POSTCOPY_NONE;
	if (postcopy_hides_memory(d))
		log_warning("the device was replaced during postcopy: its queues wait for the end of it");
}

const char *device_postcopy_reason(const struct device *d)
{
	if (postcopy_hides_memory(d))
		return "the device was replaced during postcopy; queues wait for the end of it";
	if (device_postcopy_listens(d) && d->relay_waits)
		return "queues that need a relay wait for the end of postcopy";
	return NULL;
}

bool postcopy_makes_wait(struct device *d)
{
	bool known = d->relay_waits;

	d->relay_waits = true;
	if (!known)
		log_info("%s", device_postcopy_reason(d));
	return false;
}

/* Sorts a driver's error of a call that has to have an effect. */
static int demand(struct device *d, int r, const char *what)
{
	if (r < 0)
		r = device_check(d, r, what);
	return r == 0 && device_is_away(d) ? -EBUSY : r;
}

int device_postcopy_advise(struct device *d, int *ret_fd)
{
	int r;

	if (!device_can_postcopy(d))
		return -EOPNOTSUPP;
	if (device_postcopy_listens(d) || device_is_away(d))
		return -EBUSY;
	r = demand(d, d->driver->ops->postcopy_advise(d->driver, ret_fd), "advise postcopy");
	if (r < 0)
		return r;
	d->state->postcopy = POSTCOPY_ADVISED;
	d->state->postcopy_blind = 0;
	return 0;
}

int device_postcopy_listen(struct device *d)
{
	if (d->state->postcopy == POSTCOPY_LISTENING)
		return 0; /* QEMU says it once a pair of queues */
	if (d->state->postcopy != POSTCOPY_ADVISED || d->state->memory.n_regions > 0 ||
		d->state->logging)
		return -EBUSY;
	d->state->postcopy = POSTCOPY_LISTENING;
	d->relay_waits = false;
	return 0;
}

int postcopy_map(struct device *d, const struct driver_map *map)
{
	uint64_t address;

	return d->driver->ops->postcopy_map(d->driver, map, &address);
}

/* Nobody will ask for pages of a blind device, so any address does. */
int device_postcopy_tell(struct device *d, const struct memory_region *region, uint64_t *ret)
{
	const struct driver_map map = memory_driver_map(d, region);
	int r = 0;

	*ret = region->uva;
	if (!device_is_away(d) && !postcopy_hides_memory(d))
		r = demand(d, d->driver->ops->postcopy_map(d->driver, &map, ret), "map memory");
	if (r < 0)
		return r;
	d->state->postcopy = POSTCOPY_TOLD;
	d->state->postcopy_told_ns = clock_now_ns();
	return 0;
}

int device_postcopy_acknowledged(struct device *d)
{
	int r = 0;

	if (!device_postcopy_waits(d))
		return 0;
	if (!device_is_away(d) && !postcopy_hides_memory(d))
		r = d->driver->ops->postcopy_register(d->driver);
	if (r < 0)
		r = device_check(d, r, "ask for pages");
	if (r == 0)
		d->state->postcopy = POSTCOPY_ARRIVING;
	return r;
}

int device_postcopy_end(struct device *d)
{
	bool hidden = postcopy_hides_memory(d);
	int r = 0;

	if (d->state->postcopy == POSTCOPY_NONE)
		return 0;
	d->state->postcopy = POSTCOPY_NONE;
	d->state->postcopy_blind = 0;
	if (device_is_away(d))
		return 0;
	r = hidden ? memory_map_all(d) : d->driver->ops->postcopy_end(d->driver);
	if (r < 0 && device_check(d, r, "end postcopy") < 0 && !d->state->failed)
		device_broke(d, "end postcopy: %s", strerror(-r));
	return d->state->failed ? -EIO : 0;
}
