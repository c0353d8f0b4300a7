/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings that software stands in for: the device gets a shadow of the ring, in memory of ours, and the
 * relay (vdpa/relay.h) moves what comes and goes. The shadow, and the eventfds between the relay and
 * the device, are kept outside the process as everything is that the device goes on using.
 *
 * Which rings those are is computed, like all that is wanted: ring_wants_relay(). device_update()
 * stops a ring that runs in the wrong way and starts it again in the right one; so relaying begins and
 * ends like any stop and start, at positions that both ways agree on.
 *
 * A device can be asked where it stands, but not in which ring. So two rules keep a successor that
 * repeats a message from mixing the guest's ring and the shadow up: the end of a relay is made lasting
 * before anything else starts (device_checkpoint()), and a new relay moves nothing before its start
 * was: a shadow that a dead process left has nothing in it, and is thrown away.
 *
 * Shadows lie beyond all guest memory in the device's address space. Memory that comes to lie there
 * stops the relayed rings for the change; they find a new place when they start again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vdpa/base/log.h"
#include "vdpa/base/memfile.h"
#include "vdpa/device_internal.h"
#include "vdpa/guestmem.h"
#include "vdpa/relay.h"
#include "vdpa/ring.h"

#define BUDGET	    256		  /* chains of one ring before the next one's turn */
#define WINDOW_UNIT (1ULL << 30)  /* shadows begin at a multiple of it */
#define WINDOW_STEP (1ULL << 22)  /* room for one ring: the largest shadow is smaller */
#define WINDOW_SIZE (QUEUE_MAX * WINDOW_STEP)

/* One relayed ring, in this process. */
struct ring_relay {
	struct relay *relay;
	void *kept;
	size_t kept_size;
	const struct dirty_log *log; /* that the relay was told */
	uint32_t log_flags;
	uint64_t log_addr;
};

struct device_relays {
	struct guestmem memory;
	int epoll;	   /* kicks of guests, calls of the device */
	uint32_t n_active;
	struct queue_set known; /* what the device has of these rings, this process gave it */
	struct ring_relay rings[QUEUE_MAX];
};

/* Of this process; NULL: the ring is not relayed, or not yet again. */
static struct relay *relay_of(const struct device *d, uint32_t index)
{
	return d->relays ? d->relays->rings[index].relay : NULL;
}

/* ------------------------------------------------------------------------------- which */

static bool logs_by_relay(const struct device *d)
{
	return d->state->logging && d->log && !device_logs_itself(d);
}

bool ring_is_relayed(const struct device *d, uint32_t index)
{
	return d->state->relays[index].kept_slot != RELAY_NO_SLOT;
}

/* The relay notes pages, or chains. */
static bool keeps_notes(const struct device *d, uint32_t index)
{
	return logs_by_relay(d) || inflight_part(d, index) != NULL;
}

bool device_says_positions(const struct device *d)
{
	return !d->driver->ops->caps(d->driver)->ring_positions;
}

/* Nobody could ever tell where the device stands in the guest's ring. */
static bool would_get_lost(const struct device *d)
{
	return !device_says_positions(d) && device_is_packed(d);
}

/* A device that can't start where the ring stands is relayed until the guest begins anew. */
bool ring_wants_relay(const struct device *d, uint32_t index, struct queue_position position)
{
	const struct driver_caps *caps = d->driver->ops->caps(d->driver);
	struct queue_position initial = queue_position_initial(device_is_packed(d));

	if (keeps_notes(d, index) || would_get_lost(d) || failover_wants_relay(d))
		return true;
	return caps->start_position == DRIVER_START_INITIAL && !queue_position_equal(position, initial);
}

/* Of a ring that runs; it goes on as it is while nothing asks for the other way. */
bool ring_runs_wrongly(const struct device *d, uint32_t index)
{
	const struct driver_caps *caps = d->driver->ops->caps(d->driver);

	if (!ring_is_relayed(d, index))
		return keeps_notes(d, index) || failover_wants_relay(d);
	return !keeps_notes(d, index) && !would_get_lost(d) && !failover_wants_relay(d) &&
	       caps->start_position == DRIVER_START_ANY;
}

enum relay_reason device_relay_reason(const struct device *d)
{
	if (!device_is_relayed(d))
		return RELAY_REASON_NONE;
	if (logs_by_relay(d))
		return RELAY_REASON_LOG;
	if (d->inflight)
		return RELAY_REASON_INFLIGHT;
	if (would_get_lost(d))
		return RELAY_REASON_PACKED;
	return failover_wants_relay(d) ? RELAY_REASON_WISH : RELAY_REASON_POSITION;
}

/* ------------------------------------------------------------------------------- where */

/* End of the guest's memory, rounded up; memory that reaches the end of all leaves the beginning. */
static uint64_t window_base(const struct memory_table *table)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < table->n_regions; i++) {
		uint64_t region_end = table->regions[i].gpa + table->regions[i].size;

		if (region_end > end)
			end = region_end;
	}
	return end <= UINT64_MAX - 2 * WINDOW_UNIT - WINDOW_SIZE ? align_up(end, WINDOW_UNIT) : 0;
}

static bool shadow_is_hit(const struct kept_relay *kept, const struct memory_table *next)
{
	for (uint32_t i = 0; i < next->n_regions; i++) {
		const struct memory_region *region = &next->regions[i];

		if (region->gpa < kept->iova + WINDOW_STEP && kept->iova < region->gpa + region->size)
			return true;
	}
	return false;
}

bool relay_window_is_hit(const struct device *d, const struct memory_table *next)
{
	for (uint32_t i = 0; i < d->n_queues; i++) {
		if (ring_is_relayed(d, i) && shadow_is_hit(&d->state->relays[i], next))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------------- the process */

static int relays_prepare(struct device *d)
{
	struct device_relays *relays;
	int r;

	if (d->relays)
		return 0;
	relays = calloc(1, sizeof(*relays));
	if (!relays)
		return -ENOMEM;
	r = guestmem_init(&relays->memory);
	if (r == 0 && (relays->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) {
		r = -errno;
		guestmem_free(&relays->memory);
	}
	if (r < 0) {
		free(relays);
		return r;
	}
	d->relays = relays;
	return 0;
}

void relays_forget_known(struct device *d)
{
	if (d->relays)
		d->relays->known = (struct queue_set){ 0 };
}

int relays_memory_changed(struct device *d)
{
	return d->relays ? guestmem_set(&d->relays->memory, &d->state->memory, d->fds) : 0;
}

/*
 * Nothing is ever read from these descriptors: the guest's is shared with whom it may please to empty
 * it under us, and each signal is an edge.
 */
static int watch(struct device *d, int fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	if (fd < 0 || epoll_ctl(d->relays->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
		return 0;
	return errno == EEXIST ? 0 : -errno;
}

static void unwatch(struct device *d, int fd)
{
	if (fd >= 0)
		epoll_ctl(d->relays->epoll, EPOLL_CTL_DEL, fd, NULL);
}

static struct relay_kept_layout layout_of(const struct device *d, uint32_t index)
{
	return relay_kept_layout(d->state->rings[index].size, device_is_packed(d));
}

static int map_kept(struct device *d, uint32_t index)
{
	struct ring_relay *ring = &d->relays->rings[index];
	int fd = fdstore_get(d->fds, d->state->relays[index].kept_slot);
	uint64_t size = layout_of(d, index).size;
	void *kept = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (kept == MAP_FAILED)
		return -errno;
	ring->kept = kept;
	ring->kept_size = size;
	return 0;
}

/* The relay itself, on what is kept. */
static int open_relay(struct device *d, uint32_t index, const struct driver_queue *guest,
	enum relay_begin begin)
{
	const struct kept_relay *kept = &d->state->relays[index];
	struct ring_relay *ring = &d->relays->rings[index];
	const struct relay_setup setup = {
		.memory = &d->relays->memory,
		.features = d->state->features,
		.size = guest->size,
		.desc = guest->desc,
		.driver = guest->driver,
		.device = guest->device,
		.position = guest->position,
		.shadow_iova = kept->iova,
		.inflight = inflight_part(d, index),
		.resubmits = d->state->rings[index].resubmits,
		.call_fd = guest->call_fd,
		.device_fd = fdstore_get(d->fds, kept->kick_slot),
	};
	int r = map_kept(d, index);

	if (r == 0)
		r = relay_open(&setup, ring->kept, begin, &ring->relay);
	if (r == 0)
		r = watch(d, guest->kick_fd);
	if (r == 0)
		r = watch(d, fdstore_get(d->fds, kept->call_slot));
	if (r == 0)
		d->relays->n_active++;
	return r;
}

static void close_relay(struct device *d, uint32_t index)
{
	struct ring_relay *ring = &d->relays->rings[index];

	if (ring->relay) {
		unwatch(d, fdstore_get(d->fds, d->state->rings[index].kick_slot));
		unwatch(d, fdstore_get(d->fds, d->state->relays[index].call_slot));
		d->relays->n_active--;
	}
	relay_close(ring->relay);
	if (ring->kept)
		munmap(ring->kept, ring->kept_size);
	memset(ring, 0, sizeof(*ring));
}

/* ------------------------------------------------------------------------------- start */

static int keep(struct device *d, int fd, int32_t *ret_slot)
{
	int slot = fd < 0 ? -errno : fdstore_add(d->fds, fd);

	if (slot < 0)
		return slot;
	*ret_slot = slot;
	return 0;
}

static int make_kept(struct device *d, uint32_t index)
{
	struct kept_relay *kept = &d->state->relays[index];
	int fd = memfile_create("relay", layout_of(d, index).size);
	int r = fd < 0 ? fd : keep(d, fd, &kept->kept_slot);

	if (r == 0)
		r = keep(d, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), &kept->kick_slot);
	if (r == 0)
		r = keep(d, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), &kept->call_slot);
	kept->iova = window_base(&d->state->memory) + index * WINDOW_STEP;
	return r;
}

static void forget_kept(struct device *d, uint32_t index)
{
	struct kept_relay *kept = &d->state->relays[index];

	if (kept->kept_slot != RELAY_NO_SLOT)
		fdstore_remove(d->fds, kept->kept_slot);
	if (kept->kick_slot != RELAY_NO_SLOT)
		fdstore_remove(d->fds, kept->kick_slot);
	if (kept->call_slot != RELAY_NO_SLOT)
		fdstore_remove(d->fds, kept->call_slot);
	memset(kept, 0, sizeof(*kept));
}

/* What a process that died before its start was lasting may have left in the device. */
static int clean_device(struct device *d, uint32_t index, uint64_t size)
{
	struct queue_position ignored[QUEUE_MAX];
	struct queue_set set = { 0 };
	int r;

	if (queue_set_has(&d->relays->known, index))
		return 0;
	queue_set_add(&set, index);
	r = rings_stop(d, &set, ignored);
	if (r == 0)
		r = d->driver->ops->unmap(d->driver, d->state->relays[index].iova, size);
	if (r == 0)
		queue_set_add(&d->relays->known, index);
	return r;
}

static int map_shadow(struct device *d, uint32_t index)
{
	const struct kept_relay *kept = &d->state->relays[index];
	const struct relay_kept_layout layout = layout_of(d, index);
	const struct driver_map map = {
		.iova = kept->iova,
		.size = layout.shadow_size,
		.fd = fdstore_get(d->fds, kept->kept_slot),
		.offset = layout.shadow_offset,
		.perm = DRIVER_PERM_READ | DRIVER_PERM_WRITE,
	};
	int r = clean_device(d, index, layout.shadow_size);

	return r < 0 ? r : d->driver->ops->map(d->driver, &map);
}

int ring_relay_start(struct device *d, uint32_t index, struct driver_queue *q)
{
	struct driver_queue guest = *q;
	int r = relays_prepare(d);

	if (r == 0)
		r = relays_memory_changed(d);
	if (r == 0)
		r = make_kept(d, index);
	if (r == 0)
		r = open_relay(d, index, &guest, RELAY_FRESH);
	if (r == 0)
		r = relay_device_queue(d->relays->rings[index].relay, q);
	if (r == 0)
		r = map_shadow(d, index);
	if (r < 0) {
		log_warning("queue %u: can't be relayed: %s", index, strerror(-r));
		return r;
	}
	q->kick_fd = fdstore_get(d->fds, d->state->relays[index].kick_slot);
	q->call_fd = fdstore_get(d->fds, d->state->relays[index].call_slot);
	q->err_fd = -1;
	relays_sync_log(d);
	return 0;
}

/* ------------------------------------------------------------------------------- stop */

/* A device that keeps it would reach what is not there, and refuse the next one at its place. */
static void unmap_shadow(struct device *d, uint32_t index, uint64_t size)
{
	int r = d->driver->ops->unmap(d->driver, d->state->relays[index].iova, size);

	if (r < 0 && device_check(d, r, "unmap the shadow ring") < 0 && !d->state->failed)
		device_broke(d, "unmap the shadow ring: %s", strerror(-r));
}

void ring_relay_forget(struct device *d, uint32_t index)
{
	uint64_t size = layout_of(d, index).shadow_size;

	if (!ring_is_relayed(d, index))
		return;
	if (!device_is_away(d))
		unmap_shadow(d, index, size);
	if (d->relays)
		close_relay(d, index);
	forget_kept(d, index);
}

int ring_relay_stop(struct device *d, uint32_t index, const struct queue_position *device,
	struct queue_position *ret)
{
	struct relay *relay = relay_of(d, index);
	int r = relay ? relay_finish(relay, device, ret) : -EBADMSG;

	if (r == -EPROTO && device) /* what the device says makes no sense: its ring tells */
		r = relay_finish(relay, NULL, ret);
	ring_relay_forget(d, index);
	return r;
}

/* -------------------------------------------------------------------------- while it runs */

static bool log_is_known(const struct ring_relay *ring, const struct dirty_log *log,
	const struct ring_state *state)
{
	return ring->log == log && ring->log_flags == state->addr_flags &&
	       ring->log_addr == state->log_addr;
}

void relays_sync_log(struct device *d)
{
	for (uint32_t i = 0; i < d->n_queues && d->relays; i++) {
		struct ring_relay *ring = &d->relays->rings[i];
		const struct ring_state *state = &d->state->rings[i];
		struct dirty_log *log = d->state->logging ? d->log : NULL;

		if (!ring->relay || log_is_known(ring, log, state))
			continue;
		if (relay_set_log(ring->relay, log, state->addr_flags & RING_F_LOG,
			    state->log_addr) < 0) {
			log_warning("queue %u: its ring can't be logged", i);
			device_ring_failed(d, i);
			continue;
		}
		ring->log = log;
		ring->log_flags = state->addr_flags;
		ring->log_addr = state->log_addr;
	}
}

void ring_relay_set_fd(struct device *d, uint32_t index, enum driver_queue_fd which, int old_fd,
	int fd)
{
	struct relay *relay = relay_of(d, index);

	if (!relay)
		return;
	if (which == DRIVER_FD_CALL)
		relay_set_call_fd(relay, fd);
	if (which == DRIVER_FD_KICK) {
		unwatch(d, old_fd);
		if (watch(d, fd) < 0)
			device_ring_failed(d, index);
	}
}

int device_relay_fd(const struct device *d)
{
	return d->relays ? d->relays->epoll : -1;
}

/* Counted as a device counts it that gives a ring up. */
static void run_failed(struct device *d, uint32_t index)
{
	const char *reason = relay_reason(d->relays->rings[index].relay);

	log_warning("queue %u: the relay gave it up: %s", index, reason ? reason : "no reason");
	d->state->carried_queues[index].errors++;
	device_ring_failed(d, index);
}

/*
 * The receive ring of a transmit ring's pair: what is sent may come back at once, and a guest that
 * offered a buffer for it before may expect that it does.
 */
static struct relay *ring_before(const struct device *d, uint32_t index)
{
	if (index % 2 == 0 || d->state->rings[index - 1].failed)
		return NULL;
	return d->relays->rings[index - 1].relay;
}

/* Return: chains that moved. */
static uint32_t run_one(struct device *d, uint32_t index, struct queue_set *failed)
{
	struct relay *relay = d->relays->rings[index].relay;
	struct relay_work work;

	if (!relay || d->state->rings[index].failed)
		return 0;
	if (relay_run_after(relay, ring_before(d, index), BUDGET, &work) < 0) {
		run_failed(d, index);
		queue_set_add(failed, index);
		return 0;
	}
	return work.offered + work.returned;
}

/* Receive rings go first, see ring_before(). */
uint32_t device_relay_run(struct device *d, struct queue_set *ret_failed)
{
	struct epoll_event edges[64];
	uint32_t moved = 0;

	*ret_failed = (struct queue_set){ 0 };
	if (!d->relays || d->relays->n_active == 0)
		return 0;
	while (epoll_wait(d->relays->epoll, edges, 64, 0) == 64)
		;
	for (uint32_t first = 0; first < 2; first++) {
		for (uint32_t i = first; i < d->n_queues; i += 2)
			moved += run_one(d, i, ret_failed);
	}
	if (guestmem_lost(&d->relays->memory))
		device_fail(d, "a file of the guest's memory became shorter");
	if (inflight_is_lost(d))
		device_fail(d, "the inflight area became shorter");
	if (d->log && dirty_log_failed(d->log))
		device_fail(d, "the log of dirty pages became shorter, or does not reach all of them");
	return moved;
}

void device_relay_nap(struct device *d)
{
	for (uint32_t i = 0; i < d->n_queues && d->relays && d->relays->n_active > 0; i++) {
		if (d->relays->rings[i].relay && !d->state->rings[i].failed)
			relay_nap(d->relays->rings[i].relay);
	}
}

/* What the guest offers then nobody hears of. */
static bool must_be_polled(const struct device *d, uint32_t index)
{
	return d->state->doorbell || fdstore_get(d->fds, d->state->rings[index].kick_slot) < 0;
}

bool device_relay_sleep(struct device *d)
{
	bool may_sleep = true;

	for (uint32_t i = 0; i < d->n_queues && d->relays && d->relays->n_active > 0; i++) {
		struct relay *relay = d->relays->rings[i].relay;

		if (relay && !d->state->rings[i].failed && (!relay_sleep(relay) || must_be_polled(d, i)))
			may_sleep = false;
	}
	return may_sleep;
}

int device_next_available(const struct device *d, uint32_t index, struct queue_position *ret)
{
	const struct relay *relay;
	uint16_t avail;
	int r;

	if (index >= d->n_queues)
		return -ENOENT;
	relay = relay_of(d, index);
	if (relay) {
		*ret = relay_next_offered(relay);
		return 0;
	}
	if (device_is_packed(d))
		return -ENOENT;
	r = ring_read_available(d, index, &avail);
	if (r == 0)
		*ret = (struct queue_position){ .avail = avail };
	return r;
}

bool device_relay_position(const struct device *d, uint32_t index, struct queue_position *ret)
{
	const struct relay *relay = relay_of(d, index);

	if (relay)
		*ret = relay_position(relay);
	return relay != NULL;
}

bool device_relay_stats(const struct device *d, uint32_t index, struct relay_stats *ret)
{
	const struct relay *relay = relay_of(d, index);

	if (relay)
		relay_stats(relay, ret);
	return relay != NULL;
}

/* ---------------------------------------------------------------------- another process */

static int resume(struct device *d, uint32_t index)
{
	struct driver_queue q = { .index = (uint16_t)index };
	int r = relays_prepare(d);

	if (r == 0)
		r = relays_memory_changed(d);
	if (r == 0)
		r = ring_locate(d, index, &q);
	q.kick_fd = fdstore_get(d->fds, d->state->rings[index].kick_slot);
	q.call_fd = fdstore_get(d->fds, d->state->rings[index].call_slot);
	return r < 0 ? r : open_relay(d, index, &q, RELAY_RESUME);
}

void device_relays_resume(struct device *d)
{
	for (uint32_t i = 0; i < d->n_queues; i++) {
		int r;

		if (!ring_is_relayed(d, i))
			continue;
		r = resume(d, i);
		if (r == 0)
			continue;
		log_error("queue %u: its relay can't go on: %s", i, strerror(-r));
		device_ring_failed(d, i);
	}
	relays_sync_log(d);
}

void device_relays_close(struct device *d)
{
	if (!d->relays)
		return;
	for (uint32_t i = 0; i < QUEUE_MAX; i++)
		close_relay(d, i);
	guestmem_free(&d->relays->memory);
	close(d->relays->epoll);
	free(d->relays);
	d->relays = NULL;
}
