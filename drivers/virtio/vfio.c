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
 * Asks a question whose first word is its size, and how much there is to say if that is more than fits.
 * @ret: the whole answer, of @ret_size bytes; the caller's
 */
static int ask_all(int fd, unsigned long request, const void *question, size_t size, void **ret,
	size_t *ret_size)
{
	_cleanup_free_ void *answer = calloc(1, MOST_INFO);
	uint32_t said;
	int r;

	if (!answer)
		return -ENOMEM;
	memcpy(answer, question, size);
	r = call(fd, request, answer);
	if (r < 0)
		return r;
	memcpy(&said, answer, sizeof(said));
	if (said > MOST_INFO)
		return -EPROTO;
	if (said < size)
		said = (uint32_t)size;
	memcpy(answer, question, size);
	memcpy(answer, &said, sizeof(said));
	r = call(fd, request, answer);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(answer);
	*ret_size = said;
	return 0;
}

/* What the kernel said of something: @size bytes, the first @head of which are no capabilities. */
struct said {
	const char *bytes;
	size_t size, head;
};

/*
 * The capability at @at, of which @cap_size bytes have to be there. Kernels before 6.6 put one behind the
 * other without a gap, so what is in them may lie anywhere that 4 divides.
 */
static const char *capability(const struct said *said, size_t at, size_t cap_size)
{
	if (at < said->head || at % 4 != 0 || at > said->size || said->size - at < cap_size)
		return NULL;
	return said->bytes + at;
}

/* Looks for the one capability @id in the list that begins at @at; *@ret is where it is, 0: nowhere. */
static int find_capability(const struct said *said, size_t at, uint16_t id, size_t *ret)
{
	*ret = 0;
	for (size_t n = 0; at != 0; n++) {
		struct vfio_info_cap_header cap;
		const char *bytes = capability(said, at, sizeof(cap));

		if (!bytes || n == said->size / sizeof(cap))
			return -EPROTO;
		memcpy(&cap, bytes, sizeof(cap));
		if (cap.id == id && *ret != 0)
			return -EPROTO;
		if (cap.id == id)
			*ret = at;
		at = cap.next;
	}
	return 0;
}

static int parse_ranges(const struct said *said, size_t at, uint64_t *ret)
{
	struct vfio_iommu_type1_info_cap_iova_range ranges;
	const char *bytes = capability(said, at, sizeof(ranges));

	if (!bytes)
		return -EPROTO;
	memcpy(&ranges, bytes, sizeof(ranges));
	if (ranges.nr_iovas == 0 ||
		ranges.nr_iovas > (said->size - at - sizeof(ranges)) / sizeof(struct vfio_iova_range))
		return -EPROTO;
	*ret = 0;
	for (uint32_t i = 0; i < ranges.nr_iovas; i++) {
		struct vfio_iova_range range;

		memcpy(&range, bytes + sizeof(ranges) + i * sizeof(range), sizeof(range));
		if (range.end > *ret)
			*ret = range.end;
	}
	return 0;
}

int vfio_iommu_parse(const struct vfio_iommu_type1_info *info, size_t size, struct vfio_iommu_facts *ret)
{
	const struct said said = { (const char *)info, size, sizeof(*info) };
	struct vfio_iommu_facts facts = { .pages = info->iova_pgsizes, .last = LAST_OF_ALL };
	size_t at = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0;
	int r;

	if (!(info->flags & VFIO_IOMMU_INFO_PGSIZES) || info->iova_pgsizes == 0)
		return -EPROTO;
	r = find_capability(&said, at, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, &at);
	if (r == 0 && at != 0)
		r = parse_ranges(&said, at, &facts.last);
	if (r < 0)
		return r;
	*ret = facts;
	return 0;
}

int vfio_iommu_read(int container, struct vfio_iommu_facts *ret)
{
	const struct vfio_iommu_type1_info question = { .argsz = sizeof(question) };
	_cleanup_free_ void *info = NULL;
	size_t size;
	int r = ask_all(container, VFIO_IOMMU_GET_INFO, &question, sizeof(question), &info, &size);

	return r < 0 ? r : vfio_iommu_parse(info, size, ret);
}

static int parse_areas(const struct said *said, size_t at, struct vfio_region *region)
{
	struct vfio_region_info_cap_sparse_mmap sparse;
	const char *bytes = capability(said, at, sizeof(sparse));

	if (!bytes)
		return -EPROTO;
	memcpy(&sparse, bytes, sizeof(sparse));
	if (sparse.nr_areas > (said->size - at - sizeof(sparse)) / sizeof(struct vfio_region_sparse_mmap_area))
		return -EPROTO;
	region->n_areas = 0;
	for (uint32_t i = 0; i < sparse.nr_areas && i < VFIO_MAX_AREAS; i++) {
		struct vfio_region_sparse_mmap_area area;

		memcpy(&area, bytes + sizeof(sparse) + i * sizeof(area), sizeof(area));
		if (area.size > region->size || area.offset > region->size - area.size)
			return -EPROTO;
		region->areas[region->n_areas++] = (struct vfio_area){ area.offset, area.size };
	}
	return 0;
}

int vfio_region_parse(const struct vfio_region_info *info, size_t size, struct vfio_region *ret)
{
	const struct said said = { (const char *)info, size, sizeof(*info) };
	struct vfio_region region = { .size = info->size, .offset = info->offset };
	size_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;
	int r = 0;

	if (region.size > INT64_MAX || region.offset > INT64_MAX - region.size)
		return -EPROTO;
	if (info->flags & VFIO_REGION_INFO_FLAG_MMAP) {
		region.n_areas = 1;
		region.areas[0] = (struct vfio_area){ 0, region.size };
		r = find_capability(&said, at, VFIO_REGION_INFO_CAP_SPARSE_MMAP, &at);
		if (r == 0 && at != 0)
			r = parse_areas(&said, at, &region);
	}
	if (r < 0)
		return r;
	*ret = region;
	return 0;
}

int vfio_region_read(int device, uint32_t index, struct vfio_region *ret)
{
	const struct vfio_region_info question = { .argsz = sizeof(question), .index = index };
	_cleanup_free_ void *info = NULL;
	size_t size;
	int r = ask_all(device, VFIO_DEVICE_GET_REGION_INFO, &question, sizeof(question), &info, &size);

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
