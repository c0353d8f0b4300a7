/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of a device, by difference, above an IOMMU that has the rules of VFIO's type 1, version 2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drivers/virtio/dma.h"
#include "mappings.h"

#define PAGE 4096ULL

static struct iommu {
	struct {
		uint64_t iova, size;
		uint32_t perm;
		uint8_t first; /* byte of the memory */
	} ranges[DMA_MAX_RANGES + 1];
	size_t n_ranges;
	unsigned int maps, unmaps;
	int map_error, unmap_error;
	bool dies; /* the process, before the call comes back */
	jmp_buf end;
} iommu;

static struct dma_table table;
static struct dma dma;
static int memory;

static bool meets(size_t i, uint64_t iova, uint64_t size)
{
	return iova < iommu.ranges[i].iova + iommu.ranges[i].size &&
	       iommu.ranges[i].iova < iova + size;
}

static void assert_noted_as_pending(uint64_t iova, uint64_t size)
{
	for (size_t i = 0; i < DMA_MAX_RANGES; i++) {
		if (table.ranges[i].state == DMA_PENDING && table.ranges[i].iova == iova &&
			table.ranges[i].size == size)
			return;
	}
	fail_msg("the IOMMU is changed and the table does not say so");
}

static int iommu_map(void *arg, void *at, uint64_t iova, uint64_t size, uint32_t perm)
{
	assert_ptr_equal(arg, &iommu);
	assert_noted_as_pending(iova, size);
	assert_int_equal((iova | size | (uintptr_t)at) % dma.page_size, 0);
	iommu.maps++;
	if (iommu.map_error)
		return iommu.map_error;
	for (size_t i = 0; i < iommu.n_ranges; i++) {
		if (meets(i, iova, size))
			return -EEXIST;
	}
	iommu.ranges[iommu.n_ranges].iova = iova;
	iommu.ranges[iommu.n_ranges].size = size;
	iommu.ranges[iommu.n_ranges].perm = perm;
	iommu.ranges[iommu.n_ranges].first = *(uint8_t *)at;
	iommu.n_ranges++;
	if (iommu.dies)
		longjmp(iommu.end, 1);
	return 0;
}

static int iommu_unmap(void *arg, uint64_t iova, uint64_t size)
{
	assert_ptr_equal(arg, &iommu);
	assert_noted_as_pending(iova, size);
	iommu.unmaps++;
	if (iommu.unmap_error)
		return iommu.unmap_error;
	for (size_t i = 0; i < iommu.n_ranges; i++) {
		if (iommu.ranges[i].iova == iova && iommu.ranges[i].size == size) {
			iommu.ranges[i] = iommu.ranges[--iommu.n_ranges];
			if (iommu.dies)
				longjmp(iommu.end, 1);
			return 0;
		}
		if (meets(i, iova, size))
			return -EINVAL;
	}
	return 0;
}

static const struct dma_ops iommu_ops = { .map = iommu_map, .unmap = iommu_unmap };

static int setup(void **state)
{
	memset(&table, 0, sizeof(table));
	memset(&iommu, 0, sizeof(iommu));
	dma = (struct dma){
		.ops = &iommu_ops, .arg = &iommu, .page_size = PAGE, .table = &table,
	};
	memory = memfd_create("memory", MFD_CLOEXEC);
	if (memory < 0 || ftruncate(memory, 16 * PAGE) < 0)
		return -1;
	for (uint8_t page = 0; page < 16; page++) {
		if (pwrite(memory, &page, 1, (off_t)(page * PAGE)) != 1)
			return -1;
	}
	return dma_open(&dma);
}

static int teardown(void **state)
{
	close(memory);
	return 0;
}

static struct driver_map pages(uint64_t iova_page, uint64_t n, uint64_t file_page)
{
	return (struct driver_map){
		.iova = iova_page * PAGE,
		.size = n * PAGE,
		.fd = memory,
		.offset = file_page * PAGE,
		.perm = DRIVER_PERM_READ | DRIVER_PERM_WRITE,
	};
}

static void map_ok(uint64_t iova_page, uint64_t n, uint64_t file_page)
{
	struct driver_map map = pages(iova_page, n, file_page);

	assert_int_equal(dma_map(&dma, &map), 0);
}

static void the_device_reaches_the_place_of_the_file_that_was_named(void **state)
{
	struct driver_map map = pages(100, 2, 5);

	assert_int_equal(dma_map(&dma, &map), 0);
	assert_int_equal(iommu.n_ranges, 1);
	assert_int_equal(iommu.ranges[0].iova, 100 * PAGE);
	assert_int_equal(iommu.ranges[0].size, 2 * PAGE);
	assert_int_equal(iommu.ranges[0].perm, DRIVER_PERM_READ | DRIVER_PERM_WRITE);
	assert_int_equal(iommu.ranges[0].first, 5);
	map = pages(102, 1, 7);
	map.perm = DRIVER_PERM_READ;
	assert_int_equal(dma_map(&dma, &map), 0);
	assert_int_equal(iommu.ranges[1].perm, DRIVER_PERM_READ);
	assert_int_equal(iommu.ranges[1].first, 7);
}

static void what_is_mapped_already_is_not_mapped_again(void **state)
{
	map_ok(100, 2, 5);
	map_ok(100, 2, 5);
	assert_int_equal(iommu.maps, 1);
}

static void a_range_that_is_another_one_is_refused(void **state)
{
	struct driver_map cases[7];
	int other = memfd_create("other", MFD_CLOEXEC);

	assert_int_equal(ftruncate(other, 16 * PAGE), 0);
	map_ok(100, 4, 4);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		cases[i] = pages(100, 4, 4);
	cases[0].fd = other;
	cases[1].offset += PAGE;
	cases[2].perm = DRIVER_PERM_READ;
	cases[3].size -= PAGE;
	cases[4].iova += 3 * PAGE;
	cases[5].iova -= 3 * PAGE;
	cases[6] = pages(99, 6, 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(dma_map(&dma, &cases[i]), -EEXIST);
	assert_int_equal(iommu.maps, 1);
	map_ok(99, 1, 0);
	map_ok(104, 1, 0);
	close(other);
}

static void a_range_that_can_not_be_is_refused_before_the_iommu_hears_of_it(void **state)
{
	static const struct {
		int64_t iova, size, offset;
		uint32_t perm;
	} cases[] = {
		{ 0, 0, 0, DRIVER_PERM_READ },
		{ -4096, 8192, 0, DRIVER_PERM_READ },
		{ 0, -4096, 4096, DRIVER_PERM_READ },
		{ 0, 4096, -4096, DRIVER_PERM_READ },
		{ 2048, 4096, 0, DRIVER_PERM_READ },
		{ 0, 2048, 0, DRIVER_PERM_READ },
		{ 0, 4096, 512, DRIVER_PERM_READ },
		{ 0, 4096, 0, 0 },
		{ 0, 4096, 0, 4 | DRIVER_PERM_READ },
		{ 0, 17 * 4096, 0, DRIVER_PERM_READ },
		{ 0, 4096, 16 * 4096, DRIVER_PERM_READ },
		{ 0, 4096, 17 * 4096, DRIVER_PERM_READ },
	};
	int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ends[2];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct driver_map map = {
			.iova = (uint64_t)cases[i].iova,
			.size = (uint64_t)cases[i].size,
			.fd = memory,
			.offset = (uint64_t)cases[i].offset,
			.perm = cases[i].perm,
		};

		if (dma_map(&dma, &map) != -EINVAL)
			fail_msg("case %zu", i);
	}
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(dma_map(&dma,
				 &(struct driver_map){ .size = PAGE, .fd = ends[0], .perm = 1 }),
		-EINVAL);
	assert_int_equal(dma_map(&dma, &(struct driver_map){ .size = PAGE, .fd = -1, .perm = 1 }),
		-EBADF);
	assert_int_equal(dma_map(&dma,
				 &(struct driver_map){ .size = PAGE, .fd = folder, .perm = 1 }),
		-EINVAL);
	assert_int_equal(iommu.maps, 0);
	close(folder);
	close(ends[0]);
	close(ends[1]);
}

static void the_last_page_of_all_can_be_mapped(void **state)
{
	struct driver_map map = pages(0, 1, 0);

	map.iova = -PAGE;
	assert_int_equal(dma_map(&dma, &map), 0);
	assert_int_equal(dma_map(&dma, &map), 0);
	map_ok(0, 1, 0);
	assert_int_equal(dma_unmap(&dma, -PAGE, PAGE), 0);
	assert_int_equal(iommu.n_ranges, 1);
}

static void a_larger_page_of_the_iommu_is_the_unit(void **state)
{
	struct driver_map map = pages(16, 1, 0);

	dma.page_size = 16 * PAGE;
	assert_int_equal(dma_map(&dma, &map), -EINVAL);
	map.size = 16 * PAGE;
	assert_int_equal(dma_map(&dma, &map), 0);
}

/* As of a file whose pages are huge, and can only be mapped whole. */
static void a_range_may_begin_within_a_page_of_its_file(void **state)
{
	const uint64_t part = PAGE / 4;
	struct driver_map map = pages(100, 1, 5);

	dma.page_size = part;
	map.offset += part;
	map.size = 2 * part;
	assert_int_equal(pwrite(memory, &(uint8_t){ 99 }, 1, (off_t)map.offset), 1);
	assert_int_equal(dma_map(&dma, &map), 0);
	assert_int_equal(iommu.ranges[0].first, 99);
	assert_int_equal(iommu.ranges[0].size, 2 * part);
}

static void memory_that_was_pinned_is_not_mapped_here_any_more(void **state)
{
	struct driver_map map = pages(200, 1, 0);

	map_ok(100, 2, 5);
	assert_int_equal(count_mappings("memory"), 0);
	iommu.map_error = -ENOMEM;
	assert_int_equal(dma_map(&dma, &map), -ENOMEM);
	assert_int_equal(count_mappings("memory"), 0);
}

static void a_file_that_is_not_open_for_writing_is_refused(void **state)
{
	struct driver_map map = pages(100, 1, 0);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	map.fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(map.fd >= 0);
	assert_int_equal(dma_map(&dma, &map), -EINVAL);
	map.perm = DRIVER_PERM_READ;
	assert_int_equal(dma_map(&dma, &map), 0);
	close(map.fd);
}

static void a_range_is_taken_back_whole_and_others_stay(void **state)
{
	map_ok(100, 2, 0);
	map_ok(102, 2, 2);
	assert_int_equal(dma_unmap(&dma, 100 * PAGE, PAGE), -EINVAL);
	assert_int_equal(dma_unmap(&dma, 100 * PAGE, 4 * PAGE), -EINVAL);
	assert_int_equal(dma_unmap(&dma, 100 * PAGE, 0), -EINVAL);
	assert_int_equal(iommu.unmaps, 0);
	assert_int_equal(dma_unmap(&dma, 100 * PAGE, 2 * PAGE), 0);
	assert_int_equal(iommu.n_ranges, 1);
	assert_int_equal(iommu.ranges[0].iova, 102 * PAGE);
	assert_int_equal(dma_unmap(&dma, 100 * PAGE, 2 * PAGE), 0);
	assert_int_equal(iommu.unmaps, 1);
	map_ok(100, 2, 8);
}

static void the_iommu_s_refusal_changes_nothing(void **state)
{
	struct driver_map map = pages(100, 2, 0);

	iommu.map_error = -ENOMEM;
	assert_int_equal(dma_map(&dma, &map), -ENOMEM);
	iommu.map_error = 0;
	assert_int_equal(dma_map(&dma, &map), 0);
	assert_int_equal(iommu.maps, 2);
	iommu.unmap_error = -EIO;
	assert_int_equal(dma_unmap(&dma, map.iova, map.size), -EIO);
	/* The device may reach it still: it is neither free nor as it was. */
	assert_int_equal(dma_map(&dma, &map), -EEXIST);
	iommu.unmap_error = 0;
	assert_int_equal(dma_unmap(&dma, map.iova, map.size), 0);
	assert_int_equal(iommu.n_ranges, 0);
}

static void as_many_ranges_fit_as_is_said(void **state)
{
	struct driver_map map;

	for (uint64_t i = 0; i < DMA_MAX_RANGES; i++)
		map_ok(2 * i, 1, i % 16);
	map = pages(2 * DMA_MAX_RANGES, 1, 0);
	assert_int_equal(dma_map(&dma, &map), -ENOSPC);
	assert_int_equal(iommu.n_ranges, DMA_MAX_RANGES);
	assert_int_equal(dma_unmap(&dma, 20 * PAGE, PAGE), 0);
	assert_int_equal(dma_map(&dma, &map), 0);
	assert_int_equal(dma_unmap_all(&dma), 0);
	assert_int_equal(iommu.n_ranges, 0);
}

static void all_are_asked_for_though_one_can_not_be_taken_back(void **state)
{
	map_ok(0, 1, 0);
	map_ok(1, 1, 1);
	iommu.unmap_error = -EIO;
	assert_int_equal(dma_unmap_all(&dma), -EIO);
	assert_int_equal(iommu.unmaps, 2);
	iommu.unmap_error = 0;
	assert_int_equal(dma_unmap_all(&dma), 0);
	assert_int_equal(iommu.n_ranges, 0);
}

static void the_next_process_knows_what_is_mapped(void **state)
{
	struct dma next = dma;

	map_ok(100, 2, 5);
	assert_int_equal(dma_open(&next), 0);
	assert_int_equal(iommu.unmaps, 0);
	dma = next;
	map_ok(100, 2, 5);
	assert_int_equal(iommu.maps, 1);
	assert_int_equal(dma_unmap(&dma, 100 * PAGE, 2 * PAGE), 0);
	assert_int_equal(iommu.n_ranges, 0);
}

/* The IOMMU has done it, and nobody could note it. */
static void a_process_that_dies_while_it_maps_leaves_nothing_behind(void **state)
{
	struct driver_map map = pages(100, 2, 5);

	iommu.dies = true;
	if (setjmp(iommu.end) == 0) {
		dma_map(&dma, &map);
		fail();
	}
	iommu.dies = false;
	assert_int_equal(iommu.n_ranges, 1);
	assert_int_equal(dma_open(&dma), 0);
	assert_int_equal(iommu.n_ranges, 0);
	assert_int_equal(dma_map(&dma, &map), 0);
	assert_int_equal(iommu.n_ranges, 1);
}

static void a_process_that_dies_while_it_unmaps_leaves_nothing_behind(void **state)
{
	map_ok(100, 2, 5);
	map_ok(200, 2, 5);
	iommu.dies = true;
	if (setjmp(iommu.end) == 0) {
		dma_unmap(&dma, 100 * PAGE, 2 * PAGE);
		fail();
	}
	iommu.dies = false;
	assert_int_equal(dma_open(&dma), 0);
	assert_int_equal(iommu.n_ranges, 1);
	assert_int_equal(iommu.ranges[0].iova, 200 * PAGE);
	assert_int_equal(dma_unmap(&dma, 100 * PAGE, 2 * PAGE), 0);
}

static void a_table_that_is_none_is_refused(void **state)
{
	static const struct dma_range bad[] = {
		{ .iova = 0, .size = 0, .state = DMA_MAPPED },
		{ .iova = -PAGE, .size = 2 * PAGE, .state = DMA_MAPPED },
		{ .iova = 1, .size = PAGE, .state = DMA_MAPPED },
		{ .iova = 0, .size = PAGE + 1, .state = DMA_PENDING },
		{ .iova = 0, .size = PAGE, .state = DMA_MAPPED + 1 },
		{ .iova = 101 * PAGE, .size = PAGE, .state = DMA_MAPPED },
		{ .iova = 101 * PAGE, .size = PAGE, .state = DMA_PENDING },
	};

	map_ok(100, 2, 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		table.ranges[DMA_MAX_RANGES - 1] = bad[i];
		assert_int_equal(dma_open(&dma), -EPROTO);
	}
	assert_int_equal(iommu.unmaps, 0);
	table.ranges[DMA_MAX_RANGES - 1].state = DMA_FREE;
	assert_int_equal(dma_open(&dma), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_device_reaches_the_place_of_the_file_that_was_named),
		TEST(what_is_mapped_already_is_not_mapped_again),
		TEST(a_range_that_is_another_one_is_refused),
		TEST(a_range_that_can_not_be_is_refused_before_the_iommu_hears_of_it),
		TEST(the_last_page_of_all_can_be_mapped),
		TEST(a_larger_page_of_the_iommu_is_the_unit),
		TEST(a_range_may_begin_within_a_page_of_its_file),
		TEST(memory_that_was_pinned_is_not_mapped_here_any_more),
		TEST(a_file_that_is_not_open_for_writing_is_refused),
		TEST(a_range_is_taken_back_whole_and_others_stay),
		TEST(the_iommu_s_refusal_changes_nothing),
		TEST(as_many_ranges_fit_as_is_said),
		TEST(all_are_asked_for_though_one_can_not_be_taken_back),
		TEST(the_next_process_knows_what_is_mapped),
		TEST(a_process_that_dies_while_it_maps_leaves_nothing_behind),
		TEST(a_process_that_dies_while_it_unmaps_leaves_nothing_behind),
		TEST(a_table_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
