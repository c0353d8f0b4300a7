/* SPDX-License-Identifier: BSD-2-Clause */
/* The lab (relay_lab.h) with a guest and a front-end that rewrite what the relay works on. */
#ifndef TESTS_RELAY_LAB_HOSTILE_H
#define TESTS_RELAY_LAB_HOSTILE_H

#include "relay_lab.h"

/* Something in ring or tables: mostly makes chains that can be followed, and goes on changing them. */
void lab_scribble(struct lab *lab, uint64_t *rng);

/* Something in the inflight area. */
void lab_scribble_area(struct lab *lab, uint64_t *rng);

/* What a back-end might have left in it: the first entries are chains in flight, the others are free. */
void lab_write_area(struct lab *lab, uint16_t used, bool wrap, uint64_t *rng);

/* Forgets what the lenient device wrote, and marks. Return: false: it wrote to *ret, which had none. */
bool lab_hostile_marks(struct lab *lab, uint64_t *ret);

/* Return: as relay_run(); 1: it wrote to *ret, which has no mark. */
int lab_hostile_run(struct lab *lab, uint32_t budget, uint64_t *ret);

#endif
