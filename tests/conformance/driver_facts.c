/* SPDX-License-Identifier: BSD-2-Clause */
/* What a device says of itself: capabilities, configuration, figures, events; and announcements. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"

#define F_IN_ORDER 35 /* Source: virtio 1.2, 6; older kernels' headers lack it */

static void capabilities_make_sense_and_stay(void **state)
{
	struct guest *a = suite_guest(state, 2);
	const struct driver_caps *caps = a->ops->caps(a->device), before = *caps;

	assert_true(caps->features & BIT_ULL(VIRTIO_F_VERSION_1));
	assert_true(caps->n_queues >= 4 && caps->n_queues <= QUEUE_MAX);
	assert_int_equal(caps->n_queues % 2, 0);
	assert_int_equal(caps->control_queue, (caps->features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ)) != 0);
	assert_true(caps->max_queue_size >= GUEST_MAX_SIZE);
	assert_true(caps->max_queue_size <= QUEUE_SIZE_MAX);
	assert_int_equal(caps->max_queue_size & (caps->max_queue_size - 1), 0);
	assert_true(caps->in_order || !(caps->features & BIT_ULL(F_IN_ORDER)));
	guest_run(a);
	assert_int_equal(a->ops->reset(a->device), 0);
	assert_memory_equal(a->ops->caps(a->device), &before, sizeof(before));
}

static void the_configuration_is_the_devices(void **state)
{
	struct guest *a = suite_guest(state, 2);
	struct driver_net_config config;

	assert_int_equal(a->ops->get_config(a->device, &config), 0);
	assert_memory_equal(config.mac, a->nic_device->mac, 6);
	assert_int_equal(config.mtu, a->nic_device->mtu);
	assert_int_equal(config.max_pairs, 2);
	assert_true(config.link_up);
}

static void an_mtu_is_taken_within_its_limits(void **state)
{
	struct guest *a = suite_guest(state, 1);
	const uint16_t good[] = { 68, 1280, a->nic_device->mtu }, bad[] = { 0, 67 };
	struct driver_net_config config;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(a->ops->set_mtu(a->device, good[i]), 0);
		assert_int_equal(a->ops->get_config(a->device, &config), 0);
		assert_int_equal(config.mtu, good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(a->ops->set_mtu(a->device, bad[i]), -EINVAL);
		assert_int_equal(a->ops->get_config(a->device, &config), 0);
		assert_int_equal(config.mtu, a->nic_device->mtu);
	}
}

static void a_link_that_changes_is_an_event(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct driver_net_config config;
	struct driver_event event;

	if (!suite_rig(state)->set_link)
		skip();
	if (suite_lacks(state, RIG_IDLE_EVENTS))
		guest_run(a);
	for (int up = 0; up < 2; up++) {
		assert_int_equal(guest_next_event(a, &event), -EAGAIN);
		suite_rig(state)->set_link(a->nic_device, up);
		assert_int_equal(guest_wait_event(a).kind, DRIVER_EVENT_CONFIG);
		assert_int_equal(a->ops->get_config(a->device, &config), 0);
		assert_int_equal(config.link_up, up);
	}
}

static void events_wait_while_commands_are_given(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct driver_net_config config;

	if (!suite_rig(state)->set_link)
		skip();
	if (suite_lacks(state, RIG_IDLE_EVENTS))
		guest_run(a);
	suite_rig(state)->set_link(a->nic_device, false);
	for (int i = 0; i < 3; i++) /* they find the event in their way */
		assert_int_equal(a->ops->get_config(a->device, &config), 0);
	assert_int_equal(guest_wait_event(a).kind, DRIVER_EVENT_CONFIG);
}

/* Source: RFC 903, and what makes it an announcement: request reverse, from and for one address. */
static bool is_announcement(const uint8_t *p, uint32_t size, const uint8_t mac[6])
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t head[10] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3 };

	return size >= 42 && memcmp(p, all, 6) == 0 && memcmp(p + 6, mac, 6) == 0 &&
	       memcmp(p + 12, head, sizeof(head)) == 0 && memcmp(p + 22, mac, 6) == 0 &&
	       memcmp(p + 32, mac, 6) == 0;
}

static void an_announcement_is_seen_by_a_peer(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	uint32_t size;
	bool seen = false;

	if (!a->ops->caps(a->device)->announces) {
		print_message("the device sends nothing but what its guest does\n");
		skip();
	}
	guest_run(a);
	assert_int_equal(a->ops->announce(a->device, a->nic_device->mac), 0);
	while (!seen) {
		int slot = guest_wait(b, 0, &size);

		seen = is_announcement(guest_buffer(b, 0, slot) + GUEST_HEADER,
			size - GUEST_HEADER, a->nic_device->mac);
	}
	guest_exchange(b, a, 1);
}

/* A frame is counted after the guest has it. */
static void wait_received(struct guest *g, uint64_t bytes)
{
	struct driver_device_stats device = { 0 };
	uint64_t since = clock_now_ns();

	for (;;) {
		assert_int_equal(g->ops->device_stats(g->device, &device), 0);
		if (device.rx_bytes >= bytes)
			return;
		guest_pause(since, "all to be counted");
	}
}

static void figures_count_what_passed(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct driver_queue_stats tx, rx;
	struct driver_device_stats device;

	suite_need(state, RIG_FIGURES);
	guest_run(a);
	guest_exchange(a, b, 7);
	guest_exchange(b, a, 5);
	wait_received(a, 5 * 60);
	assert_int_equal(a->ops->queue_stats(a->device, 1, &tx), 0);
	assert_int_equal(a->ops->queue_stats(a->device, 0, &rx), 0);
	assert_int_equal(tx.received_desc, 7);
	assert_int_equal(tx.completed_desc, 7);
	assert_int_equal(tx.bytes, 7 * 60);
	assert_int_equal(rx.completed_desc, 5);
	assert_true(rx.received_desc >= 5);
	assert_int_equal(rx.bytes, 5 * 60);
	assert_int_equal(tx.errors + rx.errors, 0);
	assert_true(tx.running && rx.running && !tx.failed && !rx.failed);
	assert_true(a->ops->caps(a->device)->ring_positions ||
		    queue_position_equal(tx.position, a->rings[1].at));
	assert_int_equal(a->ops->device_stats(a->device, &device), 0);
	assert_int_equal(device.tx_frames, 7);
	assert_int_equal(device.tx_bytes, 7 * 60);
	assert_int_equal(device.rx_frames, 5);
	assert_int_equal(device.rx_bytes, 5 * 60);
}

static void frames_that_find_no_room_are_counted(void **state)
{
	struct guest *a = suite_guest(state, 1), *b = suite_peer(state);
	struct driver_queue_stats rx = { 0 };
	uint64_t since = clock_now_ns();

	suite_need(state, RIG_FIGURES);
	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(guest_start(a), 0);
	for (uint32_t n = 0; n < 3; n++)
		guest_send(b, 0, a->nic_device->mac, n);
	while (rx.drops < 3) {
		assert_int_equal(a->ops->queue_stats(a->device, 0, &rx), 0);
		if (rx.drops < 3)
			guest_pause(since, "three drops");
	}
	assert_int_equal(rx.drops, 3);
	assert_int_equal(rx.completed_desc, 0);
}

static void figures_of_no_queue_are_refused(void **state)
{
	struct guest *a = suite_guest(state, 1);
	struct driver_queue_stats stats;
	uint16_t beyond = suite_beyond_queues(a);

	assert_true(a->ops->queue_stats(a->device, beyond, &stats) < 0);
	assert_true(a->ops->queue_stats(a->device, UINT16_MAX, &stats) < 0);
}

static void open_with_other_descriptors_is_refused(void **state)
{
	struct guest *a = suite_guest(state, 1);

	guest_close(a);
	assert_true(a->ops->open(a->nic_device->fds, DRIVER_MAX_DEVICE_FDS + 1, &a->keeper, &a->device) < 0);
	assert_null(a->device);
	assert_int_equal(guest_open(a), 0);
}

const struct suite_test driver_fact_tests[] = {
	ONCE(capabilities_make_sense_and_stay),
	ONCE(the_configuration_is_the_devices),
	ONCE(an_mtu_is_taken_within_its_limits),
	ONCE(a_link_that_changes_is_an_event),
	ONCE(events_wait_while_commands_are_given),
	BOTH(an_announcement_is_seen_by_a_peer),
	BOTH(figures_count_what_passed),
	BOTH(frames_that_find_no_room_are_counted),
	ONCE(figures_of_no_queue_are_refused),
	ONCE(open_with_other_descriptors_is_refused),
	{ 0 },
};
