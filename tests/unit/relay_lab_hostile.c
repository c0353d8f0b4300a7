/* SPDX-License-Identifier: BSD-2-Clause */
#include "relay_lab_hostile.h"

#include <string.h>

#include "vdpa/inflight.h"

static uint64_t *word_at(struct lab *lab, uint64_t offset)
{
	return (uint64_t *)(void *)(lab->ram + offset);
}

/* An address that is good, nearly good, the relay's own, or none. */
static uint64_t some_gpa(const struct lab *lab, uint64_t *rng)
{
	switch (lab_below(rng, 40)) {
	case 0:
		return lab_random(rng);
	case 1:
		return LAB_SHADOW + lab_below(rng, 8192);
	case 2:
		return LAB_GPA + lab->ram_size - lab_below(rng, 200);
	case 3 ... 9:
		return LAB_GPA + lab->tables + 16 * lab_below(rng, 7 * lab->size);
	default:
		return LAB_GPA + lab->buffers + lab_below(rng, lab->slot_size * lab->size - 4000);
	}
}

static uint64_t some_size(uint64_t *rng)
{
	switch (lab_below(rng, 30)) {
	case 0:
		return lab_random(rng) & UINT32_MAX;
	case 1:
		return 0;
	case 2 ... 12:
		return 16 * (1 + lab_below(rng, 6));
	default:
		return lab_below(rng, 3000);
	}
}

static uint16_t some_flags(const struct lab *lab, uint64_t *rng)
{
	uint16_t flags = (uint16_t)lab_below(rng, 4);

	if (lab_below(rng, 4) == 0)
		flags |= VRING_DESC_F_INDIRECT;
	if (lab->packed)
		flags |= (uint16_t)(lab_below(rng, 2) ? BIT(7) : BIT(15));
	if (lab_below(rng, 50) == 0)
		flags = (uint16_t)lab_random(rng);
	return flags;
}

static void scribble_desc(struct lab *lab, uint64_t at, uint64_t *rng)
{
	uint64_t flags = some_flags(lab, rng),
		 other = lab_below(rng, lab->size + (lab_below(rng, 50) == 0));

	shared_store64(word_at(lab, at), some_gpa(lab, rng));
	shared_store64(word_at(lab, at + 8),
		some_size(rng) |
			(lab->packed ? other << 32 | flags << 48 : flags << 32 | other << 48));
}

void lab_scribble(struct lab *lab, uint64_t *rng)
{
	struct vring_avail *avail = (void *)(lab->ram + lab->driver);

	switch (lab_below(rng, 10)) {
	case 0:
		shared_store16((uint16_t *)(void *)(lab->ram + lab->device) + lab_below(rng, 4),
			(uint16_t)lab_random(rng));
		break;
	case 1:
		shared_store16(&avail->flags, (uint16_t)lab_below(rng, 3));
		break;
	case 2:
		shared_store16(&avail->idx, lab_below(rng, 20) == 0
						    ? (uint16_t)lab_random(rng)
						    : (uint16_t)(shared_load16(&avail->idx) + 1));
		break;
	case 3:
		shared_store16(&avail->ring[lab_below(rng, lab->size)],
			(uint16_t)lab_below(rng, lab->size + (lab_below(rng, 50) == 0)));
		break;
	case 4:
	case 5:
		scribble_desc(lab, lab->tables + 16ULL * lab_below(rng, 7 * lab->size), rng);
		break;
	default:
		scribble_desc(lab, lab->desc + 16ULL * lab_below(rng, lab->size), rng);
	}
}

/* Most of what lies there are numbers of entries and flags, which may be right. */
void lab_scribble_area(struct lab *lab, uint64_t *rng)
{
	uint64_t area_size = inflight_part_size(lab->size, lab->packed);
	uint8_t *at = lab->setup.inflight;

	switch (lab_below(rng, 8)) {
	case 0:
		shared_store64(
			(uint64_t *)(void *)(at + 8 * lab_below(rng, (uint32_t)area_size / 8)),
			lab_random(rng));
		break;
	case 1:
		shared_store16((uint16_t *)(void *)(at + 8 + 2 * lab_below(rng, 12)),
			(uint16_t)lab_below(rng, 2 * lab->size));
		break;
	default:
		shared_store16(
			(uint16_t *)(void *)(at + 2 * lab_below(rng, (uint32_t)area_size / 2)),
			(uint16_t)lab_below(rng, lab->size + 1));
	}
}

static void put16(struct lab *lab, uint64_t at, uint64_t value)
{
	shared_store16((uint16_t *)(void *)(lab->setup.inflight + at), (uint16_t)value);
}

void lab_write_area(struct lab *lab, uint16_t used, bool wrap, uint64_t *rng)
{
	uint32_t n = lab_below(rng, lab->size), entry = lab->packed ? 32 : 16;
	uint64_t head = entry;

	for (uint32_t i = 0; i < lab->size; i++) {
		uint64_t at = head + (uint64_t)entry * i;

		put16(lab, at, i < n);
		put16(lab, at + (lab->packed ? 2 : 6), i + 1);
		if (!lab->packed)
			continue;
		put16(lab, at + 6, 1);
		put16(lab, at + 18, lab_below(rng, 2) ? VRING_DESC_F_WRITE : 0);
		shared_store64(
			(uint64_t *)(void *)(lab->setup.inflight + at + 24), some_gpa(lab, rng));
	}
	put16(lab, 8, 1);
	put16(lab, 10, lab->size);
	for (uint64_t at = 12; at < 16; at += 2)
		put16(lab, at, lab->packed ? n : used);
	if (lab->packed) {
		put16(lab, 16, used);
		put16(lab, 18, used);
		put16(lab, 20, wrap ? 0x0101 : 0);
	}
}

bool lab_hostile_marks(struct lab *lab, uint64_t *ret)
{
	bool ok = true;

	for (uint32_t i = 0; i < lab->dev.n_wrote && ok; i++) {
		*ret = lab->dev.wrote[i];
		ok = lab_log_has(lab, *ret);
	}
	lab->dev.n_wrote = 0;
	memset(lab->log_bits + LAB_GPA / LAB_PAGE / 8, 0, 64);
	return ok;
}

/* What the relay writes first when it gives something back: the used index, or that slot. */
int lab_hostile_run(struct lab *lab, uint32_t budget, uint64_t *ret)
{
	struct queue_position at = relay_position(lab->relay);
	struct relay_work work;
	int r;

	*ret = lab->packed ? LAB_GPA + lab->desc + 16ULL * at.used : lab->log_addr + 2;
	r = relay_run(lab->relay, budget, &work);
	return work.returned > 0 && !lab_log_has(lab, *ret) ? 1 : r;
}
