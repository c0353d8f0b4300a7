/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VFIO's system calls, one a function, and nothing else: what is decided is decided elsewhere, where it
 * can be tested. All work on descriptors that someone else opened; these stay the caller's.
 *
 * Source: Linux, Documentation/driver-api/vfio.rst and include/uapi/linux/vfio.h.
 * Each returns 0 or a negative errno of ioctl(2), and what it says besides.
 */
#ifndef DRIVERS_VIRTIO_VFIO_H
#define DRIVERS_VIRTIO_VFIO_H

#include <stddef.h>
#include <stdint.h>

#include "drivers/virtio/dma.h"

#define VFIO_MAX_AREAS	 8
#define VFIO_MAX_VECTORS 2048 /* of MSI-X */

struct vfio_iommu_type1_info;
struct vfio_region_info;

struct vfio_area {
	uint64_t offset; /* in the region */
	uint64_t size;
};

/**
 * struct vfio_region - a BAR, or configuration space.
 * @size:    bytes; 0: not there
 * @offset:  where it begins in the device's file
 * @n_areas: how many parts can be mapped; those beyond VFIO_MAX_AREAS are left out
 */
struct vfio_region {
	uint64_t size;
	uint64_t offset;
	size_t n_areas;
	struct vfio_area areas[VFIO_MAX_AREAS];
};

/** vfio_container_check() - -EPROTO another version; -EOPNOTSUPP no type 1 IOMMU, version 2. */
int vfio_container_check(int container);

/**
 * vfio_group_attach() - put a group into a container, and give that its IOMMU. Again: no effect.
 *
 * Return: also -EBUSY a device of the group has another driver.
 */
int vfio_group_attach(int group, int container);

/**
 * vfio_group_device() - a device of an attached group.
 * @name:   as PCI calls it: "0000:00:05.0"
 * @ret_fd: the caller's
 */
int vfio_group_device(int group, const char *name, int *ret_fd);

/**
 * struct vfio_iommu_facts - what an IOMMU can do.
 * @pages: bit n is set when pages of 2^n bytes can be mapped
 * @last:  the highest address that it translates; of a kernel that does not say, what all IOMMUs do
 */
struct vfio_iommu_facts {
	uint64_t pages;
	uint64_t last;
};

/** vfio_iommu_read() - of a container that has one. Return: also -EPROTO. */
int vfio_iommu_read(int container, struct vfio_iommu_facts *ret);

/** vfio_iommu_parse() - what the kernel said of an IOMMU: @size bytes, capabilities among them. */
int vfio_iommu_parse(const struct vfio_iommu_type1_info *info, size_t size, struct vfio_iommu_facts *ret);

/** vfio_region_read() - one of VFIO_PCI_BAR0_REGION_INDEX and those after it. */
int vfio_region_read(int device, uint32_t index, struct vfio_region *ret);

/**
 * vfio_region_parse() - what the kernel said of a region.
 * @info: @size bytes, capabilities behind it
 *
 * Return: 0; -EPROTO it contradicts itself.
 */
int vfio_region_parse(const struct vfio_region_info *info, size_t size, struct vfio_region *ret);

/**
 * vfio_irqs_begin() - switch MSI-X on, with so many vectors.
 * @eventfds: one a vector, signalled when it comes; -1: ignored
 * @n:        1..VFIO_MAX_VECTORS; their number does not change later
 *
 * Return: also -EINVAL.
 */
int vfio_irqs_begin(int device, const int *eventfds, size_t n);

/** vfio_irq_set() - replace the eventfd of one vector, while the device runs; -1 for none. */
int vfio_irq_set(int device, uint32_t vector, int eventfd);

/** vfio_irqs_end() - switch MSI-X off. Again: no effect. */
int vfio_irqs_end(int device);

/**
 * vfio_removal_watch() - have an eventfd signalled when the device is asked for by someone who takes it
 * away, or its bus reports an error that it does not survive; -1: not any more.
 *
 * Return: also -EINVAL the kernel tells neither.
 */
int vfio_removal_watch(int device, int eventfd);

/** vfio_device_reset() - a function level reset. Return: also -EOPNOTSUPP it has none. */
int vfio_device_reset(int device);

/** vfio_dma_ops - the IOMMU of a container; its argument is a pointer to the descriptor. */
extern const struct dma_ops vfio_dma_ops;

#endif
