/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queues: prepare, start, stop.
 *
 * The three areas of a ring must each lie in one mapped region, so that the data threads reach
 * them by a plain pointer. Only eventfds are taken as kick, call and err: the data threads must never
 * wait for whatever else a descriptor could be. Their flags are left alone, see signaller.c.
 */
#include "tools/simnic/queues.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "drivers/sim/position.h"
#include "tools/simnic/backlog.h"
#include "tools/simnic/control.h"
#include "tools/simnic/held.h"
#include "tools/simnic/thread.h"
#include "tools/simnic/translation.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/ringareas.h"

struct area {
	uint64_t iova, size;
	uint64_t align;
	uint32_t perm;
};

static bool has(const struct function *f, unsigned int feature)
{
	return f->features & BIT_ULL(feature);
}

static void list_areas(const struct sim_queue_setup *s, uint64_t features, struct area areas[RING_AREAS])
{
	const uint64_t at[RING_AREAS] = { s->desc, s->driver, s->device };

	for (enum ring_area i = RING_DESC; i < RING_AREAS; i++) {
		const struct ring_area_facts facts = ring_area_facts(i, s->size, features);

		areas[i] = (struct area){
			.iova = at[i],
			.size = facts.size,
			.align = facts.align,
			.perm = (facts.read ? SIM_PERM_READ : 0) | (facts.written ? SIM_PERM_WRITE : 0),
		};
	}
}

static bool size_ok(uint32_t size, bool packed)
{
	return size >= 1 && size <= SIM_MAX_QUEUE_SIZE && (packed || !(size & (size - 1)));
}

static bool can_begin_at(const struct function *f, struct queue_position p, bool packed)
{
	return !f->nic->options.start_initial ||
	       queue_position_equal(p, queue_position_initial(packed));
}

static bool position_ok(const struct function *f, uint32_t word, uint32_t size, bool packed)
{
	struct queue_position p = sim_position(word, packed);

	if (!can_begin_at(f, p, packed))
		return false;
	if (packed)
		return p.avail < size && p.used < size;
	return (uint16_t)(p.avail - p.used) <= size;
}

static bool is_eventfd(int fd)
{
	char path[32], target[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return strcmp(target, "anon_inode:[eventfd]") == 0;
}

static int check_fds(uint32_t have, const int *fds)
{
	int n = __builtin_popcount(have);

	for (int i = 0; i < n; i++) {
		if (!is_eventfd(fds[i]))
			return -EINVAL;
	}
	return 0;
}

/* Puts the descriptors of @change's bits in place; those not in @have are removed. */
static void place_fds(struct vq *q, uint32_t change, uint32_t have, int *fds)
{
	int *const places[] = { &q->kick_fd, &q->call_fd, &q->err_fd };

	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		if (!(change & BIT(i)))
			continue;
		close_keep_errno(*places[i]);
		*places[i] = have & BIT(i) ? TAKE_FD(*fds) : -1;
		if (have & BIT(i))
			fds++;
	}
}

static bool same_facts(const struct vq *q, const struct sim_queue_setup *s)
{
	return q->setup.size == s->size && q->setup.desc == s->desc && q->setup.driver == s->driver &&
	       q->setup.device == s->device;
}

/* Registers of a queue that does not run. */
static void write_regs(struct vq *q)
{
	uint32_t word = sim_position_word(q->at, q->packed);

	q->regs->next_position = word;
	q->regs->position = word;
	q->regs->in_flight = 0;
	__atomic_store_n(&q->regs->status, (uint32_t)q->status, __ATOMIC_RELEASE);
}

/* Where the areas of a ring are. */
struct places {
	void *hosts[RING_AREAS];
	uint64_t addresses[RING_AREAS]; /* in the function's memory */
};

static void set_facts(struct vq *q, const struct sim_queue_setup *s, const struct places *places)
{
	const struct function *f = q->function;
	bool modern = has(f, VIRTIO_F_VERSION_1);
	struct area areas[RING_AREAS];

	list_areas(s, f->features, areas);
	q->setup = *s;
	q->size = s->size;
	q->desc_iova = places->addresses[0];
	q->driver_iova = places->addresses[1];
	q->device_iova = places->addresses[2];
	q->desc = places->hosts[0];
	q->driver = places->hosts[1];
	q->device = places->hosts[2];
	q->desc_size = (uint32_t)areas[0].size;
	q->driver_size = (uint32_t)areas[1].size;
	q->device_size = (uint32_t)areas[2].size;
	q->packed = has(f, VIRTIO_F_RING_PACKED);
	q->event_idx = has(f, VIRTIO_RING_F_EVENT_IDX);
	q->indirect = has(f, VIRTIO_RING_F_INDIRECT_DESC);
	q->mergeable = has(f, VIRTIO_NET_F_MRG_RXBUF);
	q->mixes = f->nic->options.shuffled && vq_is_receive(q);
	q->holds = f->nic->options.shuffled && vq_is_transmit(q);
	q->batch_used = has(f, FUNCTION_F_IN_ORDER) && vq_is_transmit(q);
	q->takes_offloads = has(f, VIRTIO_NET_F_CSUM);
	q->header_size = modern || q->mergeable ? sizeof(struct virtio_net_hdr_mrg_rxbuf) :
						  sizeof(struct virtio_net_hdr);
	q->at = sim_position(s->position, q->packed);
	q->hit.size = 0;
	q->fault = NULL;
	q->wrong_index = 0;
	q->ring_missing = q->postcopy;
	q->parked = false;
	waiting_over(q);
	q->status = SIM_QUEUE_PREPARED;
}

/* Finds the areas in memory. Return: 0, -EINVAL, -EFAULT. */
static int find_areas(struct function *f, const struct sim_queue_setup *s, struct places *ret)
{
	struct area areas[RING_AREAS];

	list_areas(s, f->features, areas);
	for (int i = 0; i < RING_AREAS; i++) {
		if (areas[i].iova % areas[i].align)
			return -EINVAL;
		ret->hosts[i] = iommu_range(&f->iommu, areas[i].iova, areas[i].size, areas[i].perm,
			&ret->addresses[i]);
		if (!ret->hosts[i])
			return -EFAULT;
	}
	return 0;
}

static bool runs_with(const struct vq *q, const struct sim_queue_setup *s)
{
	return q->status == SIM_QUEUE_RUNNING && same_facts(q, s);
}

static int check_setup(struct function *f, const struct sim_queue_setup *s, const int *fds)
{
	bool packed = has(f, VIRTIO_F_RING_PACKED);
	struct places places;
	int r;

	if (s->queue >= f->n_queues)
		return -EINVAL;
	if (runs_with(&f->queues[s->queue], s))
		return check_fds(s->have_fds, fds);
	if (f->queues[s->queue].status >= SIM_QUEUE_RUNNING)
		return -EBUSY;
	if (!size_ok(s->size, packed) || !position_ok(f, s->position, s->size, packed))
		return -EINVAL;
	r = check_fds(s->have_fds, fds);
	if (r == 0 && f->iommu.translates && vq_is_receive(&f->queues[s->queue]))
		r = backlog_init(&f->queues[s->queue]);
	return r < 0 ? r : find_areas(f, s, &places);
}

/* What check_setup() found right. Return: 0, or as queue_set_fds() of a queue that runs. */
static int prepare(struct function *f, const struct sim_queue_setup *s, int *fds)
{
	const struct sim_queue_fds all = {
		.queue = s->queue,
		.change = SIM_FD_KICK | SIM_FD_CALL | SIM_FD_ERR,
		.have_fds = s->have_fds,
	};
	struct vq *q = &f->queues[s->queue];
	struct places places;

	if (runs_with(q, s))
		return queue_set_fds(f, &all, fds);
	find_areas(f, s, &places);
	place_fds(q, all.change, s->have_fds, fds);
	set_facts(q, s, &places);
	write_regs(q);
	return 0;
}

/* Behind those of @s; without any there may be no @fds at all. */
static int *fds_after(const struct sim_queue_setup *s, int *fds)
{
	return s->have_fds ? fds + __builtin_popcount(s->have_fds) : fds;
}

static int check_setups(struct function *f, const struct sim_queue_setup *setups, size_t n, int *fds)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		r = check_setup(f, &setups[i], fds);
		fds = fds_after(&setups[i], fds);
	}
	return r;
}

int queues_prepare(struct function *f, const struct sim_queue_setup *setups, size_t n, int *fds)
{
	int r;

	nic_pause(f->nic); /* data threads look at queues that don't run too: for a late kick, for a page */
	r = check_setups(f, setups, n, fds);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = prepare(f, &setups[i], fds);
		fds = fds_after(&setups[i], fds);
	}
	nic_resume(f->nic);
	return r;
}

static bool must_poll(const struct vq *q)
{
	return q->kick_fd < 0 || q->function->doorbell || q->function->nic->options.poll;
}

void queue_update_poll(struct vq *q)
{
	q->poll = must_poll(q);
	if (!q->poll || q->status != SIM_QUEUE_RUNNING)
		return;
	if (vq_is_transmit(q))
		thread_wake_queue(q->thread, q);
	else if (vq_is_control(q))
		control_wake(q);
}

/* A queue that runs and has use for kicks gets another descriptor for them: before that, and after it. */
static int watch_next(struct vq *q, int kick_fd)
{
	int r = vq_is_transmit(q) ? thread_watch_queue(q->thread, q, kick_fd) : 0;

	if (r < 0)
		return r;
	if (vq_is_transmit(q))
		thread_unwatch_queue(q->thread, q);
	else if (vq_is_control(q))
		control_unwatch(q);
	return 0;
}

/* It may have been kicked in between. A control queue that can't be watched tries that again by and by. */
static void wake(struct vq *q)
{
	if (vq_is_transmit(q))
		thread_wake_queue(q->thread, q);
	else if (vq_is_control(q))
		control_wake(q);
}

int queue_set_fds(struct function *f, const struct sim_queue_fds *change, int *fds)
{
	struct vq *q;
	bool watched;
	int r;

	if (change->queue >= f->n_queues || change->have_fds & ~change->change ||
		change->change & ~(uint32_t)(SIM_FD_KICK | SIM_FD_CALL | SIM_FD_ERR))
		return -EINVAL;
	r = check_fds(change->have_fds, fds);
	if (r < 0)
		return r;

	q = &f->queues[change->queue];
	nic_pause(f->nic);
	watched = q->status == SIM_QUEUE_RUNNING && change->change & SIM_FD_KICK;
	if (watched)
		r = watch_next(q, change->have_fds & SIM_FD_KICK ? fds[0] : -1);
	if (r == 0)
		place_fds(q, change->change, change->have_fds, fds);
	if (r == 0 && watched)
		wake(q);
	queue_update_poll(q);
	nic_resume(f->nic);
	return r;
}

static bool in_set(const struct sim_queue_set *set, uint32_t index)
{
	return set->bits[index / 64] & BIT_ULL(index % 64);
}

static bool set_ok(const struct function *f, const struct sim_queue_set *set)
{
	for (uint32_t i = f->n_queues; i < SIM_MAX_QUEUES; i++) {
		if (in_set(set, i))
			return false;
	}
	return true;
}

static int start_one(struct vq *q)
{
	int r = 0;

	q->spin = (struct spin){ 0 };
	q->poll = must_poll(q);
	q->status = SIM_QUEUE_RUNNING;
	if (vq_is_receive(q))
		ring_refuse_kicks(q);
	else if (vq_is_transmit(q))
		r = thread_add_queue(q->thread, q);
	else
		r = control_start(q);
	if (r < 0)
		q->status = SIM_QUEUE_PREPARED;
	write_regs(q);
	return r;
}

/* Who served it does not any more. */
static void leave_server(struct vq *q)
{
	if (vq_is_transmit(q))
		thread_remove_queue(q->thread, q);
	else if (vq_is_control(q))
		control_stop(q);
}

static void stop_one(struct vq *q)
{
	if (q->status < SIM_QUEUE_RUNNING)
		return;
	held_release(q, q->function->nic->own->burst);
	leave_server(q);
	waiting_over(q);
	q->status = SIM_QUEUE_PREPARED;
	q->fault = NULL;
	write_regs(q);
}

/* Is there a queue that is in @set or not, and runs or not? */
static bool any_queue(const struct function *f, const struct sim_queue_set *set, bool in, bool running)
{
	for (uint16_t i = 0; i < f->n_queues; i++) {
		if (in_set(set, i) == in && (f->queues[i].status >= SIM_QUEUE_RUNNING) == running)
			return true;
	}
	return false;
}

static int start_check(const struct function *f, const struct sim_queue_set *set)
{
	if (!set_ok(f, set))
		return -EINVAL;
	if (f->memory_lost)
		return -EIO;
	if (f->nic->options.together && any_queue(f, set, false, true) && any_queue(f, set, true, false))
		return -EOPNOTSUPP;
	for (uint16_t i = 0; i < f->n_queues; i++) {
		const struct vq *q = &f->queues[i];

		if (!in_set(set, i) || q->status == SIM_QUEUE_RUNNING)
			continue;
		if (q->status != SIM_QUEUE_PREPARED || !can_begin_at(f, q->at, q->packed))
			return -EINVAL;
	}
	return 0;
}

int queues_start(struct function *f, const struct sim_queue_set *set)
{
	struct sim_queue_set started = { 0 };
	int r;

	nic_pause(f->nic);
	r = start_check(f, set);
	for (uint16_t i = 0; i < f->n_queues && r == 0; i++) {
		if (!in_set(set, i) || f->queues[i].status == SIM_QUEUE_RUNNING)
			continue;
		r = start_one(&f->queues[i]);
		if (r == 0)
			started.bits[i / 64] |= BIT_ULL(i % 64);
	}
	for (uint16_t i = 0; i < f->n_queues && r < 0; i++) {
		if (in_set(&started, i))
			stop_one(&f->queues[i]);
	}
	function_rescan(f);
	nic_resume(f->nic);
	return r;
}

/* As @start_check. */
static int stop_check(const struct function *f, const struct sim_queue_set *set)
{
	bool some = any_queue(f, set, true, true) && any_queue(f, set, false, true);

	return f->nic->options.together && some ? -EOPNOTSUPP : 0;
}

/* Return: what is said of its position. */
static uint32_t stop_queue(struct vq *q)
{
	stop_one(q);
	return q->function->nic->options.silent_stop ? 0 : sim_position_word(q->at, q->packed);
}

int queues_stop(struct function *f, const struct sim_queue_set *set, struct sim_positions *ret)
{
	int r;

	if (!set_ok(f, set))
		return -EINVAL;
	nic_pause(f->nic);
	r = stop_check(f, set);
	for (uint16_t i = 0; i < f->n_queues && r == 0; i++) {
		if (in_set(set, i))
			ret->position[i] = stop_queue(&f->queues[i]);
	}
	function_rescan(f);
	nic_resume(f->nic);
	return r;
}

void queue_disable(struct vq *q)
{
	if (q->status != SIM_QUEUE_PREPARED)
		return;
	q->status = SIM_QUEUE_DISABLED;
	__atomic_store_n(&q->regs->status, (uint32_t)SIM_QUEUE_DISABLED, __ATOMIC_RELEASE);
}

void queue_clear(struct vq *q, bool keep_regs)
{
	if (keep_regs)
		held_release(q, q->function->nic->own->burst);
	q->held.n = 0;
	if (q->status >= SIM_QUEUE_RUNNING)
		leave_server(q);
	q->kick_fd = close_keep_errno(q->kick_fd);
	q->call_fd = close_keep_errno(q->call_fd);
	q->err_fd = close_keep_errno(q->err_fd);
	q->status = SIM_QUEUE_DISABLED;
	q->size = 0;
	q->at = (struct queue_position){ 0 };
	q->packed = false;
	q->ring_missing = q->parked = false;
	waiting_over(q);
	backlog_free(q);
	q->setup = (struct sim_queue_setup){ 0 };
	q->hit.size = 0;
	q->fault = NULL;
	if (!keep_regs)
		write_regs(q);
}

static bool touches(const struct vq *q, const struct sim_queue_setup *s, uint64_t iova, uint64_t size)
{
	struct area areas[RING_AREAS];

	if (q->status == SIM_QUEUE_DISABLED)
		return false;
	list_areas(s, q->function->features, areas);
	for (int i = 0; i < RING_AREAS; i++) {
		if (iommu_overlaps(areas[i].iova, areas[i].size, iova, size))
			return true;
	}
	return false;
}

bool queue_lies_in(const struct vq *q, uint64_t iova, uint64_t size)
{
	const struct sim_queue_setup s = {
		.size = q->size,
		.desc = q->desc_iova,
		.driver = q->driver_iova,
		.device = q->device_iova,
	};

	return touches(q, &s, iova, size);
}

bool queue_asks_in(const struct vq *q, uint64_t iova, uint64_t size)
{
	return touches(q, &q->setup, iova, size);
}

bool queue_loses_by(const struct vq *q, const struct iotlb_entry *entry)
{
	const uint64_t places[RING_AREAS] = { q->desc_iova, q->driver_iova, q->device_iova };
	struct area areas[RING_AREAS];

	if (q->status == SIM_QUEUE_DISABLED)
		return false;
	list_areas(&q->setup, q->function->features, areas);
	for (int i = 0; i < RING_AREAS; i++) {
		if (!iommu_overlaps(areas[i].iova, areas[i].size, entry->iova, entry->size))
			continue;
		if (places[i] - areas[i].iova != entry->address - entry->iova || areas[i].perm & ~entry->perm)
			return true;
	}
	return false;
}
