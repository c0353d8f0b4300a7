/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/vfio.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vdpa/base/cleanup.h"

#define MOST_INFO   65536 /* bytes that the kernel may say of a region, or of an IOMMU */
#define LAST_OF_ALL ((1ULL << 39) - 1)

static int call(int fd, unsigned long request, void *arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

int vfio_container_check(int container)
{
	int r = call(container, VFIO_GET_API_VERSION, NULL);

	if (r < 0)
		return r;
	if (r != VFIO_API_VERSION)
		return -EPROTO;
	r = ioctl(container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU);
	if (r < 0)
		return -errno;
	return r > 0 ? 0 : -EOPNOTSUPP;
}

int vfio_group_attach(int group, int container)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	struct vfio_iommu_facts facts;
	int r = call(group, VFIO_GROUP_GET_STATUS, &status);

	if (r < 0)
		return r;
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return -EBUSY;
	if (!(status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET)) {
		r = call(group, VFIO_GROUP_SET_CONTAINER, &container);
		if (r < 0)
			return r;
	}
	/* A container that has its IOMMU refuses to get one. */
	if (vfio_iommu_read(container, &facts) == 0)
		return 0;
	return ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0 ? -errno : 0;
}

int vfio_group_device(int group, const char *name, int *ret_fd)
{
	int fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/*
 * Of @size bytes that the kernel said, the first @head of which are no capabilities. Kernels before 6.6 put
 * one behind the other without a gap, so what is in them may lie anywhere that 4 divides.
 */
static const struct vfio_info_cap_header *capability_in(const void *info, size_t size, size_t head,
	size_t at, size_t cap_size)
{
	if (at < head || at % 4 != 0 || at > size || size - at < cap_size)
		return NULL;
	return (const void *)((const char *)info + at);
}

static int parse_ranges(const struct vfio_iommu_type1_info *info, size_t size, size_t at, uint64_t *ret)
{
	struct vfio_iommu_type1_info_cap_iova_range ranges;
	const char *said = (const void *)capability_in(info, size, sizeof(*info), at, sizeof(ranges));

	if (!said)
		return -EPROTO;
	memcpy(&ranges, said, sizeof(ranges));
	if (ranges.nr_iovas == 0 ||
		ranges.nr_iovas > (size - at - sizeof(ranges)) / sizeof(struct vfio_iova_range))
		return -EPROTO;
	*ret = 0;
	for (uint32_t i = 0; i < ranges.nr_iovas; i++) {
		struct vfio_iova_range range;

		memcpy(&range, said + sizeof(ranges) + i * sizeof(range), sizeof(range));
		if (range.end > *ret)
			*ret = range.end;
	}
	return 0;
}

int vfio_iommu_parse(const struct vfio_iommu_type1_info *info, size_t size, struct vfio_iommu_facts *ret)
{
	struct vfio_iommu_facts facts = { .pages = info->iova_pgsizes, .last = LAST_OF_ALL };
	size_t at = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0;

	if (!(info->flags & VFIO_IOMMU_INFO_PGSIZES) || info->iova_pgsizes == 0)
		return -EPROTO;
	for (size_t n = 0; at != 0; n++) {
		const struct vfio_info_cap_header *cap =
			capability_in(info, size, sizeof(*info), at, sizeof(*cap));
		int r = 0;

		if (!cap || n == size / sizeof(*cap))
			return -EPROTO;
		if (cap->id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			r = parse_ranges(info, size, at, &facts.last);
		if (r < 0)
			return r;
		at = cap->next;
	}
	*ret = facts;
	return 0;
}

int vfio_iommu_read(int container, struct vfio_iommu_facts *ret)
{
	struct vfio_iommu_type1_info head = { .argsz = sizeof(head) };
	_cleanup_free_ struct vfio_iommu_type1_info *info = NULL;
	size_t size;
	int r = call(container, VFIO_IOMMU_GET_INFO, &head);

	if (r < 0)
		return r;
	/* It has more to say than fits: how much is in argsz now. */
	size = head.argsz > sizeof(head) ? head.argsz : sizeof(head);
	if (size > MOST_INFO)
		return -EPROTO;
	info = calloc(1, size);
	if (!info)
		return -ENOMEM;
	info->argsz = (uint32_t)size;
	r = call(container, VFIO_IOMMU_GET_INFO, info);
	return r < 0 ? r : vfio_iommu_parse(info, size, ret);
}

static const struct vfio_info_cap_header *capability(const struct vfio_region_info *info,
	size_t size, size_t at, size_t cap_size)
{
	return capability_in(info, size, sizeof(*info), at, cap_size);
}

static int parse_areas(const struct vfio_region_info *info, size_t size, size_t at,
	struct vfio_region *region)
{
	struct vfio_region_info_cap_sparse_mmap sparse;
	const char *said = (const void *)capability(info, size, at, sizeof(sparse));

	if (!said)
		return -EPROTO;
	memcpy(&sparse, said, sizeof(sparse));
	if (sparse.nr_areas > (size - at - sizeof(sparse)) / sizeof(struct vfio_region_sparse_mmap_area))
		return -EPROTO;
	region->n_areas = 0;
	for (uint32_t i = 0; i < sparse.nr_areas && i < VFIO_MAX_AREAS; i++) {
		struct vfio_region_sparse_mmap_area mmaps;
		struct vfio_area area;

		memcpy(&mmaps, said + sizeof(sparse) + i * sizeof(mmaps), sizeof(mmaps));
		area = (struct vfio_area){ mmaps.offset, mmaps.size };

		if (area.size > region->size || area.offset > region->size - area.size)
			return -EPROTO;
		region->areas[region->n_areas++] = area;
	}
	return 0;
}

int vfio_region_parse(const struct vfio_region_info *info, size_t size, struct vfio_region *ret)
{
	struct vfio_region region = { .size = info->size, .offset = info->offset };
	size_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;

	if (region.size > INT64_MAX || region.offset > INT64_MAX - region.size)
		return -EPROTO;
	if (info->flags & VFIO_REGION_INFO_FLAG_MMAP) {
		region.n_areas = 1;
		region.areas[0] = (struct vfio_area){ 0, region.size };
	}
	for (size_t n = 0; at != 0 && region.n_areas > 0; n++) {
		const struct vfio_info_cap_header *cap =
			capability(info, size, at, sizeof(*cap));

		if (!cap || n == size / sizeof(*cap))
			return -EPROTO;
		if (cap->id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
			int r = parse_areas(info, size, at, &region);

			if (r < 0)
				return r;
		}
		at = cap->next;
	}
	*ret = region;
	return 0;
}

int vfio_region_read(int device, uint32_t index, struct vfio_region *ret)
{
	struct vfio_region_info head = { .argsz = sizeof(head), .index = index };
	_cleanup_free_ struct vfio_region_info *info = NULL;
	size_t size;
	int r = call(device, VFIO_DEVICE_GET_REGION_INFO, &head);

	if (r < 0)
		return r;
	/* It has more to say than fits: how much is in argsz now. */
	size = head.argsz > sizeof(head) ? head.argsz : sizeof(head);
	if (size > MOST_INFO)
		return -EPROTO;
	info = calloc(1, size);
	if (!info)
		return -ENOMEM;
	info->argsz = (uint32_t)size;
	info->index = index;
	r = call(device, VFIO_DEVICE_GET_REGION_INFO, info);
	return r < 0 ? r : vfio_region_parse(info, size, ret);
}

static int set_irqs_of(int device, uint32_t index, uint32_t start, const int *eventfds, size_t n)
{
	size_t size = sizeof(struct vfio_irq_set) + n * sizeof(eventfds[0]);
	_cleanup_free_ struct vfio_irq_set *set = calloc(1, size);

	if (!set)
		return -ENOMEM;
	set->argsz = (uint32_t)size;
	set->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
		     (n > 0 ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	set->index = index;
	set->start = start;
	set->count = (uint32_t)n;
	if (n > 0)
		memcpy(set->data, eventfds, n * sizeof(eventfds[0]));
	return call(device, VFIO_DEVICE_SET_IRQS, set);
}

static int set_irqs(int device, uint32_t start, const int *eventfds, size_t n)
{
	return set_irqs_of(device, VFIO_PCI_MSIX_IRQ_INDEX, start, eventfds, n);
}

int vfio_irqs_begin(int device, const int *eventfds, size_t n)
{
	if (n == 0 || n > VFIO_MAX_VECTORS)
		return -EINVAL;
	return set_irqs(device, 0, eventfds, n);
}

int vfio_irq_set(int device, uint32_t vector, int eventfd)
{
	return set_irqs(device, vector, &eventfd, 1);
}

int vfio_irqs_end(int device)
{
	int r = set_irqs(device, 0, NULL, 0);

	/* Of this request, which is always the same, it means that MSI-X is off. */
	return r == -EINVAL ? 0 : r;
}

/* Not every bus reports errors. */
int vfio_removal_watch(int device, int eventfd)
{
	int error = set_irqs_of(device, VFIO_PCI_ERR_IRQ_INDEX, 0, &eventfd, 1);
	int request = set_irqs_of(device, VFIO_PCI_REQ_IRQ_INDEX, 0, &eventfd, 1);

	return error < 0 && request < 0 ? request : 0;
}

int vfio_device_reset(int device)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int r = call(device, VFIO_DEVICE_GET_INFO, &info);

	if (r < 0)
		return r;
	if (!(info.flags & VFIO_DEVICE_FLAGS_RESET))
		return -EOPNOTSUPP;
	return call(device, VFIO_DEVICE_RESET, NULL);
}

static int map(void *arg, void *memory, uint64_t iova, uint64_t size, uint32_t perm)
{
	struct vfio_iommu_type1_dma_map request = {
		.argsz = sizeof(request),
		.flags = (perm & DRIVER_PERM_READ ? VFIO_DMA_MAP_FLAG_READ : 0) |
			 (perm & DRIVER_PERM_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = size,
	};

	return call(*(const int *)arg, VFIO_IOMMU_MAP_DMA, &request);
}

static int unmap(void *arg, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap request = {
		.argsz = sizeof(request),
		.iova = iova,
		.size = size,
	};

	return call(*(const int *)arg, VFIO_IOMMU_UNMAP_DMA, &request);
}

const struct dma_ops vfio_dma_ops = {
	.map = map,
	.unmap = unmap,
};
