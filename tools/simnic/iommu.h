/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory that one function reaches, and nothing else of it: ranges of addresses and where they are
 * mapped here. With a guest whose driver is behind an IOMMU there is a stage before: the IOTLB leads
 * from the driver's addresses to those.
 */
#ifndef SIMNIC_IOMMU_H
#define SIMNIC_IOMMU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "drivers/sim/mailbox.h"
#include "vdpa/base/iotlb.h"

#define IOMMU_MAX_BYTES (1ULL << 42) /* of one function, so that none takes all address space */

struct iommu_region {
	struct sim_map map;
	uint8_t *host; /* where map.iova is */
	void *base;    /* what mmap() gave, @base_size bytes */
	uint64_t base_size;
	uint8_t *asking; /* as @base, for who waits for missing pages; NULL: none are missing */
	bool asks;	 /* the front-end provides what is touched there */
	dev_t device; /* the file, to know it again */
	ino_t inode;
};

struct iommu {
	uint32_t n_regions;
	uint64_t n_bytes;
	struct iommu_region *regions; /* SIM_MAX_REGIONS, by IOVA, never overlapping */
	bool translates;	      /* the IOTLB comes first; without entries while it is false */
	struct iotlb iotlb;
};

enum iommu_answer {
	IOMMU_REACHED,
	IOMMU_UNMAPPED, /* no such memory, or not for this */
	IOMMU_MISSING,	/* the IOTLB does not know it */
	IOMMU_REFUSED,	/* the IOTLB knows it for another permission */
};

/* What was used last, in one piece. Or, without a size, the address that was not reached. */
struct iommu_hit {
	uint64_t iova;
	uint64_t size; /* 0: none */
	uint8_t *host;
	uint64_t shift; /* the function's memory has it at @iova + @shift */
	uint32_t perm;
	enum iommu_answer answer;
};

/**
 * iommu_region_open() - map a file range; touches no page of it.
 * @map: a request, checked here
 * @fd:  stays the caller's
 * @ret: released by iommu_region_close()
 *
 * Return: 0; -EINVAL empty or wrapping range, unknown permission, the file is no memory file or is
 *         too short; or an errno of mmap(2).
 */
int iommu_region_open(const struct sim_map *map, int fd, struct iommu_region *ret);
void iommu_region_close(struct iommu_region *region);

/** iommu_region_open_asking() - map it once more, at @asking. Return: 0, or an errno of mmap(2). */
int iommu_region_open_asking(struct iommu_region *region, int fd);
void iommu_region_close_asking(struct iommu_region *region);

int iommu_init(struct iommu *iommu);
void iommu_free(struct iommu *iommu);

/** iommu_translate() - whether the IOTLB comes first; it is empty then. Return: 0; -ENOMEM. Paused. */
int iommu_translate(struct iommu *iommu, bool on);

/**
 * iommu_insert() - make a region known. Paused.
 * Return: 0, the region is the table's; 1, the same one is known already, @region stays the
 *         caller's; -EEXIST overlaps; -ENOSPC too many regions or bytes.
 */
int iommu_insert(struct iommu *iommu, const struct iommu_region *region);

/**
 * iommu_remove() - forget a region, whole. Paused.
 * Return: true, and @ret is the caller's to close; false: no region begins and ends there.
 */
bool iommu_remove(struct iommu *iommu, uint64_t iova, uint64_t size, struct iommu_region *ret);

/** iommu_find() - the region with @iova, an address in the function's memory, or NULL. */
const struct iommu_region *iommu_find(const struct iommu *iommu, uint64_t iova);

/** iommu_lookup() - as iommu_at(), the long way; refills @hit. */
void *iommu_lookup(const struct iommu *iommu, struct iommu_hit *hit, uint64_t iova, uint32_t size,
	uint32_t perm, uint32_t *ret_size);

/**
 * iommu_at() - our address of guest memory.
 * @hit:      the caller's cache
 * @size:     bytes wanted, not 0
 * @perm:     SIM_PERM_ bits that are needed
 * @ret_size: bytes that are there in one piece, at most @size
 *
 * Return: address, or NULL when @iova is not mapped for this; @hit has the answer then. In any other
 *         case @hit is about @iova.
 */
static inline void *iommu_at(const struct iommu *iommu, struct iommu_hit *hit, uint64_t iova,
	uint32_t size, uint32_t perm, uint32_t *ret_size)
{
	uint64_t into = iova - hit->iova;

	if (__builtin_expect(into >= hit->size || size > hit->size - into, 0) ||
		__builtin_expect((hit->perm & perm) != perm, 0))
		return iommu_lookup(iommu, hit, iova, size, perm, ret_size);
	*ret_size = size;
	return hit->host + into;
}

/**
 * iommu_range() - as iommu_at(), for a range that must be in one piece; else NULL.
 * @ret: where it is in the function's memory
 */
void *iommu_range(const struct iommu *iommu, uint64_t iova, uint64_t size, uint32_t perm, uint64_t *ret);

/** iommu_overlaps() - true when [@iova, +@size) and [@start, +@length) share a byte. */
static inline bool iommu_overlaps(uint64_t iova, uint64_t size, uint64_t start, uint64_t length)
{
	return size > 0 && length > 0 && iova <= start + length - 1 && start <= iova + size - 1;
}

#endif
