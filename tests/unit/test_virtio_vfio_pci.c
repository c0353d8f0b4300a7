/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A function behind a VFIO device's file. The file is a memory file with regions in it as VFIO lays
 * them out; what VFIO's own calls do is not proven by this.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drivers/virtio/vfio_pci.h"
#include "mappings.h"
#include "virtio_model.h"

#define REGION(i) ((uint64_t)(i) << 20)
#define CONFIG	  REGION(7)

static int file;
static struct vfio_pci_regions regions;
static struct vfio_pci vfio;

static void put(uint64_t offset, const void *data, size_t size)
{
	assert_int_equal(pwrite(file, data, size, (off_t)offset), size);
}

static uint32_t get(uint64_t offset)
{
	uint32_t value;

	assert_int_equal(pread(file, &value, sizeof(value), (off_t)offset), sizeof(value));
	return value;
}

/* As the model's: its structures in BAR 4, the table of vectors in BAR 1. */
static int setup(void **state)
{
	struct virtio_model m;

	model_init(&m);
	file = memfd_create("device", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, CONFIG + PCI_CONFIG_SIZE) < 0)
		return -1;
	put(CONFIG, m.config, sizeof(m.config));
	memset(&regions, 0, sizeof(regions));
	for (unsigned int i = 0; i < PCI_N_BARS; i++) {
		regions.bars[i] = (struct vfio_region){
			.size = m.bar_sizes[i],
			.offset = REGION(i),
			.n_areas = m.bar_sizes[i] > 0,
			.areas = { { 0, m.bar_sizes[i] } },
		};
	}
	regions.config = (struct vfio_region){ .size = PCI_CONFIG_SIZE, .offset = CONFIG };
	return vfio_pci_open(file, &regions, &vfio);
}

static int teardown(void **state)
{
	vfio_pci_close(&vfio);
	close(file);
	return 0;
}

/* With other regions than setup()'s. */
static void open_again(void)
{
	vfio_pci_close(&vfio);
	assert_int_equal(vfio_pci_open(file, &regions, &vfio), 0);
}

static struct pci_window window(uint8_t bar, uint64_t offset, uint64_t size)
{
	return (struct pci_window){ .bar = bar, .offset = offset, .size = size };
}

static volatile void *map(uint8_t bar, uint64_t offset, uint64_t size)
{
	return vfio.pci.ops->map(&vfio.pci, window(bar, offset, size));
}

static void a_layout_is_read_through_the_file(void **state)
{
	struct virtio_layout layout;

	assert_int_equal(virtio_is_net(&vfio.pci), 0);
	assert_int_equal(virtio_layout_read(&vfio.pci, &layout), 0);
	assert_int_equal(layout.notify.offset, MODEL_NOTIFY);
	assert_int_equal(vfio.msix.n_vectors, MODEL_MSIX_VECTORS);
}

/* Each width, at a place of its own, and nothing beside it. */
static void check_accesses(void)
{
	const struct pci_window w = window(MODEL_BAR, MODEL_NOTIFY, 0x1000);
	const uint64_t at = REGION(MODEL_BAR) + MODEL_NOTIFY;
	const uint32_t ones = UINT32_MAX;

	for (unsigned int width = 1; width <= 4; width *= 2) {
		uint32_t value = 0xa1b2c3d4U >> (32 - 8 * width);

		put(at + 4, &ones, 4);
		put(at + 8, &ones, 4);
		pci_write(&vfio.pci, &w, 4, width, value);
		assert_int_equal(pci_read(&vfio.pci, &w, 4, width), value);
		assert_int_equal(get(at + 4),
			width == 4 ? value : (UINT32_MAX << 8 * width) | value);
		assert_int_equal(get(at + 8), UINT32_MAX);
	}
	pci_write64(&vfio.pci, &w, 8, 0x1122334455667788);
	assert_int_equal(get(at + 8), 0x55667788);
	assert_int_equal(get(at + 12), 0x11223344);
}

static void registers_are_accessed_as_wide_as_they_are_by_system_calls(void **state)
{
	check_accesses();
	assert_int_equal(vfio.n_maps, 0);
}

static void registers_are_accessed_as_wide_as_they_are_where_they_are_mapped(void **state)
{
	volatile uint32_t *at = map(MODEL_BAR, MODEL_NOTIFY, 0x1000);

	assert_non_null(at);
	check_accesses();
	assert_int_equal(at[3], 0x11223344);
}

static void a_window_is_mapped_once_and_in_whole_pages(void **state)
{
	volatile uint8_t *at = map(MODEL_BAR, MODEL_ISR + 0x10, 4);

	assert_non_null(at);
	assert_int_equal((uintptr_t)at % 0x1000, 0x10);
	assert_ptr_equal(map(MODEL_BAR, MODEL_ISR + 0x20, 8), at + 0x10);
	assert_int_equal(vfio.n_maps, 1);
	assert_int_equal(vfio.maps[0].pages.offset, MODEL_ISR);
	assert_int_equal(vfio.maps[0].pages.size, 0x1000);
}

static void the_same_offset_of_another_bar_is_not_mapped_with_it(void **state)
{
	const struct pci_window other = window(MODEL_MSIX_BAR, 0x800, 16);

	assert_non_null(map(MODEL_BAR, MODEL_COMMON, 0x1000));
	pci_write(&vfio.pci, &other, 0, 4, 77);
	assert_int_equal(get(REGION(MODEL_MSIX_BAR) + 0x800), 77);
	assert_int_equal(get(REGION(MODEL_BAR) + 0x800), 0);
}

static void what_is_not_in_a_bar_is_all_ones_and_takes_no_write(void **state)
{
	const struct pci_window w = window(MODEL_BAR, MODEL_BAR_SIZE, 16);
	const uint32_t before = get(REGION(MODEL_BAR) + MODEL_BAR_SIZE);

	assert_int_equal(pci_read(&vfio.pci, &w, 0, 4), UINT32_MAX);
	assert_int_equal(pci_read(&vfio.pci, &w, 0, 2), UINT16_MAX);
	assert_int_equal(pci_read(&vfio.pci, &w, 0, 1), UINT8_MAX);
	pci_write(&vfio.pci, &w, 0, 4, 0x12345678);
	assert_int_equal(get(REGION(MODEL_BAR) + MODEL_BAR_SIZE), before);
}

static void what_is_not_in_a_window_is_all_ones_and_takes_no_write(void **state)
{
	const struct pci_window w = window(MODEL_BAR, MODEL_NOTIFY, 6);

	pci_write(&vfio.pci, &w, 4, 4, 0x12345678);
	assert_int_equal(get(REGION(MODEL_BAR) + MODEL_NOTIFY + 4), 0);
	assert_int_equal(pci_read(&vfio.pci, &w, 4, 4), UINT32_MAX);
	assert_int_equal(pci_read(&vfio.pci, &w, 4, 2), 0);
	assert_int_equal(pci_read(&vfio.pci, &w, UINT64_MAX, 2), UINT16_MAX);
}

static void a_file_that_does_not_answer_is_all_ones(void **state)
{
	const struct pci_window w = window(MODEL_BAR, 0, 16);

	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(pci_read(&vfio.pci, &w, 0, 4), UINT32_MAX);
	assert_int_equal(pci_config_read(&vfio.pci, PCI_VENDOR_ID, 2), UINT16_MAX);
	assert_int_equal(virtio_is_net(&vfio.pci), -ENODEV);
	assert_int_equal(vfio_pci_open(file, &regions, &vfio), -ENODEV);
}

static void no_page_with_the_table_of_vectors_is_mapped(void **state)
{
	assert_null(map(MODEL_MSIX_BAR, 0, 16));
	assert_null(map(MODEL_MSIX_BAR, 0x800, 16));

	/* The table's last entry lies at the begin of a page of its own. */
	regions.bars[MODEL_MSIX_BAR].size = 0x4000;
	regions.bars[MODEL_MSIX_BAR].areas[0].size = 0x4000;
	put(CONFIG + MODEL_CAP_MSIX + PCI_MSIX_TABLE, &(uint32_t){ 0x1fc0 | MODEL_MSIX_BAR }, 4);
	open_again();
	assert_null(map(MODEL_MSIX_BAR, 0x1000, 16));
	assert_null(map(MODEL_MSIX_BAR, 0x2800, 16));
	assert_null(map(MODEL_MSIX_BAR, 0, 0x1004));
	assert_non_null(map(MODEL_MSIX_BAR, 0, 16));
	assert_non_null(map(MODEL_MSIX_BAR, 0x3000, 16));
	/* A window that can't be mapped works all the same. */
	pci_write(&vfio.pci, &(struct pci_window){ 0x2800, 16, MODEL_MSIX_BAR }, 0, 4, 77);
	assert_int_equal(get(REGION(MODEL_MSIX_BAR) + 0x2800), 77);
}

static void only_what_the_kernel_lets_be_mapped_is(void **state)
{
	struct vfio_region *bar = &regions.bars[MODEL_BAR];

	bar->n_areas = 0;
	open_again();
	assert_null(map(MODEL_BAR, MODEL_COMMON, 0x1000));
	bar->n_areas = 2;
	bar->areas[0] = (struct vfio_area){ 0x1000, 0x1000 };
	bar->areas[1] = (struct vfio_area){ 0x3000, 0x1000 };
	open_again();
	assert_null(map(MODEL_BAR, MODEL_COMMON, 0x1000));
	assert_null(map(MODEL_BAR, MODEL_ISR, 0x1004));
	assert_null(map(MODEL_BAR, MODEL_DEVICE, 16));
	assert_non_null(map(MODEL_BAR, MODEL_ISR, 0x1000));
	assert_non_null(map(MODEL_BAR, MODEL_NOTIFY, 16));
}

static void windows_that_can_not_be_are_not_mapped(void **state)
{
	assert_null(map(MODEL_BAR, 0, 0));
	assert_null(map(MODEL_BAR, 16, 0));
	assert_null(map(MODEL_BAR, 16, MODEL_BAR_SIZE - 8));
	assert_null(map(MODEL_BAR, MODEL_BAR_SIZE, 16));
	assert_null(map(MODEL_BAR, UINT64_MAX - 8, 16));
	assert_null(map(MODEL_BAR, 16, UINT64_MAX));
	assert_null(map(0, 0, 16));
	/* Not even when what lies there looks like one. */
	regions.config.n_areas = 1;
	regions.config.areas[0].size = PCI_CONFIG_SIZE;
	open_again();
	assert_null(map(PCI_N_BARS, 0, 16));
}

static void a_bar_of_less_than_a_page_can_be_mapped(void **state)
{
	regions.bars[MODEL_BAR].size = 0x800;
	regions.bars[MODEL_BAR].areas[0].size = 0x800;
	open_again();
	assert_non_null(map(MODEL_BAR, 0x400, 0x400));
}

static void no_more_windows_are_mapped_than_there_is_room_for(void **state)
{
	regions.bars[MODEL_BAR].size = 0x10000;
	regions.bars[MODEL_BAR].areas[0].size = 0x10000;
	open_again();
	for (uint64_t i = 0; i < VFIO_PCI_MAX_MAPS; i++)
		assert_non_null(map(MODEL_BAR, i * 0x1000, 16));
	assert_null(map(MODEL_BAR, VFIO_PCI_MAX_MAPS * 0x1000, 16));
	assert_non_null(map(MODEL_BAR, 0, 32));
}

static void a_bar_of_ports_is_no_memory(void **state)
{
	assert_int_equal(vfio.pci.ops->bar_size(&vfio.pci, MODEL_BAR), MODEL_BAR_SIZE);
	put(CONFIG + PCI_BASE_ADDRESS_0 + 4 * MODEL_BAR,
		&(uint32_t){ 0xc000 | PCI_BASE_ADDRESS_SPACE_IO }, 4);
	assert_int_equal(vfio.pci.ops->bar_size(&vfio.pci, MODEL_BAR), 0);
}

static void a_function_without_configuration_space_is_refused(void **state)
{
	struct vfio_pci other;

	regions.config.size = 0;
	assert_int_equal(vfio_pci_open(file, &regions, &other), -EPROTO);
	regions.config.size = PCI_CONFIG_SIZE;
	put(CONFIG + MODEL_CAP_ACCESS + 1, &(uint8_t){ MODEL_CAP_MSIX }, 1);
	put(CONFIG + PCI_CAPABILITY_LIST, &(uint8_t){ MODEL_CAP_COMMON }, 1);
	put(CONFIG + MODEL_CAP_MSIX, &(uint8_t){ PCI_CAP_ID_VNDR }, 1);
	assert_int_equal(vfio_pci_open(file, &regions, &other), -EPROTO);
}

static void what_was_mapped_is_not_when_it_is_closed(void **state)
{
	assert_non_null(map(MODEL_BAR, MODEL_COMMON, 16));
	assert_non_null(map(MODEL_BAR, MODEL_DEVICE, 16));
	assert_int_equal(count_mappings("device"), 2);
	vfio_pci_close(&vfio);
	assert_int_equal(count_mappings("device"), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_layout_is_read_through_the_file),
		TEST(registers_are_accessed_as_wide_as_they_are_by_system_calls),
		TEST(registers_are_accessed_as_wide_as_they_are_where_they_are_mapped),
		TEST(a_window_is_mapped_once_and_in_whole_pages),
		TEST(the_same_offset_of_another_bar_is_not_mapped_with_it),
		TEST(what_is_not_in_a_bar_is_all_ones_and_takes_no_write),
		TEST(what_is_not_in_a_window_is_all_ones_and_takes_no_write),
		TEST(a_file_that_does_not_answer_is_all_ones),
		TEST(no_page_with_the_table_of_vectors_is_mapped),
		TEST(only_what_the_kernel_lets_be_mapped_is),
		TEST(windows_that_can_not_be_are_not_mapped),
		TEST(a_bar_of_less_than_a_page_can_be_mapped),
		TEST(no_more_windows_are_mapped_than_there_is_room_for),
		TEST(a_bar_of_ports_is_no_memory),
		TEST(a_function_without_configuration_space_is_refused),
		TEST(what_was_mapped_is_not_when_it_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
