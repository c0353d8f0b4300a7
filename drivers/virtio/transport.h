/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All that the driver needs to reach a function: its registers, the IOMMU in front of it, and its
 * interrupts. vfio_transport.c has the kernel behind it, tests have a model.
 *
 * Descriptors are lent for a call, unless said otherwise. What returns an int returns 0 or a negative
 * errno.
 */
#ifndef DRIVERS_VIRTIO_TRANSPORT_H
#define DRIVERS_VIRTIO_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

#include "drivers/virtio/dma.h"
#include "drivers/virtio/pci.h"

struct virtio_transport;

struct virtio_transport_ops {
	/** @free: release the transport. The function goes on as it is. */
	void (*free)(struct virtio_transport *transport);

	/**
	 * @irqs_begin: switch MSI-X on; again, with the same number: replaces all.
	 * @eventfds: one a vector, signalled when it comes, without anyone's help; -1: ignored
	 * @n: 1..n_vectors of the function
	 */
	int (*irqs_begin)(struct virtio_transport *transport, const int *eventfds, size_t n);

	/** @irq_set: replace the eventfd of one vector, below @n, while the device runs; -1 for none. */
	int (*irq_set)(struct virtio_transport *transport, uint32_t vector, int eventfd);

	/** @irqs_end: switch MSI-X off. Again: no effect. */
	int (*irqs_end)(struct virtio_transport *transport);

	/**
	 * @watch_removal: have an eventfd signalled when the function is to be given up: its bus told of
	 * an error, or someone wants to take it away. Return: also -EOPNOTSUPP nothing tells.
	 */
	int (*watch_removal)(struct virtio_transport *transport, int eventfd);

	/**
	 * @page: the host's page that @window lies in, for another process to map.
	 * @ret_fd: the caller's. @ret_offset: of the page in it, bytes
	 * Return: also -EOPNOTSUPP it can't be mapped, or more than registers of @window's kind is there.
	 */
	int (*page)(struct virtio_transport *transport, struct pci_window window, int *ret_fd,
		uint64_t *ret_offset);

	/** @reset: a function level reset, which takes 100 ms and more. Return: also -EOPNOTSUPP. */
	int (*reset)(struct virtio_transport *transport);
};

/**
 * struct virtio_transport - each kind embeds it.
 * @pci:       registers
 * @dma, @dma_arg: the IOMMU
 * @page_size: bytes, a power of two: what the IOMMU maps at least, and no less than a page of ours
 * @last_iova: the highest address that it translates
 */
struct virtio_transport {
	const struct virtio_transport_ops *ops;
	struct pci_function *pci;
	const struct dma_ops *dma;
	void *dma_arg;
	uint64_t page_size;
	uint64_t last_iova;
};

/** virtio_absent - to a function that is gone and that nobody holds any more: all says -ENODEV. */
extern struct virtio_transport virtio_absent;

/**
 * vfio_transport_open() - over VFIO.
 * @container: with the group and its IOMMU; the caller's, outlives @ret
 * @device:    the same
 *
 * Return: 0; -ENODEV; -EPROTO; -ENOMEM; another error of ioctl(2).
 */
int vfio_transport_open(int container, int device, struct virtio_transport **ret);

/**
 * vfio_transport_of() - the same of what vdpad opens for a driver: a container, and a device in it.
 * Return: also -EINVAL not as many.
 */
int vfio_transport_of(const int *fds, size_t n_fds, struct virtio_transport **ret);

#endif
