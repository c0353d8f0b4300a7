/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay's packed ring. A chain's name in the shadow ring is its first cell; it takes as many
 * slots there as it has cells, and in the guest's ring as many as the guest used for it.
 *
 * A batch is visible when the flags of its first slot are, in either ring: nobody passes by that
 * one. They are written last, and say after a crash whether the batch was seen:
 *
 * Offer: before, the first slot is free, and its AVAIL bit is that of the round before, whether a
 * used or an old available descriptor lies there. Afterwards AVAIL is of this round, also when the
 * device has used it meanwhile. If the batch was not seen the guest's descriptors, which are
 * unchanged, are read again; since the next batch may be shorter, the slots that the lost one left
 * behind are first made to look as free ones (clean).
 *
 * Return: before, the first slot is a descriptor that the guest made available in this round, and
 * its USED bit is that of the round before. Afterwards USED is of this round, also when the guest
 * has used the slot anew: that changes AVAIL only. If the batch was not seen it is read again from
 * the shadow ring, where its slots are not free yet, and written again from its beginning and at
 * least as far. A guest that sets the bit itself loses completions of its own.
 *
 * Source: virtio 1.2, 2.8.
 */
#include "vdpa/base/bits.h"
#include "vdpa/relay_internal.h"

/* Slots of the guest's ring that it gave and has not got back. */
static uint32_t guest_slots_out(const struct relay *r, const struct relay_mark *at)
{
	uint32_t ahead = at->guest_wrap != r->returned.guest_wrap ? r->size : 0;

	return at->guest + ahead - r->returned.guest;
}

/* One descriptor of a chain. Return: 1: another one follows; 0: it was the last one; as relay_chain_add(). */
static int read_desc(struct relay *r, struct relay_chain *c, uint64_t gpa, uint64_t word)
{
	uint64_t flags = flags_of(word);

	if (r->descs)
		r->descs[c->n_guest - 1] = (struct vring_packed_desc){
			.addr = gpa,
			.len = (uint32_t)word,
			.id = (uint16_t)(word >> 32),
			.flags = (uint16_t)flags,
		};
	if (flags & VRING_DESC_F_INDIRECT) {
		if (flags & VRING_DESC_F_NEXT)
			return relay_fault(r, -EBADMSG, "an indirect descriptor with a next one");
		return relay_read_indirect_packed(r, c, gpa, (uint32_t)word);
	}
	return relay_chain_add(r, c, gpa, (uint32_t)word, (uint16_t)flags);
}

/* Follows the chain that begins with @word at @at. */
static int read_chain(struct relay *r, struct relay_chain *c, uint32_t room, uint16_t slot,
	uint64_t word, uint16_t *ret_id)
{
	const struct vring_packed_desc *ring = r->desc;

	for (;;) {
		uint64_t gpa;
		int e;

		if (c->n_guest == room)
			return relay_fault(r, -EBADMSG, "the chains are longer than the ring");
		c->n_guest++;
		gpa = shared_load64((const uint64_t *)(const void *)&ring[slot].addr);
		*ret_id = (uint16_t)(word >> 32);
		e = read_desc(r, c, gpa, word);
		if (e != 0 || !(flags_of(word) & VRING_DESC_F_NEXT))
			return e;
		slot = slot + 1U == r->size ? 0 : (uint16_t)(slot + 1);
		word = shared_load64(word_of(r->desc, slot));
	}
}

/* A chain that another back-end left; its slots in the ring may have been used for others. */
static int read_noted(
	struct relay *r, struct relay_chain *c, struct inflight_chain chain, uint16_t *ret_id)
{
	uint16_t at = chain.name;
	int e = 0;

	while (e == 0 && c->n_guest < chain.n_desc) {
		struct vring_packed_desc d = inflight_desc(&r->inflight, at, &at);

		c->n_guest++;
		*ret_id = d.id;
		if (!(d.flags & VRING_DESC_F_NEXT) != (c->n_guest == chain.n_desc))
			return relay_fault(r, -EBADMSG, "a chain in the inflight area contradicts itself");
		e = read_desc(r, c, d.addr, make_word(d.len, d.id, d.flags));
	}
	return e;
}

static void write_shadow(struct relay *r, const struct relay_chain *c, struct relay_mark *next)
{
	struct vring_packed_desc *ring = r->shadow_desc;
	bool begins_batch = next->chains == r->offered.chains;
	uint16_t at = c->first;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct relay_cell *cell = &r->cells[at];
		uint64_t flags = cell->flags | available_flags(next->shadow_wrap), word;

		if (i + 1 < c->n)
			flags |= VRING_DESC_F_NEXT;
		word = make_word(cell->size, c->first, flags);
		shared_store64((uint64_t *)(void *)&ring[next->shadow].addr, cell->gpa);
		if (i == 0 && begins_batch)
			r->first_word = word;
		else
			shared_store64(word_of(ring, next->shadow), word);
		slot_step(r->size, &next->shadow, &next->shadow_wrap, 1);
		at = cell->next;
	}
}

/* Return: 0; RELAY_NOTHING; as relay_chain_add(). */
static int read_next(struct relay *r, struct relay_chain *c, const struct relay_mark *next, bool again,
	uint16_t *ret_id)
{
	uint64_t word;

	if (again)
		return read_noted(r, c, r->backlog[next->chains], ret_id);
	word = shared_load64_acquire(word_of(r->desc, next->guest));
	if (!is_available(flags_of(word), next->guest_wrap))
		return RELAY_NOTHING;
	return read_chain(r, c, r->size - guest_slots_out(r, next), next->guest, word, ret_id);
}

static uint32_t packed_offer(struct relay *r, uint32_t max, struct relay_mark *next)
{
	uint32_t n;

	for (n = 0; n < max; n++) {
		bool again = relay_backlog_left(r, next->chains) > 0;
		struct relay_chain c = { 0 };
		uint16_t id = 0;
		int e = read_next(r, &c, next, again, &id);

		if (e != 0) {
			r->waits_for_room = e == RELAY_NO_ROOM;
			break;
		}
		write_shadow(r, &c, next);
		relay_chain_take(r, &c, id, next);
		if (!again)
			slot_step(r->size, &next->guest, &next->guest_wrap, c.n_guest);
	}
	return n;
}

static void packed_offer_publish(struct relay *r, const struct relay_mark *next)
{
	shared_store64_release(word_of(r->shadow_desc, r->offered.shadow), r->first_word);
}

static bool packed_was_offered(const struct relay *r, const struct relay_mark *next)
{
	uint64_t flags = flags_of(shared_load64(word_of(r->shadow_desc, r->offered.shadow)));

	return ((flags & FLAG_AVAIL) != 0) == r->offered.shadow_wrap;
}

/*
 * What an event suppression area wants, for a move from one slot to another. Positions of this
 * round and the round before are compared as distances that only grow.
 */
static bool wants_event(const struct relay *r, const struct vring_packed_desc_event *event,
	uint16_t before, bool before_wrap, uint16_t after, bool after_wrap)
{
	uint16_t off_wrap, flags, at;

	shared_fence();
	off_wrap = shared_load16(&event->off_wrap);
	flags = shared_load16(&event->flags);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !r->event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;

	at = off_wrap & (uint16_t)~BIT(VRING_PACKED_EVENT_F_WRAP_CTR);
	if ((off_wrap >> VRING_PACKED_EVENT_F_WRAP_CTR != 0) != after_wrap)
		at = (uint16_t)(at - r->size);
	if (before_wrap != after_wrap)
		before = (uint16_t)(before - r->size);
	return vring_need_event(at, after, before);
}

static bool packed_device_wants_kick(const struct relay *r, const struct relay_mark *next)
{
	return wants_event(r, r->shadow_device, r->offered.shadow, r->offered.shadow_wrap,
		next->shadow, next->shadow_wrap);
}

static bool packed_guest_wants_call(const struct relay *r, const struct relay_mark *next)
{
	return wants_event(r, r->driver, r->returned.guest, r->returned.guest_wrap, next->guest,
		next->guest_wrap);
}

/*
 * Devices that there are leave the flag out that says that the length counts (virtio 1.2, 2.8.6), and
 * guests' drivers do without. Where nothing could be written, the length without it means nothing.
 */
static uint32_t used_length(const struct relay *r, uint64_t word)
{
	uint16_t id = (uint16_t)(word >> 32);
	bool could_write = id < r->size && r->flights[id].writable > 0;

	return could_write || flags_of(word) & VRING_DESC_F_WRITE ? (uint32_t)word : 0;
}

static int packed_collect(struct relay *r, struct relay_mark *next)
{
	struct relay_mark at = *next; /* not in memory, for the loop's sake */
	int e = 0;

	while (e == 0 && at.chains < r->offered.chains) {
		uint64_t word = shared_load64_acquire(word_of(r->shadow_desc, at.shadow));
		uint64_t flags = flags_of(word);

		if (!is_used(flags, at.shadow_wrap))
			break;
		e = relay_complete_through(r, (uint16_t)(word >> 32), used_length(r, word), r->size,
			&at);
	}
	*next = at;
	return e;
}

static inline uint64_t word_for(const struct relay_completion *b)
{
	uint64_t flags = used_flags(b->wrap) | (b->size > 0 ? VRING_DESC_F_WRITE : 0);

	return make_word(b->size, b->guest_id, flags);
}

static void packed_return_publish(struct relay *r, const struct relay_mark *next)
{
	for (uint32_t i = 1; i < r->n_batch; i++) {
		shared_store64(word_of(r->desc, r->batch[i].slot), word_for(&r->batch[i]));
		relay_step_hook(RELAY_STEP_ENTRY_WRITTEN);
	}
	relay_step_hook(RELAY_STEP_ENTRY_WRITTEN);
	shared_store64_release(word_of(r->desc, r->batch[0].slot), word_for(&r->batch[0]));
}

static bool packed_was_returned(const struct relay *r, const struct relay_mark *next)
{
	uint64_t flags = flags_of(shared_load64(word_of(r->desc, r->returned.guest)));

	return ((flags & FLAG_USED) != 0) == r->returned.guest_wrap;
}

/* The ring's own pages are at their guest-physical address; only the event area has another. */
static void log_slots(struct relay *r, uint32_t first, uint32_t end)
{
	relay_log(r, r->setup.desc + sizeof(struct vring_packed_desc) * first,
		sizeof(struct vring_packed_desc) * (end - first));
}

static void packed_log_returned(struct relay *r, const struct relay_mark *next)
{
	if (next->guest > r->returned.guest) {
		log_slots(r, r->returned.guest, next->guest);
	} else {
		log_slots(r, r->returned.guest, r->size);
		log_slots(r, 0, next->guest);
	}
}

static void packed_log_all(struct relay *r)
{
	log_slots(r, 0, r->size);
	relay_log(r, r->log_addr, sizeof(struct vring_packed_desc_event));
}

static bool packed_log_reaches(
	const struct relay *r, const struct dirty_log *log, uint64_t log_addr)
{
	return dirty_log_reaches(log, r->setup.desc, sizeof(struct vring_packed_desc) * r->size) &&
	       dirty_log_reaches(log, log_addr, sizeof(struct vring_packed_desc_event));
}

static void ask(struct vring_packed_desc_event *event, bool wanted)
{
	shared_store16(&event->flags,
		wanted ? VRING_PACKED_EVENT_FLAG_ENABLE : VRING_PACKED_EVENT_FLAG_DISABLE);
	shared_fence();
}

static void packed_ask_guest(struct relay *r, bool kicks)
{
	ask(r->device, kicks);
	relay_log(r, r->log_addr, sizeof(struct vring_packed_desc_event));
}

static void packed_ask_device(struct relay *r, bool calls)
{
	ask(r->shadow_driver, calls);
}

static bool packed_guest_has(const struct relay *r)
{
	return is_available(
		flags_of(shared_load64(word_of(r->desc, r->offered.guest))), r->offered.guest_wrap);
}

static bool packed_device_has(const struct relay *r)
{
	return relay_in_flight(r) > 0 &&
	       is_used(flags_of(shared_load64(word_of(r->shadow_desc, r->returned.shadow))),
		       r->returned.shadow_wrap);
}

static void packed_complete(struct relay *r, uint16_t id, struct relay_mark *at)
{
	shared_store64_release(
		word_of(r->shadow_desc, at->shadow), make_word(0, id, used_flags(at->shadow_wrap)));
	slot_step(r->size, &at->shadow, &at->shadow_wrap, r->flights[id].n_cells);
}

/* From the newest chain backwards to where the device would have gone on. */
static uint64_t packed_n_taken(const struct relay *r, const struct queue_position *device)
{
	struct relay_mark at = r->offered;

	while (at.shadow != device->avail || at.shadow_wrap != device->avail_wrap) {
		uint16_t id = relay_order_at(r, at.chains);

		if (!relay_is_in_flight(r, id) || r->flights[id].offered != at.chains)
			return r->offered.chains; /* no such position: suppose it took all */
		slot_step_back(r->size, &at.shadow, &at.shadow_wrap, r->flights[id].n_cells);
		at.chains--;
	}
	return at.chains;
}

static void packed_step_back(
	const struct relay *r, const struct relay_flight *f, struct relay_mark *mark)
{
	slot_step_back(r->size, &mark->guest, &mark->guest_wrap, f->n_guest);
}

static void packed_clean(struct relay *r)
{
	uint16_t slot = r->offered.shadow;
	uint8_t wrap = r->offered.shadow_wrap;

	for (uint32_t i = 0; i < r->n_free; i++) {
		shared_store64(word_of(r->shadow_desc, slot), make_word(0, 0, used_flags(!wrap)));
		slot_step(r->size, &slot, &wrap, 1);
	}
}

/*
 * What a back-end wrote of a batch that it did not show would be seen together with the first chain
 * that is given back now.
 */
static void packed_reclaim(struct relay *r)
{
	uint16_t slot = r->returned.guest;
	uint8_t wrap = r->returned.guest_wrap;

	for (uint32_t n = guest_slots_out(r, &r->offered); n > 0; n--) {
		shared_store64(word_of(r->desc, slot), make_word(0, 0, available_flags(wrap)));
		slot_step(r->size, &slot, &wrap, 1);
	}
}

const struct relay_layout relay_packed = {
	.offer = packed_offer,
	.offer_publish = packed_offer_publish,
	.was_offered = packed_was_offered,
	.device_wants_kick = packed_device_wants_kick,
	.collect = packed_collect,
	.return_publish = packed_return_publish,
	.was_returned = packed_was_returned,
	.guest_wants_call = packed_guest_wants_call,
	.log_returned = packed_log_returned,
	.log_all = packed_log_all,
	.log_reaches = packed_log_reaches,
	.ask_guest = packed_ask_guest,
	.ask_device = packed_ask_device,
	.guest_has = packed_guest_has,
	.device_has = packed_device_has,
	.complete = packed_complete,
	.n_taken = packed_n_taken,
	.step_back = packed_step_back,
	.clean = packed_clean,
	.reclaim = packed_reclaim,
};
