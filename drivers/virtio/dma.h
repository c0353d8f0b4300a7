/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which memory a device reaches: a table of ranges, changed by difference. The table is plain memory
 * that may outlive the process, so that the next one knows what the IOMMU still has.
 */
#ifndef DRIVERS_VIRTIO_DMA_H
#define DRIVERS_VIRTIO_DMA_H

#include <stdbool.h>
#include <stdint.h>

#include "vdpa/driver.h"

#define DMA_MAX_RANGES 1024

/* What changes an IOMMU; vfio.h has the real one. */
struct dma_ops {
	/**
	 * @map: let the device reach @size bytes at @memory of this process as [@iova, @iova +
	 * @size); all are pinned, and @memory may be unmapped afterwards.
	 * @perm: DRIVER_PERM_ bits
	 * Return: 0, or a negative errno and nothing is mapped.
	 */
	int (*map)(void *arg, void *memory, uint64_t iova, uint64_t size, uint32_t perm);

	/** @unmap: a range that was mapped, whole, or nothing of it was. Return: 0; a negative errno. */
	int (*unmap)(void *arg, uint64_t iova, uint64_t size);
};

enum dma_state {
	DMA_FREE,
	DMA_PENDING, /* the IOMMU may have it or not */
	DMA_MAPPED,
};

/* A range, and the file behind it. */
struct dma_range {
	uint64_t iova;
	uint64_t size;
	uint64_t offset;
	uint64_t device, inode;
	uint32_t perm;
	uint32_t state; /* enum dma_state */
};

/* Zeros: an empty one. */
struct dma_table {
	struct dma_range ranges[DMA_MAX_RANGES];
};

/**
 * struct dma - what is needed to change it; one thread uses it.
 * @arg:       for @ops
 * @page_size: bytes, a power of two: what the IOMMU can map at least, and no less than a page of ours
 * @table:     the caller's
 */
struct dma {
	const struct dma_ops *ops;
	void *arg;
	uint64_t page_size;
	struct dma_table *table;
};

/**
 * dma_open() - go on with a table that a process before may have left.
 *
 * What it was at when it ended is taken back: to map it again has an effect then.
 * Return: 0; -EPROTO the table is none that these functions write; an error of @ops->unmap.
 */
int dma_open(struct dma *dma);

/**
 * dma_map() - let the device reach a range; see @map of struct driver_ops. What is mapped already, from
 * the same place of the same file and with the same rights: no effect. It takes as long as the system
 * needs to pin all of it.
 *
 * Return: 0; -EEXIST overlaps; -ENOSPC too many; -EINVAL empty, wraps, no rights, not whole pages, or
 *         the file is no memory, too short, or not open for this; -ENOMEM; an error of
 *         @ops->map.
 */
int dma_map(struct dma *dma, const struct driver_map *map);

/**
 * dma_unmap() - take a range back, whole as it was mapped. What is not mapped: no effect.
 *
 * Return: 0; -EINVAL a part of a range, or of several; an error of @ops->unmap: the device may reach it
 *         still, and it can be asked again.
 */
int dma_unmap(struct dma *dma, uint64_t iova, uint64_t size);

/**
 * dma_map_bytes(), dma_unmap_bytes() - the same for bytes that are no whole pages: the device reaches all of
 * each page that has one of them, also where the file ends within its last page.
 * @map: @iova and @offset are as far behind the begin of a page, and all bytes are in the file
 */
int dma_map_bytes(struct dma *dma, const struct driver_map *map);
int dma_unmap_bytes(struct dma *dma, uint64_t iova, uint64_t size);

/** dma_writable_end() - of the ranges that begin below @below, where the last one that is written ends. */
uint64_t dma_writable_end(const struct dma *dma, uint64_t below);

/** dma_reaches() - does the device reach all of [@iova, @iova + @size) with the rights @perm? */
bool dma_reaches(const struct dma *dma, uint64_t iova, uint64_t size, uint32_t perm);

/** dma_unmap_all() - take all back. Return: 0; the first error of @ops->unmap; all were asked for. */
int dma_unmap_all(struct dma *dma);

#endif
