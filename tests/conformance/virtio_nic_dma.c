/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mremap(2) of no bytes makes a second mapping of memory that is shared. So the caller may unmap its
 * own, as it may with pages that the kernel pinned, and guest memory is still reached.
 */
#include "tests/conformance/virtio_nic_dma.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "vdpa/base/bits.h"
#include "vdpa/driver.h"

#define PAGE 4096U

static uint64_t range_last(const struct nic_range *range)
{
	return range->iova + (range->size - 1);
}

/* The first range that has something of [iova, iova + size). */
static struct nic_range *find(struct nic_dma *dma, uint64_t iova, uint64_t size)
{
	for (size_t i = 0; i < dma->n; i++) {
		struct nic_range *range = &dma->ranges[i];

		if (iova <= range_last(range) && range->iova <= iova + (size - 1))
			return range;
	}
	return NULL;
}

int nic_dma_map(struct nic_dma *dma, void *memory, uint64_t iova, uint64_t size, uint32_t perm)
{
	void *own;

	if (!range_ok(iova, size) || (iova | size | (uintptr_t)memory) % PAGE != 0 || perm == 0)
		return -EINVAL;
	if (find(dma, iova, size))
		return -EEXIST;
	if (dma->n == NIC_MAX_RANGES)
		return -ENOSPC;
	own = mremap(memory, 0, size, MREMAP_MAYMOVE);
	if (own == MAP_FAILED)
		return -EINVAL;
	dma->ranges[dma->n++] = (struct nic_range){ iova, size, perm, own };
	return 0;
}

static void forget(struct nic_dma *dma, struct nic_range *range)
{
	munmap(range->memory, range->size);
	*range = dma->ranges[--dma->n];
}

int nic_dma_unmap(struct nic_dma *dma, uint64_t iova, uint64_t size)
{
	struct nic_range *range = range_ok(iova, size) ? find(dma, iova, size) : NULL;

	if (!range)
		return 0;
	if (range->iova != iova || range->size != size)
		return -EINVAL;
	forget(dma, range);
	return 0;
}

void nic_dma_unmap_all(struct nic_dma *dma)
{
	while (dma->n > 0)
		forget(dma, &dma->ranges[0]);
}

/* Memory of [iova, iova + *@size), of which *@size is made what lies in one range. NULL: a fault. */
static uint8_t *reach(struct nic_dma *dma, uint64_t iova, uint64_t *size, uint32_t perm)
{
	const struct nic_range *range = find(dma, iova, 1);
	uint64_t left;

	if (!range || (range->perm & perm) != perm) {
		dma->faults++;
		dma->last_fault = iova;
		return NULL;
	}
	left = range_last(range) - iova + 1;
	if (*size > left)
		*size = left;
	return range->memory + (iova - range->iova);
}

static bool reaches_all(struct nic_dma *dma, uint64_t iova, uint64_t size, uint32_t perm)
{
	for (uint64_t n; size > 0; iova += n, size -= n) {
		n = size;
		if (!reach(dma, iova, &n, perm))
			return false;
	}
	return true;
}

int nic_dma_read(struct nic_dma *dma, uint64_t iova, void *to, uint64_t size)
{
	uint8_t *at = to;

	if (!reaches_all(dma, iova, size, DRIVER_PERM_READ))
		return -EFAULT;
	for (uint64_t n; size > 0; iova += n, at += n, size -= n) {
		n = size;
		memcpy(at, reach(dma, iova, &n, DRIVER_PERM_READ), n);
	}
	return 0;
}

int nic_dma_write(struct nic_dma *dma, uint64_t iova, const void *from, uint64_t size)
{
	const uint8_t *at = from;

	if (!reaches_all(dma, iova, size, DRIVER_PERM_WRITE))
		return -EFAULT;
	for (uint64_t n; size > 0; iova += n, at += n, size -= n) {
		n = size;
		memcpy(reach(dma, iova, &n, DRIVER_PERM_WRITE), at, n);
	}
	return 0;
}

int nic_dma_or8(struct nic_dma *dma, uint64_t iova, uint8_t bits)
{
	uint64_t size = 1;
	uint8_t *at = reach(dma, iova, &size, DRIVER_PERM_READ | DRIVER_PERM_WRITE);

	if (!at)
		return -EFAULT;
	__atomic_fetch_or(at, bits, __ATOMIC_SEQ_CST);
	return 0;
}

/* It is never in two pages, since virtio aligns what both sides look at. */
static uint16_t *reach16(struct nic_dma *dma, uint64_t iova, uint32_t perm)
{
	uint64_t size = sizeof(uint16_t);

	return iova % sizeof(uint16_t) == 0 ? (uint16_t *)(void *)reach(dma, iova, &size, perm) :
					      NULL;
}

int nic_dma_load16(struct nic_dma *dma, uint64_t iova, uint16_t *ret)
{
	const uint16_t *at = reach16(dma, iova, DRIVER_PERM_READ);

	if (!at)
		return -EFAULT;
	*ret = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	return 0;
}

int nic_dma_store16(struct nic_dma *dma, uint64_t iova, uint16_t value)
{
	uint16_t *at = reach16(dma, iova, DRIVER_PERM_WRITE);

	if (!at)
		return -EFAULT;
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
	return 0;
}
