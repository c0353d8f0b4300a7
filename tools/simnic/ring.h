/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings, as the device sees them, for both layouts.
 *
 * A burst is: ring_collect() looks at available chains without taking them; the caller moves
 * bytes; ring_publish() takes the first of them and gives them back used. So a ring holds no state
 * in between, and its positions are exact whenever its lock is free.
 *
 * Guest memory is hostile: a descriptor is read once into private memory, then checked.
 */
#ifndef SIMNIC_RING_H
#define SIMNIC_RING_H

#include <linux/virtio_ring.h>

#include <rte_atomic.h>

#include "tools/simnic/nic.h"

#define RING_MAX_CHAINS	 512	    /* looked at in one burst */
#define RING_MAX_PIECES	 (72 * 1024) /* of all of them; more than the longest legal chain */
#define RING_BURST_PIECES 4096	    /* a burst that has so many ends, for the others' sake */
#define RING_MAX_INDIRECT 1024	    /* entries of a table when the ring is smaller */

#define RING_BOTH (SIM_PERM_READ | SIM_PERM_WRITE) /* buffers of both kinds in one chain */

/* Contiguous bytes in our address space, and in the function's memory. */
struct piece {
	uint8_t *at;
	uint64_t iova;
	uint32_t size;
	uint32_t perm; /* SIM_PERM_READ or _WRITE; of chains that were collected with RING_BOTH */
};

/* A chain of descriptors that the driver made available. */
struct chain {
	struct piece *pieces;
	uint32_t n_pieces;
	uint32_t size; /* bytes of all pieces, at most UINT32_MAX */
	uint32_t used; /* bytes written, set by the caller before ring_publish() */
	bool more; /* the next chain has the same frame's rest; set as @used is */
	uint16_t id;
	uint16_t n_desc; /* ring entries it takes; packed only */
	struct piece one;
};

/* A data thread's room for one burst. */
struct burst {
	struct chain chains[RING_MAX_CHAINS];
	uint32_t n_chains;
	uint32_t n_pieces;
	struct queue_position next; /* where the chain after the last one begins */
	struct piece pieces[RING_MAX_PIECES];
	union {
		struct vring_desc split[QUEUE_SIZE_MAX];
		struct vring_packed_desc packed[QUEUE_SIZE_MAX];
	} table; /* an indirect table, copied */
};

/** ring_begin() - start a burst at the queue's position. */
static inline void ring_begin(const struct vq *q, struct burst *b)
{
	b->n_chains = 0;
	b->n_pieces = 0;
	b->next = q->at;
}

/**
 * ring_collect() - look at up to @max more chains, added to @b.
 * @perm: SIM_PERM_READ for chains to read from, SIM_PERM_WRITE for those to write to; RING_BOTH for
 *	  chains of which each piece says what it is for
 *
 * Sets q->fault when the ring breaks the rules; the chains before that are good.
 * Return: number of chains added.
 */
uint32_t ring_collect(struct vq *q, struct burst *b, uint32_t max, uint32_t perm);

/**
 * ring_publish() - give the first @n chains of @b back and move the queue's position.
 *
 * Stores next_position before anything becomes visible in the ring, and position after. Signals
 * the call eventfd where the driver wants that. With a log: chains' bytes that were written are
 * marked before, the ring's after, so that no chain is given back unmarked by a device that dies.
 */
void ring_publish(struct vq *q, const struct burst *b, uint32_t n);

/**
 * ring_give_back() - the second half of ring_publish(): chains that were taken before, in the order of
 * @b. Of a queue that holds, the available position stays: held_take() moved it.
 */
void ring_give_back(struct vq *q, const struct burst *b, uint32_t n);

/** ring_mix() - bring the first @n chains of @b, as far as they are of one size, into any order. */
void ring_mix(struct burst *b, uint32_t n);

/** ring_step() - move one half of a position by @n entries. */
static inline void ring_step(const struct vq *q, uint16_t *at, bool *wrap, uint32_t n)
{
	uint32_t to = *at + n;

	if (q->packed && to >= q->size) {
		to -= q->size;
		*wrap = !*wrap;
	}
	*at = (uint16_t)to;
}

/** ring_ask() - tell the driver whether to kick. Return: true when chains are available. */
bool ring_ask_kicks(struct vq *q);
void ring_refuse_kicks(struct vq *q);

/** ring_arrived() - all of a ring is there, if that was not known yet. */
void ring_arrived(struct vq *q);

/** ring_fail() - give the queue up; q->fault says why. */
void ring_fail(struct vq *q);

/* What the two layouts implement. */
uint32_t split_collect(struct vq *q, struct burst *b, uint32_t max, uint32_t perm);
bool split_publish(struct vq *q, const struct burst *b, uint32_t n);
bool split_ask_kicks(struct vq *q);
void split_refuse_kicks(struct vq *q);
uint32_t packed_collect(struct vq *q, struct burst *b, uint32_t max, uint32_t perm);
bool packed_publish(struct vq *q, const struct burst *b, uint32_t n);
bool packed_ask_kicks(struct vq *q);
void packed_refuse_kicks(struct vq *q);

/** postcopy_collect() - ring_collect() of a queue that may miss pages, see ring_postcopy.c. */
uint32_t postcopy_collect(struct vq *q, struct burst *b, uint32_t max, uint32_t perm);

/* Helpers of theirs. */

/** ring_table_is_there() - Return: false: pages are missing, and the queue is parked. */
bool ring_table_is_there(struct vq *q, uint64_t iova, const void *at, uint32_t size);

/**
 * ring_unreachable() - q->hit says what was not reached: the queue waits for a translation, or q->fault
 * is set, to @reason where nothing better is known. Return: false.
 */
bool ring_unreachable(struct vq *q, const char *reason);

/* What a descriptor's buffer is for, in a chain for @perm. */
static inline uint32_t ring_perm(uint16_t flags, uint32_t perm)
{
	if (perm != RING_BOTH)
		return perm;
	return flags & VRING_DESC_F_WRITE ? SIM_PERM_WRITE : SIM_PERM_READ;
}

/** ring_add_piece() - append guest bytes to the chain. Return: false, and q->fault is set, or
 * the queue is parked. */
bool ring_add_piece(struct vq *q, struct burst *b, struct chain *c, uint64_t iova, uint32_t size,
	uint32_t perm);

/** ring_copy_in() - copy guest bytes into private memory. Return: false, and q->fault is set, or
 * the queue is parked. */
bool ring_copy_in(struct vq *q, void *to, uint64_t iova, uint32_t size);

/*
 * ring_prefetch() - the lines of a buffer that will be needed first: the frame's first one, and the
 * header's before it, unless nobody looks at it.
 */
static inline void ring_prefetch(const struct vq *q, const uint8_t *at, uint32_t perm)
{
	if (perm == SIM_PERM_WRITE) {
		__builtin_prefetch(at);
		__builtin_prefetch(at + q->header_size, 1);
	} else {
		if (q->takes_offloads)
			__builtin_prefetch(at);
		__builtin_prefetch(at + q->header_size);
	}
}

/** ring_log() - where to mark what was written until now; NULL: there is no log. */
static inline const struct dirty_bits *ring_log(const struct vq *q)
{
	const struct dirty_bits *log = &q->function->log;

	if (__builtin_expect(!log->bits, 1))
		return NULL;
	rte_smp_mb();
	return log;
}

/** ring_areas_log() - the same for what was written of the ring itself. */
static inline const struct dirty_bits *ring_areas_log(const struct vq *q)
{
	const struct dirty_bits *log = ring_log(q);

	return log && log->rings ? log : NULL;
}

/** ring_mark_entries() - mark @n of the ring's entries of @size bytes, from @first on, around. */
void ring_mark_entries(const struct vq *q, const struct dirty_bits *log, uint64_t iova,
	uint32_t size, uint32_t first, uint32_t n);

/** ring_write_positions() - the registers: where the queue will be, and where it is. */
static inline void ring_write_next(struct vq *q, uint32_t word)
{
	__atomic_store_n(&q->regs->next_position, word, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void ring_write_position(struct vq *q, uint32_t word)
{
	__atomic_store_n(&q->regs->position, word, __ATOMIC_RELEASE);
}

#endif
