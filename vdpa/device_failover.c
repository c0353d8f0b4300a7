/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two sides that can serve a device's rings: the device itself, and its standby. One of them serves; the
 * other one is reset, and knows nothing of the guest. What the guest was offered both can.
 *
 * Which one it is to be is computed from the state, like all that is wanted (wanted_side()), and
 * device_update() makes it so. A side that fails while the other one is well counts as lost, so that
 * nothing is given up that runs on in a moment. A change is a stop and a start, in steps that a
 * successor may repeat: rings stop, or it is found out where they stood; the other side gets all that the
 * first one had; both is made lasting; the first one is reset, if it answers; rings start.
 *
 * Back goes what failed when it has been well for a while, longer each time that this was in vain, and
 * when nothing is lost by it: a device that begins in fresh rings only waits for the guest's driver to begin
 * anew, unless the operator wants it at once. A side that is broken is reset now and then until that works;
 * one that is gone is waited for.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/device_internal.h"
#include "vdpa/position.h"
#include "vdpa/saved.h"

#define QUIET_NS	(10 * NS_PER_S) /* well for so long */
#define MAX_DOUBLINGS	6		/* of that, at most */
#define FORGIVEN_NS	(600 * NS_PER_S) /* who served for so long has no relapse */

static const char *const names[DEVICE_N_SIDES] = {
	[DEVICE_PRIMARY] = "the device",
	[DEVICE_STANDBY] = "the standby",
};

void failover_init(struct device *d)
{
	memset(d->sides, 0, sizeof(d->sides));
	d->sides[DEVICE_PRIMARY].driver = d->driver;
	d->broken = d->hung = d->announce_due = false;
	d->revive_ns = 0;
	d->revivals = 0;
	d->trouble[0] = '\0';
}

bool device_has_standby(const struct device *d)
{
	return d->sides[DEVICE_STANDBY].driver != NULL;
}

enum device_side device_active_side(const struct device *d)
{
	return (enum device_side)d->state->failover.active;
}

static enum device_side other_side(const struct device *d)
{
	return device_active_side(d) == DEVICE_PRIMARY ? DEVICE_STANDBY : DEVICE_PRIMARY;
}

bool failover_can(const struct device *d)
{
	return device_has_standby(d) && d->state->failover.well_ns != 0;
}

bool device_side_is_well(const struct device *d, enum device_side side)
{
	return side == device_active_side(d) ? !device_is_away(d) : failover_can(d);
}

void device_set_side_fds(struct device *d, enum device_side side, const int *fds, size_t n_fds)
{
	memcpy(d->sides[side].fds, fds, n_fds * sizeof(fds[0]));
	d->sides[side].n_fds = n_fds;
}

void device_add_standby(struct device *d, struct driver_device *driver,
	const int errors[DEVICE_N_SIDES], uint64_t features, uint16_t max_pairs)
{
	struct kept_failover *f = &d->state->failover;
	int error = errors[f->active];

	d->sides[DEVICE_STANDBY].driver = driver;
	d->driver = d->sides[f->active].driver;
	device_make_offer(d, features, max_pairs);
	d->lost = error < 0;
	d->broken = error < 0 && error != -ENODEV;
	d->hung = error == -ETIMEDOUT;
	if (d->broken)
		snprintf(d->trouble, sizeof(d->trouble), "%s failed: open: %s", names[f->active],
			strerror(-error));
	if (errors[other_side(d)] < 0)
		f->well_ns = 0;
}

/* ------------------------------------------------------------------------------ the wish */

static enum device_side preferred_side(const struct device *d)
{
	return d->state->failover.wish == WISH_SIM && device_has_standby(d) ? DEVICE_STANDBY
									     : DEVICE_PRIMARY;
}

void device_set_wish(struct device *d, enum datapath_wish wish, bool now)
{
	static const char *const words[WISH_N] = {
		[WISH_DIRECT] = "direct",
		[WISH_RELAY] = "relay",
		[WISH_SIM] = "sim",
	};

	d->state->failover.now = now || d->state->failover.wish != wish;
	if (d->state->failover.wish != wish)
		log_info("datapath %s is wanted", words[wish]);
	d->state->failover.wish = (uint8_t)wish;
}

/* Who logs pages is not changed in between, and a relay can't wait for pages, nor translate. */
static void update_relay_wish(struct device *d)
{
	struct kept_failover *f = &d->state->failover;

	f->relayed = f->wish == WISH_RELAY && f->active == DEVICE_PRIMARY && !device_translates(d) &&
		     !device_postcopy_listens(d);
}

bool failover_wants_relay(const struct device *d)
{
	return d->state->failover.relayed;
}

static uint64_t quiet_ns(const struct device *d)
{
	uint32_t doublings = d->state->failover.relapses;

	return QUIET_NS << (doublings < MAX_DOUBLINGS ? doublings : MAX_DOUBLINGS);
}

/* Does nothing move, and begins all that will at the beginning? */
static bool rings_are_fresh(const struct device *d)
{
	const uint32_t packed = position_word_packed(queue_position_initial(true));

	for (uint32_t i = 0; i < d->n_queues && d->state->has_features; i++) {
		const struct ring_state *ring = &d->state->rings[i];

		if (ring->running || (ring->base != 0 && (!device_is_packed(d) || ring->base != packed)))
			return false;
	}
	return true;
}

/* The other side is the one that is wanted, and well. Does a change cost the guest nothing but a moment? */
static bool is_good_moment(const struct device *d)
{
	struct driver_device *to = d->sides[other_side(d)].driver;

	return to->ops->caps(to)->start_position == DRIVER_START_ANY ||
	       d->state->failover.wish == WISH_RELAY || rings_are_fresh(d);
}

/* When it has been well for long enough; 0: it is not well. */
static uint64_t trusted_ns(const struct device *d)
{
	return d->state->failover.well_ns ? d->state->failover.well_ns + quiet_ns(d) : 0;
}

/* It is broken and counted on the other side, which can't serve by now either. */
static bool is_left_alone(const struct device *d)
{
	return d->lost && d->broken && !failover_can(d);
}

static enum device_side wanted_side(const struct device *d)
{
	enum device_side active = device_active_side(d), other = other_side(d);

	if (!failover_can(d))
		return active;
	if (d->lost)
		return other;
	if (preferred_side(d) == active || d->state->postcopy != POSTCOPY_NONE)
		return active;
	if (d->state->failover.now)
		return other;
	return clock_now_ns() >= trusted_ns(d) && is_good_moment(d) ? other : active;
}

/* --------------------------------------------------------------------------- the other side */

static void other_is_away(struct device *d, bool gone)
{
	uint32_t doublings = d->revivals < MAX_DOUBLINGS ? d->revivals : MAX_DOUBLINGS;

	d->state->failover.well_ns = 0;
	d->revive_ns = gone ? 0 : clock_now_ns() + (QUIET_NS << doublings);
	d->revivals = gone ? 0 : d->revivals + 1;
}

static void other_is_well(struct device *d)
{
	d->state->failover.well_ns = clock_now_ns();
	d->state->failover.stale = 0;
	d->revive_ns = 0;
	d->revivals = 0;
}

/* After a reset of the side that does not serve. */
static void note_reset(struct device *d, int r)
{
	enum device_side side = other_side(d);

	if (r == 0) {
		other_is_well(d);
		return;
	}
	if (r == -ENODEV)
		d->state->failover.stale = 0;
	if (r != -ENODEV && d->state->failover.stale)
		log_warning("%s can't be reset: %s; it may still reach the guest's memory, and if it goes on with "
			    "rings that are served by another now, they break",
			names[side], strerror(-r));
	other_is_away(d, r == -ENODEV);
}

static void reset_other(struct device *d)
{
	struct driver_device *driver = d->sides[other_side(d)].driver;

	note_reset(d, driver->ops->reset(driver));
}

/* Begins anew with the descriptors that there are. */
static void revive_other(struct device *d)
{
	const struct device_side_link *side = &d->sides[other_side(d)];
	int r = side->driver->ops->reopen(side->driver, side->fds, side->n_fds); /* none: it lets go */

	if (r == 0)
		r = side->driver->ops->reset(side->driver);
	note_reset(d, r);
	if (r == 0)
		log_info("%s is well", names[other_side(d)]);
	if (r < 0 || !d->state->failed)
		return;
	snprintf(d->trouble, sizeof(d->trouble), "%s", d->state->reason); /* neither did work */
	d->lost = d->broken = true;
}

void device_resume_failover(struct device *d)
{
	const struct kept_failover *f = &d->state->failover;

	if (device_has_standby(d) && (f->stale || f->well_ns == 0))
		revive_other(d);
}

/* ------------------------------------------------------------------------- what sides say */

void failover_note_failure(struct device *d, const char *reason)
{
	log_warning("%s failed: %s; the other one takes over", names[device_active_side(d)], reason);
	snprintf(d->trouble, sizeof(d->trouble), "%s failed: %.80s", names[device_active_side(d)], reason);
	d->lost = true;
	d->broken = true;
}

void device_side_failed(struct device *d, enum device_side side)
{
	if (side == device_active_side(d))
		device_broke(d, "the device reports that it does not work any more");
	else if (d->state->failover.well_ns != 0)
		other_is_away(d, false);
}

void device_side_gone(struct device *d, enum device_side side)
{
	if (side == device_active_side(d)) {
		log_warning("the device is gone; waiting for it to come back");
		d->lost = true;
		return;
	}
	log_warning("%s is gone", names[side]);
	revive_other(d); /* it may be that it was replaced, and what came is here already */
}

int device_side_returned(struct device *d, enum device_side side, const int *fds, size_t n_fds)
{
	device_set_side_fds(d, side, fds, n_fds);
	if (side == device_active_side(d))
		return device_returned(d, fds, n_fds);
	d->revivals = 0;
	revive_other(d);
	if (d->lost && failover_can(d))
		d->state->failed = 0;
	return device_update(d);
}

/* ------------------------------------------------------------------------------ the change */

static void select_side(struct device *d, enum device_side side)
{
	d->state->failover.active = (uint8_t)side;
	d->driver = d->sides[side].driver;
	d->lost = false;
	d->state->returning = 0;
	relays_forget_known(d);
	update_relay_wish(d);
}

/* No ring runs then. A device that is broken is asked to stop; one that does not answer was asked already. */
static int leave_side(struct device *d)
{
	if (d->broken && !d->hung)
		d->lost = false;
	return device_pause_all(d);
}

static void relapse(struct kept_failover *f)
{
	bool soon = f->returned && clock_now_ns() - f->switched_ns < FORGIVEN_NS;

	f->relapses = soon ? f->relapses + 1 : 0;
}

static void note_switch(struct device *d, bool failed)
{
	struct kept_failover *f = &d->state->failover;

	if (failed)
		relapse(f);
	f->returned = !failed;
	f->stale = 1;
	f->switches++;
	f->switched_ns = clock_now_ns();
	f->well_ns = 0;
	snprintf(f->reason, sizeof(f->reason), "%s",
		failed	      ? d->trouble
		: d->state->failover.now ? "the operator wants it so"
				: "it is well again");
}

/* All that a guest has, to a side that has nothing. */
static int give_side(struct device *d)
{
	int r = d->driver->ops->reset(d->driver);

	if (r == 0)
		r = memory_give_all(d);
	if (r == 0 && d->state->failover.mtu > 0 &&
		d->driver->ops->set_mtu(d->driver, d->state->failover.mtu) < 0)
		log_warning("%s does not take the MTU %u", names[device_active_side(d)],
			d->state->failover.mtu);
	if (d->control_pending)
		d->control.flags |= CONTROL_ANNOUNCE;
	return r == 0 ? control_restore(d) : r;
}

static int give_up(struct device *d)
{
	d->lost = d->broken = d->hung = false;
	device_fail(d, "%s", d->trouble);
	return -EIO;
}

/* The other side did not take it. Return: 0: the one before goes on; -EIO. */
static int stay(struct device *d, enum device_side from, bool failed, int error)
{
	log_error("%s can't take over: %s", names[device_active_side(d)], strerror(-error));
	select_side(d, from);
	other_is_away(d, error == -ENODEV);
	if (!failed) {
		d->control_pending = false;
		return 0;
	}
	d->lost = true;
	return d->broken ? give_up(d) : 0; /* what is gone is waited for */
}

static int switch_sides(struct device *d)
{
	enum device_side from = device_active_side(d), to = other_side(d);
	const uint8_t relayed = d->state->failover.relayed;
	bool failed = d->lost, broken, gone;
	struct figures *figures;
	int r = leave_side(d);

	if (r < 0)
		return r;
	failed = failed || d->lost;
	broken = d->broken;
	gone = d->lost && !broken;
	if (gone)
		snprintf(d->trouble, sizeof(d->trouble), "%s is gone", names[from]);
	control_keep(d);
	figures = figures_take(d);
	select_side(d, to);
	r = give_side(d);
	if (r < 0) {
		figures_drop(figures);
		r = stay(d, from, failed, r);
		d->state->failover.relayed = relayed; /* as its log was set up */
		return r;
	}
	figures_give(d, figures);
	note_switch(d, failed);
	log_warning("rings are served by %s now: %s", names[to], d->state->failover.reason);
	d->broken = d->hung = false;
	d->announce_due = true;
	d->revivals = 0;
	r = device_checkpoint(d);
	if (r < 0)
		return r;
	if (gone)
		note_reset(d, -ENODEV);
	else if (broken)
		revive_other(d);
	else
		reset_other(d);
	return 0;
}

int failover_follow(struct device *d)
{
	int r = 0;

	if (is_left_alone(d))
		return give_up(d);
	if (device_has_standby(d) && wanted_side(d) != device_active_side(d))
		r = switch_sides(d);
	d->state->failover.now = 0;
	if (!d->state->logging)
		update_relay_wish(d);
	return r;
}

/* A device that sends nothing but what its guest does was told so by what the control queue set. */
void failover_announce(struct device *d)
{
	struct driver_net_config config;

	if (!d->announce_due || d->lost || !device_runs(d))
		return;
	d->announce_due = false;
	if (device_can_announce(d) && device_net_config(d, &config) == 0)
		device_announce(d, config.mac);
}

/* -------------------------------------------------------------------------------- when */

static bool waits_for_trust(const struct device *d)
{
	return failover_can(d) && !d->lost && !d->state->failed &&
	       preferred_side(d) != device_active_side(d) && d->state->postcopy == POSTCOPY_NONE &&
	       is_good_moment(d);
}

bool device_failover_is_due(struct device *d)
{
	if (!device_has_standby(d))
		return false;
	if (d->revive_ns != 0 && clock_now_ns() >= d->revive_ns)
		revive_other(d);
	if (d->lost && failover_can(d))
		d->state->failed = 0;
	return !d->state->failed && (is_left_alone(d) || wanted_side(d) != device_active_side(d));
}

bool device_standby_can_answer(const struct device *d)
{
	return d->lost && !d->state->failed && failover_can(d);
}

uint64_t device_failover_deadline_ns(const struct device *d)
{
	uint64_t trust = waits_for_trust(d) ? trusted_ns(d) : 0;

	if (!device_has_standby(d))
		return 0;
	return trust == 0 || (d->revive_ns != 0 && d->revive_ns < trust) ? d->revive_ns : trust;
}

/* ------------------------------------------------------------------------------ in words */

static const char *what_is_awaited(const struct device *d)
{
	if (!failover_can(d))
		return d->revive_ns != 0 ? "a reset is tried now and then" : "waiting for it to come back";
	if (clock_now_ns() < trusted_ns(d))
		return "it is well, and taken back soon";
	return is_good_moment(d) ? "it is well" :
				   "it is well, and taken back when the guest's driver begins anew";
}

void device_failover_reason(const struct device *d, char *ret, size_t size)
{
	ret[0] = '\0';
	if (!device_has_standby(d) || d->state->failed)
		return;
	if (preferred_side(d) != device_active_side(d))
		snprintf(ret, size, "%s; %s", d->state->failover.reason, what_is_awaited(d));
	else if (device_active_side(d) == DEVICE_STANDBY)
		snprintf(ret, size, "%s", "the operator wants it so");
	else if (!failover_can(d))
		snprintf(ret, size, "%s", "the standby is away");
}
