/* SPDX-License-Identifier: BSD-2-Clause */
/* When to start a process again that ends by itself, and when to stop trying. */
#ifndef VDPAD_RESTART_H
#define VDPAD_RESTART_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vdpa/base/clock.h"

#define RESTART_MAX	  8		   /* deaths */
#define RESTART_WINDOW_NS (60 * NS_PER_S) /* within this time, and it is given up */
#define RESTART_FIRST_MS  50		   /* doubles with each death in the window */
#define RESTART_LAST_MS	  3000

struct restart {
	uint64_t deaths[RESTART_MAX]; /* when, a ring; 0: none */
	unsigned int n;
	unsigned int total;	      /* of all times */
};

/**
 * restart_after() - it died now.
 * @ret_ms: how long to wait before the next start
 * Return: false when it died too often: give up.
 */
static inline bool restart_after(struct restart *r, uint64_t *ret_ms)
{
	uint64_t now = clock_now_ns(), wait = RESTART_FIRST_MS;
	unsigned int recent = 0;

	for (unsigned int i = 0; i < RESTART_MAX; i++)
		recent += r->deaths[i] != 0 && now - r->deaths[i] < RESTART_WINDOW_NS;
	r->deaths[r->n++ % RESTART_MAX] = now;
	r->total++;
	if (recent == RESTART_MAX)
		return false;
	for (; recent > 0 && wait < RESTART_LAST_MS; recent--)
		wait *= 2;
	*ret_ms = wait < RESTART_LAST_MS ? wait : RESTART_LAST_MS;
	return true;
}

#endif
