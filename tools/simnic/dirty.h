/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log of one function: a bit for each page of IOVA, which says that the device wrote
 * there. Data threads set bits, the log's reader clears them at the same time.
 */
#ifndef SIMNIC_DIRTY_H
#define SIMNIC_DIRTY_H

#include "tools/simnic/iommu.h"

struct dirty_bits {
	uint8_t *bits; /* NULL: nothing is marked */
	uint64_t end;  /* IOVAs below have a bit */
	bool rings;    /* what is written of rings is marked, too */
	struct iommu_region file;
};

/**
 * dirty_open() - map a log; touches no page of it.
 * @fd:  stays the caller's
 * @ret: released by dirty_close()
 *
 * Return: 0; -EINVAL empty or wrapping range, the file is no memory file, may not be written, or is
 *         too short; or another errno of mmap(2).
 */
int dirty_open(const struct sim_log *log, int fd, struct dirty_bits *ret);

/** dirty_close() - accepts a log of zeros. */
void dirty_close(struct dirty_bits *log);

/** dirty_covers() - whether all that the device may write in a range has a bit. */
bool dirty_covers(const struct dirty_bits *log, const struct sim_map *map);

/** dirty_covers_all() - the same of all mapped ranges. */
bool dirty_covers_all(const struct dirty_bits *log, const struct iommu *iommu);

/**
 * dirty_mark() - the device wrote [@iova, +@size), which lies in a range that the log covers.
 *
 * A bit that is set is only read. So what was written must be visible to all before: the caller
 * has a full barrier in between, one for any number of ranges.
 */
void dirty_mark(const struct dirty_bits *log, uint64_t iova, uint64_t size);

#endif
