/* SPDX-License-Identifier: BSD-2-Clause */
/* Positions in simnic's registers and messages: see struct sim_queue_regs. */
#ifndef DRIVERS_SIM_POSITION_H
#define DRIVERS_SIM_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "vdpa/queue.h"

static inline uint32_t sim_position_word(struct queue_position p, bool packed)
{
	if (!packed)
		return p.avail | (uint32_t)p.used << 16;
	return p.avail | (uint32_t)p.avail_wrap << 15 | (uint32_t)p.used << 16 |
	       (uint32_t)p.used_wrap << 31;
}

static inline struct queue_position sim_position(uint32_t word, bool packed)
{
	if (!packed)
		return (struct queue_position){
			.avail = (uint16_t)word,
			.used = (uint16_t)(word >> 16),
		};
	return (struct queue_position){
		.avail = word & 0x7fff,
		.avail_wrap = word >> 15 & 1,
		.used = word >> 16 & 0x7fff,
		.used_wrap = word >> 31,
	};
}

#endif
