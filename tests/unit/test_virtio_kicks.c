/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VIRTIO_F_NOTIFICATION_DATA: with each kick a function hears where its driver will put the next buffers. The
 * model's registers say what was written; that a kick is as wide as it has to be, it looks after itself. And
 * what becomes of features that a function does not take.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "drivers/virtio/function.h"
#include "tests/unit/nic_rig.h"

#define RING  16U
#define TX    1
#define PAIRS 2

static int setup(void **state)
{
	const struct nic_facts facts = { .features = NIC_FEATURES };

	nic_rig_begin(&facts);
	return 0;
}

/* Its functions don't offer to hear anything. */
static int setup_deaf(void **state)
{
	const struct nic_facts facts = {
		.features = NIC_FEATURES & ~BIT_ULL(VIRTIO_BIT_NOTIFICATION_DATA),
	};

	nic_rig_begin(&facts);
	return 0;
}

static int teardown(void **state)
{
	nic_rig_end();
	return 0;
}

static bool has_data(struct guest *g)
{
	return nic_device_of(g)->function->model.accepted & BIT_ULL(VIRTIO_BIT_NOTIFICATION_DATA);
}

/* What queue @queue was told last. */
static uint32_t told(struct guest *g, uint16_t queue)
{
	struct nic_function *f = nic_device_of(g)->function;
	uint32_t data;

	nic_lock(f);
	data = f->model.queues[queue].notified;
	nic_unlock(f);
	return data;
}

static uint32_t expected(struct guest *g, uint16_t queue)
{
	struct queue_position at = g->rings[queue].at;

	return queue | (uint32_t)at.avail << 16 | (at.avail_wrap ? BIT(31) : 0);
}

static void each_kick_says_where_the_next_buffers_go(void **state)
{
	const uint8_t nobody[6] = { 0x52, 0x54, 9, 9, 9, 9 };

	for (int layout = GUEST_SPLIT; layout <= GUEST_PACKED; layout++) {
		struct guest *g = guest_new_sized(&nic_rig, (enum guest_layout)layout, 1, RING);

		guest_run(g);
		assert_true(has_data(g));
		assert_int_equal(told(g, TX), expected(g, TX));
		for (uint32_t i = 0; i < 5 * RING + 3; i++) {
			guest_send(g, 0, nobody, i);
			assert_int_equal(told(g, TX), expected(g, TX));
		}
		guest_free(g);
	}
}

/* The next instance is told the queues' eventfds, and kicks. */
static void so_does_the_first_kick_of_a_worker_that_takes_over(void **state)
{
	const uint8_t nobody[6] = { 0x52, 0x54, 9, 9, 9, 9 };
	struct guest *g = guest_new_sized(&nic_rig, GUEST_SPLIT, 1, RING);

	guest_run(g);
	guest_send(g, 0, nobody, 1);
	guest_close(g);
	assert_true(guest_offer_frame(g, 0, nobody, 2) >= 0);
	assert_int_equal(guest_open(g), 0);
	assert_int_equal(told(g, TX), expected(g, TX));
	assert_int_equal(told(g, TX) >> 16, 2);
	guest_free(g);
}

/* How many pairs are used is a command of our own. */
static void commands_of_the_control_queue_say_so_too(void **state)
{
	for (int layout = GUEST_SPLIT; layout <= GUEST_PACKED; layout++) {
		struct guest *g = guest_new_sized(&nic_rig, (enum guest_layout)layout, PAIRS, RING);
		const struct queue_set second = guest_set(2, 3);
		struct queue_position at[GUEST_MAX_QUEUES];

		guest_run(g); /* 2 pairs; a command has two descriptors */
		assert_int_equal(told(g, 2 * PAIRS), 2 * PAIRS | (layout ? BIT(31) | 2U << 16 : 1U << 16));
		assert_int_equal(guest_stop_set(g, &second, at), 0);
		assert_int_equal(told(g, 2 * PAIRS), 2 * PAIRS | (layout ? BIT(31) | 4U << 16 : 2U << 16));
		guest_free(g);
	}
}

static void nothing_is_said_to_a_function_that_does_not_offer_to_hear_it(void **state)
{
	struct guest *g = guest_new_sized(&nic_rig, GUEST_SPLIT, 1, RING);

	guest_run(g);
	assert_false(has_data(g));
	guest_send(g, 0, g->nic_device->mac, 1);
	assert_int_equal(told(g, TX), TX);
	guest_free(g);
}

static void nothing_is_said_where_nobody_knows_rings(void **state)
{
	struct guest *g = guest_new_sized(&nic_rig, GUEST_SPLIT, 1, RING);

	g->keeper.next_available = NULL;
	assert_int_equal(g->ops->reset(g->device), 0);
	assert_int_equal(guest_setup(g), 0);
	guest_run(g);
	assert_false(has_data(g));
	guest_send(g, 0, g->nic_device->mac, 1);
	assert_int_equal(told(g, TX), TX);
	guest_free(g);
}

/* In the device they are gone, which had to be reset to hear of the others. */
static void features_that_a_function_refuses_leave_those_of_before(void **state)
{
	const uint8_t nobody[6] = { 0x52, 0x54, 9, 9, 9, 9 };
	struct guest *g = guest_new_sized(&nic_rig, GUEST_SPLIT, 1, RING);
	struct virtio_model *m = &nic_device_of(g)->function->model;

	m->refused = BIT_ULL(VIRTIO_F_RING_PACKED);
	assert_int_equal(g->ops->set_features(g->device, g->features | m->refused), -EINVAL);
	guest_run(g);
	guest_send(g, 0, nobody, 1);
	assert_false(m->accepted & BIT_ULL(VIRTIO_F_RING_PACKED));
	guest_free(g);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_DEAF(name) cmocka_unit_test_setup_teardown(name, setup_deaf, teardown)
	const struct CMUnitTest tests[] = {
		TEST(each_kick_says_where_the_next_buffers_go),
		TEST(so_does_the_first_kick_of_a_worker_that_takes_over),
		TEST(commands_of_the_control_queue_say_so_too),
		TEST_DEAF(nothing_is_said_to_a_function_that_does_not_offer_to_hear_it),
		TEST(nothing_is_said_where_nobody_knows_rings),
		TEST(features_that_a_function_refuses_leave_those_of_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
