/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The IOMMU in front of a function of virtio_nic.h: which memory the function reaches. The caller has
 * the NIC's lock.
 */
#ifndef TESTS_VIRTIO_NIC_DMA_H
#define TESTS_VIRTIO_NIC_DMA_H

#include <stddef.h>
#include <stdint.h>

#define NIC_MAX_RANGES 64

struct nic_range {
	uint64_t iova, size;
	uint32_t perm;
	uint8_t *memory;
};

/* Zeros: nothing is mapped. */
struct nic_dma {
	struct nic_range ranges[NIC_MAX_RANGES];
	size_t n;
	unsigned int faults; /* accesses that found nothing, or not the right */
	uint64_t last_fault;
};

/**
 * nic_dma_map() - as @map of struct dma_ops: @memory is remembered by a mapping of its own, as pages
 * that are pinned are.
 * Return: 0; -EINVAL no whole pages, or not shared; -EEXIST overlaps; -ENOSPC.
 */
int nic_dma_map(struct nic_dma *dma, void *memory, uint64_t iova, uint64_t size, uint32_t perm);

/** nic_dma_unmap() - as @unmap of struct dma_ops. Return: 0; -EINVAL a part of a range, or several. */
int nic_dma_unmap(struct nic_dma *dma, uint64_t iova, uint64_t size);

/** nic_dma_unmap_all() - forget all ranges. */
void nic_dma_unmap_all(struct nic_dma *dma);

/**
 * nic_dma_read(), nic_dma_write() - bytes of memory.
 * Return: 0; -EFAULT a part of it is not mapped for this: nothing of it is written.
 */
int nic_dma_read(struct nic_dma *dma, uint64_t iova, void *to, uint64_t size);
int nic_dma_write(struct nic_dma *dma, uint64_t iova, const void *from, uint64_t size);

/** nic_dma_or8() - set bits of a byte that others set and clear as well. Return: 0; -EFAULT. */
int nic_dma_or8(struct nic_dma *dma, uint64_t iova, uint8_t bits);

/**
 * nic_dma_load16(), nic_dma_store16() - 16 bits that both sides look at: what is read after the load,
 * and written before the store, is so for the other side as well.
 * Return: 0; -EFAULT.
 */
int nic_dma_load16(struct nic_dma *dma, uint64_t iova, uint16_t *ret);
int nic_dma_store16(struct nic_dma *dma, uint64_t iova, uint16_t value);

#endif
