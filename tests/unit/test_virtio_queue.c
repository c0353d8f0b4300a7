/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues: set up, enabled, reset and notified, as the rules of the model want it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "drivers/virtio/queue.h"
#include "virtio_stand.h"

#define LONG_MS	 60000
#define SHORT_MS 20

#define VERSION_1 BIT_ULL(VIRTIO_F_VERSION_1)
#define PACKED	  BIT_ULL(VIRTIO_F_RING_PACKED)
#define RESETS	  BIT_ULL(VIRTIO_BIT_RING_RESET)
#define DATA	  BIT_ULL(VIRTIO_BIT_NOTIFICATION_DATA)
#define NAMES	  BIT_ULL(VIRTIO_BIT_NOTIF_CONFIG_DATA)

/* A function with these features, and VERSION_1. */
static struct virtio_function negotiated(uint64_t features)
{
	struct virtio_function f;

	assert_int_equal(virtio_function_open(&m.pci, &f), 0);
	assert_int_equal(virtio_function_reset(&f, LONG_MS), 0);
	assert_int_equal(virtio_function_negotiate(&f, VERSION_1 | features), 0);
	return f;
}

static struct virtio_queue_setup setup_of(uint16_t index)
{
	return (struct virtio_queue_setup){
		.index = index,
		.size = 64,
		.vector = VIRTIO_MSI_NO_VECTOR,
		.desc = 0x123456789000 + index * 0x10000ULL,
		.driver = 0xfedcba9876540002,
		.device = 0x80000004,
	};
}

static struct virtio_function running(uint64_t features)
{
	struct virtio_function f = negotiated(features);

	for (uint16_t i = 0; i < 2; i++) {
		struct virtio_queue_setup setup = setup_of(i);

		setup.driver = 0x2000;
		assert_int_equal(virtio_queue_enable(&f, &setup), 0);
	}
	assert_int_equal(virtio_function_run(&f), 0);
	return f;
}

static void a_queue_is_enabled_with_all_that_it_was_told(void **state)
{
	struct virtio_function f = negotiated(0);
	struct virtio_queue_setup setup = setup_of(3);

	setup.vector = 2;
	assert_int_equal(virtio_queue_enable(&f, &setup), 0);
	assert_int_equal(m.queues[3].enable, 1);
	assert_int_equal(m.queues[3].size, 64);
	assert_int_equal(m.queues[3].vector, 2);
	assert_int_equal(model_queue_address(&m, 3, 0), setup.desc);
	assert_int_equal(model_queue_address(&m, 3, 1), setup.driver);
	assert_int_equal(model_queue_address(&m, 3, 2), setup.device);
	for (size_t i = 0; i < MODEL_MAX_QUEUES; i++)
		assert_int_equal(m.queues[i].enable, i == 3);
}

static void facts_of_a_queue_are_those_of_its_registers(void **state)
{
	struct virtio_function f = negotiated(0);
	struct virtio_queue_setup setup = setup_of(1);
	struct virtio_queue_facts facts;

	m.queues[2].max_size = 0;
	m.queues[2].size = 0;
	assert_int_equal(virtio_queue_read(&f, 1, &facts), 0);
	assert_int_equal(facts.size, 256);
	assert_int_equal(facts.vector, VIRTIO_MSI_NO_VECTOR);
	assert_false(facts.enabled);
	setup.vector = 4;
	assert_int_equal(virtio_queue_enable(&f, &setup), 0);
	assert_int_equal(virtio_queue_read(&f, 2, &facts), 0);
	assert_int_equal(facts.size, 0);
	assert_int_equal(virtio_queue_read(&f, 1, &facts), 0);
	assert_int_equal(facts.size, 64);
	assert_int_equal(facts.vector, 4);
	assert_true(facts.enabled);
	assert_int_equal(virtio_queue_read(&f, 5, &facts), -EINVAL);
	m.queues[0].size = 0x8001;
	assert_int_equal(virtio_queue_read(&f, 0, &facts), -EPROTO);
	m.gone = true;
	assert_int_equal(virtio_queue_read(&f, 1, &facts), -ENODEV);
}

static void a_setup_that_can_not_be_leaves_the_queue_alone(void **state)
{
	static const struct {
		uint64_t features;
		struct virtio_queue_setup setup;
	} bad[] = {
		{ 0, { 5, 64, 0, 0, 0, 0 } },
		{ 0, { UINT16_MAX, 64, 0, 0, 0, 0 } },
		{ 0, { 0, 0, 0, 0, 0, 0 } },
		{ 0, { 0, 512, 0, 0, 0, 0 } },
		{ 0, { 0, 96, 0, 0, 0, 0 } },
		{ PACKED, { 0, 257, 0, 0, 0, 0 } },
		{ PACKED, { 0, 0, 0, 0, 0, 0 } },
		{ 0, { 0, 64, MODEL_MSIX_VECTORS, 0, 0, 0 } },
		{ 0, { 0, 64, 0xfffe, 0, 0, 0 } },
		{ 0, { 0, 64, 0, 8, 0, 0 } },
		{ 0, { 0, 64, 0, 0, 1, 0 } },
		{ PACKED, { 0, 64, 0, 0, 2, 0 } },
		{ 0, { 0, 64, 0, 0, 0, 2 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_function f = negotiated(bad[i].features);
		struct virtio_queue_setup setup = bad[i].setup;
		struct model_queue before = m.queues[0];

		setup.desc += 0x1000;
		setup.driver += 0x2000;
		setup.device += 0x3000;
		assert_int_equal(virtio_queue_enable(&f, &setup), -EINVAL);
		assert_memory_equal(&m.queues[0], &before, sizeof(before));
	}
}

static void a_packed_ring_may_have_any_size(void **state)
{
	struct virtio_function f = negotiated(PACKED);
	struct virtio_queue_setup setup = setup_of(0);

	setup.size = 97;
	setup.driver = 4;
	assert_int_equal(virtio_queue_enable(&f, &setup), 0);
	assert_int_equal(m.queues[0].size, 97);
}

static void a_queue_that_the_device_does_not_have_is_told_apart(void **state)
{
	struct virtio_function f = negotiated(0);
	struct virtio_queue_setup setup = setup_of(2);

	m.queues[2].max_size = 0;
	m.queues[2].size = 0;
	assert_int_equal(virtio_queue_enable(&f, &setup), -ENOENT);
}

static void a_queue_is_enabled_once_and_after_the_features(void **state)
{
	struct virtio_queue_setup setup = setup_of(0);
	struct virtio_function f;

	assert_int_equal(virtio_function_open(&m.pci, &f), 0);
	assert_int_equal(virtio_queue_enable(&f, &setup), -EBUSY);
	f = negotiated(0);
	assert_int_equal(virtio_queue_enable(&f, &setup), 0);
	assert_int_equal(virtio_queue_enable(&f, &setup), -EBUSY);
}

static void what_the_device_does_not_keep_keeps_the_queue_from_running(void **state)
{
	struct virtio_function f = negotiated(0);
	struct virtio_queue_setup setup = setup_of(0);

	m.forgets_size = true;
	assert_int_equal(virtio_queue_enable(&f, &setup), -EIO);
	m.forgets_size = false;
	setup.vector = 1;
	m.no_vectors = true;
	assert_int_equal(virtio_queue_enable(&f, &setup), -ENOSPC);
	m.no_vectors = false;
	m.other_vector = true;
	assert_int_equal(virtio_queue_enable(&f, &setup), -EIO);
	assert_int_equal(m.queues[0].enable, 0);
	m.other_vector = false;
	m.forgets_enable = true;
	assert_int_equal(virtio_queue_enable(&f, &setup), -EIO);
}

static void a_device_that_goes_while_a_queue_is_set_up_is_noticed(void **state)
{
	for (unsigned int after = 1; after < 100; after++) {
		struct virtio_queue_setup setup = setup_of(1);
		struct virtio_function f;
		int r;

		model_init(&m);
		f = negotiated(0);
		m.gone_after = m.accesses + after;
		r = virtio_queue_enable(&f, &setup);
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

static void one_queue_is_reset_and_set_up_again_while_others_run(void **state)
{
	struct virtio_function f = running(RESETS);
	struct virtio_queue_setup setup = setup_of(1);

	m.queues[1].reset_reads = 20;
	assert_int_equal(virtio_queue_reset(&f, 1, LONG_MS), 0);
	assert_int_equal(m.queues[1].enable, 0);
	assert_int_equal(m.queues[1].resets, 1);
	assert_int_equal(m.queues[0].enable, 1);
	assert_int_equal(m.resets, 1);
	assert_int_equal(virtio_queue_reset(&f, 1, LONG_MS), 0);
	assert_int_equal(m.queues[1].resets, 1);
	setup.size = 256;
	assert_int_equal(virtio_queue_enable(&f, &setup), 0);
	assert_int_equal(m.queues[1].enable, 1);
	assert_int_equal(m.queues[1].size, 256);
}

static void a_queue_reset_that_another_worker_began_is_awaited(void **state)
{
	struct virtio_function f = running(RESETS);

	m.queues[1].reset_reads = 1000000;
	assert_int_equal(virtio_queue_reset(&f, 1, SHORT_MS), -ETIMEDOUT);
	assert_int_equal(virtio_function_open(&m.pci, &f), 0);
	m.queues[1].reset_reads = 20;
	assert_int_equal(virtio_queue_reset(&f, 1, LONG_MS), 0);
	assert_int_equal(m.queues[1].resets, 1);
	assert_int_equal(m.queues[1].enable, 0);
}

static void a_queue_that_says_late_that_it_does_not_run_is_awaited(void **state)
{
	struct virtio_function f = running(RESETS);

	m.queues[1].late_reads = 20;
	assert_int_equal(virtio_queue_reset(&f, 1, LONG_MS), 0);
	assert_int_equal(m.queues[1].enable, 0);
	m.queues[0].late_reads = 1000000;
	assert_int_equal(virtio_queue_reset(&f, 0, SHORT_MS), -ETIMEDOUT);
}

static void a_queue_is_not_reset_without_the_feature(void **state)
{
	struct virtio_function f = running(0);

	assert_int_equal(virtio_queue_reset(&f, 1, LONG_MS), -EOPNOTSUPP);
	f = running(RESETS);
	assert_int_equal(virtio_queue_reset(&f, 5, LONG_MS), -EINVAL);
	m.gone = true;
	assert_int_equal(virtio_queue_reset(&f, 1, LONG_MS), -ENODEV);
}

static void a_device_that_goes_while_a_queue_is_reset_is_noticed(void **state)
{
	struct virtio_function f = running(RESETS);

	m.queues[0].reset_reads = 1000000;
	m.gone_after = m.accesses + 10;
	assert_int_equal(virtio_queue_reset(&f, 0, LONG_MS), -ENODEV);
}

/* What is written for queue 1 at position 0x8005, or 5 with the wrap counter set. */
static void a_notification_says_what_was_negotiated(void **state)
{
	static const struct {
		uint64_t features;
		uint32_t value;
	} cases[] = {
		{ 0, 1 },
		{ NAMES, 0x101 },
		{ DATA, 0x80050001 },
		{ DATA | NAMES, 0x80050101 },
		{ DATA | PACKED, 0x80050001 },
		{ PACKED, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool packed = cases[i].features & PACKED;
		struct queue_position next = { packed ? 5 : 0x8005, 0, packed, false };
		struct virtio_function f;
		struct virtio_doorbell bell;

		model_init(&m);
		f = running(cases[i].features);
		assert_int_equal(virtio_queue_doorbell(&f, 0, &bell), 0);
		assert_int_equal(bell.window.offset, MODEL_NOTIFY);
		assert_int_equal(virtio_queue_doorbell(&f, 1, &bell), 0);
		virtio_doorbell_ring(&f, &bell, next);
		assert_int_equal(m.queues[1].notifications, 1);
		assert_int_equal(m.queues[1].notified, cases[i].value);
		next = (struct queue_position){ 6, 0, false, false };
		virtio_doorbell_ring(&f, &bell, next);
		if (cases[i].features & DATA)
			assert_int_equal(m.queues[1].notified >> 16, 6);
		model_assert_content(&m);
	}
}

static void a_doorbell_outside_of_its_window_is_refused(void **state)
{
	struct virtio_function f = running(DATA);
	struct virtio_doorbell bell;

	assert_int_equal(virtio_queue_doorbell(&f, 5, &bell), -EINVAL);
	m.queues[1].notify_off = 0x3ff;
	assert_int_equal(virtio_queue_doorbell(&f, 1, &bell), 0);
	assert_int_equal(bell.window.offset, MODEL_NOTIFY + 0xffc);
	assert_int_equal(bell.window.size, 4);
	m.queues[1].notify_off = 0x400;
	assert_int_equal(virtio_queue_doorbell(&f, 1, &bell), -EPROTO);
	m.queues[1].notify_off = 0xffff;
	assert_int_equal(virtio_queue_doorbell(&f, 1, &bell), -EPROTO);
	f.layout.notify_multiplier = 0x80000000;
	m.queues[1].notify_off = 2;
	assert_int_equal(virtio_queue_doorbell(&f, 1, &bell), -EPROTO);
	/* Two bytes more than a multiple of four: good for two bytes, not for four. */
	f.layout.notify_multiplier = 2;
	m.queues[1].notify_off = 1;
	assert_int_equal(virtio_queue_doorbell(&f, 1, &bell), -EPROTO);
	m.gone = true;
	assert_int_equal(virtio_queue_doorbell(&f, 1, &bell), -ENODEV);
}

static void there_is_no_doorbell_before_the_features(void **state)
{
	struct virtio_function f;
	struct virtio_doorbell bell;

	assert_int_equal(virtio_function_open(&m.pci, &f), 0);
	assert_int_equal(virtio_queue_doorbell(&f, 0, &bell), -EBUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL_TEST(a_queue_is_enabled_with_all_that_it_was_told),
		MODEL_TEST(facts_of_a_queue_are_those_of_its_registers),
		MODEL_TEST(a_setup_that_can_not_be_leaves_the_queue_alone),
		MODEL_TEST(a_packed_ring_may_have_any_size),
		MODEL_TEST(a_queue_that_the_device_does_not_have_is_told_apart),
		MODEL_TEST(a_queue_is_enabled_once_and_after_the_features),
		MODEL_TEST(what_the_device_does_not_keep_keeps_the_queue_from_running),
		MODEL_TEST(a_device_that_goes_while_a_queue_is_set_up_is_noticed),
		MODEL_TEST(one_queue_is_reset_and_set_up_again_while_others_run),
		MODEL_TEST(a_queue_reset_that_another_worker_began_is_awaited),
		MODEL_TEST(a_queue_that_says_late_that_it_does_not_run_is_awaited),
		MODEL_TEST(a_queue_is_not_reset_without_the_feature),
		MODEL_TEST(a_device_that_goes_while_a_queue_is_reset_is_noticed),
		MODEL_TEST(a_notification_says_what_was_negotiated),
		MODEL_TEST(a_doorbell_outside_of_its_window_is_refused),
		MODEL_TEST(there_is_no_doorbell_before_the_features),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
