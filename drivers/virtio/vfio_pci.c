/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registers of a window that was mapped are accessed where they are; all else by pread(2) and pwrite(2),
 * which the kernel carries out as one access of that width. Only pages that hold a structure of virtio
 * are mapped, and never one with a part of the table of MSI-X vectors: who writes there chooses which
 * address an interrupt goes to.
 */
#include "drivers/virtio/vfio_pci.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST_MAPPED (256ULL << 20) /* bytes: 65536 doorbells, a page each */

static struct vfio_pci *vfio_pci(struct pci_function *pci)
{
	return (struct vfio_pci *)pci;
}

static uint32_t region_read(struct vfio_pci *vfio, const struct vfio_region *region,
	uint64_t offset, unsigned int width)
{
	uint32_t value = 0;

	if (width > region->size || offset > region->size - width ||
		pread(vfio->fd, &value, width, (off_t)(region->offset + offset)) != (ssize_t)width)
		return UINT32_MAX >> (32 - 8 * width);
	return le32toh(value);
}

static void region_write(struct vfio_pci *vfio, const struct vfio_region *region, uint64_t offset,
	unsigned int width, uint32_t value)
{
	value = htole32(value);
	if (width > region->size || offset > region->size - width)
		return;
	/* As on a bus: nobody hears of a write that went nowhere. */
	if (pwrite(vfio->fd, &value, width, (off_t)(region->offset + offset)) < 0)
		return;
}

static uint32_t config_read(struct pci_function *pci, uint32_t offset, unsigned int width)
{
	struct vfio_pci *vfio = vfio_pci(pci);

	return region_read(vfio, &vfio->regions.config, offset, width);
}

static void config_write(struct pci_function *pci, uint32_t offset, unsigned int width,
	uint32_t value)
{
	struct vfio_pci *vfio = vfio_pci(pci);

	region_write(vfio, &vfio->regions.config, offset, width, value);
}

static uint64_t bar_size(struct pci_function *pci, unsigned int bar)
{
	if (config_read(pci, PCI_BASE_ADDRESS_0 + 4 * bar, 4) & PCI_BASE_ADDRESS_SPACE_IO)
		return 0;
	return vfio_pci(pci)->regions.bars[bar].size;
}

static volatile uint8_t *mapped(struct vfio_pci *vfio, unsigned int bar, uint64_t offset,
	uint64_t size)
{
	for (size_t i = 0; i < vfio->n_maps; i++) {
		const struct pci_window *pages = &vfio->maps[i].pages;

		if (pages->bar == bar &&
			pci_window_has(pages, offset - pages->offset, size))
			return vfio->maps[i].at + (offset - pages->offset);
	}
	return NULL;
}

static uint32_t bar_read(struct pci_function *pci, unsigned int bar, uint64_t offset,
	unsigned int width)
{
	struct vfio_pci *vfio = vfio_pci(pci);
	volatile uint8_t *at = mapped(vfio, bar, offset, width);

	if (!at)
		return region_read(vfio, &vfio->regions.bars[bar], offset, width);
	switch (width) {
	case 1:
		return *at;
	case 2:
		return le16toh(*(volatile uint16_t *)at);
	default:
		return le32toh(*(volatile uint32_t *)at);
	}
}

static void bar_write(struct pci_function *pci, unsigned int bar, uint64_t offset,
	unsigned int width, uint32_t value)
{
	struct vfio_pci *vfio = vfio_pci(pci);
	volatile uint8_t *at = mapped(vfio, bar, offset, width);

	if (!at) {
		region_write(vfio, &vfio->regions.bars[bar], offset, width, value);
		return;
	}
	/* What was written to memory before is there when the device hears of it. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	switch (width) {
	case 1:
		*at = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)at = htole16((uint16_t)value);
		break;
	default:
		*(volatile uint32_t *)at = htole32(value);
	}
}

static uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The pages in which a window lies. */
static struct pci_window pages_of(struct pci_window window)
{
	uint64_t page = page_size();
	uint64_t end = align_up(window.offset + window.size, page);

	window.offset &= ~(page - 1);
	window.size = end - window.offset;
	return window;
}

/* A BAR may be less than a page, and is alone in its page then. */
static bool may_be_mapped(const struct vfio_pci *vfio, const struct pci_window *pages)
{
	const struct vfio_region *region = &vfio->regions.bars[pages->bar];

	if (pci_windows_meet(pages, &vfio->msix.table))
		return false;
	for (size_t i = 0; i < region->n_areas; i++) {
		const struct vfio_area *area = &region->areas[i];
		uint64_t end = align_up(area->offset + area->size, page_size());

		if (area->size > 0 && pages->offset >= area->offset &&
			pages->offset + pages->size <= end)
			return true;
	}
	return false;
}

static volatile void *map(struct pci_function *pci, struct pci_window window)
{
	struct vfio_pci *vfio = vfio_pci(pci);
	struct pci_window bar = { .bar = window.bar }, pages;
	volatile uint8_t *at;
	void *memory;

	if (window.size == 0 || window.size > MOST_MAPPED || window.bar >= PCI_N_BARS)
		return NULL;
	/* In a BAR that is there, its sums do not wrap. */
	bar.size = vfio->regions.bars[window.bar].size;
	if (!pci_window_has(&bar, window.offset, window.size))
		return NULL;
	at = mapped(vfio, window.bar, window.offset, window.size);
	if (at)
		return at;
	pages = pages_of(window);
	if (vfio->n_maps == VFIO_PCI_MAX_MAPS || !may_be_mapped(vfio, &pages))
		return NULL;
	memory = mmap(NULL, pages.size, PROT_READ | PROT_WRITE, MAP_SHARED, vfio->fd,
		(off_t)(vfio->regions.bars[pages.bar].offset + pages.offset));
	if (memory == MAP_FAILED)
		return NULL;
	vfio->maps[vfio->n_maps++] = (struct vfio_pci_map){ .pages = pages, .at = memory };
	return mapped(vfio, window.bar, window.offset, window.size);
}

static const struct pci_ops vfio_pci_ops = {
	.config_read = config_read,
	.config_write = config_write,
	.bar_size = bar_size,
	.read = bar_read,
	.write = bar_write,
	.map = map,
};

int vfio_pci_regions_read(int device, struct vfio_pci_regions *ret)
{
	struct vfio_pci_regions regions;
	int r = vfio_region_read(device, VFIO_PCI_CONFIG_REGION_INDEX, &regions.config);

	for (uint32_t i = 0; r == 0 && i < PCI_N_BARS; i++)
		r = vfio_region_read(device, VFIO_PCI_BAR0_REGION_INDEX + i, &regions.bars[i]);
	if (r < 0)
		return r;
	*ret = regions;
	return 0;
}

int vfio_pci_open(int device, const struct vfio_pci_regions *regions, struct vfio_pci *ret)
{
	struct vfio_pci vfio = {
		.pci.ops = &vfio_pci_ops,
		.fd = device,
		.regions = *regions,
	};
	int r;

	if (regions->config.size < PCI_CONFIG_SIZE)
		return -EPROTO;
	r = pci_msix_read(&vfio.pci, &vfio.msix);
	if (r < 0)
		return r;
	*ret = vfio;
	return 0;
}

void vfio_pci_close(struct vfio_pci *vfio)
{
	while (vfio->n_maps > 0) {
		const struct vfio_pci_map *last = &vfio->maps[--vfio->n_maps];

		munmap(last->at, last->pages.size);
	}
}

int vfio_pci_page(const struct vfio_pci *vfio, struct pci_window window, uint64_t *ret)
{
	const struct pci_window pages = pages_of(window);

	if (window.bar >= PCI_N_BARS || !may_be_mapped(vfio, &pages))
		return -EOPNOTSUPP;
	*ret = vfio->regions.bars[window.bar].offset + pages.offset;
	return 0;
}
