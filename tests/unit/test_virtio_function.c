/* SPDX-License-Identifier: BSD-2-Clause */
/* Reset, features and status, with devices that obey, refuse, hang, and go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "drivers/virtio/function.h"
#include "vdpa/base/clock.h"
#include "virtio_stand.h"

#define LONG_MS	 60000
#define SHORT_MS 20

#define VERSION_1 BIT_ULL(VIRTIO_F_VERSION_1)

static struct virtio_function opened(void)
{
	struct virtio_function f;

	assert_int_equal(virtio_function_open(&m.pci, &f), 0);
	return f;
}

static void open_reads_what_the_device_is_and_changes_nothing(void **state)
{
	struct virtio_function f = opened();

	assert_int_equal(f.offered, m.offered);
	assert_int_equal(f.n_queues, 5);
	assert_int_equal(f.msix.n_vectors, MODEL_MSIX_VECTORS);
	assert_int_equal(f.status, 0);
	assert_int_equal(f.features, 0);
	assert_int_equal(m.status, 0);
	assert_int_equal(m.resets, 0);
	assert_int_equal(m.maps, 3);
}

static void open_finds_a_device_as_it_was_left(void **state)
{
	struct virtio_function before = opened(), f;

	assert_int_equal(virtio_function_negotiate(&before, m.offered & ~BIT_ULL(VIRTIO_NET_F_MQ)), 0);
	assert_int_equal(virtio_function_run(&before), 0);
	m.needs_reset = true;
	f = opened();
	assert_int_equal(f.features, before.features);
	assert_int_equal(f.status, 15);
	assert_int_equal(m.status, 15);
	assert_int_equal(m.resets, 0);
	assert_int_equal(virtio_function_check(&f), -EIO);
}

static void open_refuses_what_is_no_modern_nic(void **state)
{
	static const struct {
		uint32_t offset, width, value;
		int r;
	} cases[] = {
		{ PCI_DEVICE_ID, 2, 0x1042, -EPROTO },
		{ PCI_CAPABILITY_LIST, 1, MODEL_CAP_NOTIFY, -EPROTO },
		{ MODEL_CAP_MSIX + PCI_MSIX_TABLE, 4, 7, -EPROTO },
		{ PCI_VENDOR_ID, 2, 0xffff, -ENODEV },
	};
	struct virtio_function f, untouched;

	memset(&f, 0x5a, sizeof(f));
	memcpy(&untouched, &f, sizeof(f));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		model_init(&m);
		model_set_config(&m, cases[i].offset, cases[i].width, cases[i].value);
		assert_int_equal(virtio_function_open(&m.pci, &f), cases[i].r);
	}
	model_init(&m);
	m.offered &= ~VERSION_1;
	assert_int_equal(virtio_function_open(&m.pci, &f), -EPROTO);
	assert_memory_equal(&f, &untouched, sizeof(f));
}

static void open_of_registers_that_are_all_ones_says_that_the_device_is_gone(void **state)
{
	struct virtio_function f;

	/* Configuration space answers still, as VFIO's does of a virtual function. */
	m.gone_after = 1;
	m.accesses = 1;
	assert_int_equal(virtio_function_open(&m.pci, &f), -ENODEV);
}

static void a_feature_without_its_register_is_not_offered(void **state)
{
	struct virtio_function f;

	model_set_config(&m, MODEL_CAP_COMMON + VIRTIO_PCI_CAP_LENGTH, 4, 58);
	f = opened();
	assert_int_equal(m.offered & ~f.offered, BIT_ULL(VIRTIO_BIT_RING_RESET));
	model_set_config(&m, MODEL_CAP_COMMON + VIRTIO_PCI_CAP_LENGTH, 4, 56);
	f = opened();
	assert_int_equal(m.offered & ~f.offered,
		BIT_ULL(VIRTIO_BIT_RING_RESET) | BIT_ULL(VIRTIO_BIT_NOTIF_CONFIG_DATA));
}

static void features_of_both_halves_reach_the_device(void **state)
{
	struct virtio_function f = opened();
	uint64_t features = VERSION_1 | BIT_ULL(VIRTIO_NET_F_MAC) | BIT_ULL(VIRTIO_F_RING_PACKED);

	assert_int_equal(virtio_function_negotiate(&f, features), 0);
	assert_int_equal(m.accepted, features);
	assert_int_equal(f.features, features);
	assert_int_equal(m.status, 11);
}

static void features_are_refused_before_the_device_hears_of_them(void **state)
{
	struct virtio_function f = opened();

	assert_int_equal(virtio_function_negotiate(&f, VERSION_1 | BIT_ULL(63)), -EINVAL);
	assert_int_equal(virtio_function_negotiate(&f, BIT_ULL(VIRTIO_NET_F_MAC)), -EINVAL);
	assert_int_equal(m.status, 0);
	assert_int_equal(f.features, 0);
}

static void features_come_only_after_a_reset(void **state)
{
	struct virtio_function f = opened();

	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), 0);
	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), -EBUSY);
	f = opened();
	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), -EBUSY);
	assert_int_equal(virtio_function_reset(&f, LONG_MS), 0);
	assert_int_equal(f.features, 0);
	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), 0);
}

static void a_device_that_does_not_take_the_features_can_be_reset_and_asked_again(void **state)
{
	struct virtio_function f = opened();

	m.refused = BIT_ULL(VIRTIO_NET_F_MQ);
	assert_int_equal(virtio_function_negotiate(&f, VERSION_1 | BIT_ULL(VIRTIO_NET_F_MQ)),
		-EINVAL);
	assert_int_equal(f.features, 0);
	assert_int_equal(virtio_function_run(&f), -EBUSY);
	assert_int_equal(virtio_function_reset(&f, LONG_MS), 0);
	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), 0);
}

static void run_needs_features_and_may_be_repeated(void **state)
{
	struct virtio_function f = opened();

	assert_int_equal(virtio_function_run(&f), -EBUSY);
	assert_int_equal(m.status, 0);
	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), 0);
	assert_int_equal(virtio_function_run(&f), 0);
	assert_int_equal(m.status, 15);
	assert_int_equal(virtio_function_run(&f), 0);
	assert_int_equal(virtio_function_check(&f), 0);
}

static void a_reset_is_waited_for(void **state)
{
	struct virtio_function f = opened();

	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), 0);
	m.reset_reads = 50;
	assert_int_equal(virtio_function_reset(&f, LONG_MS), 0);
	assert_int_equal(m.status_reads_left, 0);
	assert_int_equal(m.status, 0);
	assert_int_equal(m.resets, 1);
	assert_int_equal(virtio_function_check(&f), 0);
}

static void a_reset_that_does_not_end_is_given_up_and_not_believed(void **state)
{
	struct virtio_function f = opened();
	uint64_t begin;

	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), 0);
	m.deaf = true;
	begin = clock_now_ns();
	assert_int_equal(virtio_function_reset(&f, SHORT_MS), -ETIMEDOUT);
	assert_true(clock_now_ns() - begin >= SHORT_MS * NS_PER_MS);
	assert_int_equal(f.features, VERSION_1);
	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), -EBUSY);
}

static void a_device_that_is_gone_is_not_waited_for(void **state)
{
	struct virtio_function f = opened();

	m.gone = true;
	assert_int_equal(virtio_function_reset(&f, LONG_MS), -ENODEV);
	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), -ENODEV);
	assert_int_equal(virtio_function_run(&f), -ENODEV);
	assert_int_equal(virtio_function_check(&f), -ENODEV);
	assert_int_equal(virtio_function_set_config_vector(&f, 0), -ENODEV);
	assert_int_equal(virtio_function_set_config_vector(&f, VIRTIO_MSI_NO_VECTOR), -ENODEV);
}

static void a_device_that_goes_at_any_moment_of_its_start_is_noticed(void **state)
{
	int r;

	for (unsigned int after = 1; after < 100; after++) {
		struct virtio_function f;

		model_init(&m);
		f = opened();
		m.gone_after = m.accesses + after;
		r = virtio_function_negotiate(&f, m.offered);
		if (r == 0)
			r = virtio_function_run(&f);
		if (r == 0) {
			assert_false(m.gone);
			assert_true(after > 10);
			return;
		}
		assert_int_equal(r, -ENODEV);
		assert_true(m.gone);
	}
	fail();
}

static void a_device_that_was_reset_behind_our_back_is_noticed(void **state)
{
	struct virtio_function f = opened();

	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), 0);
	assert_int_equal(virtio_function_run(&f), 0);
	m.pci.ops->write(&m.pci, MODEL_BAR, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	assert_int_equal(virtio_function_check(&f), -ENODEV);
	assert_int_equal(virtio_function_run(&f), -ENODEV);
}

static void a_device_that_wants_to_be_reset_is_noticed(void **state)
{
	struct virtio_function f = opened();

	assert_int_equal(virtio_function_negotiate(&f, VERSION_1), 0);
	m.needs_reset = true;
	assert_int_equal(virtio_function_run(&f), -EIO);
	assert_int_equal(m.status, 11);
	m.needs_reset = false;
	assert_int_equal(virtio_function_run(&f), 0);
}

static void the_vector_of_the_configuration_is_one_that_the_device_took(void **state)
{
	struct virtio_function f = opened();

	assert_int_equal(virtio_function_set_config_vector(&f, MODEL_MSIX_VECTORS), -EINVAL);
	assert_int_equal(m.config_vector, VIRTIO_MSI_NO_VECTOR);
	assert_int_equal(virtio_function_set_config_vector(&f, MODEL_MSIX_VECTORS - 1), 0);
	assert_int_equal(m.config_vector, MODEL_MSIX_VECTORS - 1);
	assert_int_equal(virtio_function_set_config_vector(&f, VIRTIO_MSI_NO_VECTOR), 0);
	assert_int_equal(m.config_vector, VIRTIO_MSI_NO_VECTOR);
	m.other_vector = true;
	assert_int_equal(virtio_function_set_config_vector(&f, 1), -EIO);
	m.no_vectors = true;
	assert_int_equal(virtio_function_set_config_vector(&f, 1), -ENOSPC);
}

static uint16_t command(void)
{
	return (uint16_t)(m.config[PCI_COMMAND] | m.config[PCI_COMMAND + 1] << 8);
}

static void memory_is_reached_when_it_is_allowed_and_no_longer(void **state)
{
	model_set_config(&m, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(pci_dma_allow(&m.pci), 0);
	assert_int_equal(command(),
		PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(pci_dma_allow(&m.pci), 0);
	assert_int_equal(pci_dma_forbid(&m.pci), 0);
	assert_int_equal(command(), PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_MEMORY);
	assert_int_equal(pci_dma_forbid(&m.pci), 0);
}

static void a_function_that_goes_on_reaching_memory_is_noticed(void **state)
{
	m.stubborn = true;
	assert_int_equal(pci_dma_allow(&m.pci), -EIO);
	model_set_config(&m, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(pci_dma_forbid(&m.pci), -EIO);
	m.gone = true;
	assert_int_equal(pci_dma_allow(&m.pci), -ENODEV);
	assert_int_equal(pci_dma_forbid(&m.pci), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL_TEST(open_reads_what_the_device_is_and_changes_nothing),
		MODEL_TEST(open_finds_a_device_as_it_was_left),
		MODEL_TEST(open_refuses_what_is_no_modern_nic),
		MODEL_TEST(open_of_registers_that_are_all_ones_says_that_the_device_is_gone),
		MODEL_TEST(a_feature_without_its_register_is_not_offered),
		MODEL_TEST(features_of_both_halves_reach_the_device),
		MODEL_TEST(features_are_refused_before_the_device_hears_of_them),
		MODEL_TEST(features_come_only_after_a_reset),
		MODEL_TEST(a_device_that_does_not_take_the_features_can_be_reset_and_asked_again),
		MODEL_TEST(run_needs_features_and_may_be_repeated),
		MODEL_TEST(a_reset_is_waited_for),
		MODEL_TEST(a_reset_that_does_not_end_is_given_up_and_not_believed),
		MODEL_TEST(a_device_that_is_gone_is_not_waited_for),
		MODEL_TEST(a_device_that_goes_at_any_moment_of_its_start_is_noticed),
		MODEL_TEST(a_device_that_was_reset_behind_our_back_is_noticed),
		MODEL_TEST(a_device_that_wants_to_be_reset_is_noticed),
		MODEL_TEST(the_vector_of_the_configuration_is_one_that_the_device_took),
		MODEL_TEST(memory_is_reached_when_it_is_allowed_and_no_longer),
		MODEL_TEST(a_function_that_goes_on_reaching_memory_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
