/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that someone else writes to at the same time: a guest, a device, a front-end. Each access
 * here is one load or one store, little-endian as virtio has it, that no compiler repeats; what was
 * read is private from then on. `_acquire` and `_release` order what comes after and before.
 */
#ifndef VDPA_SHARED_H
#define VDPA_SHARED_H

#include <endian.h>
#include <stdint.h>

static inline uint16_t shared_load16(const uint16_t *at)
{
	return le16toh(__atomic_load_n(at, __ATOMIC_RELAXED));
}

static inline uint16_t shared_load16_acquire(const uint16_t *at)
{
	return le16toh(__atomic_load_n(at, __ATOMIC_ACQUIRE));
}

static inline uint32_t shared_load32(const uint32_t *at)
{
	return le32toh(__atomic_load_n(at, __ATOMIC_RELAXED));
}

static inline uint64_t shared_load64(const uint64_t *at)
{
	return le64toh(__atomic_load_n(at, __ATOMIC_RELAXED));
}

static inline uint64_t shared_load64_acquire(const uint64_t *at)
{
	return le64toh(__atomic_load_n(at, __ATOMIC_ACQUIRE));
}

static inline void shared_store16(uint16_t *at, uint16_t value)
{
	__atomic_store_n(at, htole16(value), __ATOMIC_RELAXED);
}

static inline void shared_store16_release(uint16_t *at, uint16_t value)
{
	__atomic_store_n(at, htole16(value), __ATOMIC_RELEASE);
}

static inline void shared_store32(uint32_t *at, uint32_t value)
{
	__atomic_store_n(at, htole32(value), __ATOMIC_RELAXED);
}

static inline void shared_store64(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, htole64(value), __ATOMIC_RELAXED);
}

static inline void shared_store64_release(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, htole64(value), __ATOMIC_RELEASE);
}

/* Between a store and a later load of something else, which even x86 reorders. */
static inline void shared_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/** shared_read() - copy @size bytes, each read once; by words where both sides are aligned. */
static inline void shared_read(void *to, const void *from, uint64_t size)
{
	uint8_t *t = (uint8_t *)to;
	const uint8_t *f = (const uint8_t *)from;

	if ((((uintptr_t)t | (uintptr_t)f | size) & 7) == 0) {
		for (uint64_t i = 0; i < size; i += 8)
			*(uint64_t *)(void *)(t + i) = __atomic_load_n(
				(const uint64_t *)(const void *)(f + i), __ATOMIC_RELAXED);
		return;
	}
	for (uint64_t i = 0; i < size; i++)
		t[i] = __atomic_load_n(f + i, __ATOMIC_RELAXED);
}

#endif
