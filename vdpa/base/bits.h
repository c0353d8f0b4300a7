/* SPDX-License-Identifier: BSD-2-Clause */
/* Single bits, array lengths, rounding. */
#ifndef VDPA_BASE_BITS_H
#define VDPA_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BIT(n)	      (1U << (n))
#define BIT_ULL(n)    (1ULL << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/** align_up() - round @value up to a multiple of @align, a power of two. */
static inline uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

/** range_ok() - true when [start, start + size) is not empty and does not wrap 2^64. */
static inline bool range_ok(uint64_t start, uint64_t size)
{
	return size > 0 && start + size - 1 >= start;
}

#endif
