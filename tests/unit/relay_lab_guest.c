/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's driver: gives chains of random shape, and checks each that comes back. */
#include "relay_lab.h"

#include <string.h>

#define FLAG_AVAIL ((uint16_t)BIT(VRING_PACKED_DESC_F_AVAIL))
#define FLAG_USED  ((uint16_t)BIT(VRING_PACKED_DESC_F_USED))

struct part {
	uint64_t gpa;
	uint32_t size;
	uint16_t flags;
};

static uint8_t pattern(uint64_t seq, uint32_t i)
{
	return (uint8_t)(seq * 31 + i * 7 + 1);
}

/* Chooses a shape and fills the buffers: to read, the number; to write, what must stay or change.
 */
static uint32_t make_chain(struct lab *lab, uint32_t slot, uint32_t max, struct part *parts)
{
	struct lab_chain *c = &lab->chains[slot];
	uint64_t at = lab->buffers + (uint64_t)slot * lab->slot_size;
	uint32_t most = lab->slot_size / LAB_MAX_PIECES - 8;

	if (max > lab->max_pieces)
		max = lab->max_pieces;
	c->seq = lab->n_given;
	c->n_pieces = lab_below(&lab->rng, 3) ? 1 : 1 + lab_below(&lab->rng, max);
	c->n_read = lab_below(&lab->rng, c->n_pieces + 1);
	c->writable = 0;
	for (uint32_t i = 0; i < c->n_pieces; i++) {
		bool write = i >= c->n_read;

		c->size[i] = 8 + lab_below(&lab->rng, most - 8);
		memset(lab->ram + at, write ? 0xee : pattern(c->seq, i), c->size[i]);
		parts[i] =
			(struct part){ LAB_GPA + at, c->size[i], write ? VRING_DESC_F_WRITE : 0 };
		c->writable += write ? c->size[i] : 0;
		at += c->size[i] + 3;
	}
	c->written = 0;
	__atomic_store_n(&c->state, LAB_GIVEN, __ATOMIC_RELAXED);
	return c->n_pieces;
}

static void put_desc(
	uint8_t *table, uint32_t index, struct part part, uint16_t flags, uint16_t next)
{
	uint64_t *words = (uint64_t *)(void *)(table + 16ULL * index);

	shared_store64(&words[0], part.gpa);
	shared_store64(&words[1], part.size | (uint64_t)flags << 32 | (uint64_t)next << 48);
}

/* A table's entries: split, chained in a random order but for the first one; packed, in order. */
static struct part put_table(struct lab *lab, uint32_t slot, const struct part *parts, uint32_t n)
{
	uint64_t at = lab->tables + 16ULL * LAB_MAX_PIECES * slot;
	uint16_t place[LAB_MAX_PIECES] = { 0, 1, 2, 3, 4, 5, 6 };

	for (uint32_t i = 1; i < n && !lab->packed && !lab->in_order; i++) {
		uint32_t k = 1 + lab_below(&lab->rng, n - 1);
		uint16_t swap = place[i];

		place[i] = place[k];
		place[k] = swap;
	}
	for (uint32_t i = 0; i < n; i++) {
		bool more = i + 1 < n;

		if (lab->packed)
			put_desc(lab->ram + at, i, parts[i], 0, parts[i].flags);
		else
			put_desc(lab->ram + at, place[i], parts[i],
				(uint16_t)(parts[i].flags | (more ? VRING_DESC_F_NEXT : 0)),
				more ? place[i + 1] : 0);
	}
	return (struct part){ LAB_GPA + at, 16 * n, VRING_DESC_F_INDIRECT };
}

static uint16_t take_desc(struct lab *lab)
{
	uint16_t taken;

	lab->n_free_desc--;
	if (lab->in_order && !lab->packed) {
		taken = lab->in_order_next;
		lab->in_order_next = (uint16_t)((taken + 1U) % lab->size);
		return taken;
	}
	taken = lab->first_free;
	lab->first_free = lab->next_free[taken];
	return taken;
}

static void split_put(struct lab *lab, const struct part *parts, uint32_t n, struct lab_chain *c)
{
	struct vring_avail *avail = (void *)(lab->ram + lab->driver);
	uint16_t index = take_desc(lab);

	c->head = index;
	for (uint32_t i = 0; i < n; i++) {
		bool more = i + 1 < n;
		uint16_t next = more ? take_desc(lab) : 0;

		put_desc(lab->ram + lab->desc, index, parts[i],
			(uint16_t)(parts[i].flags | (more ? VRING_DESC_F_NEXT : 0)), next);
		if (more && !lab->in_order)
			lab->next_free[index] =
				next; /* a chain's own links, for when it is freed */
		index = next;
	}
	shared_store16(&avail->ring[lab->at.avail % lab->size], (uint16_t)c->head);
	lab->at.avail++;
	shared_store16_release(&avail->idx, lab->at.avail);
}

static void packed_put(struct lab *lab, const struct part *parts, uint32_t n, struct lab_chain *c)
{
	struct vring_packed_desc *ring = (void *)(lab->ram + lab->desc);
	uint16_t first = lab->at.avail;
	uint64_t first_word = 0;

	c->head = lab->first_free; /* an id; slots are counted apart */
	lab->first_free = lab->next_free[c->head];
	lab->n_free_desc -= n;
	for (uint32_t i = 0; i < n; i++) {
		uint16_t at = lab->at.avail;
		uint64_t flags = parts[i].flags | (lab->at.avail_wrap ? FLAG_AVAIL : FLAG_USED);
		uint64_t word;

		if (i + 1 < n)
			flags |= VRING_DESC_F_NEXT;
		word = parts[i].size | (uint64_t)c->head << 32 | flags << 48;
		shared_store64((uint64_t *)(void *)&ring[at].addr, parts[i].gpa);
		if (i == 0)
			first_word = word;
		else
			shared_store64((uint64_t *)(void *)&ring[at].len, word);
		if (at + 1U == lab->size)
			lab->at.avail_wrap = !lab->at.avail_wrap;
		lab->at.avail = (uint16_t)((at + 1U) % lab->size);
	}
	shared_store64_release((uint64_t *)(void *)&ring[first].len, first_word);
}

bool lab_give(struct lab *lab)
{
	struct part parts[LAB_MAX_PIECES];
	bool indirect = lab->indirect && lab_below(&lab->rng, 2);
	uint32_t max = indirect && lab->n_free_desc > 0 ? lab->size : lab->n_free_desc, n, slot;
	struct lab_chain *c;

	if (lab->n_free_slots == 0 || max == 0)
		return false;
	slot = lab->free_slots[--lab->n_free_slots];
	c = &lab->chains[slot];
	n = make_chain(lab, slot, max, parts);
	if (indirect) {
		/* Split: a table may follow direct descriptors. */
		uint32_t direct =
			lab->packed || n < 2 || lab->n_free_desc < n ? 0 : lab_below(&lab->rng, n);

		parts[direct] = put_table(lab, slot, parts + direct, n - direct);
		n = direct + 1;
	}
	c->n_desc = n;
	lab->fifo[(lab->fifo_first + lab->n_fifo++) % lab->size] = slot;
	lab->n_given++;
	if (lab->packed)
		packed_put(lab, parts, n, c);
	else
		split_put(lab, parts, n, c);
	lab->slot_of[c->head] = slot;
	return true;
}

uint32_t lab_give_some(struct lab *lab, uint32_t max)
{
	uint32_t n = lab_below(&lab->rng, max + 1), i;

	for (i = 0; i < n && lab_give(lab); i++)
		;
	return i;
}

uint32_t lab_out(const struct lab *lab)
{
	return (uint32_t)(lab->n_given - lab->n_got);
}

static void check_bytes(struct lab *lab, uint32_t slot, uint32_t size)
{
	const struct lab_chain *c = &lab->chains[slot];
	const uint8_t *at = lab->ram + lab->buffers + (uint64_t)slot * lab->slot_size;
	uint32_t into = 0;

	for (uint32_t i = 0; i < c->n_pieces; i++) {
		for (uint32_t k = 0; k < c->size[i]; k++) {
			uint8_t want = i < c->n_read ? pattern(c->seq, i)
				       : into < size ? pattern(c->seq, into)
						     : 0xee;

			if (at[k] != want)
				fail_msg("chain %lu piece %u byte %u of %u: %#x, not %#x", c->seq,
					i, k, size, at[k], want);
			into += i >= c->n_read;
		}
		at += c->size[i] + 3;
	}
}

static void free_desc(struct lab *lab, const struct lab_chain *c)
{
	uint16_t last = (uint16_t)c->head;

	lab->n_free_desc += c->n_desc;
	if (lab->packed) {
		lab->next_free[c->head] = lab->first_free;
	} else if (!lab->in_order) {
		for (uint32_t i = 1; i < c->n_desc; i++)
			last = lab->next_free[last];
		lab->next_free[last] = lab->first_free;
	}
	lab->first_free = (uint16_t)c->head;
}

static void got(struct lab *lab, uint32_t slot, uint32_t size)
{
	struct lab_chain *c = &lab->chains[slot];
	uint32_t state = __atomic_load_n(&c->state, __ATOMIC_RELAXED);

	if (state == LAB_GIVEN && size == 0)
		lab->n_empty++; /* nobody's device; whether that may be, the test knows */
	else if (state != LAB_COMPLETED)
		fail_msg("chain %lu came back in state %u", c->seq, state);
	else if (size != c->written)
		fail_msg("chain %lu: %u bytes, not %u", c->seq, size, c->written);
	else
		check_bytes(lab, slot, size);
	__atomic_store_n(&c->state, LAB_FREE, __ATOMIC_RELAXED);
	free_desc(lab, c);
	lab->free_slots[lab->n_free_slots++] = slot;
	lab->n_got++;
}

/* One entry of a ring in order stands for all chains up to its own. Return: chains, @n_desc. */
static uint32_t got_entry(struct lab *lab, uint32_t id, uint32_t size, uint32_t *n_desc)
{
	uint32_t slot, n = 0;

	if (id >= lab->size)
		fail_msg("id %u", id);
	slot = lab->slot_of[id];
	*n_desc = 0;
	if (!lab->in_order) {
		*n_desc = lab->chains[slot].n_desc;
		got(lab, slot, size);
		return 1;
	}
	for (;;) {
		uint32_t first = lab->fifo[lab->fifo_first++ % lab->size];

		if (lab->n_fifo-- == 0)
			fail_msg("id %u of a ring in order was not given", id);
		n++;
		*n_desc += lab->chains[first].n_desc;
		got(lab, first, first == slot ? size : lab->chains[first].writable);
		if (first == slot)
			return n;
	}
}

static bool split_get(struct lab *lab)
{
	const struct vring_used *used = (void *)(lab->ram + lab->device);
	const struct vring_used_elem *e = &used->ring[lab->at.used % lab->size];
	uint32_t n_desc;

	if (shared_load16_acquire(&used->idx) == lab->at.used)
		return false;
	lab->at.used = (uint16_t)(lab->at.used + got_entry(lab, shared_load32(&e->id),
							 shared_load32(&e->len), &n_desc));
	return true;
}

static bool packed_get(struct lab *lab)
{
	const struct vring_packed_desc *ring = (void *)(lab->ram + lab->desc);
	uint64_t word =
		shared_load64_acquire((const uint64_t *)(const void *)&ring[lab->at.used].len);
	uint16_t flags = (uint16_t)(word >> 48);
	uint32_t n_desc, to;

	if (((flags & FLAG_AVAIL) != 0) != lab->at.used_wrap ||
		((flags & FLAG_USED) != 0) != lab->at.used_wrap)
		return false;
	got_entry(lab, (uint16_t)(word >> 32), flags & VRING_DESC_F_WRITE ? (uint32_t)word : 0,
		&n_desc);
	to = lab->at.used + n_desc;
	if (to >= lab->size) {
		to -= lab->size;
		lab->at.used_wrap = !lab->at.used_wrap;
	}
	lab->at.used = (uint16_t)to;
	return true;
}

uint32_t lab_get(struct lab *lab)
{
	uint64_t before = lab->n_got;

	while (lab->packed ? packed_get(lab) : split_get(lab)) {
		if (!lab->in_order)
			lab->n_fifo = 0;
	}
	return (uint32_t)(lab->n_got - before);
}
