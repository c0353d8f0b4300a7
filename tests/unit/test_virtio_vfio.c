/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What VFIO is asked, byte by byte, and what is made of its answers: ioctl(2) is replaced by one that
 * plays a kernel with one device. That the real one answers like this is not proven here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/virtio/vfio.h"
#include "tests/unit/ioctl_wrap.h"

#define CONTAINER 1001
#define GROUP	  1002
#define DEVICE	  1003

/* The kernel: what it has, and what it was asked. */
static struct kernel {
	int version;
	bool no_error_irq, no_request_irq;
	bool has_iommu_type, viable, container_set, iommu_set, irqs_on;
	uint32_t device_flags;
	uint32_t iommu_flags;
	int error; /* of whatever is asked next */
	union {
		struct vfio_region_info info;
		uint8_t bytes[256];
	} region;
	unsigned int set_containers, set_iommus, resets;
	struct vfio_iommu_type1_dma_map map;
} kernel;

/* The last ones of each; such structures have no end, and can't be in another one. */
static struct vfio_iommu_type1_dma_unmap unmapped;
static struct vfio_irq_set *irqs;

static void expect(int fd, int of, size_t argsz, size_t at_least)
{
	assert_int_equal(fd, of);
	assert_true(argsz >= at_least);
}

static int group_status(int fd, struct vfio_group_status *status)
{
	expect(fd, GROUP, status->argsz, sizeof(*status));
	status->flags = (kernel.viable ? VFIO_GROUP_FLAGS_VIABLE : 0) |
			(kernel.container_set ? VFIO_GROUP_FLAGS_CONTAINER_SET : 0);
	return 0;
}

static int set_container(int fd, const int *container)
{
	expect(fd, GROUP, 0, 0);
	assert_int_equal(*container, CONTAINER);
	assert_false(kernel.container_set);
	kernel.container_set = true;
	kernel.set_containers++;
	return 0;
}

static int set_iommu(int fd, unsigned long type)
{
	expect(fd, CONTAINER, 0, 0);
	assert_int_equal(type, VFIO_TYPE1v2_IOMMU);
	assert_true(kernel.container_set);
	assert_false(kernel.iommu_set);
	kernel.iommu_set = true;
	kernel.set_iommus++;
	return 0;
}

static int iommu_info(int fd, struct vfio_iommu_type1_info *info)
{
	expect(fd, CONTAINER, info->argsz, offsetof(struct vfio_iommu_type1_info, cap_offset));
	if (!kernel.iommu_set)
		return -EINVAL;
	info->flags = kernel.iommu_flags;
	info->iova_pgsizes = 0x40201000;
	return 0;
}

/* As the kernel does: says how much there is, and gives it only to who has room. */
static int region_info(int fd, struct vfio_region_info *info)
{
	uint32_t room = info->argsz;

	expect(fd, DEVICE, room, sizeof(*info));
	assert_int_equal(info->index, kernel.region.info.index);
	memcpy(info, &kernel.region, sizeof(*info));
	if (kernel.region.info.argsz > room)
		info->cap_offset = 0;
	else if (kernel.region.info.argsz <= sizeof(kernel.region))
		memcpy(info, &kernel.region, kernel.region.info.argsz);
	return 0;
}

static int set_irqs(int fd, const struct vfio_irq_set *set)
{
	uint32_t type = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;

	expect(fd, DEVICE, set->argsz, sizeof(*set));
	if (type == VFIO_IRQ_SET_DATA_EVENTFD)
		assert_true(set->argsz - sizeof(*set) >= set->count * sizeof(int));
	else
		assert_int_equal(type, VFIO_IRQ_SET_DATA_NONE);
	if (set->index == VFIO_PCI_ERR_IRQ_INDEX)
		return kernel.no_error_irq ? -EINVAL : 0;
	if (set->index == VFIO_PCI_REQ_IRQ_INDEX)
		return kernel.no_request_irq ? -EINVAL : 0;
	/* The kernel does not switch off what is not on. */
	if (set->count == 0 && !kernel.irqs_on)
		return -EINVAL;
	kernel.irqs_on = set->count > 0;
	free(irqs);
	irqs = malloc(set->argsz);
	assert_non_null(irqs);
	memcpy(irqs, set, set->argsz);
	return 0;
}

static int answer(int fd, unsigned long request, void *arg)
{
	struct vfio_device_info *info = arg;

	switch (request) {
	case VFIO_GET_API_VERSION:
		expect(fd, CONTAINER, 0, 0);
		return kernel.version;
	case VFIO_CHECK_EXTENSION:
		return (uintptr_t)arg == VFIO_TYPE1v2_IOMMU && kernel.has_iommu_type;
	case VFIO_GROUP_GET_STATUS:
		return group_status(fd, arg);
	case VFIO_GROUP_SET_CONTAINER:
		return set_container(fd, arg);
	case VFIO_SET_IOMMU:
		return set_iommu(fd, (uintptr_t)arg);
	case VFIO_IOMMU_GET_INFO:
		return iommu_info(fd, arg);
	case VFIO_GROUP_GET_DEVICE_FD:
		expect(fd, GROUP, 0, 0);
		return strcmp(arg, "0000:00:05.0") == 0 ? DEVICE : -ENODEV;
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(fd, arg);
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs(fd, arg);
	case VFIO_DEVICE_GET_INFO:
		expect(fd, DEVICE, info->argsz, offsetof(struct vfio_device_info, cap_offset));
		info->flags = kernel.device_flags;
		return 0;
	case VFIO_DEVICE_RESET:
		expect(fd, DEVICE, 0, 0);
		kernel.resets++;
		return 0;
	case VFIO_IOMMU_MAP_DMA:
		memcpy(&kernel.map, arg, sizeof(kernel.map));
		expect(fd, CONTAINER, kernel.map.argsz, sizeof(kernel.map));
		return 0;
	case VFIO_IOMMU_UNMAP_DMA:
		memcpy(&unmapped, arg, sizeof(unmapped));
		expect(fd, CONTAINER, unmapped.argsz, sizeof(unmapped));
		return 0;
	default:
		fail_msg("request %lx", request);
		return -ENOTTY;
	}
}

static int kernel_answers(int fd, unsigned long request, void *arg)
{
	return kernel.error ? kernel.error : answer(fd, request, arg);
}

static int setup(void **state)
{
	kernel = (struct kernel){
		.version = VFIO_API_VERSION,
		.has_iommu_type = true,
		.viable = true,
		.device_flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
		.iommu_flags = VFIO_IOMMU_INFO_PGSIZES,
		.region.info = {
			.argsz = sizeof(struct vfio_region_info),
			.index = 4,
			.size = 0x4000,
			.offset = 0x40000000000,
		},
	};
	return 0;
}

static int teardown(void **state)
{
	free(irqs);
	irqs = NULL;
	return 0;
}

static void a_container_of_another_version_or_kind_is_refused(void **state)
{
	assert_int_equal(vfio_container_check(CONTAINER), 0);
	kernel.has_iommu_type = false;
	assert_int_equal(vfio_container_check(CONTAINER), -EOPNOTSUPP);
	kernel.version = VFIO_API_VERSION + 1;
	assert_int_equal(vfio_container_check(CONTAINER), -EPROTO);
	kernel.error = -ENOTTY;
	assert_int_equal(vfio_container_check(CONTAINER), -ENOTTY);
}

static void a_group_is_attached_once(void **state)
{
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vfio_group_attach(GROUP, CONTAINER), 0);
		assert_int_equal(kernel.set_containers, 1);
		assert_int_equal(kernel.set_iommus, 1);
	}
}

static void a_second_group_shares_the_iommu_of_its_container(void **state)
{
	kernel.iommu_set = true;
	assert_int_equal(vfio_group_attach(GROUP, CONTAINER), 0);
	assert_int_equal(kernel.set_containers, 1);
	assert_int_equal(kernel.set_iommus, 0);
}

static void an_attachment_that_was_broken_off_is_finished(void **state)
{
	kernel.container_set = true;
	assert_int_equal(vfio_group_attach(GROUP, CONTAINER), 0);
	assert_int_equal(kernel.set_containers, 0);
	assert_int_equal(kernel.set_iommus, 1);
}

static void a_group_that_is_not_whole_is_not_attached(void **state)
{
	kernel.viable = false;
	assert_int_equal(vfio_group_attach(GROUP, CONTAINER), -EBUSY);
	assert_int_equal(kernel.set_containers, 0);
}

static void a_device_is_found_by_its_name(void **state)
{
	int fd = -1;

	assert_int_equal(vfio_group_device(GROUP, "0000:00:06.0", &fd), -ENODEV);
	assert_int_equal(fd, -1);
	assert_int_equal(vfio_group_device(GROUP, "0000:00:05.0", &fd), 0);
	assert_int_equal(fd, DEVICE);
}

static void pages_of_an_iommu_that_does_not_say_are_not_guessed(void **state)
{
	struct vfio_iommu_facts facts = { 0 };

	assert_int_equal(vfio_iommu_read(CONTAINER, &facts), -EINVAL);
	kernel.iommu_set = true;
	assert_int_equal(vfio_iommu_read(CONTAINER, &facts), 0);
	assert_int_equal(facts.pages, 0x40201000);
	assert_int_equal(facts.last, (1ULL << 39) - 1);
	kernel.iommu_flags = 0;
	assert_int_equal(vfio_iommu_read(CONTAINER, &facts), -EPROTO);
}

/* What a kernel says of the ranges that an IOMMU translates. */
struct said_ranges {
	struct vfio_iommu_type1_info info;
	uint32_t before; /* what other capabilities take, no multiple of 8 */
	struct {
		struct vfio_info_cap_header header;
		uint32_t nr_iovas;
		uint32_t reserved;
		struct vfio_iova_range iovas[3];
	} __attribute__((packed)) cap;
};

static struct said_ranges two_ranges(void)
{
	return (struct said_ranges){
		.info = { .argsz = sizeof(struct said_ranges),
			.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
			.iova_pgsizes = 0x1000,
			.cap_offset = offsetof(struct said_ranges, cap) },
		.cap = { .header = { .id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE },
			.nr_iovas = 2,
			.iovas = { { 0, 0xfedfffff }, { 0xfef00000, 0xffffffffffff } } },
	};
}

static void the_last_address_of_an_iommu_is_the_end_of_its_last_range(void **state)
{
	struct said_ranges said = two_ranges();
	struct vfio_iommu_facts facts;

	assert_int_equal(vfio_iommu_parse(&said.info, sizeof(said), &facts), 0);
	assert_int_equal(facts.last, 0xffffffffffff);
	said.cap.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION;
	assert_int_equal(vfio_iommu_parse(&said.info, sizeof(said), &facts), 0);
	assert_int_equal(facts.last, (1ULL << 39) - 1);
}

static void ranges_that_contradict_themselves_are_refused(void **state)
{
	struct vfio_iommu_facts facts;

	for (int i = 0; i < 6; i++) {
		struct said_ranges said = two_ranges();

		switch (i) {
		case 0:
			said.cap.nr_iovas = 4;
			break;
		case 1:
			said.cap.nr_iovas = UINT32_MAX;
			break;
		case 2:
			said.cap.nr_iovas = 0;
			break;
		case 3:
			said.info.cap_offset = sizeof(said);
			break;
		case 4:
			said.info.cap_offset = 4; /* in what is no capability */
			break;
		default:
			said.cap.header.next = said.info.cap_offset; /* without an end */
		}
		assert_int_equal(vfio_iommu_parse(&said.info, sizeof(said), &facts), -EPROTO);
	}
}

static void a_removal_is_told_by_either_way(void **state)
{
	assert_int_equal(vfio_removal_watch(DEVICE, 7), 0);
	kernel.no_error_irq = true;
	assert_int_equal(vfio_removal_watch(DEVICE, 7), 0);
	kernel.no_request_irq = true;
	assert_int_equal(vfio_removal_watch(DEVICE, 7), -EINVAL);
	kernel.no_error_irq = false;
	assert_int_equal(vfio_removal_watch(DEVICE, 7), 0);
}

static void memory_is_mapped_with_its_rights_and_unmapped(void **state)
{
	static const struct {
		uint32_t perm, flags;
	} cases[] = {
		{ DRIVER_PERM_READ, VFIO_DMA_MAP_FLAG_READ },
		{ DRIVER_PERM_WRITE, VFIO_DMA_MAP_FLAG_WRITE },
		{ DRIVER_PERM_READ | DRIVER_PERM_WRITE,
			VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE },
	};
	int container = CONTAINER;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(vfio_dma_ops.map(&container, &kernel, 0x123456789000, 0x2000,
					 cases[i].perm), 0);
		assert_int_equal(kernel.map.flags, cases[i].flags);
		assert_int_equal(kernel.map.vaddr, (uintptr_t)&kernel);
		assert_int_equal(kernel.map.iova, 0x123456789000);
		assert_int_equal(kernel.map.size, 0x2000);
	}
	assert_int_equal(vfio_dma_ops.unmap(&container, 0x123456789000, 0x2000), 0);
	assert_int_equal(unmapped.flags, 0);
	assert_int_equal(unmapped.iova, 0x123456789000);
	assert_int_equal(unmapped.size, 0x2000);
	kernel.error = -ENOMEM;
	assert_int_equal(vfio_dma_ops.map(&container, &kernel, 0, 0x1000, 1), -ENOMEM);
	assert_int_equal(vfio_dma_ops.unmap(&container, 0, 0x1000), -ENOMEM);
}

static void vectors_are_set_all_at_once_and_one_by_one(void **state)
{
	static int many[VFIO_MAX_VECTORS + 1];
	const int fds[3] = { 21, -1, 23 };

	assert_int_equal(vfio_irqs_begin(DEVICE, fds, 3), 0);
	assert_int_equal(irqs->flags,
		VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD);
	assert_int_equal(irqs->index, VFIO_PCI_MSIX_IRQ_INDEX);
	assert_int_equal(irqs->start, 0);
	assert_int_equal(irqs->count, 3);
	assert_memory_equal(irqs->data, fds, sizeof(fds));

	assert_int_equal(vfio_irq_set(DEVICE, 2, 99), 0);
	assert_int_equal(irqs->start, 2);
	assert_int_equal(irqs->count, 1);
	assert_memory_equal(irqs->data, &(int){ 99 }, sizeof(int));

	assert_int_equal(vfio_irqs_end(DEVICE), 0);
	assert_int_equal(irqs->flags,
		VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE);
	assert_int_equal(irqs->index, VFIO_PCI_MSIX_IRQ_INDEX);
	assert_int_equal(irqs->count, 0);
	assert_int_equal(vfio_irqs_end(DEVICE), 0);
	kernel.error = -EIO;
	assert_int_equal(vfio_irqs_end(DEVICE), -EIO);
	kernel.error = 0;

	assert_int_equal(vfio_irqs_begin(DEVICE, many, 0), -EINVAL);
	assert_int_equal(vfio_irqs_begin(DEVICE, many, VFIO_MAX_VECTORS + 1), -EINVAL);
	assert_int_equal(vfio_irqs_begin(DEVICE, many, VFIO_MAX_VECTORS), 0);
	assert_int_equal(irqs->count, VFIO_MAX_VECTORS);
}

static void a_device_is_reset_if_it_can_be(void **state)
{
	assert_int_equal(vfio_device_reset(DEVICE), 0);
	assert_int_equal(kernel.resets, 1);
	kernel.device_flags = VFIO_DEVICE_FLAGS_PCI;
	assert_int_equal(vfio_device_reset(DEVICE), -EOPNOTSUPP);
	assert_int_equal(kernel.resets, 1);
	kernel.error = -ENODEV;
	assert_int_equal(vfio_device_reset(DEVICE), -ENODEV);
}

/* Capabilities behind the kernel's words of a region. */
static void add_cap(size_t at, uint16_t id, uint32_t next)
{
	const struct vfio_info_cap_header cap = { .id = id, .version = 1, .next = next };

	memcpy(&kernel.region.bytes[at], &cap, sizeof(cap));
}

static void add_areas(size_t at, uint32_t next, uint32_t n)
{
	const uint32_t count[2] = { n, 0 };

	add_cap(at, VFIO_REGION_INFO_CAP_SPARSE_MMAP, next);
	memcpy(&kernel.region.bytes[at + 8], count, sizeof(count));
	for (uint64_t i = 0; i < n && i < 10; i++) {
		const uint64_t area[2] = { i * 0x1000, 0x800 };

		memcpy(&kernel.region.bytes[at + 16 + i * 16], area, sizeof(area));
	}
	kernel.region.info.argsz = (uint32_t)(at + 16 + n * 16);
	kernel.region.info.flags = VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
	kernel.region.info.cap_offset = sizeof(struct vfio_region_info);
}

static void a_region_is_mapped_whole_or_not_at_all_when_nothing_else_is_said(void **state)
{
	struct vfio_region region;

	assert_int_equal(vfio_region_read(DEVICE, 4, &region), 0);
	assert_int_equal(region.size, 0x4000);
	assert_int_equal(region.offset, 0x40000000000);
	assert_int_equal(region.n_areas, 0);
	kernel.region.info.flags = VFIO_REGION_INFO_FLAG_MMAP;
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), 0);
	assert_int_equal(region.n_areas, 1);
	assert_int_equal(region.areas[0].offset, 0);
	assert_int_equal(region.areas[0].size, 0x4000);
	kernel.error = -EINVAL;
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), -EINVAL);
}

static void areas_that_are_said_are_those(void **state)
{
	struct vfio_region region;

	add_areas(40, 0, 2);
	add_cap(32, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 40);
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), 0);
	assert_int_equal(region.n_areas, 2);
	assert_int_equal(region.areas[0].offset, 0);
	assert_int_equal(region.areas[1].offset, 0x1000);
	assert_int_equal(region.areas[1].size, 0x800);
	add_areas(32, 0, 0);
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), 0);
	assert_int_equal(region.n_areas, 0);
	kernel.region.info.size = 0x10000;
	add_areas(32, 0, VFIO_MAX_AREAS + 1);
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), 0);
	assert_int_equal(region.n_areas, VFIO_MAX_AREAS);
	assert_int_equal(region.areas[VFIO_MAX_AREAS - 1].offset, 0x7000);
}

static void words_that_contradict_themselves_are_refused(void **state)
{
	struct vfio_region region = { .size = 77 };

	add_areas(32, 32, 2); /* a loop */
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), -EPROTO);
	add_areas(32, 4096, 2);
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), -EPROTO);
	add_areas(32, 16, 2); /* into the head, where it would end */
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), -EPROTO);
	add_areas(32, 0, 2);
	assert_int_equal(vfio_region_parse(&kernel.region.info, 32 + 16 + 2 * 16 - 1, &region),
		-EPROTO);
	add_areas(32, 0, 2);
	kernel.region.info.size = 0x1000; /* of which the second area is none */
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), -EPROTO);
	kernel.region.info.flags = 0;
	kernel.region.info.size = UINT64_MAX;
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), -EPROTO);
	kernel.region.info.size = 0x4000;
	kernel.region.info.offset = INT64_MAX;
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), -EPROTO);
	kernel.region.info.offset = 0;
	kernel.region.info.argsz = 65537;
	assert_int_equal(vfio_region_read(DEVICE, 4, &region), -EPROTO);
	assert_int_equal(region.size, 77);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_container_of_another_version_or_kind_is_refused),
		TEST(a_group_is_attached_once),
		TEST(a_second_group_shares_the_iommu_of_its_container),
		TEST(an_attachment_that_was_broken_off_is_finished),
		TEST(a_group_that_is_not_whole_is_not_attached),
		TEST(a_device_is_found_by_its_name),
		TEST(pages_of_an_iommu_that_does_not_say_are_not_guessed),
		TEST(the_last_address_of_an_iommu_is_the_end_of_its_last_range),
		TEST(ranges_that_contradict_themselves_are_refused),
		TEST(a_removal_is_told_by_either_way),
		TEST(memory_is_mapped_with_its_rights_and_unmapped),
		TEST(vectors_are_set_all_at_once_and_one_by_one),
		TEST(a_device_is_reset_if_it_can_be),
		TEST(a_region_is_mapped_whole_or_not_at_all_when_nothing_else_is_said),
		TEST(areas_that_are_said_are_those),
		TEST(words_that_contradict_themselves_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
