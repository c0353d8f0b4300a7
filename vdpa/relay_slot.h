/* SPDX-License-Identifier: BSD-2-Clause */
/* Slots of a packed ring: their words and flags, and the way round. Source: virtio 1.2, 2.8. */
#ifndef VDPA_RELAY_SLOT_H
#define VDPA_RELAY_SLOT_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "vdpa/base/bits.h"

#define FLAG_AVAIL ((uint64_t)BIT(VRING_PACKED_DESC_F_AVAIL))
#define FLAG_USED  ((uint64_t)BIT(VRING_PACKED_DESC_F_USED))

/* The half of a descriptor that has length, id and flags, in one word. */
static inline uint64_t *word_of(void *ring, uint32_t slot)
{
	return (uint64_t *)(void *)&((struct vring_packed_desc *)ring)[slot].len;
}

static inline uint64_t make_word(uint32_t size, uint16_t id, uint64_t flags)
{
	return size | (uint64_t)id << 32 | flags << 48;
}

static inline uint64_t flags_of(uint64_t word)
{
	return word >> 48;
}

static inline bool is_available(uint64_t flags, bool wrap)
{
	return ((flags & FLAG_AVAIL) != 0) == wrap && ((flags & FLAG_USED) != 0) != wrap;
}

static inline bool is_used(uint64_t flags, bool wrap)
{
	return ((flags & FLAG_AVAIL) != 0) == wrap && ((flags & FLAG_USED) != 0) == wrap;
}

static inline uint64_t available_flags(bool wrap)
{
	return wrap ? FLAG_AVAIL : FLAG_USED;
}

static inline uint64_t used_flags(bool wrap)
{
	return wrap ? FLAG_AVAIL | FLAG_USED : 0;
}

/*
 * Most chains take one slot. Asked for, that is a branch that the CPU foresees; else the next
 * slot's address would wait for the number to be loaded. The compiler knows no better than to make
 * a conditional move of it, which waits as well, unless there is something that it can't move.
 */
static inline void slot_step(uint32_t size, uint16_t *slot, uint8_t *wrap, uint32_t n)
{
	uint32_t to = *slot + 1U;

	if (__builtin_expect(n != 1, 0)) {
		__asm__ volatile("" : "+r"(n));
		to += n - 1;
	}
	if (to >= size) {
		to -= size;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)to;
}

static inline void slot_step_back(uint32_t size, uint16_t *slot, uint8_t *wrap, uint32_t n)
{
	uint32_t to = *slot;

	if (n > to) {
		to += size;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)(to - n);
}

#endif
