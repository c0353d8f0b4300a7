/* SPDX-License-Identifier: BSD-2-Clause */
/* What the driver makes of a function's capabilities, the honest ones and the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/virtio/layout.h"
#include "virtio_stand.h"

static void assert_window(struct pci_window window, uint64_t offset)
{
	assert_int_equal(window.bar, MODEL_BAR);
	assert_int_equal(window.offset, offset);
	assert_int_equal(window.size, 0x1000);
}

static void assert_whole_layout(void)
{
	struct virtio_layout layout;

	assert_int_equal(virtio_layout_read(&m.pci, &layout), 0);
	assert_window(layout.common, MODEL_COMMON);
	assert_window(layout.notify, MODEL_NOTIFY);
	assert_window(layout.isr, MODEL_ISR);
	assert_window(layout.device, MODEL_DEVICE);
	assert_int_equal(layout.notify_multiplier, MODEL_MULTIPLIER);
	assert_int_equal(layout.pci_access, MODEL_CAP_ACCESS);
}

static void each_structure_is_found(void **state)
{
	assert_whole_layout();
}

static void the_vectors_are_found(void **state)
{
	struct pci_msix msix;

	assert_int_equal(pci_msix_read(&m.pci, &msix), 0);
	assert_int_equal(msix.n_vectors, MODEL_MSIX_VECTORS);
	assert_int_equal(msix.table.bar, MODEL_MSIX_BAR);
	assert_int_equal(msix.table.offset, 0);
	assert_int_equal(msix.table.size, MODEL_MSIX_VECTORS * 16);
}

static void a_function_without_vectors_is_one(void **state)
{
	struct pci_msix msix;

	model_set_config(&m, PCI_CAPABILITY_LIST, 1, MODEL_CAP_COMMON);
	assert_int_equal(pci_msix_read(&m.pci, &msix), 0);
	assert_int_equal(msix.n_vectors, 0);
}

static void a_list_of_capabilities_may_have_low_bits_set(void **state)
{
	model_set_config(&m, PCI_CAPABILITY_LIST, 1, MODEL_CAP_MSIX | 3);
	assert_whole_layout();
}

/* One change of configuration space, by which a structure that is needed is not found. */
static const struct {
	const char *what;
	uint32_t offset;
	unsigned int width;
	uint32_t value;
	int error;
} bad_layouts[] = {
	{ "no list", PCI_STATUS, 2, 0, -EPROTO },
	{ "nobody answers", PCI_VENDOR_ID, 2, 0xffff, -ENODEV },
	{ "a loop of one", MODEL_CAP_MSIX + 1, 1, MODEL_CAP_MSIX, -EPROTO },
	{ "a loop of all", MODEL_CAP_ACCESS + 1, 1, MODEL_CAP_MSIX, -EPROTO },
	{ "a list into the header", MODEL_CAP_MSIX + 1, 1, 0x3c, -EPROTO },
	{ "a list that begins in the header", PCI_CAPABILITY_LIST, 1, 0x04, -EPROTO },
	{ "another vendor's kind of capability", MODEL_CAP_COMMON, 1, PCI_CAP_ID_EXP, -EPROTO },
	{ "an unknown kind", MODEL_CAP_COMMON + 3, 1, 0x55, -EPROTO },
	{ "a kind of 0", MODEL_CAP_COMMON + 3, 1, 0, -EPROTO },
	{ "a capability too short", MODEL_CAP_COMMON + 2, 1, 15, -EPROTO },
	{ "one that leaves the space", MODEL_CAP_COMMON + 2, 1, 0xc0, -EPROTO },
	{ "no room for the multiplier", MODEL_CAP_NOTIFY + 2, 1, 16, -EPROTO },
	{ "a BAR that can't be", MODEL_CAP_COMMON + 4, 1, 6, -EPROTO },
	{ "a BAR of 255", MODEL_CAP_COMMON + 4, 1, 255, -EPROTO },
	{ "a BAR that is not there", MODEL_CAP_COMMON + 4, 1, 0, -EPROTO },
	{ "an offset behind the BAR", MODEL_CAP_COMMON + 8, 4, MODEL_BAR_SIZE, -EPROTO },
	{ "an end behind the BAR", MODEL_CAP_COMMON + 8, 4, MODEL_BAR_SIZE - 0xffc, -EPROTO },
	{ "a sum that wraps 32 bits", MODEL_CAP_COMMON + 8, 4, 0xfffff000, -EPROTO },
	{ "the largest length", MODEL_CAP_COMMON + 12, 4, 0xffffffff, -EPROTO },
	{ "a common configuration too short", MODEL_CAP_COMMON + 12, 4, 55, -EPROTO },
	{ "an empty common configuration", MODEL_CAP_COMMON + 12, 4, 0, -EPROTO },
	{ "an odd common configuration", MODEL_CAP_COMMON + 8, 4, 2, -EPROTO },
	{ "notifications of one byte", MODEL_CAP_NOTIFY + 12, 4, 1, -EPROTO },
	{ "odd notifications", MODEL_CAP_NOTIFY + 8, 4, MODEL_NOTIFY - 1, -EPROTO },
	{ "a multiplier of 1", MODEL_CAP_NOTIFY + 16, 4, 1, -EPROTO },
	{ "a multiplier of 6", MODEL_CAP_NOTIFY + 16, 4, 6, -EPROTO },
	{ "the largest multiplier", MODEL_CAP_NOTIFY + 16, 4, 0xffffffff, -EPROTO },
};

static void a_hostile_list_is_refused_and_the_result_left_alone(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad_layouts); i++) {
		struct virtio_layout layout, before;
		int r;

		memset(&layout, 0x5a, sizeof(layout));
		memcpy(&before, &layout, sizeof(layout));
		model_init(&m);
		model_set_config(&m, bad_layouts[i].offset, bad_layouts[i].width,
			bad_layouts[i].value);
		r = virtio_layout_read(&m.pci, &layout);
		if (r != bad_layouts[i].error)
			fail_msg("%s: %d", bad_layouts[i].what, r);
		assert_memory_equal(&layout, &before, sizeof(layout));
		model_assert_content(&m);
	}
}

static void a_structure_that_is_of_no_use_is_passed_over_for_the_next(void **state)
{
	/* MSI-X makes room for one in front of all, whose BAR is not there. */
	memcpy(&m.config[MODEL_CAP_MSIX], &m.config[MODEL_CAP_COMMON], 16);
	m.config[MODEL_CAP_MSIX + 1] = MODEL_CAP_COMMON;
	m.config[MODEL_CAP_MSIX + VIRTIO_PCI_CAP_BAR] = 3;
	assert_whole_layout();
}

static void the_first_structure_that_can_be_used_is(void **state)
{
	struct virtio_layout layout;

	memcpy(&m.config[MODEL_CAP_MSIX], &m.config[MODEL_CAP_COMMON], 16);
	m.config[MODEL_CAP_MSIX + 1] = MODEL_CAP_COMMON;
	model_set_config(&m, MODEL_CAP_MSIX + VIRTIO_PCI_CAP_OFFSET, 4, 0x40);
	model_set_config(&m, MODEL_CAP_MSIX + VIRTIO_PCI_CAP_LENGTH, 4, 64);
	assert_int_equal(virtio_layout_read(&m.pci, &layout), 0);
	assert_int_equal(layout.common.offset, 0x40);
	assert_int_equal(layout.common.size, 64);
}

static void structures_that_are_not_needed_may_be_missing(void **state)
{
	struct virtio_layout layout;

	model_set_config(&m, MODEL_CAP_NOTIFY + 1, 1, 0);
	assert_int_equal(virtio_layout_read(&m.pci, &layout), 0);
	assert_int_equal(layout.isr.size, 0);
	assert_int_equal(layout.device.size, 0);
	assert_int_equal(layout.pci_access, 0);
}

static void a_capability_at_the_end_of_the_space_reads_nothing_beyond(void **state)
{
	struct virtio_layout layout;

	/* The model complains of a read that leaves the space. */
	for (uint32_t at = 0xf0; at < PCI_CONFIG_SIZE; at += 4) {
		model_init(&m);
		model_set_config(&m, MODEL_CAP_ACCESS + 1, 1, at);
		model_set_config(&m, at, 1, PCI_CAP_ID_VNDR);
		if (at + 4 <= PCI_CONFIG_SIZE - 4)
			model_set_config(&m, at + 3, 1, VIRTIO_PCI_CAP_NOTIFY_CFG);
		assert_int_equal(virtio_layout_read(&m.pci, &layout), 0);
		model_assert_content(&m);
	}
}

static void a_table_of_vectors_that_can_not_be_is_refused(void **state)
{
	static const struct {
		uint32_t offset, value;
	} bad[] = {
		{ MODEL_CAP_MSIX + PCI_MSIX_TABLE, 7 },
		{ MODEL_CAP_MSIX + PCI_MSIX_TABLE, 0 },
		{ MODEL_CAP_MSIX + PCI_MSIX_TABLE, 0x1000 | MODEL_MSIX_BAR },
		{ MODEL_CAP_MSIX + PCI_MSIX_TABLE, 0xff8 | MODEL_MSIX_BAR },
		{ MODEL_CAP_MSIX, 0x07ff0000 | PCI_CAP_ID_MSIX },
	};
	struct pci_msix msix;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		model_init(&m);
		model_set_config(&m, bad[i].offset, 4, bad[i].value);
		assert_int_equal(pci_msix_read(&m.pci, &msix), -EPROTO);
	}
	model_init(&m);
	model_set_config(&m, MODEL_CAP_ACCESS + 1, 1, 0xf8);
	model_set_config(&m, PCI_CAPABILITY_LIST, 1, MODEL_CAP_COMMON);
	model_set_config(&m, 0xf8, 1, PCI_CAP_ID_MSIX);
	assert_int_equal(pci_msix_read(&m.pci, &msix), -EPROTO);
	model_set_config(&m, MODEL_CAP_ACCESS + 1, 1, 0xfc);
	model_set_config(&m, 0xfc, 1, PCI_CAP_ID_MSIX);
	assert_int_equal(pci_msix_read(&m.pci, &msix), -EPROTO);
}

static void a_list_that_goes_through_the_header_is_refused(void **state)
{
	struct virtio_layout layout;

	/* From there it would lead to all that is needed. */
	model_set_config(&m, PCI_CAPABILITY_LIST, 1, 0x38);
	model_set_config(&m, 0x38, 2, MODEL_CAP_MSIX << 8);
	assert_int_equal(virtio_layout_read(&m.pci, &layout), -EPROTO);
}

static void the_first_way_to_the_bars_is_taken(void **state)
{
	memcpy(&m.config[0xb0], &m.config[MODEL_CAP_ACCESS], sizeof(struct virtio_pci_cfg_cap));
	model_set_config(&m, MODEL_CAP_ACCESS + 1, 1, 0xb0);
	assert_whole_layout();
}

/* Whatever a device writes there: an answer, and no access that the model knows nothing of. */
static void random_lists_are_read_to_an_end(void **state)
{
	unsigned int seed = 1, found = 0;

	for (int round = 0; round < 20000; round++) {
		struct virtio_layout layout;
		struct pci_msix msix;
		int changes = 1 + rand_r(&seed) % 6;

		model_init(&m);
		while (changes-- > 0)
			m.config[0x34 + rand_r(&seed) % 0xcc] = (uint8_t)rand_r(&seed);
		if (virtio_layout_read(&m.pci, &layout) == 0) {
			found++;
			assert_true(layout.common.offset + layout.common.size <= MODEL_BAR_SIZE);
			assert_true(layout.notify.offset + layout.notify.size <= MODEL_BAR_SIZE);
		}
		pci_msix_read(&m.pci, &msix);
		model_assert_content(&m);
	}
	assert_true(found > 1000);
}

static void a_function_is_told_by_its_numbers(void **state)
{
	static const struct {
		uint32_t vendor, device, subsystem;
		int r;
	} cases[] = {
		{ 0x1af4, 0x1041, 0x1100, 0 },
		{ 0x1af4, 0x1000, 1, 0 },
		{ 0x1af4, 0x1000, 2, -EPROTO },
		{ 0x1af4, 0x1042, 1, -EPROTO },
		{ 0x8086, 0x1041, 1, -EPROTO },
		{ 0xffff, 0xffff, 0xffff, -ENODEV },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		model_set_config(&m, PCI_VENDOR_ID, 2, cases[i].vendor);
		model_set_config(&m, PCI_DEVICE_ID, 2, cases[i].device);
		model_set_config(&m, PCI_SUBSYSTEM_ID, 2, cases[i].subsystem);
		assert_int_equal(virtio_is_net(&m.pci), cases[i].r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL_TEST(each_structure_is_found),
		MODEL_TEST(the_vectors_are_found),
		MODEL_TEST(a_function_without_vectors_is_one),
		MODEL_TEST(a_list_of_capabilities_may_have_low_bits_set),
		MODEL_TEST(a_hostile_list_is_refused_and_the_result_left_alone),
		MODEL_TEST(a_structure_that_is_of_no_use_is_passed_over_for_the_next),
		MODEL_TEST(the_first_structure_that_can_be_used_is),
		MODEL_TEST(structures_that_are_not_needed_may_be_missing),
		MODEL_TEST(a_capability_at_the_end_of_the_space_reads_nothing_beyond),
		MODEL_TEST(a_table_of_vectors_that_can_not_be_is_refused),
		MODEL_TEST(a_list_that_goes_through_the_header_is_refused),
		MODEL_TEST(the_first_way_to_the_bars_is_taken),
		MODEL_TEST(random_lists_are_read_to_an_end),
		MODEL_TEST(a_function_is_told_by_its_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
