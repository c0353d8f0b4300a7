/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The available position moves when chains are taken, the used position when they come back. In
 * between the registers count them as in flight: that many before the first of them is taken, and
 * fewer only after these are in the ring. So a device that dies with none in flight stood where its
 * positions say.
 */
#include "tools/simnic/held.h"

#include <rte_cycles.h>
#include <rte_random.h>

#include "drivers/sim/position.h"

#define KEEP	8   /* stay in flight while there is more to do, but no more than half the ring */
#define HOLD_US 2000 /* and for so long after the last one came */

static void write_in_flight(struct vq *q)
{
	__atomic_store_n(&q->regs->in_flight, q->held.n, __ATOMIC_RELEASE);
}

static void write_positions(struct vq *q)
{
	uint32_t word = sim_position_word(q->at, q->packed);

	ring_write_next(q, word);
	ring_write_position(q, word);
}

/* Gives chains back until @keep are left. */
static void give_back(struct vq *q, struct burst *b, uint32_t keep)
{
	struct held *held = &q->held;
	uint32_t n = 0;

	while (held->n > keep) {
		uint32_t any = (uint32_t)rte_rand_max(held->n);

		b->chains[n++] = (struct chain){
			.id = held->chains[any].id,
			.n_desc = held->chains[any].n_desc,
		};
		held->chains[any] = held->chains[--held->n];
	}
	ring_give_back(q, b, n);
	write_in_flight(q);
}

void held_take(struct vq *q, struct burst *b, uint32_t n, uint64_t now)
{
	struct held *held = &q->held;

	if (n == 0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		held->chains[held->n].id = b->chains[i].id;
		held->chains[held->n++].n_desc = b->chains[i].n_desc;
	}
	held->since = now;
	write_in_flight(q);
	q->regs->received_desc += n;
	for (uint32_t i = 0; i < n; i++)
		ring_step(q, &q->at.avail, &q->at.avail_wrap, q->packed ? b->chains[i].n_desc : 1);
	write_positions(q);
	give_back(q, b, q->size / 2 < KEEP ? q->size / 2 : KEEP);
}

uint32_t held_rest(struct vq *q, struct burst *b, uint64_t now)
{
	uint32_t n = q->held.n;

	if (n > 0 && now - q->held.since > rte_get_tsc_hz() * HOLD_US / 1000000)
		give_back(q, b, 0);
	return n;
}

void held_release(struct vq *q, struct burst *b)
{
	if (q->held.n > 0)
		give_back(q, b, 0);
}
