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

/* Rings whose queues are stopped have to be prepared again. */
static int release_rings(struct function *f, uint64_t iova, uint64_t size)
{
	for (uint16_t i = 0; i < f->n_queues; i++) {
		if (f->queues[i].status >= SIM_QUEUE_RUNNING && queue_asks_in(&f->queues[i], iova, size))
			return -EBUSY;
	}
	for (uint16_t i = 0; i < f->n_queues; i++) {
		if (queue_asks_in(&f->queues[i], iova, size))
			queue_disable(&f->queues[i]);
	}
	return 0;
}

static bool is_known(const struct function *f, const struct iotlb_entry *e)
{
	uint64_t address;

	return iotlb_translate(&f->iommu.iotlb, e->iova, e->size, e->perm, &address) == IOTLB_KNOWN &&
	       address == e->address;
}

static bool is_of_a_ring(void *arg, const struct iotlb_entry *e)
{
	const struct function *f = arg;

	for (uint16_t i = 0; i < f->n_queues; i++) {
		if (queue_asks_in(&f->queues[i], e->iova, e->size))
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
		r = release_rings(f, update->iova, update->size);
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
	uint64_t last = iotlb_last(iova, size);
	int r;

	if (!f->iommu.translates || size == 0)
		return -EINVAL;
	nic_pause(f->nic);
	r = release_rings(f, iova, last - iova + (last - iova < UINT64_MAX));
	if (r == 0) {
		iotlb_remove(&f->iommu.iotlb, iova, last);
		forget_hits(f);
	}
	nic_resume(f->nic);
	return r;
}
