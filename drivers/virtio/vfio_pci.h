/* SPDX-License-Identifier: BSD-2-Clause */
/* A PCI function behind a VFIO device's file. */
#ifndef DRIVERS_VIRTIO_VFIO_PCI_H
#define DRIVERS_VIRTIO_VFIO_PCI_H

#include "drivers/virtio/layout.h"
#include "drivers/virtio/pci.h"
#include "drivers/virtio/vfio.h"

#define VFIO_PCI_MAX_MAPS 4

/* Where a function's regions are in the file. */
struct vfio_pci_regions {
	struct vfio_region bars[PCI_N_BARS];
	struct vfio_region config;
};

struct vfio_pci_map {
	struct pci_window pages;
	uint8_t *at;
};

struct vfio_pci {
	struct pci_function pci; /* first */
	int fd;
	struct vfio_pci_regions regions;
	struct pci_msix msix;
	size_t n_maps;
	struct vfio_pci_map maps[VFIO_PCI_MAX_MAPS];
};

/** vfio_pci_regions_read() - ask the kernel. Return: 0; a negative errno of vfio_region_read(). */
int vfio_pci_regions_read(int device, struct vfio_pci_regions *ret);

/**
 * vfio_pci_open() - reach a function by its file.
 * @device: the caller's; outlives @ret
 * @ret:    written on success only; released by vfio_pci_close()
 *
 * Registers are read and written by system calls until they are mapped, and so are those that can't
 * be: VFIO does not let the table of MSI-X vectors be mapped everywhere, and it is none of ours.
 *
 * Return: 0; -ENODEV the function does not answer; -EPROTO it has no configuration space, or a bad
 *         list of capabilities.
 */
int vfio_pci_open(int device, const struct vfio_pci_regions *regions, struct vfio_pci *ret);
void vfio_pci_close(struct vfio_pci *vfio);

/**
 * vfio_pci_page() - where in the file the page is that a window begins in.
 *
 * Return: 0; -EOPNOTSUPP it can't be mapped, or vectors' table shares it.
 */
int vfio_pci_page(const struct vfio_pci *vfio, struct pci_window window, uint64_t *ret);

#endif
