/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long to look for work before sleeping. Looking is worth it where the other side works on
 * another processor and answers at once. Where it waits for this very processor, or has nothing to
 * say, each look is taken from it: so a time that was looked through in vain is halved, down to
 * none, and tried anew after some sleeps.
 */
#ifndef VDPA_BASE_SPIN_H
#define VDPA_BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_US     50 /* is a usual longest time */
#define SPIN_HALVES 5  /* after as many times in vain it is none */
#define SPIN_SLEEPS 64 /* without a look, before the next time */

/* Zeroed: looks for the longest time. */
struct spin {
	uint64_t moved;       /* the last time that something moved */
	unsigned int in_vain; /* times that it was looked until the end, one after the other */
	unsigned int sleeps;  /* since, without a look */
	bool looked;          /* in vain so far, since something moved */
};

/** spin_found() - a look found something. @now: of a clock that never goes back; any unit. */
static inline void spin_found(struct spin *s, uint64_t now)
{
	if (s->looked)
		s->in_vain = 0;
	s->looked = false;
	s->moved = now;
}

/**
 * spin_goes_on() - a look found nothing.
 * @longest: to look for work since something moved, in the unit of @now
 * Return: true when the next look is to follow at once, false when it is time to sleep.
 */
static inline bool spin_goes_on(struct spin *s, uint64_t now, uint64_t longest)
{
	uint64_t limit = s->in_vain < SPIN_HALVES ? longest >> s->in_vain : 0;

	if (now - s->moved < limit) {
		s->looked = true;
		return true;
	}
	if (s->looked) {
		s->in_vain++;
		s->sleeps = 0;
	} else if (++s->sleeps >= SPIN_SLEEPS) {
		s->in_vain = 0;
		s->sleeps = 0;
	}
	s->looked = false;
	return false;
}

#endif
