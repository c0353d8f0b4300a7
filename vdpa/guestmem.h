/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's memory, mapped: from guest-physical and front-end's addresses to pointers.
 *
 * Used by one thread. Pages are touched only when they are read or written. Others write to the
 * memory meanwhile; whoever reads it does so once, see vdpa/shared.h.
 */
#ifndef VDPA_GUESTMEM_H
#define VDPA_GUESTMEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vdpa/fdstore.h"
#include "vdpa/filemap.h"
#include "vdpa/memory.h"

#define GUESTMEM_HITS      256
#define GUESTMEM_HIT_SHIFT 28 /* addresses in the same 256 MiB share a line */

struct guestmem_region {
	struct memory_region is;
	struct filemap map;
};

/* What is known of a region; a copy for those who look for it often. */
struct guestmem_hit {
	uint64_t gpa;
	uint64_t size; /* 0: none */
	uint8_t *host;
};

struct guestmem {
	uint64_t generation; /* changes whenever a pointer may have */
	atomic_bool lost;    /* a file was cut short: the guest's memory is not what it was */
	uint32_t n_regions;
	struct guestmem_region *regions; /* by gpa, MEMORY_MAX_REGIONS of them */
	struct guestmem_hit hits[GUESTMEM_HITS];
};

/** guestmem_init() - no memory yet. Return: 0; -ENOMEM. */
int guestmem_init(struct guestmem *m);
void guestmem_free(struct guestmem *m);

/**
 * guestmem_set() - map what @table describes, by difference; what stays keeps its pointers.
 * @table: checked already
 * @fds:   has the files
 * Return: 0; -EBADMSG a slot holds another file; an errno of filemap_open(); then all is as before.
 */
int guestmem_set(struct guestmem *m, const struct memory_table *table, const struct fdstore *fds);

/** guestmem_lost() - was a file cut short since the last guestmem_set()? */
static inline bool guestmem_lost(const struct guestmem *m)
{
	return atomic_load_explicit(&m->lost, memory_order_relaxed);
}

/** guestmem_find() - the region with @gpa, or NULL; valid until the next call. */
const struct guestmem_hit *guestmem_find(struct guestmem *m, uint64_t gpa);

/** guestmem_spans() - as guestmem_has(), the long way. */
bool guestmem_spans(struct guestmem *m, uint64_t gpa, uint64_t size);

/**
 * guestmem_has() - is all of [gpa, gpa + size) guest memory, in however many adjoining regions?
 * @size: bytes, not 0
 */
static inline bool guestmem_has(struct guestmem *m, uint64_t gpa, uint64_t size)
{
	const struct guestmem_hit *hit = &m->hits[gpa >> GUESTMEM_HIT_SHIFT & (GUESTMEM_HITS - 1)];
	uint64_t into = gpa - hit->gpa;

	if (__builtin_expect(into < hit->size && size <= hit->size - into, 1))
		return true;
	return guestmem_spans(m, gpa, size);
}

/** guestmem_at() - pointer to [gpa, gpa + size); NULL unless one region has all of it. */
void *guestmem_at(struct guestmem *m, uint64_t gpa, uint64_t size);

/** guestmem_at_uva() - the same for a front-end's address. */
void *guestmem_at_uva(struct guestmem *m, uint64_t uva, uint64_t size);

/** guestmem_overlaps() - is there guest memory in [gpa, gpa + size)? */
bool guestmem_overlaps(const struct guestmem *m, uint64_t gpa, uint64_t size);

/**
 * guestmem_read() - copy guest memory, each byte once.
 * Return: false when not all of it is guest memory; then @to has anything.
 */
bool guestmem_read(struct guestmem *m, uint64_t gpa, void *to, uint64_t size);

#endif
