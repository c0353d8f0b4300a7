/* SPDX-License-Identifier: BSD-2-Clause */
/* What has to hold of functions after each step. */
#include "tests/fuzz/simnic_mailbox_internal.h"

#include <string.h>

#include "tests/fuzz/must.h"
#include "tools/simnic/backlog.h"
#include "tools/simnic/control.h"
#include "tools/simnic/control_command.h"
#include "tools/simnic/queues.h"
#include "tools/simnic/ring.h"
#include "tools/simnic/thread.h"
#include "vdpa/base/bits.h"

/* A ring's area, by the address that its queue was given. */
static bool reaches(
	const struct function *f, uint64_t iova, uint64_t size, const void *at, uint64_t address)
{
	uint64_t found;
	const void *there = iommu_range(&f->iommu, iova, size, 0, &found);

	return there && there == at && found == address;
}

static bool ring_is_reached(const struct function *f, const struct vq *q)
{
	return reaches(f, q->setup.desc, q->desc_size, q->desc, q->desc_iova) &&
	       reaches(f, q->setup.driver, q->driver_size, q->driver, q->driver_iova) &&
	       reaches(f, q->setup.device, q->device_size, q->device, q->device_iova);
}

static void check_translations(const struct iommu *iommu)
{
	const struct iotlb *t = &iommu->iotlb;

	must(t->n == 0 || iommu->translates, "%u translations that nobody asks", t->n);
	must(t->n <= IOTLB_MAX, "%u translations", t->n);
	for (uint32_t i = 0; i + 1 < t->n; i++)
		must(t->entries[i].iova + (t->entries[i].size - 1) < t->entries[i + 1].iova,
			"translations overlap at %#lx", t->entries[i + 1].iova);
}

/* Return: frames that wait. */
static uint32_t check_waiting(const struct vq *q)
{
	const struct sim_miss *miss = &q->function->regs->misses[q->index];

	must(!q->waits || (q->function->iommu.translates && q->status >= SIM_QUEUE_RUNNING),
		"queue %u waits for a translation, and has no use for any", q->index);
	must(!q->waits || miss->state == SIM_MISS_WAITS, "queue %u waits, and does not say so",
		q->index);
	must(q->waits || !q->backlog || q->backlog->n == 0 || !vq_is_receive(q) ||
			q->status == SIM_QUEUE_RUNNING,
		"frames wait for queue %u, which does not run", q->index);
	return q->backlog ? q->backlog->n : 0;
}

static void check_control(const struct simnic_stand *s, const struct function *f)
{
	const struct sim_control_regs *regs = (void *)(f->bar + SIM_BAR_CONTROL_OFFSET);

	must(control_state_ok(f->identity.max_pairs, &f->control),
		"no command leads to this state");
	must(memcmp(&regs->copies[regs->current & 1], &f->control, sizeof(f->control)) == 0,
		"the registers say something else than what was set");
	must(f == s->function || s->address_was_brought || f->mac != s->function->mac,
		"a guest chose another function's address");
	must(control_pairs(f) <= f->identity.max_pairs, "%u pairs", control_pairs(f));
}

/* Return: frames that wait. */
static uint32_t check_function(struct simnic_stand *s, const struct function *f)
{
	uint64_t bytes = 0, end = 0;
	uint32_t n_waiting = 0;

	nic_pause(&s->nic);
	for (uint32_t i = 0; i < f->iommu.n_regions; i++) {
		const struct iommu_region *r = &f->iommu.regions[i];

		must(i == 0 || r->map.iova > end, "regions overlap at %#lx", r->map.iova);
		must(!f->log.bits || dirty_covers(&f->log, &r->map),
			"a region at %#lx is beyond the log", r->map.iova);
		end = r->map.iova + (r->map.size - 1);
		bytes += r->map.size;
	}
	must(bytes == f->iommu.n_bytes, "%lu bytes are mapped, %lu are counted", bytes,
		f->iommu.n_bytes);
	check_translations(&f->iommu);
	check_control(s, f);
	for (uint16_t i = 0; i < f->n_queues; i++) {
		const struct vq *q = &f->queues[i];

		n_waiting += check_waiting(q);
		must(q->regs->status == (uint32_t)q->status, "queue %u: registers say %u, it is %u",
			i, q->regs->status, q->status);
		must((q->status != SIM_QUEUE_RUNNING && q->status != SIM_QUEUE_PREPARED) ||
				f->memory_lost || ring_is_reached(f, q),
			"queue %u is %u, and its ring is not mapped", i, q->status);
	}
	nic_resume(&s->nic);
	return n_waiting;
}

void simnic_check(struct simnic_stand *s)
{
	uint32_t n_waiting = check_function(s, s->function) + check_function(s, s->peer);

	must(n_waiting == s->nic.n_backlog, "%u frames wait, %u are counted", n_waiting,
		s->nic.n_backlog);
}
