/* SPDX-License-Identifier: BSD-2-Clause */
/* The device: takes chains, checks that they are what the guest gave, and completes them. */
#include "relay_lab.h"

#include <string.h>

#define FLAG_AVAIL ((uint16_t)BIT(VRING_PACKED_DESC_F_AVAIL))
#define FLAG_USED  ((uint16_t)BIT(VRING_PACKED_DESC_F_USED))

static uint8_t *translate(struct lab *lab, uint64_t iova, uint64_t size)
{
	if (iova < LAB_GPA || iova - LAB_GPA > lab->ram_size ||
		size > lab->ram_size - (iova - LAB_GPA))
		fail_msg("the device was given %#lx + %#lx", iova, size);
	return lab->ram + (iova - LAB_GPA);
}

void lab_device_direct(struct lab *lab, struct queue_position at)
{
	lab->dev.shadow = false;
	lab->dev.desc = lab->ram + lab->desc;
	lab->dev.driver = lab->ram + lab->driver;
	lab->dev.device = lab->ram + lab->device;
	lab->dev.at = at;
	lab->dev.n_taken = 0;
}

void lab_device_shadow(struct lab *lab)
{
	struct relay_kept_layout l = relay_kept_layout(lab->size, lab->packed);
	uint8_t *shadow = (uint8_t *)lab->kept + l.shadow_offset;
	struct driver_queue q = { 0 };

	assert_int_equal(relay_device_queue(lab->relay, &q), 0);
	assert_int_equal(q.size, lab->size);
	assert_true(q.device + 4 <= LAB_SHADOW + l.shadow_size);
	lab->dev.shadow = true;
	lab->dev.desc = shadow + (q.desc - LAB_SHADOW);
	lab->dev.driver = shadow + (q.driver - LAB_SHADOW);
	lab->dev.device = shadow + (q.device - LAB_SHADOW);
	lab->dev.at = q.position;
	lab->dev.n_taken = 0;
}

static void add_piece(
	struct lab *lab, struct lab_taken *t, uint64_t iova, uint32_t size, uint16_t flags)
{
	translate(lab, iova, size);
	if (t->n_pieces == LAB_MAX_PIECES) {
		if (!lab->dev.lenient)
			fail_msg("a chain is longer than any that was given");
		return; /* more than this device likes to read or write */
	}
	if (flags & VRING_DESC_F_WRITE)
		t->writable += size;
	else
		t->n_read++;
	t->gpa[t->n_pieces] = iova;
	t->size[t->n_pieces++] = size;
}

static void check_taken(struct lab *lab, struct lab_taken *t)
{
	const struct lab_chain *c;
	uint64_t at;

	t->slot = (uint32_t)((t->gpa[0] - LAB_GPA - lab->buffers) / lab->slot_size);
	assert_true(t->slot < lab->size);
	c = &lab->chains[t->slot];
	at = LAB_GPA + lab->buffers + (uint64_t)t->slot * lab->slot_size;
	assert_int_equal(__atomic_load_n(&c->state, __ATOMIC_RELAXED), LAB_GIVEN);
	assert_int_equal(t->n_pieces, c->n_pieces);
	assert_int_equal(t->n_read, c->n_read);
	assert_int_equal(t->writable, c->writable);
	for (uint32_t i = 0; i < t->n_pieces; i++) {
		assert_int_equal(t->gpa[i], at);
		assert_int_equal(t->size[i], c->size[i]);
		at += t->size[i] + 3;
	}
}

static void split_walk(struct lab *lab, struct lab_taken *t, const uint8_t *table, uint32_t n_table,
	uint32_t index)
{
	for (uint32_t n = 0; n < n_table; n++) {
		const uint64_t *words = (const uint64_t *)(const void *)(table + 16ULL * index);
		uint64_t gpa = shared_load64(&words[0]), second = shared_load64(&words[1]);
		uint16_t flags = (uint16_t)(second >> 32);

		if (flags & VRING_DESC_F_INDIRECT) {
			assert_false(lab->dev.shadow); /* the relay makes tables flat */
			split_walk(lab, t, translate(lab, gpa, (uint32_t)second),
				(uint32_t)second / 16, 0);
			return;
		}
		add_piece(lab, t, gpa, (uint32_t)second, flags);
		if (!(flags & VRING_DESC_F_NEXT))
			return;
		if (lab->in_order && !lab->dev.lenient)
			assert_int_equal(second >> 48, (index + 1) % n_table);
		index = (uint32_t)(second >> 48);
		assert_true(index < n_table);
	}
	fail_msg("a chain goes round");
}

static bool split_take(struct lab *lab, struct lab_taken *t)
{
	const struct vring_avail *avail = lab->dev.driver;

	if (shared_load16_acquire(&avail->idx) == lab->dev.at.avail)
		return false;
	t->id = shared_load16(&avail->ring[lab->dev.at.avail % lab->size]);
	assert_true(t->id < lab->size);
	t->n_desc = 1;
	lab->dev.at.avail++;
	split_walk(lab, t, lab->dev.desc, lab->size, t->id);
	return true;
}

static void step(const struct lab *lab, uint16_t *at, bool *wrap, uint32_t n)
{
	uint32_t to = *at + n;

	if (to >= lab->size) {
		to -= lab->size;
		*wrap = !*wrap;
	}
	*at = (uint16_t)to;
}

static bool packed_take(struct lab *lab, struct lab_taken *t)
{
	const struct vring_packed_desc *ring = lab->dev.desc;
	struct queue_position *at = &lab->dev.at;
	uint64_t word = shared_load64_acquire((const uint64_t *)(const void *)&ring[at->avail].len);

	if (((word >> 48 & FLAG_AVAIL) != 0) != at->avail_wrap ||
		((word >> 48 & FLAG_USED) != 0) == at->avail_wrap)
		return false;
	for (;;) {
		uint64_t gpa = shared_load64((const uint64_t *)(const void *)&ring[at->avail].addr);
		uint16_t flags = (uint16_t)(word >> 48);

		/* Each slot says itself that it is of this round. */
		assert_int_equal((flags & FLAG_AVAIL) != 0, at->avail_wrap);
		t->n_desc++;
		t->id = (uint16_t)(word >> 32);
		if (flags & VRING_DESC_F_INDIRECT) {
			uint8_t *table = translate(lab, gpa, (uint32_t)word);

			assert_false(lab->dev.shadow);
			for (uint32_t i = 0; i < (uint32_t)word / 16; i++) {
				const uint64_t *e = (const uint64_t *)(void *)(table + 16ULL * i);

				add_piece(lab, t, e[0], (uint32_t)e[1], (uint16_t)(e[1] >> 48));
			}
		} else {
			add_piece(lab, t, gpa, (uint32_t)word, flags);
		}
		step(lab, &at->avail, &at->avail_wrap, 1);
		if (!(flags & VRING_DESC_F_NEXT))
			return true;
		assert_true(t->n_desc < lab->size);
		word = shared_load64((const uint64_t *)(const void *)&ring[at->avail].len);
	}
}

uint32_t lab_take(struct lab *lab, uint32_t max)
{
	uint32_t n;

	for (n = 0; n < max; n++) {
		struct lab_taken t = { 0 };

		if (!(lab->packed ? packed_take(lab, &t) : split_take(lab, &t)))
			break;
		if (lab->dev.n_taken == lab->size)
			fail_msg("the device was given more than the ring holds");
		if (!lab->dev.lenient)
			check_taken(lab, &t);
		lab->dev.taken[lab->dev.n_taken++] = t;
	}
	return n;
}

/* Writes what the chain's number says, or just anything. */
static void write_buffers(struct lab *lab, const struct lab_taken *t, uint32_t size)
{
	uint64_t seq = lab->dev.lenient ? lab_random(&lab->dev.rng) : lab->chains[t->slot].seq;
	uint32_t into = 0;

	for (uint32_t i = t->n_read; i < t->n_pieces; i++) {
		uint8_t *at = translate(lab, t->gpa[i], t->size[i]);

		if (lab->dev.lenient && into < size && t->size[i] > 0) {
			uint32_t last = size - into < t->size[i] ? size - into : t->size[i];

			assert_true(lab->dev.n_wrote + 2 <= ARRAY_SIZE(lab->dev.wrote));
			lab->dev.wrote[lab->dev.n_wrote++] = t->gpa[i];
			lab->dev.wrote[lab->dev.n_wrote++] = t->gpa[i] + last - 1;
		}
		for (uint32_t k = 0; k < t->size[i] && into < size; k++, into++) {
			uint8_t byte = (uint8_t)(seq * 31 + into * 7 + 1);

			if (lab->dev.lenient)
				__atomic_store_n(&at[k], byte, __ATOMIC_RELAXED);
			else
				at[k] = byte;
		}
	}
	if (!lab->dev.lenient) {
		lab->chains[t->slot].written = size;
		__atomic_store_n(&lab->chains[t->slot].state, LAB_COMPLETED, __ATOMIC_RELAXED);
	}
}

/* An entry for chain @t that moves the position by @n chains with @n_desc descriptors. */
static void put_entry(
	struct lab *lab, const struct lab_taken *t, uint32_t size, uint32_t n, uint32_t n_desc)
{
	struct queue_position *at = &lab->dev.at;

	if (lab->packed) {
		struct vring_packed_desc *ring = lab->dev.desc;
		uint64_t flags = at->used_wrap ? FLAG_AVAIL | FLAG_USED : 0;

		if (size > 0)
			flags |= VRING_DESC_F_WRITE;
		shared_store64_release((uint64_t *)(void *)&ring[at->used].len,
			size | (uint64_t)t->id << 32 | flags << 48);
		step(lab, &at->used, &at->used_wrap, n_desc);
	} else {
		struct vring_used *used = lab->dev.device;

		shared_store32(&used->ring[at->used % lab->size].id, t->id);
		shared_store32(&used->ring[at->used % lab->size].len, size);
		at->used = (uint16_t)(at->used + n);
	}
}

static void show_entries(struct lab *lab)
{
	struct vring_used *used = lab->dev.device;

	if (!lab->packed)
		shared_store16_release(&used->idx, lab->dev.at.used);
}

static uint32_t some_size(struct lab *lab, const struct lab_taken *t)
{
	switch (lab_below(&lab->dev.rng, 4)) {
	case 0:
		return t->writable;
	case 1:
		return t->writable ? 1 : 0;
	default:
		return lab_below(&lab->dev.rng, t->writable + 1);
	}
}

/* One entry for the first @n chains taken. */
static void complete_first(struct lab *lab, uint32_t n)
{
	const struct lab_taken *last = &lab->dev.taken[n - 1];
	uint32_t n_desc = 0, size = some_size(lab, last);

	for (uint32_t i = 0; i < n; i++) {
		n_desc += lab->dev.taken[i].n_desc;
		write_buffers(
			lab, &lab->dev.taken[i], i + 1 < n ? lab->dev.taken[i].writable : size);
	}
	put_entry(lab, last, size, n, n_desc);
	lab->dev.n_taken -= n;
	memmove(lab->dev.taken, lab->dev.taken + n, lab->dev.n_taken * sizeof(*lab->dev.taken));
}

static void complete_any(struct lab *lab)
{
	uint32_t which = lab_below(&lab->dev.rng, lab->dev.n_taken), size;
	struct lab_taken t = lab->dev.taken[which];

	size = some_size(lab, &t);
	write_buffers(lab, &t, size);
	put_entry(lab, &t, size, 1, t.n_desc);
	lab->dev.n_taken--;
	memmove(lab->dev.taken + which, lab->dev.taken + which + 1,
		(lab->dev.n_taken - which) * sizeof(*lab->dev.taken));
}

uint32_t lab_complete(struct lab *lab, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && lab->dev.n_taken > 0) {
		uint32_t left = max - n < lab->dev.n_taken ? max - n : lab->dev.n_taken;
		uint32_t many = lab->in_order ? 1 + lab_below(&lab->dev.rng, left) : 1;

		if (lab->dev.in_order)
			complete_first(lab, many);
		else
			complete_any(lab);
		n += lab->dev.in_order ? many : 1;
	}
	if (n > 0)
		show_entries(lab);
	lab->dev.n_completed += n;
	return n;
}

struct queue_position lab_device_stop(struct lab *lab)
{
	struct queue_position at = lab->dev.at;

	lab->dev.n_taken = 0;
	return at;
}
