/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a relay keeps: marks, chains and their cells, which only we reach, and the shadow ring,
 * which the device reaches too.
 *
 * A mark changes by being proposed in the place of the one that does not hold, and then, after the
 * batch was seen, by one store that makes it the one that holds. A proposal is cut short before it
 * is rewritten (its count is 0) and counts again when all of it is there.
 *
 * After a crash the block is another process's data: everything that is used as an index, a
 * length or a link is checked, and what follows from the rest is computed again.
 */
#include <stdlib.h>
#include <string.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/relay_internal.h"

#define MAGIC   0x79616c6572706476ULL
#define VERSION 2
#define PAGE    4096
#define LINE    64

#define KEPT_FEATURES                                                                              \
	(BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |                        \
		BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_F_IN_ORDER))

/* Where the parts of the shadow ring are, from its beginning. */
struct shadow {
	uint64_t driver, device, size;
};

/* What we write and what the device writes lie on different pages, or lines. */
static struct shadow shadow_parts(uint32_t size, bool packed)
{
	uint64_t driver = align_up(sizeof(struct vring_desc) * size, LINE), device, end;

	if (packed) {
		device = driver + LINE;
		end = device + LINE;
	} else {
		device = align_up(driver + sizeof(uint16_t) * (3 + size), PAGE);
		end = device + sizeof(uint16_t) * 3 + sizeof(struct vring_used_elem) * size;
	}
	return (struct shadow){ .driver = driver, .device = device, .size = align_up(end, PAGE) };
}

struct relay_kept_layout relay_kept_layout(uint32_t size, bool packed)
{
	struct relay_kept_layout l = { .shadow_size = shadow_parts(size, packed).size };

	l.shadow_offset = align_up(align_up(sizeof(struct relay_kept), LINE) +
					   (sizeof(struct relay_flight) + sizeof(struct relay_cell) +
						   sizeof(struct inflight_chain) + sizeof(uint16_t)) *
						   size,
		PAGE);
	l.size = l.shadow_offset + l.shadow_size;
	return l;
}

void relay_kept_locate(struct relay *r, void *kept)
{
	struct relay_kept_layout l = relay_kept_layout(r->size, r->packed);
	struct shadow parts = shadow_parts(r->size, r->packed);
	uint8_t *base = kept, *shadow = base + l.shadow_offset;

	r->kept = kept;
	r->flights = (void *)(base + align_up(sizeof(struct relay_kept), LINE));
	r->cells = (void *)(r->flights + r->size);
	r->backlog = (void *)(r->cells + r->size);
	r->inflight.links = (void *)(r->backlog + r->size);
	r->shadow_desc = shadow;
	r->shadow_driver = shadow + parts.driver;
	r->shadow_device = shadow + parts.device;
}

/* A device can go on where it stopped completing, unless it left something out before. */
/* Where a mark is in the shadow ring, for who has nothing in flight. */
static struct queue_position shadow_position(const struct relay *r, const struct relay_mark *mark)
{
	uint16_t at = r->packed ? mark->shadow : (uint16_t)mark->chains;
	bool wrap = r->packed && mark->shadow_wrap;

	return (struct queue_position){ .avail = at, .used = at, .avail_wrap = wrap, .used_wrap = wrap };
}

struct queue_position relay_next_offered(const struct relay *r)
{
	return shadow_position(r, &r->offered);
}

int relay_device_queue(const struct relay *r, struct driver_queue *q)
{
	struct shadow parts = shadow_parts(r->size, r->packed);

	if (r->layout->device_has(r) || relay_n_untaken(r) != relay_in_flight(r))
		return -EBUSY;
	q->size = r->size;
	q->desc = r->setup.shadow_iova;
	q->driver = r->setup.shadow_iova + parts.driver;
	q->device = r->setup.shadow_iova + parts.device;
	q->position = shadow_position(r, &r->returned);
	return 0;
}

void relay_propose(struct relay_side *side, const struct relay_mark *next)
{
	struct relay_mark *mark = &side->marks[!side->current];
	uint64_t chains = next->chains;

	mark->chains = 0;
	kept_fence();
	mark->guest = next->guest;
	mark->shadow = next->shadow;
	mark->cell = next->cell;
	mark->guest_wrap = next->guest_wrap;
	mark->shadow_wrap = next->shadow_wrap;
	kept_fence();
	mark->chains = chains;
	kept_fence();
}

void relay_hold(struct relay_side *side, struct relay_mark *now, const struct relay_mark *next)
{
	kept_fence();
	side->current = !side->current;
	kept_fence();
	*now = *next;
}

static void fill_free(struct relay *r, const uint8_t *taken, uint32_t first)
{
	r->free_first = 0;
	r->n_free = 0;
	for (uint32_t i = 0; i < r->size; i++) {
		uint32_t at = first + i < r->size ? first + i : first + i - r->size;

		if (!taken || !taken[at])
			r->free[r->n_free++] = (uint16_t)at;
	}
}

void relay_kept_place(struct relay *r, struct queue_position at)
{
	r->offered = (struct relay_mark){ .guest = at.avail, .guest_wrap = at.avail_wrap };
	r->returned = (struct relay_mark){ .guest = at.used, .guest_wrap = at.used_wrap };
	r->offered.shadow_wrap = r->returned.shadow_wrap = r->packed;
	r->kept->offered.marks[0] = r->offered;
	r->kept->returned.marks[0] = r->returned;
}

void relay_kept_init(struct relay *r)
{
	struct relay_kept_layout l = relay_kept_layout(r->size, r->packed);
	struct relay_kept *kept = r->kept;

	memset(kept, 0, l.size);
	relay_kept_place(r, r->setup.position);
	kept->version = VERSION;
	kept->features = r->setup.features & KEPT_FEATURES;
	kept->size = r->size;
	kept_fence();
	kept->magic = MAGIC;
	fill_free(r, NULL, 0);
}

static bool mark_ok(const struct relay *r, const struct relay_mark *mark)
{
	return mark->guest_wrap <= r->packed && mark->shadow_wrap <= r->packed &&
	       mark->cell < r->size &&
	       (!r->packed || (mark->guest < r->size && mark->shadow < r->size));
}

/* The mark that holds, or the one that was proposed when @was_seen says that it is seen. */
static int settle(struct relay *r, struct relay_side *side, struct relay_mark *now,
	bool (*was_seen)(const struct relay *r, const struct relay_mark *next))
{
	struct relay_mark next;

	if (side->current > 1)
		return -EBADMSG;
	*now = side->marks[side->current];
	next = side->marks[!side->current];
	if (!mark_ok(r, now))
		return -EBADMSG;
	if (next.chains > now->chains && next.chains - now->chains <= r->size &&
		mark_ok(r, &next) && was_seen(r, &next))
		relay_hold(side, now, &next);
	else
		side->marks[!side->current].chains = 0;
	return 0;
}

/* Follows a chain's cells, each of which may be in one chain only. */
static int check_flight(struct relay *r, uint16_t id, uint8_t *taken)
{
	struct relay_flight *f = &r->flights[id];
	uint64_t writable = 0;
	uint32_t at = id;

	if (f->n_cells == 0 || f->n_guest == 0 || f->n_guest > r->size ||
		(!r->packed && (f->n_guest != 1 || f->guest_id >= r->size)))
		return -EBADMSG;
	for (uint32_t i = 0; i < f->n_cells; i++) {
		if (at >= r->size || taken[at])
			return -EBADMSG;
		taken[at] = 1;
		if (r->cells[at].flags & VRING_DESC_F_WRITE)
			writable += r->cells[at].size;
		at = r->cells[at].next;
	}
	if (writable > UINT32_MAX)
		return -EBADMSG;
	f->writable = (uint32_t)writable;
	f->returned = 0;
	r->order[f->offered & r->free_mask] = id;
	return 0;
}

static uint32_t slots_between(
	const struct relay *r, uint16_t from, bool from_wrap, uint16_t to, bool to_wrap)
{
	return to + (from_wrap != to_wrap ? r->size : 0) - from;
}

/* Do the chains in flight take what the positions say? Chains of a device before are in none. */
static bool sums_ok(const struct relay *r, uint32_t n, uint64_t n_cells, uint64_t n_guest)
{
	const struct relay_mark *to = &r->offered, *from = &r->returned;

	if (n != relay_in_flight(r))
		return false;
	if (!r->packed)
		return n <= (uint16_t)(to->guest - from->guest);
	return n_cells == slots_between(r, from->shadow, from->shadow_wrap, to->shadow,
				  to->shadow_wrap) &&
	       n_guest <=
		       slots_between(r, from->guest, from->guest_wrap, to->guest, to->guest_wrap);
}

static int check_flights(struct relay *r, uint8_t *taken)
{
	uint64_t n_cells = 0, n_guest = 0;
	uint32_t n = 0;

	for (uint32_t id = 0; id < r->size; id++) {
		struct relay_flight *f = &r->flights[id];

		if (f->offered == 0 || f->offered > r->offered.chains ||
			(f->returned != 0 && f->returned <= r->returned.chains)) {
			f->offered = 0; /* or its number would come again */
			continue;
		}
		if (check_flight(r, (uint16_t)id, taken) < 0)
			return -EBADMSG;
		n++;
		n_cells += f->n_cells;
		n_guest += f->n_guest;
	}
	if (!sums_ok(r, n, n_cells, n_guest))
		return -EBADMSG;
	return r->in_order && relay_n_untaken(r) != n ? -EBADMSG : 0;
}

int relay_kept_check(struct relay *r)
{
	_cleanup_free_ uint8_t *taken = calloc(r->size, 1);
	struct relay_kept *kept = r->kept;
	int e;

	if (!taken)
		return -ENOMEM;
	if (kept->magic != MAGIC || kept->version != VERSION || kept->size != r->size ||
		kept->features != (r->setup.features & KEPT_FEATURES))
		return -EBADMSG;
	e = settle(r, &kept->offered, &r->offered, r->layout->was_offered);
	if (e == 0)
		e = settle(r, &kept->returned, &r->returned, r->layout->was_returned);
	if (e < 0 || r->offered.chains - r->returned.chains > r->size || kept->n_backlog > r->size)
		return -EBADMSG;
	r->n_backlog = kept->n_backlog;
	e = check_flights(r, taken);
	if (e < 0)
		return e;
	fill_free(r, taken, r->offered.cell);
	r->layout->clean(r);
	return 0;
}
