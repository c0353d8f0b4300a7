/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Most pages that a device writes are marked already: rings all the time, buffers of a page that
 * was written a moment ago. So a bit is read first, and its cache line stays shared between the
 * data threads. The reader clears bits and copies pages then; with a full barrier on both sides
 * either it sees what was written, or we see that the bit is gone.
 */
#include "tools/simnic/dirty.h"

#include <errno.h>

#include "drivers/sim/mailbox.h"
#include "vdpa/base/bits.h"

int dirty_open(const struct sim_log *log, int fd, struct dirty_bits *ret)
{
	const struct sim_map map = {
		.size = log->size,
		.offset = log->offset,
		.perm = SIM_PERM_READ | SIM_PERM_WRITE,
	};
	struct iommu_region file;
	int r = iommu_region_open(&map, fd, &file);

	if (r == -EACCES || r == -EPERM)
		return -EINVAL;
	if (r < 0)
		return r;
	*ret = (struct dirty_bits){
		.bits = file.host,
		.end = log->size * 8 * SIM_LOG_PAGE, /* at most IOMMU_MAX_BYTES: no wrap */
		.file = file,
	};
	return 0;
}

void dirty_close(struct dirty_bits *log)
{
	if (log->bits)
		iommu_region_close(&log->file);
	*log = (struct dirty_bits){ 0 };
}

bool dirty_covers(const struct dirty_bits *log, const struct sim_map *map)
{
	return !(map->perm & SIM_PERM_WRITE) || map->iova + map->size - 1 < log->end;
}

bool dirty_covers_all(const struct dirty_bits *log, const struct iommu *iommu)
{
	for (uint32_t i = 0; i < iommu->n_regions; i++) {
		if (!dirty_covers(log, &iommu->regions[i].map))
			return false;
	}
	return true;
}

void dirty_mark(const struct dirty_bits *log, uint64_t iova, uint64_t size)
{
	uint64_t page = iova / SIM_LOG_PAGE, last = (iova + size - 1) / SIM_LOG_PAGE;

	for (; size > 0 && page <= last; page++) {
		uint8_t *byte = &log->bits[page / 8], bit = (uint8_t)BIT(page % 8);

		if (!(__atomic_load_n(byte, __ATOMIC_RELAXED) & bit))
			__atomic_fetch_or(byte, bit, __ATOMIC_RELEASE);
	}
}
