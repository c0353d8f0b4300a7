/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A range is noted as pending before the IOMMU is changed, and as what it is afterwards. So a table
 * never says less than the IOMMU has, and a process that dies in between leaves at most pending ranges
 * behind, which the next one takes back: to unmap what is not mapped is no error.
 *
 * Memory is mapped here only for as long as it takes to pin it. Nothing of this process reads or writes
 * it, so a file that is cut short later can't hurt: the pages that were pinned stay.
 */
#include "drivers/virtio/dma.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool overlaps(const struct dma_range *range, uint64_t iova, uint64_t size)
{
	return range->state != DMA_FREE && iova <= range->iova + (range->size - 1) &&
	       range->iova <= iova + (size - 1);
}

static struct dma_range *find_overlap(const struct dma *dma, uint64_t iova, uint64_t size)
{
	for (size_t i = 0; i < DMA_MAX_RANGES; i++) {
		if (overlaps(&dma->table->ranges[i], iova, size))
			return &dma->table->ranges[i];
	}
	return NULL;
}

static struct dma_range *find_free(const struct dma *dma)
{
	for (size_t i = 0; i < DMA_MAX_RANGES; i++) {
		if (dma->table->ranges[i].state == DMA_FREE)
			return &dma->table->ranges[i];
	}
	return NULL;
}

/* The next process may see the table at any instant: its parts change in the order written here. */
static void set_state(struct dma_range *range, enum dma_state state)
{
	__atomic_store_n(&range->state, state, __ATOMIC_SEQ_CST);
}

static bool whole_pages(const struct dma *dma, uint64_t value)
{
	return (value & (dma->page_size - 1)) == 0;
}

static int take_back(struct dma *dma, struct dma_range *range)
{
	int r;

	set_state(range, DMA_PENDING);
	r = dma->ops->unmap(dma->arg, range->iova, range->size);
	if (r < 0)
		return r;
	set_state(range, DMA_FREE);
	return 0;
}

static bool table_ok(const struct dma *dma)
{
	for (size_t i = 0; i < DMA_MAX_RANGES; i++) {
		const struct dma_range *range = &dma->table->ranges[i];

		if (range->state == DMA_FREE)
			continue;
		if (range->state > DMA_MAPPED || !range_ok(range->iova, range->size) ||
			!whole_pages(dma, range->iova | range->size))
			return false;
		/* The first that overlaps it is itself. */
		if (find_overlap(dma, range->iova, range->size) != range)
			return false;
	}
	return true;
}

int dma_open(struct dma *dma)
{
	if (!table_ok(dma))
		return -EPROTO;
	for (size_t i = 0; i < DMA_MAX_RANGES; i++) {
		struct dma_range *range = &dma->table->ranges[i];
		int r = range->state == DMA_PENDING ? take_back(dma, range) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* Is all of it in its file, which may be mapped so? */
static int check_file(const struct driver_map *map, struct stat *ret)
{
	const uint32_t rights = DRIVER_PERM_READ | DRIVER_PERM_WRITE;

	if (!range_ok(map->iova, map->size))
		return -EINVAL;
	if ((map->perm & rights) == 0 || (map->perm & ~rights))
		return -EINVAL;
	if (fstat(map->fd, ret) < 0)
		return -errno;
	if (!S_ISREG(ret->st_mode) || (uint64_t)ret->st_size < map->offset ||
		(uint64_t)ret->st_size - map->offset < map->size)
		return -EINVAL;
	return 0;
}

static bool same(const struct dma_range *a, const struct dma_range *b)
{
	return a->state == DMA_MAPPED && a->iova == b->iova && a->size == b->size &&
	       a->offset == b->offset && a->device == b->device && a->inode == b->inode &&
	       a->perm == b->perm;
}

/* What a mapping here has to begin and end at: the IOMMU's pages, and those of a file that has huge ones. */
static uint64_t block_of(const struct dma *dma, const struct stat *st)
{
	uint64_t block = st->st_blksize > 0 ? (uint64_t)st->st_blksize : 0;

	return block > dma->page_size && (block & (block - 1)) == 0 ? block : dma->page_size;
}

/* Pins a range, which may begin within a block of its file, and end within one. */
static int pin(struct dma *dma, const struct driver_map *map, uint64_t block)
{
	uint64_t before = map->offset & (block - 1);
	uint64_t size = align_up(before + map->size, block);
	int prot = map->perm & DRIVER_PERM_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
	uint8_t *space, *memory;
	int r;

	space = mmap(NULL, size + block, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (space == MAP_FAILED)
		return -ENOMEM;
	memory = space + (align_up((uintptr_t)space, block) - (uintptr_t)space);
	/* -ENODEV, of a file that can't be mapped, would say that the device is gone. */
	if (mmap(memory, size, prot, MAP_SHARED | MAP_FIXED, map->fd,
		    (off_t)(map->offset - before)) == MAP_FAILED)
		r = errno == ENOMEM ? -ENOMEM : -EINVAL;
	else
		r = dma->ops->map(dma->arg, memory + before, map->iova, map->size, map->perm);
	munmap(space, size + block);
	return r;
}

/* @map: whole pages, of the file that @st is about */
static int map_pages(struct dma *dma, const struct driver_map *map, const struct stat *st)
{
	const struct dma_range range = {
		.iova = map->iova,
		.size = map->size,
		.offset = map->offset,
		.device = st->st_dev,
		.inode = st->st_ino,
		.perm = map->perm,
	};
	struct dma_range *there, *free_range;
	int r;

	there = find_overlap(dma, map->iova, map->size);
	if (there)
		return same(there, &range) ? 0 : -EEXIST;
	free_range = find_free(dma);
	if (!free_range)
		return -ENOSPC;

	*free_range = range;
	set_state(free_range, DMA_PENDING);
	r = pin(dma, map, block_of(dma, st));
	set_state(free_range, r < 0 ? DMA_FREE : DMA_MAPPED);
	return r;
}

int dma_map(struct dma *dma, const struct driver_map *map)
{
	struct stat st;
	int r = check_file(map, &st);

	if (r == 0 && !whole_pages(dma, map->iova | map->size | map->offset))
		r = -EINVAL;
	return r < 0 ? r : map_pages(dma, map, &st);
}

/* Bytes before @at in its page. */
static uint64_t before_in_page(const struct dma *dma, uint64_t at)
{
	return at & (dma->page_size - 1);
}

int dma_map_bytes(struct dma *dma, const struct driver_map *map)
{
	const uint64_t before = before_in_page(dma, map->offset);
	struct driver_map pages = *map;
	struct stat st;
	int r = check_file(map, &st);

	if (r == 0 && before_in_page(dma, map->iova) != before)
		r = -EINVAL;
	if (r < 0)
		return r;
	pages.iova -= before;
	pages.offset -= before;
	pages.size = align_up(before + map->size, dma->page_size);
	return map_pages(dma, &pages, &st);
}

int dma_unmap_bytes(struct dma *dma, uint64_t iova, uint64_t size)
{
	uint64_t before = before_in_page(dma, iova);

	return dma_unmap(dma, iova - before, align_up(before + size, dma->page_size));
}

int dma_unmap(struct dma *dma, uint64_t iova, uint64_t size)
{
	struct dma_range *range;

	if (!range_ok(iova, size))
		return -EINVAL;
	range = find_overlap(dma, iova, size);
	if (!range)
		return 0;
	if (range->iova != iova || range->size != size)
		return -EINVAL;
	return take_back(dma, range);
}

uint64_t dma_writable_end(const struct dma *dma, uint64_t below)
{
	uint64_t end = 0;

	for (size_t i = 0; i < DMA_MAX_RANGES; i++) {
		const struct dma_range *range = &dma->table->ranges[i];

		if (range->state != DMA_FREE && range->perm & DRIVER_PERM_WRITE && range->iova < below &&
			range->iova + range->size > end)
			end = range->iova + range->size;
	}
	return end;
}

static const struct dma_range *find_range(const struct dma *dma, uint64_t iova)
{
	const struct dma_range *range = find_overlap(dma, iova, 1);

	return range && range->state == DMA_MAPPED ? range : NULL;
}

bool dma_reaches(const struct dma *dma, uint64_t iova, uint64_t size, uint32_t perm)
{
	uint64_t left = size;

	if (!range_ok(iova, size))
		return false;
	while (left > 0) {
		const struct dma_range *range = find_range(dma, iova);
		uint64_t there;

		if (!range || (range->perm & perm) != perm)
			return false;
		there = range->size - (iova - range->iova);
		if (there >= left)
			return true;
		left -= there;
		iova += there;
	}
	return true;
}

int dma_unmap_all(struct dma *dma)
{
	int first = 0;

	for (size_t i = 0; i < DMA_MAX_RANGES; i++) {
		struct dma_range *range = &dma->table->ranges[i];
		int r = range->state != DMA_FREE ? take_back(dma, range) : 0;

		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}
