/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A function's IOMMU table. Only files that live in memory are taken (memfd, tmpfs, hugetlbfs): a
 * page of any other file may take as long as its server likes, and all functions would wait for
 * it. Truncated files are dealt with where the signal comes in, see memory.c.
 */
#include "tools/simnic/iommu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/memfile.h"

static bool map_ok(const struct sim_map *map)
{
	return range_ok(map->iova, map->size) && map->size <= IOMMU_MAX_BYTES &&
	       map->offset <= INT64_MAX - map->size && map->perm != 0 &&
	       !(map->perm & ~(uint32_t)(SIM_PERM_READ | SIM_PERM_WRITE));
}

/* What may be written may be read here, as on most CPUs anyway; the table says what a guest may. */
static int protection(uint32_t perm)
{
	return perm & SIM_PERM_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
}

int iommu_region_open(const struct sim_map *map, int fd, struct iommu_region *ret)
{
	uint64_t page, start, size;
	struct stat st;
	void *base;

	if (!map_ok(map) || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EINVAL;
	page = memfile_page_size(fd);
	if (page == 0 || map->offset + map->size > (uint64_t)st.st_size)
		return -EINVAL;

	start = map->offset & ~(page - 1);
	size = align_up(map->offset + map->size, page) - start;
	base = mmap(NULL, size, protection(map->perm), MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
	if (base == MAP_FAILED)
		return -errno;

	*ret = (struct iommu_region){
		.map = *map,
		.host = (uint8_t *)base + (map->offset - start),
		.base = base,
		.base_size = size,
		.device = st.st_dev,
		.inode = st.st_ino,
	};
	return 0;
}

int iommu_region_open_asking(struct iommu_region *region, int fd)
{
	uint64_t start = region->map.offset - (uint64_t)(region->host - (uint8_t *)region->base);
	void *asking = mmap(NULL, region->base_size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);

	if (asking == MAP_FAILED)
		return -errno;
	region->asking = asking;
	return 0;
}

void iommu_region_close_asking(struct iommu_region *region)
{
	if (region->asking)
		munmap(region->asking, region->base_size);
	region->asking = NULL;
	region->asks = false;
}

void iommu_region_close(struct iommu_region *region)
{
	iommu_region_close_asking(region);
	munmap(region->base, region->base_size);
	region->base = NULL;
}

int iommu_init(struct iommu *iommu)
{
	*iommu = (struct iommu){ .regions = calloc(SIM_MAX_REGIONS, sizeof(*iommu->regions)) };
	return iommu->regions ? 0 : -ENOMEM;
}

int iommu_translate(struct iommu *iommu, bool on)
{
	int r = on && !iommu->iotlb.entries ? iotlb_init(&iommu->iotlb) : 0;

	if (r < 0)
		return r;
	iotlb_clear(&iommu->iotlb);
	iommu->translates = on;
	return 0;
}

void iommu_free(struct iommu *iommu)
{
	for (uint32_t i = 0; i < iommu->n_regions; i++)
		iommu_region_close(&iommu->regions[i]);
	free(iommu->regions);
	iotlb_free(&iommu->iotlb);
	*iommu = (struct iommu){ 0 };
}

/* Index of the first region that ends after @iova; n_regions when there is none. */
static uint32_t first_after(const struct iommu *iommu, uint64_t iova)
{
	uint32_t low = 0, high = iommu->n_regions;

	while (low < high) {
		uint32_t middle = (low + high) / 2;
		const struct sim_map *map = &iommu->regions[middle].map;

		if (map->iova + map->size - 1 < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool same_region(const struct iommu_region *a, const struct iommu_region *b)
{
	return a->map.iova == b->map.iova && a->map.size == b->map.size &&
	       a->map.offset == b->map.offset && a->map.perm == b->map.perm &&
	       a->device == b->device && a->inode == b->inode;
}

int iommu_insert(struct iommu *iommu, const struct iommu_region *region)
{
	uint32_t at = first_after(iommu, region->map.iova);
	struct iommu_region *next = &iommu->regions[at];

	if (at < iommu->n_regions && same_region(next, region))
		return 1;
	if (at < iommu->n_regions && iommu_overlaps(next->map.iova, next->map.size,
					     region->map.iova, region->map.size))
		return -EEXIST;
	if (iommu->n_regions == SIM_MAX_REGIONS ||
		iommu->n_bytes + region->map.size > IOMMU_MAX_BYTES)
		return -ENOSPC;

	memmove(next + 1, next, (iommu->n_regions - at) * sizeof(*next));
	*next = *region;
	iommu->n_regions++;
	iommu->n_bytes += region->map.size;
	return 0;
}

bool iommu_remove(struct iommu *iommu, uint64_t iova, uint64_t size, struct iommu_region *ret)
{
	uint32_t at = first_after(iommu, iova);
	struct iommu_region *region = &iommu->regions[at];

	if (at == iommu->n_regions || region->map.iova != iova || region->map.size != size)
		return false;
	*ret = *region;
	iommu->n_regions--;
	iommu->n_bytes -= size;
	memmove(region, region + 1, (iommu->n_regions - at) * sizeof(*region));
	return true;
}

const struct iommu_region *iommu_find(const struct iommu *iommu, uint64_t iova)
{
	uint32_t at = first_after(iommu, iova);

	if (at == iommu->n_regions || iommu->regions[at].map.iova > iova)
		return NULL;
	return &iommu->regions[at];
}

/* The driver's address in the function's memory, and how much of @size follows it there. */
static enum iommu_answer translate(const struct iommu *iommu, uint64_t iova, uint32_t perm,
	uint64_t *ret_address, uint64_t *ret_size)
{
	const struct iotlb_entry *e;

	*ret_address = iova;
	*ret_size = UINT64_MAX;
	if (!iommu->translates)
		return IOMMU_REACHED;
	e = iotlb_find(&iommu->iotlb, iova);
	if (!e)
		return IOMMU_MISSING;
	*ret_address = e->address + (iova - e->iova);
	*ret_size = e->size - (iova - e->iova);
	return (e->perm & perm) == perm ? IOMMU_REACHED : IOMMU_REFUSED;
}

void *iommu_lookup(const struct iommu *iommu, struct iommu_hit *hit, uint64_t iova, uint32_t size,
	uint32_t perm, uint32_t *ret_size)
{
	const struct iommu_region *region;
	uint64_t address, there, into;
	enum iommu_answer answer = translate(iommu, iova, perm, &address, &there);

	region = answer == IOMMU_REACHED ? iommu_find(iommu, address) : NULL;
	if (!region || (region->map.perm & perm) != perm) {
		*hit = (struct iommu_hit){
			.iova = iova,
			.perm = perm,
			.answer = answer == IOMMU_REACHED ? IOMMU_UNMAPPED : answer,
		};
		return NULL;
	}
	into = address - region->map.iova;
	if (there > region->map.size - into)
		there = region->map.size - into;
	if (iommu->translates)
		*hit = (struct iommu_hit){
			.iova = iova,
			.size = there,
			.host = region->host + into,
			.shift = address - iova,
			.perm = perm,
		};
	else
		*hit = (struct iommu_hit){
			.iova = region->map.iova,
			.size = region->map.size,
			.host = region->host,
			.perm = region->map.perm,
		};
	*ret_size = there < size ? (uint32_t)there : size;
	return region->host + into;
}

void *iommu_range(const struct iommu *iommu, uint64_t iova, uint64_t size, uint32_t perm, uint64_t *ret)
{
	const struct iommu_region *region;

	*ret = iova;
	if (!range_ok(iova, size) ||
		(iommu->translates &&
			iotlb_translate(&iommu->iotlb, iova, size, perm, ret) != IOTLB_KNOWN))
		return NULL;
	region = iommu_find(iommu, *ret);
	if (!region || (region->map.perm & perm) != perm)
		return NULL;
	if (size > region->map.size - (*ret - region->map.iova))
		return NULL;
	return region->host + (*ret - region->map.iova);
}
