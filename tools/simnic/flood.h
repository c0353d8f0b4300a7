/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many frames to all a function may send: a bucket of tokens, which fill with the time. Each data thread
 * tells the time of its own last look at the clock, so time may seem to go back: then nothing has passed.
 */
#ifndef SIMNIC_FLOOD_H
#define SIMNIC_FLOOD_H

#include <stdbool.h>
#include <stdint.h>

#define FLOOD_BURST_PER_S 4 /* so much of a second's frames may come at once: a quarter, and at least one */

struct flood {
	uint64_t tokens; /* frames, times the clock's frequency */
	uint64_t stamp;	 /* cycles */
};

/**
 * flood_take() - may one more be sent?
 * @now:  cycles
 * @hz:   of the clock
 * @rate: frames a second, 1..100000000
 */
static inline bool flood_take(struct flood *f, uint64_t now, uint64_t hz, uint64_t rate)
{
	uint64_t most = hz * (rate < FLOOD_BURST_PER_S ? FLOOD_BURST_PER_S : rate) / FLOOD_BURST_PER_S;
	uint64_t elapsed = now > f->stamp ? now - f->stamp : 0;

	f->stamp += elapsed;
	if (elapsed > hz)
		elapsed = hz;
	f->tokens += elapsed * rate;
	if (f->tokens > most)
		f->tokens = most;
	if (f->tokens < hz)
		return false;
	f->tokens -= hz;
	return true;
}

#endif
