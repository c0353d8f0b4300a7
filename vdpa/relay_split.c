/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The relay's split ring. A chain's name in the shadow ring is its first descriptor, and its
 * descriptors have the numbers of its cells. The n-th chain offered is entry n - 1 of the shadow
 * available ring, the n-th returned was entry n - 1 of the shadow used ring; guest positions run
 * along, each at a constant distance.
 *
 * Why nothing is lost or doubled (see relay.c for the terms):
 *
 * Offer: cells, descriptors and entries of a batch lie beyond the shadow available index, where the
 * device does not look; the store of the index is the one instant at which the device has them.
 * After a crash the index is equal to the end that was proposed, and the batch holds; or to the
 * mark that holds, and the guest's chains are read again, since its available ring has not changed.
 *
 * Return: all of a batch's entries are in the shadow used ring, where the device overwrites none
 * before their cells are free and offered again. After a crash the guest's used index is equal to
 * the end that was proposed, and the batch holds; or it is not, and the batch is read and written
 * again, from its beginning and at least as far: the same entries at the same places, which a guest
 * that believes the index has not looked at. A guest that writes to that index itself can only make
 * us skip, or repeat, what is its own.
 *
 * Source: virtio 1.2, 2.7.
 */
#include "vdpa/relay_internal.h"

static inline struct vring_desc read_desc(const struct vring_desc *at)
{
	const uint64_t *words = (const uint64_t *)(const void *)at;
	uint64_t first = shared_load64(&words[0]), second = shared_load64(&words[1]);

	return (struct vring_desc){
		.addr = first,
		.len = (uint32_t)second,
		.flags = (uint16_t)(second >> 32),
		.next = (uint16_t)(second >> 48),
	};
}

static int read_chain(struct relay *r, struct relay_chain *c, uint32_t index)
{
	const struct vring_desc *ring = r->desc;

	for (;;) {
		struct vring_desc d;
		int e;

		if (index >= r->size)
			return relay_fault(r, -EBADMSG, "a descriptor is beyond the ring");
		d = read_desc(&ring[index]);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (d.flags & VRING_DESC_F_NEXT)
				return relay_fault(
					r, -EBADMSG, "an indirect descriptor with a next one");
			return relay_read_indirect_split(r, c, d.addr, d.len);
		}
		e = relay_chain_add(r, c, d.addr, d.len, d.flags);
		if (e != 0 || !(d.flags & VRING_DESC_F_NEXT))
			return e;
		index = d.next;
	}
}

static void write_shadow(struct relay *r, const struct relay_chain *c)
{
	struct vring_desc *ring = r->shadow_desc;
	uint16_t at = c->first;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct relay_cell *cell = &r->cells[at];
		uint64_t *words = (uint64_t *)(void *)&ring[at];
		uint64_t flags = cell->flags;

		if (i + 1 < c->n)
			flags |= VRING_DESC_F_NEXT;
		shared_store64(&words[0], cell->gpa);
		shared_store64(&words[1], cell->size | flags << 32 | (uint64_t)cell->next << 48);
		at = cell->next;
	}
}

static uint32_t split_offer(struct relay *r, uint32_t max, struct relay_mark *next)
{
	const struct vring_avail *avail = r->driver;
	struct vring_avail *shadow = r->shadow_driver;
	uint32_t n = (uint16_t)(shared_load16_acquire(&avail->idx) - next->guest), i;

	if (n + (uint16_t)(next->guest - r->returned.guest) > r->size) {
		relay_fault(
			r, -EBADMSG, "the available index is further ahead than the ring is long");
		return 0;
	}
	n += relay_backlog_left(r, next->chains);
	if (n > max)
		n = max;
	for (i = 0; i < n; i++) {
		bool again = relay_backlog_left(r, next->chains) > 0;
		uint16_t head = again ? r->backlog[next->chains].name
				      : shared_load16(&avail->ring[next->guest & r->mask]);
		struct relay_chain c = { .n_guest = 1 };
		int e = read_chain(r, &c, head);

		if (e != 0) {
			r->waits_for_room = e == RELAY_NO_ROOM;
			break;
		}
		write_shadow(r, &c);
		shared_store16(&shadow->ring[next->chains & r->mask], c.first);
		relay_chain_take(r, &c, head, next);
		next->guest += !again;
	}
	return i;
}

static void split_offer_publish(struct relay *r, const struct relay_mark *next)
{
	struct vring_avail *shadow = r->shadow_driver;

	shared_store16_release(&shadow->idx, (uint16_t)next->chains);
}

static bool split_was_offered(const struct relay *r, const struct relay_mark *next)
{
	const struct vring_avail *shadow = r->shadow_driver;

	return shared_load16(&shadow->idx) == (uint16_t)next->chains;
}

/* The area that tells whether to notify is read after what it is about was made visible. */
static bool split_device_wants_kick(const struct relay *r, const struct relay_mark *next)
{
	const struct vring_used *used = r->shadow_device;

	shared_fence();
	if (r->event_idx)
		return vring_need_event(shared_load16((const uint16_t *)&used->ring[r->size]),
			(uint16_t)next->chains, (uint16_t)r->offered.chains);
	return !(shared_load16(&used->flags) & VRING_USED_F_NO_NOTIFY);
}

static bool split_guest_wants_call(const struct relay *r, const struct relay_mark *next)
{
	const struct vring_avail *avail = r->driver;

	shared_fence();
	if (r->event_idx)
		return vring_need_event(
			shared_load16(&avail->ring[r->size]), next->guest, r->returned.guest);
	return !(shared_load16(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

static int split_collect(struct relay *r, struct relay_mark *next)
{
	const struct vring_used *used = r->shadow_device;
	uint16_t until = shared_load16_acquire(&used->idx);
	struct relay_mark at = *next; /* not in memory, for the loop's sake */
	uint16_t n = (uint16_t)(until - (uint16_t)at.chains);
	int e = 0;

	if (n > relay_in_flight(r))
		return relay_fault(
			r, -EPROTO, "the device's used index is ahead of what it was given");
	while (e == 0 && n > 0) {
		const struct vring_used_elem *entry = &used->ring[at.chains & r->mask];
		uint32_t id = shared_load32(&entry->id), size = shared_load32(&entry->len);

		e = relay_complete_through(r, id, size, n, &at);
		n = (uint16_t)(until - (uint16_t)at.chains);
	}
	*next = at;
	return e;
}

static void split_return_publish(struct relay *r, const struct relay_mark *next)
{
	struct vring_used *used = r->device;
	uint16_t at = r->returned.guest;

	for (uint32_t i = 0; i < r->n_batch; i++, at++) {
		struct vring_used_elem *e = &used->ring[at & r->mask];

		shared_store32(&e->id, r->batch[i].guest_id);
		shared_store32(&e->len, r->batch[i].size);
		relay_step_hook(RELAY_STEP_ENTRY_WRITTEN);
	}
	shared_store16_release(&used->idx, next->guest);
}

static bool split_was_returned(const struct relay *r, const struct relay_mark *next)
{
	const struct vring_used *used = r->device;

	return shared_load16(&used->idx) == next->guest;
}

static uint64_t used_size(const struct relay *r)
{
	return offsetof(struct vring_used, ring) + sizeof(struct vring_used_elem) * r->size +
	       (r->event_idx ? sizeof(uint16_t) : 0);
}

static void split_log_returned(struct relay *r, const struct relay_mark *next)
{
	uint64_t ring = r->log_addr + offsetof(struct vring_used, ring);
	uint32_t first = r->returned.guest & r->mask;
	uint32_t n = (uint16_t)(next->guest - r->returned.guest);
	uint32_t before_end = first + n > r->size ? r->size - first : n;

	relay_log(r, ring + sizeof(struct vring_used_elem) * first,
		sizeof(struct vring_used_elem) * before_end);
	relay_log(r, ring, sizeof(struct vring_used_elem) * (n - before_end));
	relay_log(r, r->log_addr + offsetof(struct vring_used, idx), sizeof(uint16_t));
}

static void split_log_all(struct relay *r)
{
	relay_log(r, r->log_addr, used_size(r));
}

static bool split_log_reaches(const struct relay *r, const struct dirty_log *log, uint64_t log_addr)
{
	return dirty_log_reaches(log, log_addr, used_size(r));
}

/* With an event index nobody has to be told no: the index that was named is passed only once. */
static void split_ask_guest(struct relay *r, bool kicks)
{
	struct vring_used *used = r->device;
	uint64_t offset = offsetof(struct vring_used, flags);

	if (r->event_idx && !kicks)
		return;
	if (r->event_idx) {
		offset = used_size(r) - sizeof(uint16_t);
		shared_store16((uint16_t *)&used->ring[r->size], r->offered.guest);
	} else {
		shared_store16(&used->flags, kicks ? 0 : VRING_USED_F_NO_NOTIFY);
	}
	shared_fence();
	relay_log(r, r->log_addr + offset, sizeof(uint16_t));
}

static void split_ask_device(struct relay *r, bool calls)
{
	struct vring_avail *avail = r->shadow_driver;

	if (r->event_idx && calls)
		shared_store16(&avail->ring[r->size], (uint16_t)r->returned.chains);
	else if (!r->event_idx)
		shared_store16(&avail->flags, calls ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
	shared_fence();
}

static bool split_guest_has(const struct relay *r)
{
	const struct vring_avail *avail = r->driver;

	return shared_load16(&avail->idx) != r->offered.guest;
}

static bool split_device_has(const struct relay *r)
{
	const struct vring_used *used = r->shadow_device;

	return shared_load16(&used->idx) != (uint16_t)r->returned.chains;
}

static void split_complete(struct relay *r, uint16_t id, struct relay_mark *at)
{
	struct vring_used *used = r->shadow_device;
	struct vring_used_elem *e = &used->ring[at->chains & r->mask];

	shared_store32(&e->id, id);
	shared_store32(&e->len, 0);
	at->chains++;
	shared_store16_release(&used->idx, (uint16_t)at->chains);
}

static uint64_t split_n_taken(const struct relay *r, const struct queue_position *device)
{
	uint16_t not_taken = (uint16_t)((uint16_t)r->offered.chains - device->avail);

	return not_taken <= relay_in_flight(r) ? r->offered.chains - not_taken : r->offered.chains;
}

static void split_step_back(
	const struct relay *r, const struct relay_flight *f, struct relay_mark *mark)
{
	mark->guest--;
}

/* Nothing to do: what lies beyond an index is not looked at. */
static void split_clean(struct relay *r)
{
}

static void split_reclaim(struct relay *r)
{
}

const struct relay_layout relay_split = {
	.offer = split_offer,
	.offer_publish = split_offer_publish,
	.was_offered = split_was_offered,
	.device_wants_kick = split_device_wants_kick,
	.collect = split_collect,
	.return_publish = split_return_publish,
	.was_returned = split_was_returned,
	.guest_wants_call = split_guest_wants_call,
	.log_returned = split_log_returned,
	.log_all = split_log_all,
	.log_reaches = split_log_reaches,
	.ask_guest = split_ask_guest,
	.ask_device = split_ask_device,
	.guest_has = split_guest_has,
	.device_has = split_device_has,
	.complete = split_complete,
	.n_taken = split_n_taken,
	.step_back = split_step_back,
	.clean = split_clean,
	.reclaim = split_reclaim,
};
