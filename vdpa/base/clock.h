/* SPDX-License-Identifier: BSD-2-Clause */
/* The one clock of the project: monotonic nanoseconds. */
#ifndef VDPA_BASE_CLOCK_H
#define VDPA_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US 1000ULL
#define NS_PER_MS 1000000ULL
#define NS_PER_S  1000000000ULL

/** clock_now_ns() - CLOCK_MONOTONIC in nanoseconds. */
static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/** clock_ms_until() - milliseconds from now to @at_ns, rounded up; 0 when it is over. For timeouts. */
static inline int clock_ms_until(uint64_t at_ns)
{
	uint64_t now = clock_now_ns();

	return now >= at_ns ? 0 : (int)((at_ns - now) / NS_PER_MS) + 1;
}

#endif
