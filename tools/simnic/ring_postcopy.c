/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings in memory whose pages are still on their way. Everything that a visit of the queue is going
 * to touch is probed before: first the whole ring, until it was there once, then the buffers of the
 * chains that were collected. The first page that is missing ends the burst before its chain; the
 * queue asks for it and is parked.
 *
 * A page that was there does not go away unless the front-end takes it from its own guest. Who touches
 * it then gets SIGBUS, and the function fails as with a file that was cut short.
 *
 * Of a split ring the driver could not tell the used index, which is in the ring: it is taken from
 * there.
 */
#include <endian.h>
#include <linux/virtio_ring.h>

#include "drivers/sim/position.h"
#include "tools/simnic/frame.h"
#include "tools/simnic/postcopy.h"
#include "tools/simnic/probe.h"
#include "tools/simnic/ring.h"

/* Return: false when a page of it is missing, and was asked for. */
static bool is_there(struct vq *q, uint64_t iova, const uint8_t *at, uint64_t size)
{
	const struct iommu_region *region = iommu_find(&q->function->iommu, iova);
	const uint8_t *page = (const uint8_t *)((uintptr_t)at & ~(uintptr_t)(PROBE_PAGE - 1));

	if (!region || !region->asking)
		return true;
	for (; page < at + size; page += PROBE_PAGE) {
		if (!probe_page(page)) {
			postcopy_ask(q, region, page);
			return false;
		}
	}
	return true;
}

bool ring_table_is_there(struct vq *q, uint64_t iova, const void *at, uint32_t size)
{
	return is_there(q, iova, at, size);
}

/* Source: virtio 1.2, 2.7.8. */
static void take_used_index(struct vq *q)
{
	const struct vring_used *used = q->device;

	q->at.used = le16toh(*(const volatile uint16_t *)&used->idx);
	if ((uint16_t)(q->at.avail - q->at.used) > q->size) {
		q->fault = "the used index is further behind than the ring is long";
		q->at.used = q->at.avail;
	}
	ring_write_next(q, sim_position_word(q->at, false));
	ring_write_position(q, sim_position_word(q->at, false));
}

void ring_arrived(struct vq *q)
{
	if (!q->ring_missing)
		return;
	q->ring_missing = false;
	if (!q->packed)
		take_used_index(q);
	if (q->status == SIM_QUEUE_RUNNING)
		ring_refuse_kicks(q);
}

static bool ring_is_there(struct vq *q)
{
	if (!q->ring_missing)
		return true;
	if (!is_there(q, q->desc_iova, q->desc, q->desc_size) ||
		!is_there(q, q->driver_iova, q->driver, q->driver_size) ||
		!is_there(q, q->device_iova, q->device, q->device_size))
		return false;
	ring_arrived(q);
	return true;
}

/* As much of it as a frame can need. */
static bool chain_is_there(struct vq *q, const struct chain *c)
{
	uint32_t left = q->header_size + FRAME_MAX_SIZE;

	for (uint32_t i = 0; i < c->n_pieces && left > 0; i++) {
		const struct piece *p = &c->pieces[i];
		uint32_t size = p->size < left ? p->size : left;

		if (!is_there(q, p->iova, p->at, size))
			return false;
		left -= size;
	}
	return true;
}

/* Forgets the chains from @n on. */
static void cut(struct vq *q, struct burst *b, uint32_t n)
{
	b->n_chains = n;
	b->next = q->at;
	for (uint32_t i = 0; i < n; i++)
		ring_step(q, &b->next.avail, &b->next.avail_wrap,
			q->packed ? b->chains[i].n_desc : 1);
	q->fault = NULL; /* it is found again */
}

uint32_t postcopy_collect(struct vq *q, struct burst *b, uint32_t max, uint32_t perm)
{
	uint32_t first = b->n_chains, n, good = 0;

	if (atomic_load(&q->wanted) != NULL) {
		q->parked = true;
		return 0;
	}
	if (!ring_is_there(q) || q->fault)
		return 0;
	n = q->packed ? packed_collect(q, b, max, perm) : split_collect(q, b, max, perm);
	while (good < n && chain_is_there(q, &b->chains[first + good]))
		good++;
	if (good < n)
		cut(q, b, first + good);
	return good;
}
