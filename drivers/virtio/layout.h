/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a virtio function has its registers: read from its capabilities, none of which is trusted. */
#ifndef DRIVERS_VIRTIO_LAYOUT_H
#define DRIVERS_VIRTIO_LAYOUT_H

#include "drivers/virtio/pci.h"

#define VIRTIO_COMMON_MIN_SIZE 56 /* bytes: up to queue_device */

/**
 * struct virtio_layout - the structures of a function.
 * @common:      at least VIRTIO_COMMON_MIN_SIZE, a multiple of 4 in its BAR
 * @notify:      where queues are notified; at least 2, a multiple of 2
 * @isr:         interrupt status, at least 1; of no use with MSI-X; may not be there
 * @device:      virtio-net's configuration; a multiple of 4; may not be there
 * @notify_multiplier: bytes from one queue_notify_off to the next; 0, or a power of two from 2 up
 * @pci_access:  offset in configuration space of the capability that reaches BARs; 0: none
 */
struct virtio_layout {
	struct pci_window common;
	struct pci_window notify;
	struct pci_window isr;
	struct pci_window device;
	uint32_t notify_multiplier;
	uint8_t pci_access;
};

/**
 * struct pci_msix - interrupt vectors.
 * @n_vectors: 0: the function has no MSI-X; else 1..2048
 * @table:     where their table is, 16 bytes each; the host's, never to be mapped or written
 */
struct pci_msix {
	uint32_t n_vectors;
	struct pci_window table;
};

/**
 * virtio_is_net() - whether this is a virtio-net function, by its numbers.
 *
 * Source: virtio 1.2, 4.1.2. A transitional one is told by its subsystem.
 * Return: 0; -ENODEV nothing answers; -EPROTO it is something else.
 */
int virtio_is_net(struct pci_function *pci);

/**
 * virtio_layout_read() - find the structures.
 * @ret: written on success only
 *
 * Of each kind the first that can be used is taken: one of an unknown kind, in a BAR that is not
 * there, or that does not fit in it, is passed over. A list of capabilities that has no end, or leaves
 * the space for it, is refused. BARs are not touched.
 *
 * Source: virtio 1.2, 4.1.4.
 * Return: 0; -ENODEV nothing answers; -EPROTO a bad list, or no common configuration or
 *         notification structure in it.
 */
int virtio_layout_read(struct pci_function *pci, struct virtio_layout *ret);

/**
 * pci_msix_read() - find the MSI-X vectors.
 * @ret: written on success only
 *
 * Source: PCI Local Bus 3.0, 6.8.2.
 * Return: 0, also when there are none; -ENODEV; -EPROTO a bad list, or a table outside its BAR.
 */
int pci_msix_read(struct pci_function *pci, struct pci_msix *ret);

#endif
