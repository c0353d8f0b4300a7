/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PCI function, as far as virtio needs it: configuration space, and registers in memory BARs. Who
 * uses it does not know whether VFIO is behind it.
 *
 * Accesses fail as they do on a bus: what can't be read is all ones, and what can't be written is
 * lost. So a function that is gone needs one check, where its registers are read, and not one at each
 * access. Values are in the host's byte order, registers in little-endian.
 */
#ifndef DRIVERS_VIRTIO_PCI_H
#define DRIVERS_VIRTIO_PCI_H

#include <stddef.h>
#include <stdint.h>

#include "vdpa/base/bits.h"

#define PCI_N_BARS	 6
#define PCI_CONFIG_SIZE	 256 /* bytes; capabilities of virtio are not in the extended space */

/* Registers in a BAR, bytes. */
struct pci_window {
	uint64_t offset;
	uint64_t size; /* 0: there is none */
	uint8_t bar;   /* below PCI_N_BARS */
};

struct pci_function {
	const struct pci_ops *ops;
};

struct pci_ops {
	/**
	 * @config_read, @config_write: @width is 1, 2 or 4 bytes; @offset is a multiple of it, and the
	 * access ends within PCI_CONFIG_SIZE.
	 */
	uint32_t (*config_read)(struct pci_function *pci, uint32_t offset, unsigned int width);
	void (*config_write)(struct pci_function *pci, uint32_t offset, unsigned int width,
		uint32_t value);

	/** @bar_size: bytes of a memory BAR; 0: it is not there, or no memory. */
	uint64_t (*bar_size)(struct pci_function *pci, unsigned int bar);

	/**
	 * @read, @write: one access of exactly @width bytes, 1, 2 or 4: virtio has no register that
	 * wants 8 at once (virtio 1.2, 4.1.3.1). @offset is a multiple of it, and the access lies in
	 * the BAR.
	 */
	uint32_t (*read)(struct pci_function *pci, unsigned int bar, uint64_t offset,
		unsigned int width);
	void (*write)(struct pci_function *pci, unsigned int bar, uint64_t offset,
		unsigned int width, uint32_t value);

	/**
	 * @map: make accesses to @window fast, by mapping it. It stays mapped as long as the function
	 * is open.
	 * Return: its first byte; NULL when it can't be mapped, as it shares a page with the table of
	 * MSI-X vectors; @read and @write work all the same.
	 */
	volatile void *(*map)(struct pci_function *pci, struct pci_window window);
};

static inline uint32_t pci_config_read(struct pci_function *pci, uint32_t offset,
	unsigned int width)
{
	return pci->ops->config_read(pci, offset, width);
}

/** pci_window_has() - true when [offset, offset + size) lies in the window. */
static inline bool pci_window_has(const struct pci_window *window, uint64_t offset, uint64_t size)
{
	return size <= window->size && offset <= window->size - size;
}

/** pci_windows_meet() - true when two windows, whose sums don't wrap, share a byte. */
static inline bool pci_windows_meet(const struct pci_window *a, const struct pci_window *b)
{
	return a->size > 0 && b->size > 0 && a->bar == b->bar && a->offset < b->offset + b->size &&
	       b->offset < a->offset + a->size;
}

/** pci_read() - a register of a window; all ones when it is not in it. */
static inline uint32_t pci_read(struct pci_function *pci, const struct pci_window *window,
	uint64_t offset, unsigned int width)
{
	if (!pci_window_has(window, offset, width))
		return UINT32_MAX >> (32 - 8 * width);
	return pci->ops->read(pci, window->bar, window->offset + offset, width);
}

/** pci_write() - nothing when it is not in the window. */
static inline void pci_write(struct pci_function *pci, const struct pci_window *window,
	uint64_t offset, unsigned int width, uint32_t value)
{
	if (pci_window_has(window, offset, width))
		pci->ops->write(pci, window->bar, window->offset + offset, width, value);
}

/** pci_write64() - a register of 64 bits, as its two halves. Source: virtio 1.2, 4.1.3.1. */
static inline void pci_write64(struct pci_function *pci, const struct pci_window *window,
	uint64_t offset, uint64_t value)
{
	pci_write(pci, window, offset, 4, (uint32_t)value);
	pci_write(pci, window, offset + 4, 4, (uint32_t)(value >> 32));
}

/**
 * pci_dma_allow() - let a function answer at its BARs, reach memory, and send interrupts. Again: no
 * effect.
 *
 * Source: PCI Local Bus 3.0, 6.2.2.
 * Return: 0; -ENODEV; -EIO it does not keep it.
 */
int pci_dma_allow(struct pci_function *pci);

/**
 * pci_dma_forbid() - keep a function from reaching memory, whatever it is at: what is left for one that
 * does not obey a reset. Its BARs answer still.
 *
 * Return: 0; -ENODEV; -EIO it does not keep it, and may reach memory still.
 */
int pci_dma_forbid(struct pci_function *pci);

#endif
