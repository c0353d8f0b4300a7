/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion in any order, on demand: a queue that holds takes chains from the ring and gives them
 * back later, some at a time, shuffled. So there are always several in flight while it is busy.
 */
#ifndef SIMNIC_HELD_H
#define SIMNIC_HELD_H

#include "tools/simnic/ring.h"

/**
 * held_take() - as ring_publish(), for a queue that holds: the chains are taken, and may come back.
 * @now: cycles
 */
void held_take(struct vq *q, struct burst *b, uint32_t n, uint64_t now);

/**
 * held_rest() - the queue had nothing new: give all back when the last one came long enough ago.
 * Return: how many chains were in flight until now.
 */
uint32_t held_rest(struct vq *q, struct burst *b, uint64_t now);

/** held_release() - give all back now; the queue is about to stop. */
void held_release(struct vq *q, struct burst *b);

#endif
