/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's memory as its front-end described it: regions that are at three places at once,
 * guest-physical (gpa), in the front-end's address space (uva), and in a file. Plain data, kept in
 * the state page.
 */
#ifndef VDPA_MEMORY_H
#define VDPA_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MEMORY_MAX_REGIONS 509

/* A whole table may describe at most this much; more is a mistake or an attack. */
#define MEMORY_MAX_BYTES (64ULL << 40)

struct memory_region {
	uint64_t gpa;
	uint64_t size;	 /* bytes */
	uint64_t uva;
	uint64_t offset; /* of the region's first byte in the file */
	uint64_t dev, ino; /* which file */
	int32_t slot;	 /* of the file's descriptor */
	uint32_t more;	 /* times it was added once more; it goes when it was removed as often */
};

struct memory_table {
	uint32_t n_regions;
	uint32_t pad;
	struct memory_region regions[MEMORY_MAX_REGIONS];
};

/**
 * memory_file_check() - is @fd memory that a device may share, and long enough?
 * @region: size and offset are read, dev and ino are written
 *
 * Accepted are regular files (memfd, tmpfs, hugetlbfs among them) open for reading and writing. Which of
 * them a device can reach its driver knows: a NIC may pin persistent memory, simnic takes memory only.
 *
 * Return: 0; -EINVAL with nothing written.
 */
int memory_file_check(int fd, struct memory_region *region);

/**
 * memory_quick_file_check() - the same of a file that this process itself reads and writes as it works:
 * one that lives in memory, or else who serves it could make us wait for a page.
 * @what: the file is, for the log
 * Return: 0; -EINVAL.
 */
int memory_quick_file_check(int fd, struct memory_region *region, const char *what);

/**
 * memory_table_check() - sizes, sums and overlaps.
 * Return: 0; -EINVAL when a region is empty, wraps in any of its spaces, overlaps another one in
 * guest-physical or front-end space, or the sum is beyond MEMORY_MAX_BYTES.
 */
int memory_table_check(const struct memory_table *table);

/** memory_same_mapping() - the same file bytes at the same guest-physical addresses. */
bool memory_same_mapping(const struct memory_region *a, const struct memory_region *b);

/** memory_gpa_overlap() - do the two share a guest-physical address? */
bool memory_gpa_overlap(const struct memory_region *a, const struct memory_region *b);

/**
 * memory_find_uva() - the region that holds all of [uva, uva + size).
 * Return: the region, or NULL when no single region does.
 */
const struct memory_region *memory_find_uva(const struct memory_table *table, uint64_t uva,
	uint64_t size);

/** memory_find_gpa() - the same in guest-physical space. */
const struct memory_region *memory_find_gpa(const struct memory_table *table, uint64_t gpa,
	uint64_t size);

#endif
