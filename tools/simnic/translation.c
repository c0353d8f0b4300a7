/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/simnic/translation.h"

#include <errno.h>

#include "tools/simnic/backlog.h"
#include "tools/simnic/control.h"
#include "tools/simnic/function.h"
#include "tools/simnic/net.h"
#include "tools/simnic/queues.h"
#include "tools/simnic/thread.h"
#include "vdpa/base/bits.h"

static void forget_miss(struct vq *q)
{
	struct sim_miss *miss = &q->function->regs->misses[q->index];

	__atomic_store_n(&miss->state, (uint32_t)SIM_MISS_NONE, __ATOMIC_RELEASE);
}

void waiting_over(struct vq *q)
{
	q->waits = false;
	forget_miss(q);
	backlog_drop(q);
}

/* Rings whose queues are stopped have to be prepared again. @loses: which are concerned. */
static int release_rings(struct function *f, bool (*loses)(const struct vq *q, const struct iotlb_entry *entry),
	const struct iotlb_entry *entry)
{
	for (uint16_t i = 0; i < f->n_queues; i++) {
		if (f->queues[i].status >= SIM_QUEUE_RUNNING && loses(&f->queues[i], entry))
			return -EBUSY;
	}
	for (uint16_t i = 0; i < f->n_queues; i++) {
		if (loses(&f->queues[i], entry))
			queue_disable(&f->queues[i]);
	}
	return 0;
}

static bool asks_in(const struct vq *q, const struct iotlb_entry *entry)
{
	return queue_asks_in(q, entry->iova, entry->size);
}

static bool is_known(const struct function *f, const struct iotlb_entry *e)
{
	const struct iotlb_entry *there = iotlb_find(&f->iommu.iotlb, e->iova);

	return there && there->perm == e->perm && there->address + (e->iova - there->iova) == e->address &&
	       iotlb_last(e->iova, e->size) <= iotlb_last(there->iova, there->size);
}

static bool is_of_a_ring(void *arg, const struct iotlb_entry *e)
{
	const struct function *f = arg;

	for (uint16_t i = 0; i < f->n_queues; i++) {
		if (asks_in(&f->queues[i], e))
			return true;
	}
	return false;
}

/* Pieces that were found before may be elsewhere now. Paused. */
static void forget_hits(struct function *f)
{
	for (uint16_t i = 0; i < f->n_queues; i++)
		f->queues[i].hit.size = 0;
}

/* Queues that wait look again. Paused. */
static void wake_waiting(struct function *f)
{
	for (uint16_t i = 0; i < f->n_queues; i++) {
		struct vq *q = &f->queues[i];

		if (!q->waits)
			continue;
		q->waits = q->parked = false;
		forget_miss(q);
		if (q->status == SIM_QUEUE_RUNNING && vq_is_transmit(q))
			thread_wake_queue(q->thread, q);
		else if (q->status == SIM_QUEUE_RUNNING && vq_is_control(q))
			control_wake(q);
	}
}

int translation_update(struct function *f, const struct sim_iotlb *update)
{
	const struct iotlb_entry entry = {
		.iova = update->iova,
		.size = update->size,
		.address = update->address,
		.perm = update->perm,
	};
	int r = 0;

	if (!f->iommu.translates || !range_ok(update->iova, update->size))
		return -EINVAL;
	nic_pause(f->nic);
	if (!is_known(f, &entry)) {
		r = release_rings(f, queue_loses_by, &entry);
		if (r == 0)
			r = iotlb_insert(&f->iommu.iotlb, &entry, is_of_a_ring, f);
		forget_hits(f);
	}
	if (r == 0)
		wake_waiting(f);
	nic_resume(f->nic);
	for (uint16_t i = 0; i < f->n_queues && r == 0; i++) {
		if (vq_is_receive(&f->queues[i]))
			net_catch_up(f->nic->own, &f->queues[i]);
	}
	return r;
}

int translation_invalidate(struct function *f, uint64_t iova, uint64_t size)
{
	const uint64_t last = iotlb_last(iova, size);
	const struct iotlb_entry gone = { .iova = iova, .size = last - iova + (last - iova < UINT64_MAX) };
	int r;

	if (!f->iommu.translates || size == 0)
		return -EINVAL;
	nic_pause(f->nic);
	r = release_rings(f, asks_in, &gone);
	if (r == 0) {
		iotlb_remove(&f->iommu.iotlb, iova, last);
		forget_hits(f);
	}
	nic_resume(f->nic);
	return r;
}
