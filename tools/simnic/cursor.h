/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes in and out of chains, piece by piece. The chains have enough: the caller saw to it. */
#ifndef SIMNIC_CURSOR_H
#define SIMNIC_CURSOR_H

#include <string.h>

#include <rte_memcpy.h>

#include "tools/simnic/ring.h"

/* A place in the bytes of consecutive chains. */
struct cursor {
	struct chain *chain;
	uint32_t piece;
	uint32_t offset;
};

#define COPY_INLINE 256 /* the C library's copy is faster from here on: it knows the CPU */

static inline void copy_bytes(void *restrict to, const void *restrict from, size_t size)
{
	if (size < COPY_INLINE)
		rte_memcpy(to, from, size);
	else
		memcpy(to, from, size);
}

/** cursor_next() - step over at most *@size bytes, which it reduces. Return: our address of them. */
static inline uint8_t *cursor_next(struct cursor *at, uint32_t *size)
{
	struct piece *p;
	uint8_t *ret;

	while (at->piece == at->chain->n_pieces) {
		at->chain++;
		at->piece = 0;
	}
	p = &at->chain->pieces[at->piece];
	ret = p->at + at->offset;
	if (*size < p->size - at->offset) {
		at->offset += *size;
	} else {
		*size = p->size - at->offset;
		at->piece++;
		at->offset = 0;
	}
	return ret;
}

/** cursor_get() - copy the next @size bytes out of the chains. */
static inline void cursor_get(struct cursor *at, uint8_t *to, uint32_t size)
{
	while (size > 0) {
		uint32_t n = size;
		const uint8_t *from = cursor_next(at, &n);

		copy_bytes(to, from, n);
		to += n;
		size -= n;
	}
}

/** cursor_put() - copy @size bytes into them. */
static inline void cursor_put(struct cursor *at, const uint8_t *from, uint32_t size)
{
	while (size > 0) {
		uint32_t n = size;
		uint8_t *to = cursor_next(at, &n);

		copy_bytes(to, from, n);
		from += n;
		size -= n;
	}
}

#endif
