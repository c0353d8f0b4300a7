/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table of address translations, as an IOMMU caches them: from the addresses that a guest's driver
 * gives a device (IOVA) to those of the guest's memory. It holds only what it was told; whoever told it
 * can tell it again, so an entry may be forgotten at any time. Plain data, one thread at a time.
 */
#ifndef VDPA_BASE_IOTLB_H
#define VDPA_BASE_IOTLB_H

#include <stdbool.h>
#include <stdint.h>

#define IOTLB_MAX 2048 /* entries; the oldest one makes room */

#define IOTLB_READ  1U /* of @perm; as vhost's and the drivers' bits */
#define IOTLB_WRITE 2U

struct iotlb_entry {
	uint64_t iova;	  /* first byte */
	uint64_t size;	  /* bytes, not 0; neither range wraps */
	uint64_t address; /* where @iova is */
	uint32_t perm;	  /* IOTLB_ bits */
	uint32_t age;	  /* the table's; smaller is older */
};

struct iotlb {
	uint32_t n;
	uint32_t n_told;	     /* entries ever */
	struct iotlb_entry *entries; /* by IOVA, never overlapping */
};

enum iotlb_answer {
	IOTLB_KNOWN,
	IOTLB_MISSING, /* nobody told */
	IOTLB_REFUSED, /* not for this permission */
	IOTLB_SPLIT,   /* known, but not in one piece */
};

/** iotlb_init() - an empty table. Return: 0; -ENOMEM. */
int iotlb_init(struct iotlb *t);
void iotlb_free(struct iotlb *t);

/**
 * iotlb_insert() - from now on @entry holds for its range; what was there before does not.
 * @entry: @age is ignored
 * @pinned: may an entry not make room? NULL: any may
 * @arg:    handed on to @pinned
 * Return: 0; -EINVAL an empty range, one that wraps, or unknown permissions; -ENOSPC all entries are
 *         pinned.
 */
int iotlb_insert(struct iotlb *t, const struct iotlb_entry *entry,
	bool (*pinned)(void *arg, const struct iotlb_entry *entry), void *arg);

/**
 * iotlb_remove() - nothing is known of [@first, @last] any more. What of an entry lies beside it stays
 * known, unless the table is full.
 */
void iotlb_remove(struct iotlb *t, uint64_t first, uint64_t last);

/** iotlb_clear() - nothing is known. */
static inline void iotlb_clear(struct iotlb *t)
{
	t->n = 0;
}

/** iotlb_find() - the entry with @iova, or NULL; valid until the table changes. */
const struct iotlb_entry *iotlb_find(const struct iotlb *t, uint64_t iova);

/**
 * iotlb_translate() - a range that has to be in one piece, in however many entries.
 * @size: bytes, not 0; @iova + @size does not wrap
 * @perm: what all of them have to allow
 * @ret:  IOTLB_KNOWN: where @iova is; else the first address that it is not
 */
enum iotlb_answer iotlb_translate(const struct iotlb *t, uint64_t iova, uint64_t size, uint32_t perm,
	uint64_t *ret);

/** iotlb_last() - the last byte of a range, which ends at the end of the address space at the latest. */
static inline uint64_t iotlb_last(uint64_t iova, uint64_t size)
{
	return size > UINT64_MAX - iova ? UINT64_MAX : iova + size - (size > 0);
}

#endif
