/* SPDX-License-Identifier: BSD-2-Clause */
/* What both ring layouts share. */
#include "tools/simnic/ring.h"

#include <string.h>

#include <rte_random.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/log.h"

uint32_t ring_collect(struct vq *q, struct burst *b, uint32_t max, uint32_t perm)
{
	if (max > RING_MAX_CHAINS - b->n_chains)
		max = RING_MAX_CHAINS - b->n_chains;
	if (max == 0 || b->n_pieces > RING_BURST_PIECES)
		return 0;
	if (__builtin_expect(q->waits, 0)) {
		q->parked = true;
		return 0;
	}
	if (__builtin_expect(q->postcopy, 0))
		return postcopy_collect(q, b, max, perm);
	return q->packed ? packed_collect(q, b, max, perm) : split_collect(q, b, max, perm);
}

static void signal_call(struct vq *q)
{
	if (q->call_fd >= 0 && signaller_send(&q->function->nic->signaller, q->call_fd) == 0)
		q->regs->calls++;
}

void ring_mark_entries(const struct vq *q, const struct dirty_bits *log, uint64_t iova,
	uint32_t size, uint32_t first, uint32_t n)
{
	uint32_t to_end = q->size - first;

	dirty_mark(log, iova + (uint64_t)first * size, (uint64_t)(n < to_end ? n : to_end) * size);
	if (n > to_end)
		dirty_mark(log, iova, (uint64_t)(n - to_end) * size);
}

/* As many bytes of each chain as were written. */
static void mark_chains(const struct dirty_bits *log, const struct burst *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct piece *p = b->chains[i].pieces;

		for (uint32_t left = b->chains[i].used; left > 0; p++) {
			uint32_t size = left < p->size ? left : p->size;

			dirty_mark(log, p->iova, size);
			left -= size;
		}
	}
}

void ring_give_back(struct vq *q, const struct burst *b, uint32_t n)
{
	bool wanted;

	if (n == 0)
		return;
	wanted = q->packed ? packed_publish(q, b, n) : split_publish(q, b, n);
	q->regs->completed_desc += n;
	if (wanted)
		signal_call(q);
}

void ring_publish(struct vq *q, const struct burst *b, uint32_t n)
{
	const struct dirty_bits *log;

	if (n == 0)
		return;
	log = vq_is_receive(q) ? ring_log(q) : NULL;
	if (log)
		mark_chains(log, b, n);
	q->regs->received_desc += n;
	ring_give_back(q, b, n);
}

static void swap(struct chain *a, struct chain *b)
{
	struct chain old = *a;

	*a = *b;
	*b = old;
	if (a->pieces == &b->one)
		a->pieces = &a->one;
	if (b->pieces == &a->one)
		b->pieces = &b->one;
}

void ring_mix(struct burst *b, uint32_t n)
{
	for (; n > 1; n--) {
		struct chain *any = &b->chains[rte_rand_max(n)], *last = &b->chains[n - 1];

		if (any != last && any->size == last->size)
			swap(any, last);
	}
}

bool ring_ask_kicks(struct vq *q)
{
	if (q->ring_missing)
		return false;
	return q->packed ? packed_ask_kicks(q) : split_ask_kicks(q);
}

void ring_refuse_kicks(struct vq *q)
{
	if (q->ring_missing)
		return;
	if (q->packed)
		packed_refuse_kicks(q);
	else
		split_refuse_kicks(q);
}

void ring_fail(struct vq *q)
{
	struct function *f = q->function;

	q->status = SIM_QUEUE_ERROR;
	q->regs->errors++;
	__atomic_store_n(&q->regs->status, (uint32_t)SIM_QUEUE_ERROR, __ATOMIC_RELEASE);
	if (q->err_fd >= 0 && signaller_send(&f->nic->signaller, q->err_fd) < 0)
		log_warning("function %s: queue %u: its err descriptor can't be signalled",
			f->identity.name, q->index);
	atomic_fetch_or(&f->faulty[q->index / 64], BIT_ULL(q->index % 64));
	f->faulty_any = true;
	nic_attention(f->nic);
}

static void say_miss(struct vq *q, enum sim_miss_state state)
{
	struct sim_miss *miss = &q->function->regs->misses[q->index];

	miss->iova = q->hit.iova;
	miss->perm = q->hit.perm;
	__atomic_store_n(&miss->state, (uint32_t)state, __ATOMIC_RELEASE);
}

bool ring_unreachable(struct vq *q, const char *reason)
{
	struct function *f = q->function;

	if (q->hit.answer == IOMMU_UNMAPPED) {
		q->fault = reason;
	} else if (q->hit.answer == IOMMU_REFUSED) {
		say_miss(q, SIM_MISS_REFUSED);
		q->fault = "an address is translated, and not for this access";
	} else {
		say_miss(q, SIM_MISS_WAITS);
		q->waits = q->parked = true;
		atomic_fetch_or(&f->waiting_queues[q->index / 64], BIT_ULL(q->index % 64));
		f->faulty_any = true;
		nic_attention(f->nic);
	}
	return false;
}

bool ring_add_piece(struct vq *q, struct burst *b, struct chain *c, uint64_t iova, uint32_t size,
	uint32_t perm)
{
	if (size > UINT32_MAX - c->size) {
		q->fault = "a chain is longer than 4 GiB";
		return false;
	}
	c->size += size;
	while (size > 0) {
		uint32_t there;
		uint8_t *at = iommu_at(&q->function->iommu, &q->hit, iova, size, perm, &there);

		if (!at)
			return ring_unreachable(q, "a buffer is not in mapped memory");
		if (b->n_pieces == RING_MAX_PIECES) {
			q->fault = "a chain has too many pieces";
			return false;
		}
		b->pieces[b->n_pieces++] = (struct piece){ at, iova + q->hit.shift, there, perm };
		c->n_pieces++;
		iova += there;
		size -= there;
	}
	return true;
}

bool ring_copy_in(struct vq *q, void *to, uint64_t iova, uint32_t size)
{
	while (size > 0) {
		uint32_t there;
		const uint8_t *at = iommu_at(&q->function->iommu, &q->hit, iova, size,
			SIM_PERM_READ, &there);

		if (!at)
			return ring_unreachable(q, "an indirect table is not in mapped memory");
		if (q->postcopy && !ring_table_is_there(q, iova + q->hit.shift, at, there))
			return false;
		memcpy(to, at, there);
		to = (uint8_t *)to + there;
		iova += there;
		size -= there;
	}
	return true;
}
