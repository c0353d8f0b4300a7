/* SPDX-License-Identifier: BSD-2-Clause */
/* The transport to a function that is not there: as a bus without it, and an IOMMU without its group. */
#include <errno.h>

#include "drivers/virtio/transport.h"

static uint32_t config_read(struct pci_function *pci, uint32_t offset, unsigned int width)
{
	return UINT32_MAX >> (32 - 8 * width);
}

static void config_write(struct pci_function *pci, uint32_t offset, unsigned int width, uint32_t value)
{
}

static uint64_t bar_size(struct pci_function *pci, unsigned int bar)
{
	return 0;
}

static uint32_t bar_read(struct pci_function *pci, unsigned int bar, uint64_t offset, unsigned int width)
{
	return UINT32_MAX >> (32 - 8 * width);
}

static void bar_write(struct pci_function *pci, unsigned int bar, uint64_t offset, unsigned int width,
	uint32_t value)
{
}

static volatile void *map_window(struct pci_function *pci, struct pci_window window)
{
	return NULL;
}

static const struct pci_ops absent_pci_ops = {
	.config_read = config_read,
	.config_write = config_write,
	.bar_size = bar_size,
	.read = bar_read,
	.write = bar_write,
	.map = map_window,
};

static struct pci_function absent_pci = { .ops = &absent_pci_ops };

static int dma_map_none(void *arg, void *memory, uint64_t iova, uint64_t size, uint32_t perm)
{
	return -ENODEV;
}

static int dma_unmap_none(void *arg, uint64_t iova, uint64_t size)
{
	return -ENODEV;
}

static const struct dma_ops absent_dma_ops = {
	.map = dma_map_none,
	.unmap = dma_unmap_none,
};

static void free_none(struct virtio_transport *transport)
{
}

static int irqs_begin(struct virtio_transport *transport, const int *eventfds, size_t n)
{
	return -ENODEV;
}

static int irq_set(struct virtio_transport *transport, uint32_t vector, int eventfd)
{
	return -ENODEV;
}

static int nothing_to_do(struct virtio_transport *transport)
{
	return -ENODEV;
}

static int watch_removal(struct virtio_transport *transport, int eventfd)
{
	return -ENODEV;
}

static int page(struct virtio_transport *transport, struct pci_window window, int *ret_fd,
	uint64_t *ret_offset)
{
	return -ENODEV;
}

static const struct virtio_transport_ops absent_ops = {
	.free = free_none,
	.irqs_begin = irqs_begin,
	.irq_set = irq_set,
	.irqs_end = nothing_to_do,
	.watch_removal = watch_removal,
	.page = page,
	.reset = nothing_to_do,
};

struct virtio_transport virtio_absent = {
	.ops = &absent_ops,
	.pci = &absent_pci,
	.dma = &absent_dma_ops,
	.page_size = 4096,
};
