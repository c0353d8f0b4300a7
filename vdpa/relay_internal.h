/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the files of the relay: what is kept, the relay itself, and what a layout implements. */
#ifndef VDPA_RELAY_INTERNAL_H
#define VDPA_RELAY_INTERNAL_H

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "vdpa/inflight.h"
#include "vdpa/relay.h"
#include "vdpa/relay_slot.h"
#include "vdpa/shared.h"

#define RELAY_BATCH   128 /* chains offered before the device sees them */
#define RELAY_NO_ROOM 1   /* a chain has to wait for descriptors of the shadow ring */
#define RELAY_NOTHING 2   /* the guest's ring has no more */

/* One buffer of a chain that the device has. The device does not reach this copy. */
struct relay_cell {
	uint64_t gpa;
	uint32_t size;
	uint16_t next;  /* cell, unless it is the chain's last one */
	uint16_t flags; /* VRING_DESC_F_WRITE or 0 */
};

/*
 * A chain, by the number of its first cell, which is its name in the shadow ring. It is in flight
 * when it was offered and not returned: 0 < offered <= chains offered, and returned is 0 or
 * greater than chains returned. Both counts change by one store, see struct relay_side.
 */
struct relay_flight {
	uint64_t offered;  /* it was the n-th, from 1; 0: never */
	uint64_t returned; /* it was the n-th; 0: not yet */
	uint32_t writable; /* bytes the device may write */
	uint16_t guest_id; /* split: head; packed: buffer id */
	uint16_t n_guest;  /* descriptors in the guest's ring; split: 1 */
	uint16_t n_cells;
	uint16_t noted; /* its name in the inflight area */
	uint16_t pad[2];
};

/* A place in both rings at once. Split: positions are free-running; packed: slots. */
struct relay_mark {
	uint64_t chains; /* that got here since the relay was fresh */
	uint16_t guest;
	uint16_t shadow;
	uint16_t cell;      /* offered only: the one after the last that was taken */
	uint8_t guest_wrap; /* 0 or 1 */
	uint8_t shadow_wrap;
};

/* One direction: marks[current] holds; the other is where the batch at hand will end. */
struct relay_side {
	struct relay_mark marks[2];
	uint32_t current;
	uint32_t pad;
};

struct relay_kept {
	uint64_t magic;
	uint64_t features;
	uint32_t version;
	uint32_t size;
	struct relay_side offered;
	struct relay_side returned;
	uint64_t first_counter; /* of the inflight area */
	uint32_t n_backlog;	/* the first chains offered are those that another back-end left */
	uint32_t pad;
};

/* A completion that was read from the shadow ring. */
struct relay_completion {
	uint32_t size;
	uint16_t id;
	uint16_t guest_id;
	uint16_t slot; /* of the guest's ring, where its entry goes */
	uint8_t wrap;
};

/* A chain that is being read. */
struct relay_chain {
	uint64_t size;
	uint32_t n; /* cells; they are the first n free ones */
	uint32_t n_guest;
	uint32_t writable;
	uint16_t first, last;
};

struct relay_layout;

struct relay {
	const struct relay_layout *layout;
	struct guestmem *memory;
	uint32_t size;
	uint16_t mask; /* split only */
	bool packed, indirect, event_idx, in_order;

	void *desc, *driver, *device;                      /* the guest's ring */
	void *shadow_desc, *shadow_driver, *shadow_device; /* the device's */

	struct relay_mark offered, returned; /* copies of the marks that hold */
	struct relay_kept *kept;
	struct relay_flight *flights;
	struct relay_cell *cells;

	struct inflight inflight;
	struct inflight_chain *backlog; /* kept: what another back-end left */
	uint32_t n_backlog; /* copy of the kept one */
	struct vring_packed_desc *descs; /* packed: of the chain that is read, if it is to be noted */

	uint16_t *free; /* a queue of cells: in order they go round, as IN_ORDER demands */
	uint32_t free_first, free_mask, n_free;
	uint16_t *order; /* chain by its number offered, for devices that complete in order */
	struct relay_completion *batch;
	uint32_t n_batch;
	uint64_t first_word; /* packed: of the batch's first descriptor, which makes it visible */

	struct dirty_log *log;
	bool log_ring;
	uint64_t log_addr;
	bool resumed; /* a predecessor may have left marks out */

	uint64_t generation; /* of guest memory, when the pointers above were taken */
	struct relay_setup setup;
	unsigned int busy; /* runs that found work since the last sleep */
	bool waits_for_room;
	int fault; /* 0, or why this relay has ended */
	const char *reason;
	struct relay_stats stats;
};

/* What the two layouts implement. Marks named @next are the relay's own, to be moved on. */
struct relay_layout {
	/* Reads up to @max chains of the guest's into cells and the shadow ring, out of sight. */
	uint32_t (*offer)(struct relay *r, uint32_t max, struct relay_mark *next);
	/* Lets the device see them; @was_offered says after a crash whether that happened. */
	void (*offer_publish)(struct relay *r, const struct relay_mark *next);
	bool (*was_offered)(const struct relay *r, const struct relay_mark *next);
	bool (*device_wants_kick)(const struct relay *r, const struct relay_mark *next);

	/* Reads all completions into the batch. Return: 0; -EPROTO, and the relay has ended. */
	int (*collect)(struct relay *r, struct relay_mark *next);
	/* Writes the batch to the guest's ring and lets the guest see it. */
	void (*return_publish)(struct relay *r, const struct relay_mark *next);
	bool (*was_returned)(const struct relay *r, const struct relay_mark *next);
	bool (*guest_wants_call)(const struct relay *r, const struct relay_mark *next);
	/* Marks what return_publish() wrote up to @next. */
	void (*log_returned)(struct relay *r, const struct relay_mark *next);
	/* Marks all of the ring that a relay ever writes. */
	void (*log_all)(struct relay *r);
	/* Are all these pages in @log? */
	bool (*log_reaches)(const struct relay *r, const struct dirty_log *log, uint64_t log_addr);

	/* Notifications; the first two write, and mark what they wrote. */
	void (*ask_guest)(struct relay *r, bool kicks);
	void (*ask_device)(struct relay *r, bool calls);
	bool (*guest_has)(const struct relay *r);
	bool (*device_has)(const struct relay *r);

	/* In the place of a device that has stopped at @at: complete a chain, empty. */
	void (*complete)(struct relay *r, uint16_t id, struct relay_mark *at);
	/* The chain before @mark goes back to the guest's ring. */
	void (*step_back)(
		const struct relay *r, const struct relay_flight *f, struct relay_mark *mark);
	/* How many of the chains in flight had the device taken when it stopped there? */
	uint64_t (*n_taken)(const struct relay *r, const struct queue_position *device);
	/* Free slots of a shadow ring from a crash are made to look unavailable. */
	void (*clean)(struct relay *r);
	/* So are slots of the guest's ring that another back-end had. */
	void (*reclaim)(struct relay *r);
};

extern const struct relay_layout relay_split, relay_packed;

/* Named steps, at which tests end a relay. */
enum relay_step {
	RELAY_STEP_CHAIN_COPIED,
	RELAY_STEP_OFFER_PROPOSED,
	RELAY_STEP_OFFER_PUBLISHED,
	RELAY_STEP_OFFER_HOLDS,
	RELAY_STEP_DEVICE_KICKED,
	RELAY_STEP_COMPLETION_READ,
	RELAY_STEP_RETURN_PROPOSED,
	RELAY_STEP_ENTRY_WRITTEN,
	RELAY_STEP_RETURN_PUBLISHED,
	RELAY_STEP_RETURN_LOGGED,
	RELAY_STEP_RETURN_HOLDS,
	RELAY_STEP_GUEST_CALLED,
	RELAY_STEP_ASKED,
	RELAY_STEP_FORCED,
	RELAY_STEP_FINISHED,
	RELAY_N_STEPS,
};

#ifdef RELAY_STEPS
void relay_step_hook(enum relay_step step);
#else
static inline void relay_step_hook(enum relay_step step)
{
}
#endif

/* A process that is killed has made a prefix of its stores: only the compiler has to be told. */
static inline void kept_fence(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* relay_kept.c */
void relay_kept_locate(struct relay *r, void *kept);
void relay_kept_init(struct relay *r);
/* Of a fresh relay: begin there instead. */
void relay_kept_place(struct relay *r, struct queue_position at);
int relay_kept_check(struct relay *r);
/* Says where the batch at hand will end, before anything of it is seen. */
void relay_propose(struct relay_side *side, const struct relay_mark *next);
/* From here on it has ended there. */
void relay_hold(struct relay_side *side, struct relay_mark *now, const struct relay_mark *next);

/* relay_chain.c */
int relay_read_indirect_split(struct relay *r, struct relay_chain *c, uint64_t gpa, uint32_t size);
int relay_read_indirect_packed(struct relay *r, struct relay_chain *c, uint64_t gpa, uint32_t size);
void relay_log_buffers(struct relay *r, uint16_t id, uint32_t size);
void relay_free_batch(struct relay *r);

/* relay.c */
/* Takes pointers to the guest's ring anew. Return: 0; -EEXIST; -EFAULT. */
int relay_bind_memory(struct relay *r);
/* Offers up to @max chains. Return: how many. */
uint32_t relay_offer_batch(struct relay *r, uint32_t max);
/* Hands over all completions. Return: 0 or -EPROTO, also when some were good. */
int relay_return_batch(struct relay *r);

/* relay_inflight.c */
/* Begins, or goes on, to note chains in the inflight area. Return: 0; -EBADMSG; -ENOMEM. */
int relay_inflight_open(struct relay *r, enum relay_begin begin);
/* The chain is about to be offered. */
void relay_inflight_take(struct relay *r, struct relay_flight *f);
/* The batch is about to be seen by the guest; has been seen. */
void relay_inflight_return(struct relay *r, const struct relay_mark *next);
void relay_inflight_returned(struct relay *r, const struct relay_mark *next);
/* What is in flight was taken back. */
void relay_inflight_taken_back(struct relay *r);

/* relay_finish.c: how many of the newest chains are in flight without one between that is not. */
uint32_t relay_n_untaken(const struct relay *r);

/* Ends the relay; the first reason stays. */
static inline int relay_fault(struct relay *r, int fault, const char *reason)
{
	if (r->fault == 0) {
		r->fault = fault;
		r->reason = reason;
	}
	return fault;
}

static inline uint32_t relay_in_flight(const struct relay *r)
{
	return (uint32_t)(r->offered.chains - r->returned.chains);
}

/* Chains of another back-end that are still to be offered, when @offered were. */
static inline uint32_t relay_backlog_left(const struct relay *r, uint64_t offered)
{
	return offered < r->n_backlog ? r->n_backlog - (uint32_t)offered : 0;
}

static inline bool relay_is_in_flight(const struct relay *r, uint16_t id)
{
	const struct relay_flight *f = &r->flights[id];

	return f->offered != 0 && f->offered <= r->offered.chains && f->returned == 0;
}

/**
 * relay_chain_add() - check one buffer and add it to the chain.
 * Return: 0; RELAY_NO_ROOM; -EBADMSG, and the relay has ended.
 */
static inline int relay_chain_add(
	struct relay *r, struct relay_chain *c, uint64_t gpa, uint32_t size, uint16_t flags)
{
	uint16_t at;

	if (__builtin_expect(c->n == r->n_free, 0))
		return c->n == r->size ? relay_fault(r, -EBADMSG, "a chain is longer than the ring")
				       : RELAY_NO_ROOM;
	if (!guestmem_has(r->memory, gpa, size > 0 ? size : 1))
		return relay_fault(r, -EBADMSG, "a buffer is not in the guest's memory");
	flags &= VRING_DESC_F_WRITE;
	at = r->free[(r->free_first + c->n) & r->free_mask];
	if (c->n == 0) {
		c->first = at;
	} else {
		if (flags < (r->cells[c->last].flags & VRING_DESC_F_WRITE))
			return relay_fault(
				r, -EBADMSG, "a buffer to read comes after one to write");
		r->cells[c->last].next = at;
	}
	c->size += size;
	if (c->size > UINT32_MAX)
		return relay_fault(r, -EBADMSG, "a chain is longer than 4 GiB");
	if (flags)
		c->writable += size;
	r->cells[at] = (struct relay_cell){ .gpa = gpa, .size = size, .flags = flags };
	c->last = at;
	c->n++;
	return 0;
}

/** relay_chain_take() - the chain is whole: note it as the next one to be offered. */
static inline void relay_chain_take(
	struct relay *r, const struct relay_chain *c, uint16_t guest_id, struct relay_mark *next)
{
	struct relay_flight *f = &r->flights[c->first];

	next->chains++;
	next->cell = c->last + 1U == r->size ? 0 : (uint16_t)(c->last + 1);
	f->offered = next->chains; /* from here on not in flight, whatever is below */
	kept_fence();
	f->returned = 0;
	f->writable = c->writable;
	f->guest_id = guest_id;
	f->n_guest = (uint16_t)c->n_guest;
	f->n_cells = (uint16_t)c->n;
	if (r->inflight.at)
		relay_inflight_take(r, f);
	r->order[next->chains & r->free_mask] = c->first;
	r->free_first += c->n;
	r->n_free -= c->n;
	relay_step_hook(RELAY_STEP_CHAIN_COPIED);
}

/** relay_order_at() - the chain that may have been the n-th offered, of the last ones. */
static inline uint16_t relay_order_at(const struct relay *r, uint64_t n)
{
	return r->order[n & r->free_mask];
}

/* Marks the first @size bytes that a device wrote to a chain; most often they are in its first
 * cell. */
static inline void relay_log_chain(struct relay *r, uint16_t id, uint32_t size)
{
	const struct relay_cell *cell = &r->cells[id];

	if (__builtin_expect(cell->flags != 0 && size <= cell->size, 1))
		dirty_log_mark(r->log, cell->gpa, size);
	else
		relay_log_buffers(r, id, size);
}

/** relay_complete() - put one completed chain into the batch. */
static inline void relay_complete(
	struct relay *r, uint16_t id, uint32_t size, struct relay_mark *next)
{
	struct relay_flight *f = &r->flights[id];

	if (__builtin_expect(size > f->writable, 0)) {
		size = f->writable;
		r->stats.clamped++;
	}
	next->chains++;
	f->returned = next->chains;
	if (r->log)
		relay_log_chain(r, id, size);
	r->batch[r->n_batch++] = (struct relay_completion){
		.size = size,
		.id = id,
		.guest_id = f->guest_id,
		.slot = next->guest,
		.wrap = next->guest_wrap,
	};
	if (r->packed) {
		slot_step(r->size, &next->shadow, &next->shadow_wrap, f->n_cells);
		slot_step(r->size, &next->guest, &next->guest_wrap, f->n_guest);
	} else {
		next->guest++;
	}
	relay_step_hook(RELAY_STEP_COMPLETION_READ);
}

/**
 * relay_complete_through() - put @id into the batch and, where one entry of a device that completes
 * in order stands for several, those before it. Of these nothing is known but that the device is
 * done with them.
 * @max: chains it may stand for at most
 * Return: 0; -EPROTO, and the relay has ended.
 */
static inline int relay_complete_through(
	struct relay *r, uint32_t id, uint32_t size, uint64_t max, struct relay_mark *next)
{
	if (id >= r->size || !relay_is_in_flight(r, (uint16_t)id))
		return relay_fault(r, -EPROTO, "the device completed what it was not given");
	if (r->in_order) {
		if (r->flights[id].offered - next->chains > max)
			return relay_fault(r, -EPROTO, "the device completed out of order");
		while (next->chains + 1 < r->flights[id].offered) {
			uint16_t one = relay_order_at(r, next->chains + 1);

			relay_complete(r, one, r->flights[one].writable, next);
		}
	}
	relay_complete(r, (uint16_t)id, size, next);
	return 0;
}

static inline void relay_log(struct relay *r, uint64_t gpa, uint64_t size)
{
	if (r->log && r->log_ring)
		dirty_log_mark(r->log, gpa, size);
}

#endif
