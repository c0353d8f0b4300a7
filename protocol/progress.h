/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far the present message is, in one word of the state page.
 *
 *   NONE -> HANDLING -> APPLIED -> SENDING -> SENT -> NONE
 *                   \------ no reply is due --^
 *
 * Up to HANDLING nothing is committed, and a successor handles the message again: once, for the
 * message may be what killed its predecessor. APPLIED: all is committed, and so is the reply. In
 * SENDING nobody can know whether the front-end got it, so the connection ends. SENT: what is left
 * of the message in the socket is taken out.
 */
#ifndef PROTOCOL_PROGRESS_H
#define PROTOCOL_PROGRESS_H

#include <stdint.h>

enum progress_phase {
	PROGRESS_NONE,
	PROGRESS_HANDLING,
	PROGRESS_APPLIED,
	PROGRESS_SENDING,
	PROGRESS_SENT,
	PROGRESS_N_PHASES
};

#define PROGRESS_MAX_ATTEMPTS 2

/* Bits 0-7 phase, 8-15 attempts, 16-31 size of the message with its header, bytes. */
static inline uint64_t progress_word(enum progress_phase phase, unsigned int attempts, uint64_t size)
{
	return (uint64_t)phase | (uint64_t)(attempts & 0xff) << 8 | size << 16;
}

static inline enum progress_phase progress_phase(uint64_t word)
{
	return (enum progress_phase)(word & 0xff);
}

static inline unsigned int progress_attempts(uint64_t word)
{
	return word >> 8 & 0xff;
}

static inline uint64_t progress_size(uint64_t word)
{
	return word >> 16;
}

#endif
