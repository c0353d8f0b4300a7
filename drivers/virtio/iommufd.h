/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's other way to a device and its IOMMU: a device file of its own instead of a group's, and an
 * IOMMU without a container. Once a device is attached, requests of vfio.h go to both as they do to a device
 * and a container: @vfio_dma_ops and vfio_iommu_read() take the iommufd. See decision 25.
 *
 * Source: Linux, Documentation/userspace-api/iommufd.rst, include/uapi/linux/iommufd.h (6.2 and later), and
 * include/uapi/linux/vfio.h (6.6 and later).
 * Each returns 0 or a negative errno of ioctl(2), and what it says besides. Descriptors stay the caller's.
 */
#ifndef DRIVERS_VIRTIO_IOMMUFD_H
#define DRIVERS_VIRTIO_IOMMUFD_H

#include <stdint.h>

/**
 * iommufd_begin() - make an address space, empty, and have it be the one that a container's requests are for.
 * @iommufd: just opened
 * @ret:     what the kernel calls it
 *
 * Return: also -EPROTO it does not speak as containers do.
 */
int iommufd_begin(int iommufd, uint32_t *ret);

/**
 * iommufd_bind() - have a device's file belong to an iommufd. Before, it answers nothing else.
 *
 * Return: also -EINVAL somebody has the device open; -EBUSY somebody has its group, or a device that the
 *         IOMMU can't keep apart from it has a driver of the kernel.
 */
int iommufd_bind(int device, int iommufd);

/**
 * iommufd_attach() - put a bound device into an address space. All that it reaches is mapped there.
 *
 * Return: also -EPERM its interrupts can't be kept apart.
 */
int iommufd_attach(int device, uint32_t space);

#endif
