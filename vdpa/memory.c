/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checks of guest memory. All numbers come from a hostile front-end: sums are checked before they
 * are made, ranges over their full length.
 */
#include "vdpa/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/log.h"
#include "vdpa/base/memfile.h"

int memory_file_check(int fd, struct memory_region *region)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) != O_RDWR)
		return -EINVAL;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0)
		return -EINVAL;
	if (!range_ok(region->offset, region->size) ||
		region->offset + region->size > (uint64_t)st.st_size)
		return -EINVAL;
	region->dev = st.st_dev;
	region->ino = st.st_ino;
	return 0;
}

int memory_quick_file_check(int fd, struct memory_region *region, const char *what)
{
	int r = memory_file_check(fd, region);

	if (r == 0 && memfile_page_size(fd) == 0) {
		log_warning("%s is in a file that does not live in memory, whose pages may be slow to come: "
			    "memfd, tmpfs or hugetlbfs is needed",
			what);
		r = -EINVAL;
	}
	return r;
}

static bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

bool memory_gpa_overlap(const struct memory_region *a, const struct memory_region *b)
{
	return ranges_overlap(a->gpa, a->size, b->gpa, b->size);
}

static bool region_ok(const struct memory_region *region)
{
	/* A range that ends at 2^64 exactly would make ends wrap; nobody has memory there. */
	return region->size > 0 && region->size <= MEMORY_MAX_BYTES &&
	       region->gpa <= UINT64_MAX - region->size &&
	       region->uva <= UINT64_MAX - region->size &&
	       region->offset <= UINT64_MAX - region->size;
}

int memory_table_check(const struct memory_table *table)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < table->n_regions; i++) {
		const struct memory_region *region = &table->regions[i];

		if (!region_ok(region))
			return -EINVAL;
		bytes += region->size;
		if (bytes > MEMORY_MAX_BYTES)
			return -EINVAL;
		for (uint32_t k = 0; k < i; k++) {
			const struct memory_region *other = &table->regions[k];

			if (memory_gpa_overlap(region, other) ||
				ranges_overlap(region->uva, region->size, other->uva, other->size))
				return -EINVAL;
		}
	}
	return 0;
}

bool memory_same_mapping(const struct memory_region *a, const struct memory_region *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->offset == b->offset && a->dev == b->dev && a->ino == b->ino;
}

const struct memory_region *memory_find_uva(const struct memory_table *table, uint64_t uva,
	uint64_t size)
{
	for (uint32_t i = 0; i < table->n_regions; i++) {
		const struct memory_region *region = &table->regions[i];

		if (uva >= region->uva && size <= region->size &&
			uva - region->uva <= region->size - size)
			return region;
	}
	return NULL;
}

const struct memory_region *memory_find_gpa(const struct memory_table *table, uint64_t gpa,
	uint64_t size)
{
	for (uint32_t i = 0; i < table->n_regions; i++) {
		const struct memory_region *region = &table->regions[i];

		if (gpa >= region->gpa && size <= region->size &&
			gpa - region->gpa <= region->size - size)
			return region;
	}
	return NULL;
}
