/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Positions as one 32-bit word, the way vhost-user carries them between back-ends.
 *
 * Split: bits 0-15 the next available index; the used index is in the ring. Packed: bits 0-14
 * available position, bit 15 its wrap counter, bits 16-30 used position, bit 31 its wrap counter.
 *
 * Source: vhost-user, "Vring state description".
 */
#ifndef VDPA_POSITION_H
#define VDPA_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "vdpa/queue.h"

/** position_word_split(), position_word_packed() - the word for @p. */
static inline uint32_t position_word_split(struct queue_position p)
{
	return p.avail;
}

static inline uint32_t position_word_packed(struct queue_position p)
{
	return p.avail | (uint32_t)p.avail_wrap << 15 | (uint32_t)p.used << 16 |
	       (uint32_t)p.used_wrap << 31;
}

/**
 * position_from_split() - read a split word.
 * @used: the used index as the ring has it
 *
 * A front-end whose back-end went away says what the used index was when it noticed. A device may have
 * gone on after that: a word behind @used means @used.
 *
 * Return: 0; -EINVAL when bits above 15 are set, or the word is further from @used than @size.
 */
int position_from_split(uint32_t word, uint16_t used, uint32_t size, struct queue_position *ret);

/**
 * position_from_packed() - read a packed word.
 *
 * Some peers say only the available half; then the upper half is 0, which no ring of theirs can
 * mean otherwise, and both halves are taken to be equal.
 *
 * Return: 0; -EINVAL when a position is not below @size.
 */
int position_from_packed(uint32_t word, uint32_t size, struct queue_position *ret);

#endif
