/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a part says what is in flight, whenever its writer dies.
 *
 * Split: a chain's mark is set before the device sees the chain. A batch that is given back is linked
 * from last_batch_head on, then shown in the used ring, then its marks are cleared, then used_idx
 * follows. If used_idx is behind, the batch was shown, and its chains are the first that are linked.
 *
 * Packed: entries not in a chain are in a list; a chain takes them from its beginning, and is there
 * when old_free_head has moved behind it. A batch goes back into the list and moves used_idx, then is
 * shown in the ring, then its marks are cleared, then the old_ members follow. If used_idx differs
 * from the old one, the ring's descriptor at the old one says whether the batch was shown. What the
 * list holds is not in flight, whatever its mark says.
 *
 * Only a process ends here, never the machine, so the compiler alone has to keep the order.
 */
#include "vdpa/inflight.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/relay_slot.h"
#include "vdpa/shared.h"

#define VERSION 1

struct entry_split {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct part_split {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct entry_split desc[];
};

struct entry_packed {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};

struct part_packed {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx;
	uint16_t old_used_idx;
	uint8_t used_wrap;
	uint8_t old_used_wrap;
	uint8_t padding[7];
	struct entry_packed desc[];
};

_Static_assert(sizeof(struct entry_split) == 16 && offsetof(struct part_split, desc) == 16,
	"split part as specified");
_Static_assert(sizeof(struct entry_packed) == 32 && offsetof(struct part_packed, desc) == 32,
	"packed part as specified");

/* One access each, in the host's byte order, that no compiler moves or repeats. */
#define LOAD(member)	     __atomic_load_n(&(member), __ATOMIC_RELAXED)
#define STORE(member, value) __atomic_store_n(&(member), value, __ATOMIC_RELAXED)

static inline void fence(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline struct part_split *split_of(const struct inflight *f)
{
	return (struct part_split *)(void *)f->at;
}

static inline struct part_packed *packed_of(const struct inflight *f)
{
	return (struct part_packed *)(void *)f->at;
}

uint64_t inflight_part_size(uint32_t size, bool packed)
{
	uint64_t n = packed ? sizeof(struct part_packed) + sizeof(struct entry_packed) * size
			    : sizeof(struct part_split) + sizeof(struct entry_split) * size;

	return align_up(n, 64);
}

/* ------------------------------------------------------------------------------- found */

struct found {
	uint64_t counter;
	struct inflight_chain chain;
};

static int by_counter(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->counter != y->counter)
		return x->counter < y->counter ? -1 : 1;
	return x->chain.name < y->chain.name ? -1 : 1;
}

static void sort_found(struct inflight *f, struct found *found, uint32_t n,
	struct inflight_chain *ret_chains)
{
	qsort(found, n, sizeof(*found), by_counter);
	for (uint32_t i = 0; i < n; i++)
		ret_chains[i] = found[i].chain;
	f->counter = n > 0 ? found[n - 1].counter + 1 : 0;
}

/* Chains that the guest got back, whose marks are still there. Return: false: that can't be. */
static bool find_given_back(const struct inflight *f, uint16_t used, uint8_t *ret_gone)
{
	const struct part_split *part = split_of(f);
	uint16_t n = (uint16_t)(used - LOAD(part->used_idx)), at = LOAD(part->last_batch_head);

	if (n > f->size)
		return false;
	while (n-- > 0) {
		if (at >= f->size)
			return false;
		ret_gone[at] = 1;
		at = LOAD(part->desc[at].next);
	}
	return true;
}

/* A ring that moved on without a note in its part has left nothing in flight that the part knows. */
static void find_split(struct inflight *f, struct queue_position *position, uint8_t *gone,
	struct found *found, uint32_t *ret_n)
{
	const struct part_split *part = split_of(f);
	uint32_t n = 0;

	if (!find_given_back(f, position->used, gone))
		return;
	for (uint32_t i = 0; i < f->size; i++) {
		if (LOAD(part->desc[i].inflight) && !gone[i])
			found[n++] = (struct found){ LOAD(part->desc[i].counter), { (uint16_t)i, 1 } };
	}
	position->avail = (uint16_t)(position->used + n);
	*ret_n = n;
}

/*
 * Was the batch at hand, if there was one, shown to the guest? Its first slot says so by the USED bit
 * alone, since the guest may have used the slot anew, which changes AVAIL. A used_idx that went back
 * without a change of its wrap counter is one whose old counter has followed already.
 */
static bool was_shown(const struct part_packed *part, const struct inflight *f, const void *ring,
	uint16_t old_used, bool old_wrap)
{
	const struct vring_packed_desc *desc = ring;
	uint16_t used = LOAD(part->used_idx);
	bool wrap = LOAD(part->used_wrap) & 1;

	if (used == old_used && wrap == old_wrap)
		return false;
	if (used < old_used && wrap == old_wrap)
		return true;
	return old_used < f->size &&
	       ((shared_load16(&desc[old_used].flags) & FLAG_USED) != 0) == old_wrap;
}

/* Copies the links and says what is free. Return: where the list begins, or -EBADMSG. */
static int find_free(struct inflight *f, uint16_t first, uint8_t *ret_gone)
{
	const struct part_packed *part = packed_of(f);
	uint16_t at = first;

	for (uint32_t i = 0; i < f->size; i++)
		f->links[i] = LOAD(part->desc[i].next);
	for (uint32_t n = 0; at < f->size; n++, at = f->links[at]) {
		if (ret_gone[at])
			return -EBADMSG;
		ret_gone[at] = 1;
	}
	return 0;
}

/* Marks a chain's entries. Return: 0; -EBADMSG: they are others' or none. */
static int claim_chain(const struct inflight *f, struct inflight_chain chain, uint8_t *taken)
{
	uint32_t at = chain.name;

	for (uint32_t i = 0; i < chain.n_desc; i++) {
		if (at >= f->size || taken[at])
			return -EBADMSG;
		taken[at] = 1;
		at = f->links[at];
	}
	return chain.n_desc > 0 ? 0 : -EBADMSG;
}

static int find_packed(struct inflight *f, const void *ring, struct queue_position *position,
	uint8_t *gone, struct found *found, uint32_t *ret_n)
{
	const struct part_packed *part = packed_of(f);
	uint16_t used = LOAD(part->old_used_idx), free_head = LOAD(part->old_free_head);
	uint8_t wrap = LOAD(part->old_used_wrap) & 1;
	uint32_t n = 0, n_slots = 0;

	if (was_shown(part, f, ring, used, wrap)) {
		used = LOAD(part->used_idx);
		wrap = LOAD(part->used_wrap) & 1;
		free_head = LOAD(part->free_head);
	}
	if (used >= f->size || find_free(f, free_head, gone) < 0)
		return -EBADMSG;
	for (uint32_t i = 0; i < f->size; i++) {
		const struct entry_packed *e = &part->desc[i];
		const struct inflight_chain chain = { (uint16_t)i, LOAD(e->num) };

		if (gone[i] || !LOAD(e->inflight))
			continue;
		if (claim_chain(f, chain, gone) < 0)
			return -EBADMSG;
		n_slots += chain.n_desc;
		found[n++] = (struct found){ LOAD(e->counter), chain };
	}
	position->used = position->avail = used;
	position->used_wrap = wrap;
	if (n_slots > 0)
		slot_step(f->size, &position->avail, &wrap, n_slots);
	position->avail_wrap = wrap;
	*ret_n = n;
	return 0;
}

/* Has a back-end ever written here, about such a ring? */
static bool is_known(const struct inflight *f)
{
	return f->packed ? LOAD(packed_of(f)->version) == VERSION &&
				   LOAD(packed_of(f)->desc_num) == f->size
			 : LOAD(split_of(f)->version) == VERSION &&
				   LOAD(split_of(f)->desc_num) == f->size;
}

int inflight_find(struct inflight *f, const void *ring, struct queue_position *position,
	struct inflight_chain *ret_chains, uint32_t *ret_n)
{
	_cleanup_free_ uint8_t *gone = calloc(f->size, 1);
	_cleanup_free_ struct found *found = calloc(f->size, sizeof(*found));
	int r = 0;

	*ret_n = 0;
	f->counter = 0;
	if (!gone || !found)
		return -ENOMEM;
	if (!is_known(f))
		return 0;
	if (f->packed)
		r = find_packed(f, ring, position, gone, found, ret_n);
	else
		find_split(f, position, gone, found, ret_n);
	if (r == 0)
		sort_found(f, found, *ret_n, ret_chains);
	return r;
}

/* ------------------------------------------------------------------------------- begin */

static void begin_split(struct inflight *f, const uint8_t *taken, uint16_t used)
{
	struct part_split *part = split_of(f);

	for (uint32_t i = 0; i < f->size; i++) {
		if (!taken[i])
			STORE(part->desc[i].inflight, 0);
	}
	STORE(part->used_idx, used);
	STORE(part->desc_num, (uint16_t)f->size);
	fence();
	STORE(part->version, VERSION);
}

/* All that is in no chain is in the list. */
static void link_free(struct inflight *f, const uint8_t *taken)
{
	struct part_packed *part = packed_of(f);
	uint32_t next = f->size;

	for (uint32_t i = f->size; i-- > 0;) {
		if (taken[i])
			continue;
		f->links[i] = (uint16_t)next;
		STORE(part->desc[i].next, (uint16_t)next);
		next = i;
	}
	f->free = (uint16_t)next;
}

static void begin_packed(struct inflight *f, const uint8_t *taken, const uint8_t *heads,
	struct queue_position position)
{
	struct part_packed *part = packed_of(f);

	for (uint32_t i = 0; i < f->size; i++) {
		if (!heads[i])
			STORE(part->desc[i].inflight, 0);
	}
	link_free(f, taken);
	STORE(part->free_head, f->free);
	STORE(part->used_idx, position.used);
	STORE(part->used_wrap, position.used_wrap);
	inflight_settle(f, position);
	STORE(part->desc_num, (uint16_t)f->size);
	fence();
	STORE(part->version, VERSION);
}

int inflight_begin(struct inflight *f, const struct inflight_chain *chains, uint32_t n,
	struct queue_position position)
{
	_cleanup_free_ uint8_t *taken = calloc(f->size, 1);
	_cleanup_free_ uint8_t *heads = calloc(f->size, 1);

	if (!taken || !heads)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		if (chains[i].name >= f->size || (f->packed && claim_chain(f, chains[i], taken) < 0))
			return -EBADMSG;
		heads[chains[i].name] = 1;
	}
	if (f->packed)
		begin_packed(f, taken, heads, position);
	else
		begin_split(f, heads, position.used);
	return 0;
}

/* ------------------------------------------------------------------------------- taken */

void inflight_take_split(struct inflight *f, uint16_t head)
{
	struct entry_split *e = &split_of(f)->desc[head];

	STORE(e->counter, f->counter++);
	fence();
	STORE(e->inflight, 1);
	fence();
}

uint16_t inflight_take_packed(struct inflight *f, const struct vring_packed_desc *descs, uint32_t n)
{
	struct part_packed *part = packed_of(f);
	uint16_t first = f->free, at = first, last = first;

	for (uint32_t i = 0; i < n; i++) {
		struct entry_packed *e = &part->desc[at];

		STORE(e->inflight, 0);
		STORE(e->id, descs[i].id);
		STORE(e->flags, descs[i].flags);
		STORE(e->len, descs[i].len);
		STORE(e->addr, descs[i].addr);
		last = at;
		at = f->links[at];
	}
	STORE(part->desc[first].num, (uint16_t)n);
	STORE(part->desc[first].last, last);
	STORE(part->desc[first].counter, f->counter++);
	STORE(part->desc[first].inflight, 1);
	f->free = at;
	STORE(part->free_head, at);
	fence();
	STORE(part->old_free_head, at);
	fence();
	return first;
}

struct vring_packed_desc inflight_desc(const struct inflight *f, uint16_t at, uint16_t *ret_next)
{
	const struct entry_packed *e = &packed_of(f)->desc[at];

	*ret_next = f->links[at];
	return (struct vring_packed_desc){
		.addr = LOAD(e->addr),
		.len = LOAD(e->len),
		.id = LOAD(e->id),
		.flags = LOAD(e->flags),
	};
}

/* -------------------------------------------------------------------------- given back */

void inflight_link(struct inflight *f, uint16_t chain, uint32_t n_desc)
{
	uint16_t last = chain;

	if (!f->packed) {
		STORE(split_of(f)->desc[chain].next, LOAD(split_of(f)->last_batch_head));
		fence();
		STORE(split_of(f)->last_batch_head, chain);
		return;
	}
	while (--n_desc > 0)
		last = f->links[last];
	f->links[last] = f->free;
	STORE(packed_of(f)->desc[last].next, f->free);
	f->free = chain;
}

void inflight_propose(struct inflight *f, struct queue_position next)
{
	struct part_packed *part = packed_of(f);

	if (f->packed) {
		STORE(part->free_head, f->free);
		STORE(part->used_wrap, next.used_wrap);
		STORE(part->used_idx, next.used);
	}
	fence();
}

void inflight_clear(struct inflight *f, uint16_t chain)
{
	if (f->packed)
		STORE(packed_of(f)->desc[chain].inflight, 0);
	else
		STORE(split_of(f)->desc[chain].inflight, 0);
}

void inflight_settle(struct inflight *f, struct queue_position next)
{
	struct part_packed *part = packed_of(f);

	fence();
	if (f->packed) {
		STORE(part->old_free_head, f->free);
		STORE(part->old_used_wrap, next.used_wrap);
		STORE(part->old_used_idx, next.used);
	} else {
		STORE(split_of(f)->used_idx, next.used);
	}
	fence();
}
