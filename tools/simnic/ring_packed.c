/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The packed ring. Of a descriptor the word with length, id and flags is read first, in one load,
 * and the address after it.
 *
 * A used entry takes the place of a descriptor, which is lost then, so a device that dies must not
 * leave one behind that its position does not pass. Frames are given back one by one, therefore,
 * and the position moves with each. The chains of one frame, and those that were mixed, become
 * visible together: all entries are written but the first one, which the driver can't pass by; that
 * comes last.
 *
 * Source: virtio 1.2, 2.8.
 */
#include <endian.h>

#include <rte_atomic.h>
#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

#include "drivers/sim/position.h"
#include "tools/simnic/ring.h"
#include "vdpa/base/bits.h"

#define FLAG_AVAIL ((uint16_t)BIT(VRING_PACKED_DESC_F_AVAIL))
#define FLAG_USED  ((uint16_t)BIT(VRING_PACKED_DESC_F_USED))

/* A descriptor, read once. */
static inline struct vring_packed_desc read_desc(const struct vring_packed_desc *at)
{
	const uint64_t *words = (const uint64_t *)(const void *)at;
	uint64_t second = __atomic_load_n(&words[1], __ATOMIC_ACQUIRE);
	uint64_t first = *(const volatile uint64_t *)&words[0];

	return (struct vring_packed_desc){
		.addr = le64toh(first),
		.len = (uint32_t)second,
		.id = (uint16_t)(second >> 32),
		.flags = (uint16_t)(second >> 48),
	};
}

static bool is_available(uint16_t flags, bool wrap)
{
	return ((flags & FLAG_AVAIL) != 0) == wrap && ((flags & FLAG_USED) != 0) != wrap;
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

static bool gather_indirect(struct vq *q, struct burst *b, struct chain *c,
	struct vring_packed_desc d, uint32_t perm)
{
	uint32_t n = d.len / (uint32_t)sizeof(d);

	if (!q->indirect)
		return fault(q, "an indirect descriptor that was not negotiated");
	if (d.flags & VRING_DESC_F_NEXT)
		return fault(q, "an indirect descriptor with a next one");
	if (n == 0 || d.len % sizeof(d) || (n > q->size && n > RING_MAX_INDIRECT))
		return fault(q, "an indirect table of a wrong size");
	if (!ring_copy_in(q, b->table.packed, d.addr, d.len))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		struct vring_packed_desc e = b->table.packed[i];
		uint16_t flags = le16toh(e.flags);

		if (flags & VRING_DESC_F_INDIRECT)
			return fault(q, "an indirect descriptor where none may be");
		if (!direction_ok(q, flags, perm) ||
			!ring_add_piece(q, b, c, le64toh(e.addr), le32toh(e.len),
				ring_perm(flags, perm)))
			return false;
	}
	return true;
}

/* Follows a chain in the ring from @at on, whose first descriptor is @d. */
static bool gather(struct vq *q, struct burst *b, struct chain *c, uint32_t at,
	struct vring_packed_desc d, uint32_t perm)
{
	const struct vring_packed_desc *ring = q->desc;

	for (;;) {
		if (d.flags & VRING_DESC_F_INDIRECT)
			return fault(q, "an indirect descriptor where none may be");
		if (!direction_ok(q, d.flags, perm) ||
			!ring_add_piece(q, b, c, d.addr, d.len, ring_perm(d.flags, perm)))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		if (c->n_desc == q->size)
			return fault(q, "a chain is longer than the ring");
		c->n_desc++;
		at = at + 1 == q->size ? 0 : at + 1;
		d = read_desc(&ring[at]);
	}
	c->id = d.id;
	return true;
}

static bool collect_one(struct vq *q, struct burst *b, struct chain *c, struct vring_packed_desc d,
	uint32_t perm)
{
	uint32_t there;

	c->n_desc = 1;
	c->id = d.id;
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
	return gather(q, b, c, b->next.avail, d, perm);
}

/* The line after the one at @at: to be read now, and to be written when its entries are used. */
static inline void prefetch_descs(const struct vq *q, uint32_t at)
{
	const struct vring_packed_desc *ring = q->desc;
	uint32_t next = (at & ~3U) + 4;

	__builtin_prefetch(&ring[next < q->size ? next : 0], 1);
}

uint32_t packed_collect(struct vq *q, struct burst *b, uint32_t max, uint32_t perm)
{
	const struct vring_packed_desc *ring = q->desc;
	uint32_t n, ring_used = 0;

	for (n = 0; n < b->n_chains; n++)
		ring_used += b->chains[n].n_desc;
	prefetch_descs(q, b->next.avail);
	for (n = 0; n < max && b->n_pieces <= RING_BURST_PIECES; n++) {
		struct vring_packed_desc d = read_desc(&ring[b->next.avail]);
		struct chain *c = &b->chains[b->n_chains];

		if (b->next.avail % 4 == 0)
			prefetch_descs(q, b->next.avail + 4U);
		if (!is_available(d.flags, b->next.avail_wrap) || ring_used >= q->size)
			break;
		if (unlikely(!collect_one(q, b, c, d, perm)))
			break;
		ring_used += c->n_desc;
		if (unlikely(ring_used > q->size)) {
			fault(q, "the chains are longer than the ring");
			break;
		}
		ring_step(q, &b->next.avail, &b->next.avail_wrap, c->n_desc);
		b->n_chains++;
	}
	return n;
}

static bool wants_call(const struct vq *q, struct queue_position before,
	struct queue_position after)
{
	const struct vring_packed_desc_event *event = q->driver;
	uint16_t flags, off_wrap, at, old;

	rte_smp_mb();
	off_wrap = le16toh(*(const volatile uint16_t *)&event->off_wrap);
	flags = le16toh(*(const volatile uint16_t *)&event->flags);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !q->event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;

	/* Positions of this round and the round before, as distances that only grow. */
	at = off_wrap & 0x7fff;
	if ((off_wrap >> 15 != 0) != after.used_wrap)
		at = (uint16_t)(at - q->size);
	old = before.used;
	if (before.used_wrap != after.used_wrap)
		old = (uint16_t)(old - q->size);
	return vring_need_event(at, after.used, old);
}

/* A used entry: length, id and flags are one word of the descriptor. */
static uint64_t used_word(const struct vq *q, const struct chain *c, bool wrap)
{
	uint64_t flags = wrap ? FLAG_AVAIL | FLAG_USED : 0;

	if (c->used > 0)
		flags |= VRING_DESC_F_WRITE;
	return htole64(c->used | (uint64_t)(uint16_t)(c->id + q->wrong_index) << 32 | flags << 48);
}

static void write_used(struct vq *q, uint32_t at, uint64_t word)
{
	struct vring_packed_desc *ring = q->desc;

	__atomic_store_n((uint64_t *)(void *)&ring[at].len, word, __ATOMIC_RELEASE);
}

/* From the first entry to where the next one will be; those in between may be chains' rests. */
static void mark_used(const struct vq *q, struct queue_position before, struct queue_position after)
{
	const struct dirty_bits *log = ring_areas_log(q);
	uint32_t n = after.used > before.used ? (uint32_t)after.used - before.used :
						q->size + after.used - before.used;

	if (log)
		ring_mark_entries(q, log, q->desc_iova, sizeof(struct vring_packed_desc),
			before.used, q->batch_used ? 1 : n);
}

/* The driver sees all of @n chains given back, or none: the first one's entry comes last. */
static void publish_together(struct vq *q, const struct chain *c, uint32_t n)
{
	struct queue_position after = q->at;
	uint64_t first = used_word(q, q->batch_used ? &c[n - 1] : c, after.used_wrap);

	for (uint32_t i = 0; i < n; i++) {
		if (i > 0 && !q->batch_used)
			write_used(q, after.used, used_word(q, &c[i], after.used_wrap));
		ring_step(q, &after.used, &after.used_wrap, c[i].n_desc);
		if (!q->holds)
			ring_step(q, &after.avail, &after.avail_wrap, c[i].n_desc);
	}
	ring_write_next(q, sim_position_word(after, true));
	write_used(q, q->at.used, first);
	ring_write_position(q, sim_position_word(after, true));
	q->at = after;
}

/* How many of @left chains have to be given back together. */
static inline uint32_t chains_together(const struct vq *q, const struct chain *c, uint32_t left)
{
	uint32_t n = 1;

	if (q->batch_used || q->mixes)
		return left;
	while (n < left && c[n - 1].more)
		n++;
	return n;
}

bool packed_publish(struct vq *q, const struct burst *b, uint32_t n)
{
	struct queue_position before = q->at;

	for (uint32_t i = 0; i < n;) {
		const struct chain *c = &b->chains[i];
		uint32_t some = chains_together(q, c, n - i);

		publish_together(q, c, some);
		i += some;
	}
	mark_used(q, before, q->at);
	q->wrong_index = 0;
	return wants_call(q, before, q->at);
}

static void write_event_flags(struct vq *q, uint16_t flags)
{
	struct vring_packed_desc_event *event = q->device;
	const struct dirty_bits *log;

	*(volatile uint16_t *)&event->flags = htole16(flags);
	log = ring_areas_log(q);
	if (log)
		dirty_mark(log, q->device_iova, sizeof(*event));
}

bool packed_ask_kicks(struct vq *q)
{
	const struct vring_packed_desc *ring = q->desc;

	write_event_flags(q, VRING_PACKED_EVENT_FLAG_ENABLE);
	rte_smp_mb();
	return is_available(read_desc(&ring[q->at.avail]).flags, q->at.avail_wrap);
}

void packed_refuse_kicks(struct vq *q)
{
	write_event_flags(q, VRING_PACKED_EVENT_FLAG_DISABLE);
}
