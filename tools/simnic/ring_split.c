/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The split ring. Memory order: the available index is read before entries and descriptors; used
 * entries are written before the used index; between the used index and the driver's wish for an
 * interrupt there is a full barrier, as there is between asking for kicks and the last look.
 *
 * Source: virtio 1.2, 2.7.
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>

#include <rte_atomic.h>
#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

#include "drivers/sim/position.h"
#include "tools/simnic/ring.h"

/* A descriptor, read once. */
static inline struct vring_desc read_desc(const struct vring_desc *at)
{
	const volatile uint64_t *words = (const volatile uint64_t *)at;
	uint64_t first = words[0], second = words[1];

	return (struct vring_desc){
		.addr = le64toh(first),
		.len = (uint32_t)second,
		.flags = (uint16_t)(second >> 32),
		.next = (uint16_t)(second >> 48),
	};
}

static uint16_t read16(const void *at)
{
	return le16toh(*(const volatile uint16_t *)at);
}

static void write16(void *at, uint16_t value)
{
	*(volatile uint16_t *)at = htole16(value);
}

static bool fault(struct vq *q, const char *reason)
{
	q->fault = reason;
	return false;
}

static bool direction_ok(struct vq *q, uint16_t flags, uint32_t perm)
{
	if (likely(((flags & VRING_DESC_F_WRITE) != 0) == (perm == SIM_PERM_WRITE)))
		return true;
	if (perm == RING_BOTH)
		return true;
	return fault(q, perm == SIM_PERM_WRITE ? "a receive buffer is not for writing" :
						 "a transmit buffer is for writing");
}

/* Follows a chain in @table, our copy or the ring's own, from @index on. */
static bool gather(struct vq *q, struct burst *b, struct chain *c, const struct vring_desc *table,
	uint32_t n_table, uint32_t index, uint32_t perm)
{
	for (uint32_t n = 0; n < n_table; n++) {
		struct vring_desc d;

		if (index >= n_table)
			return fault(q, "a descriptor's next one is beyond the table");
		d = read_desc(&table[index]);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return fault(q, "an indirect descriptor where none may be");
		if (!direction_ok(q, d.flags, perm) ||
			!ring_add_piece(q, b, c, d.addr, d.len, ring_perm(d.flags, perm)))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return true;
		index = d.next;
	}
	return fault(q, "a chain is longer than its table");
}

static bool gather_indirect(struct vq *q, struct burst *b, struct chain *c, struct vring_desc d,
	uint32_t perm)
{
	uint32_t n = d.len / (uint32_t)sizeof(d);

	if (!q->indirect)
		return fault(q, "an indirect descriptor that was not negotiated");
	if (d.flags & VRING_DESC_F_NEXT)
		return fault(q, "an indirect descriptor with a next one");
	if (n == 0 || d.len % sizeof(d) || (n > q->size && n > RING_MAX_INDIRECT))
		return fault(q, "an indirect table of a wrong size");
	return ring_copy_in(q, b->table.split, d.addr, d.len) &&
	       gather(q, b, c, b->table.split, n, 0, perm);
}

static bool collect_one(struct vq *q, struct burst *b, struct chain *c, uint16_t head,
	uint32_t perm)
{
	const struct vring_desc *ring = q->desc;
	struct vring_desc d;
	uint32_t there;

	if (unlikely(head >= q->size))
		return fault(q, "an available entry is beyond the ring");
	d = read_desc(&ring[head]);
	c->id = head;
	if (likely(!(d.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)) && d.len > 0 &&
		    perm != RING_BOTH)) {
		if (!direction_ok(q, d.flags, perm))
			return false;
		c->one.at = iommu_at(&q->function->iommu, &q->hit, d.addr, d.len, perm, &there);
		if (likely(c->one.at && there == d.len)) {
			c->one.iova = d.addr + q->hit.shift;
			c->one.size = c->size = d.len;
			c->pieces = &c->one;
			c->n_pieces = 1;
			ring_prefetch(q, c->one.at, perm);
			return true;
		}
	}

	c->pieces = &b->pieces[b->n_pieces];
	c->n_pieces = 0;
	c->size = 0;
	if (d.flags & VRING_DESC_F_INDIRECT)
		return gather_indirect(q, b, c, d, perm);
	return gather(q, b, c, ring, q->size, head, perm);
}

uint32_t split_collect(struct vq *q, struct burst *b, uint32_t max, uint32_t perm)
{
	struct vring_avail *avail = q->driver;
	const struct vring_desc *desc = q->desc;
	struct vring_used *used = q->device;
	uint16_t mask = (uint16_t)(q->size - 1);
	uint16_t heads[RING_MAX_CHAINS];
	uint32_t n, i;

	n = (uint16_t)(le16toh(__atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE)) - b->next.avail);
	if (n == 0)
		return 0;
	if (unlikely(n > q->size)) {
		fault(q, "the available index is further ahead than the ring is long");
		return 0;
	}
	if (n > max)
		n = max;
	for (i = 0; i < n && !q->batch_used; i += 8) /* entries of the used ring, of which a line holds eight */
		__builtin_prefetch(&used->ring[(uint16_t)(b->next.used + i) & mask], 1);
	for (i = 0; i < n; i++) {
		heads[i] = read16(&avail->ring[(uint16_t)(b->next.avail + i) & mask]);
		rte_prefetch0(&desc[heads[i] & mask]);
	}
	for (i = 0; i < n && b->n_pieces <= RING_BURST_PIECES; i++) {
		if (unlikely(!collect_one(q, b, &b->chains[b->n_chains], heads[i], perm)))
			break;
		b->n_chains++;
	}
	b->next.avail = (uint16_t)(b->next.avail + i);
	return i;
}

static bool wants_call(const struct vq *q, uint16_t before, uint16_t after)
{
	const struct vring_avail *avail = q->driver;

	rte_smp_mb();
	if (q->event_idx)
		return vring_need_event(read16(&avail->ring[q->size]), after, before);
	return !(read16(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

/* Entries from the free-running @index on, and the index behind them. */
static void mark_used(const struct vq *q, uint16_t index, uint32_t n)
{
	const struct dirty_bits *log = ring_areas_log(q);

	if (!log)
		return;
	dirty_mark(log, q->device_iova + offsetof(struct vring_used, idx), sizeof(uint16_t));
	ring_mark_entries(q, log, q->device_iova + offsetof(struct vring_used, ring),
		sizeof(struct vring_used_elem), index & (q->size - 1), n);
}

bool split_publish(struct vq *q, const struct burst *b, uint32_t n)
{
	struct vring_used *used = q->device;
	uint16_t mask = (uint16_t)(q->size - 1), before = q->at.used;
	struct queue_position after = q->at;
	uint32_t n_entries = q->batch_used ? 1 : n; /* of the last chain, at the first one's place */

	for (uint32_t i = 0; i < n_entries; i++) {
		struct vring_used_elem *e = &used->ring[(uint16_t)(before + i) & mask];
		const struct chain *c = &b->chains[n_entries == n ? i : n - 1];

		e->id = htole32(c->id);
		e->len = htole32(c->used);
	}
	if (!q->holds)
		after.avail = (uint16_t)(after.avail + n);
	after.used = (uint16_t)(after.used + n);

	ring_write_next(q, sim_position_word(after, false));
	__atomic_store_n(&used->idx, htole16((uint16_t)(after.used + q->wrong_index)),
		__ATOMIC_RELEASE);
	ring_write_position(q, sim_position_word(after, false));
	mark_used(q, before, n_entries);
	q->wrong_index = 0;
	q->at = after;
	return wants_call(q, before, after.used);
}

/* The used ring's flags, or what is behind its entries. */
static void write_hint(struct vq *q, uint16_t *at, uint16_t value)
{
	const struct dirty_bits *log;

	write16(at, value);
	log = ring_areas_log(q);
	if (log)
		dirty_mark(log, q->device_iova + (uint64_t)((uint8_t *)at - (uint8_t *)q->device),
			sizeof(*at));
}

bool split_ask_kicks(struct vq *q)
{
	struct vring_used *used = q->device;
	struct vring_avail *avail = q->driver;

	if (q->event_idx)
		write_hint(q, (uint16_t *)&used->ring[q->size], q->at.avail);
	else
		write_hint(q, &used->flags, 0);
	rte_smp_mb();
	return read16(&avail->idx) != q->at.avail;
}

void split_refuse_kicks(struct vq *q)
{
	struct vring_used *used = q->device;

	if (!q->event_idx)
		write_hint(q, &used->flags, VRING_USED_F_NO_NOTIFY);
}
