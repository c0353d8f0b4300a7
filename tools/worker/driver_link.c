/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The drivers of a device: its own, and that of its standby if it has one. What they say by themselves
 * (it changed, it gave a ring up, it failed, it is gone) becomes state first, and is told afterwards. A
 * ring's failure is also looked up in the device's figures, since events may get lost with a process.
 *
 * A device without a standby is waited for at the start. One with a standby has to have been here once;
 * then the other one serves while it is away.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "drivers/drivers.h"
#include "tools/worker/worker.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"
#include "vdpa/saved.h"

/* -------------------------------------------------------------------------- what is kept */

static struct worker_side *side_of(struct driver_keeper *keeper)
{
	return (struct worker_side *)((char *)keeper - offsetof(struct worker_side, keeper));
}

static struct worker *worker_of(struct worker_side *side)
{
	return (struct worker *)((char *)(side - side->side) - offsetof(struct worker, sides));
}

/* A standby's are all zero at the beginning, for pages of versions that knew of none. */
static int32_t *slots_of(struct worker_side *side, int32_t *ret_none)
{
	struct device_section *state = &worker_of(side)->device_section;
	bool primary = side->side == DEVICE_PRIMARY;

	*ret_none = primary ? FDSTORE_NONE : DEVICE_NO_KEPT;
	return primary ? state->driver_slots : state->failover.standby_slots;
}

static int keep_fd(struct driver_keeper *keeper, int fd)
{
	struct worker_side *side = side_of(keeper);
	int32_t none, *slots = slots_of(side, &none);
	int copy, slot;

	for (int i = 0; i < DEVICE_DRIVER_SLOTS; i++) {
		if (slots[i] != none)
			continue;
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (copy < 0)
			return -errno;
		slot = fdstore_add(&worker_of(side)->fds, copy);
		if (slot < 0)
			return slot;
		slots[i] = slot;
		return i;
	}
	return -ENOSPC;
}

static int get_fd(struct driver_keeper *keeper, int number)
{
	struct worker_side *side = side_of(keeper);
	int32_t none, *slots = slots_of(side, &none);

	if (number < 0 || number >= DEVICE_DRIVER_SLOTS || slots[number] == none)
		return -1;
	return fdstore_get(&worker_of(side)->fds, slots[number]);
}

static void drop_fd(struct driver_keeper *keeper, int number)
{
	struct worker_side *side = side_of(keeper);
	int32_t none, *slots = slots_of(side, &none);

	if (number < 0 || number >= DEVICE_DRIVER_SLOTS || slots[number] == none)
		return;
	fdstore_remove(&worker_of(side)->fds, slots[number]);
	slots[number] = none;
}

/* A driver that is being opened, or serves nobody, is told nothing. */
static int next_available(struct driver_keeper *keeper, uint16_t queue, struct queue_position *ret)
{
	struct worker_side *side = side_of(keeper);
	struct worker *w = worker_of(side);

	if (!side->driver || w->device.driver != side->driver)
		return -ENOENT;
	return device_next_available(&w->device, device_ring_of(&w->device, queue), ret);
}

/* ---------------------------------------------------------------------------------- begin */

void driver_link_init(struct worker *w)
{
	for (int i = 0; i < DEVICE_N_SIDES; i++) {
		w->sides[i].side = (enum device_side)i;
		for (size_t k = 0; k < DRIVER_MAX_DEVICE_FDS; k++)
			w->sides[i].fds[k] = -1;
	}
}

static size_t fds_of(const struct worker *w, enum device_side side, int *ret)
{
	size_t n = 0;

	while (n < DRIVER_MAX_DEVICE_FDS) {
		int fd = side == DEVICE_STANDBY ? w->sides[side].fds[n] :
						  fdstore_get(&w->fds, (int32_t)(SHIM_SLOT_DEVICE + n));

		if (fd < 0)
			break;
		ret[n++] = fd;
	}
	return n;
}

static int open_with_fds(struct worker *w, const struct driver_ops *ops, struct worker_side *side)
{
	int fds[DRIVER_MAX_DEVICE_FDS];
	size_t n = fds_of(w, side->side, fds);

	return n == 0 ? -ENODEV : ops->open(fds, n, &side->keeper, &side->driver);
}

/* A device that is away is opened by what is kept of it. @ret_error: why it is away, or 0. */
static int open_side(struct worker *w, const struct driver_ops *ops, struct worker_side *side,
	int *ret_error)
{
	int r = open_with_fds(w, ops, side);

	*ret_error = r;
	if (r < 0 && w->spec.standby[0] != '\0' && ops->open(NULL, 0, &side->keeper, &side->driver) == 0)
		return 0;
	return r;
}

/* Waits for a device as long as there is none, and nothing known of it. */
static int open_driver(struct worker *w, struct worker_side *side, const char *name)
{
	const struct driver_ops *ops = driver_find(name);
	int r;

	if (!ops) {
		log_error("there is no driver called '%s'", name);
		return -ENOENT;
	}
	side->keeper = (struct driver_keeper){
		.state = side->side == DEVICE_PRIMARY ? w->device_section.driver :
							w->device_section.failover.standby,
		.state_size = DEVICE_DRIVER_STATE_SIZE,
		.keep_fd = keep_fd,
		.get_fd = get_fd,
		.drop_fd = drop_fd,
		.next_available = next_available,
	};
	for (;;) {
		r = open_side(w, ops, side, &side->error);
		if (r != -ENODEV)
			break;
		r = shim_link_wait_for_device(w);
		if (r < 0)
			break;
	}
	if (r < 0)
		log_error("device of driver '%s': %s", ops->name, strerror(-r));
	return r;
}

int driver_link_open(struct worker *w)
{
	int r = open_driver(w, &w->sides[DEVICE_PRIMARY], w->spec.driver);

	if (r == 0 && w->spec.standby[0] != '\0')
		r = open_driver(w, &w->sides[DEVICE_STANDBY], w->spec.standby);
	return r;
}

void driver_link_add_standby(struct worker *w)
{
	int errors[DEVICE_N_SIDES], fds[DRIVER_MAX_DEVICE_FDS];

	if (!w->sides[DEVICE_STANDBY].driver)
		return;
	for (int i = 0; i < DEVICE_N_SIDES; i++) {
		errors[i] = w->sides[i].error;
		device_set_side_fds(&w->device, (enum device_side)i, fds,
			fds_of(w, (enum device_side)i, fds));
	}
	device_add_standby(&w->device, w->sides[DEVICE_STANDBY].driver, errors, w->spec.features,
		w->spec.max_pairs);
}

/* ----------------------------------------------------------------------------------- loop */

static void update(struct worker *w)
{
	device_update(&w->device);
	worker_commit(w);
}

static void watch(struct worker *w, struct worker_side *side)
{
	enum worker_source source =
		side->side == DEVICE_PRIMARY ? WORKER_SOURCE_DRIVER : WORKER_SOURCE_STANDBY;
	int fd = side->driver ? side->driver->ops->event_fd(side->driver) : -1;

	if (fd < 0 || side->watched || worker_watch(w, fd, EPOLLIN, source) < 0)
		return;
	side->watched = true;
	side->event_fd = fd;
}

void driver_link_watch(struct worker *w)
{
	for (int i = 0; i < DEVICE_N_SIDES; i++)
		watch(w, &w->sides[i]);
}

static void unwatch(struct worker *w, struct worker_side *side)
{
	if (side->watched)
		epoll_ctl(w->epoll, EPOLL_CTL_DEL, side->event_fd, NULL);
	side->watched = false;
}

static void check_rings(struct worker *w)
{
	for (uint32_t i = 0; i < w->device.n_queues; i++) {
		const struct ring_state *ring = &w->device_section.rings[i];
		struct driver_queue_stats stats;

		if (!ring->running || ring->failed)
			continue;
		device_queue_stats(&w->device, i, &stats);
		if (!stats.failed)
			continue;
		log_warning("queue %u: broke the rules of its ring, the device gave it up", i);
		device_iotlb_look(&w->device, i);
		device_ring_failed(&w->device, i);
		shim_link_event(w, SHIM_EVENT_QUEUE_ERROR,
			"queue %u broke the rules of its ring", i);
	}
}

static bool serves(const struct worker *w, const struct worker_side *side)
{
	return device_active_side(&w->device) == side->side;
}

/* The descriptors of @side lead to another device. */
static void take_back(struct worker *w, const struct worker_side *side)
{
	int lent[DRIVER_MAX_DEVICE_FDS];

	device_side_returned(&w->device, side->side, lent, fds_of(w, side->side, lent));
	if (serves(w, side))
		session_config_changed(&w->session); /* nobody knows what became of it meanwhile */
}

static void on_event(struct worker *w, const struct worker_side *side, const struct driver_event *event)
{
	switch (event->kind) {
	case DRIVER_EVENT_CONFIG:
		session_config_changed(&w->session);
		break;
	case DRIVER_EVENT_QUEUE_ERROR:
		check_rings(w);
		break;
	case DRIVER_EVENT_MISS:
		device_iotlb_look_at_all(&w->device);
		break;
	case DRIVER_EVENT_FAILED:
		device_side_failed(&w->device, side->side);
		break;
	case DRIVER_EVENT_GONE:
		device_side_gone(&w->device, side->side);
		break;
	case DRIVER_EVENT_REPLACED:
		log_warning("the device was replaced while nobody was here");
		take_back(w, side);
		break;
	}
}

/*
 * A device that is lost may have been found out otherwise: its last word stays untaken, and would wake us
 * for ever. What a side that serves nobody has to say is that it is gone or failed.
 */
static void receive(struct worker *w, struct worker_side *side)
{
	struct driver_event event;
	bool any = false, gone = false;

	while (!gone && !(serves(w, side) && w->device.lost) &&
		side->driver->ops->next_event(side->driver, &event) == 0) {
		gone = event.kind == DRIVER_EVENT_GONE;
		on_event(w, side, &event);
		any = true;
	}
	if (any)
		worker_commit(w);
	if (serves(w, side) ? w->device.lost : gone)
		unwatch(w, side);
}

void driver_link_receive(struct worker *w)
{
	receive(w, &w->sides[DEVICE_PRIMARY]);
}

void driver_link_receive_standby(struct worker *w)
{
	receive(w, &w->sides[DEVICE_STANDBY]);
}

/* Before anybody is served: a device that is not the one of before knows nothing of its rings. */
void driver_link_hear(struct worker *w)
{
	for (int i = 0; i < DEVICE_N_SIDES; i++) {
		if (w->sides[i].driver)
			receive(w, &w->sides[i]);
	}
	device_resume_return(&w->device);
	worker_commit(w);
}

static void take_fds(struct worker *w, enum device_side side, int *fds, size_t n)
{
	for (uint32_t i = 0; i < DRIVER_MAX_DEVICE_FDS; i++) {
		int fd = i < n ? TAKE_FD(fds[i]) : -1;

		if (side == DEVICE_PRIMARY) {
			fdstore_put(&w->fds, SHIM_SLOT_DEVICE + i, fd);
			continue;
		}
		close_keep_errno(w->sides[side].fds[i]);
		w->sides[side].fds[i] = fd;
	}
}

void driver_link_changed(struct worker *w, enum device_side side, int *fds, size_t n)
{
	unwatch(w, &w->sides[side]);
	take_fds(w, side, fds, n);
	if (!w->serves)
		return;
	take_back(w, &w->sides[side]);
	worker_commit(w);
	watch(w, &w->sides[side]);
}

void driver_link_wish(struct worker *w, bool now)
{
	enum datapath_wish wish = w->spec.flags & SHIM_SPEC_SIM	  ? WISH_SIM :
				  w->spec.flags & SHIM_SPEC_RELAY ? WISH_RELAY :
								    WISH_DIRECT;

	if (!now && wish == w->device_section.failover.wish)
		return;
	device_set_wish(&w->device, wish, now);
	update(w);
}

void driver_link_resume(struct worker *w)
{
	driver_link_wish(w, w->device_section.failover.now);
	update(w); /* a predecessor may have died between a change and the start of rings */
}

/* Who serves now may have another link, and events of its own. */
static void side_changed(struct worker *w)
{
	w->switches = w->device_section.failover.switches;
	session_config_changed(&w->session);
	worker_commit(w);
}

void driver_link_follow(struct worker *w)
{
	if (device_failover_is_due(&w->device))
		update(w);
	if (w->switches != w->device_section.failover.switches)
		side_changed(w);
	for (int i = 0; i < DEVICE_N_SIDES; i++) {
		if (device_side_is_well(&w->device, (enum device_side)i))
			watch(w, &w->sides[i]);
	}
}
