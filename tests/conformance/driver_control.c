/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device that serves the control queue: its commands, and what they leave behind. The ring is that of
 * the guest's queue 2, which is not used otherwise; a chain is a command and a byte for the verdict.
 *
 * Source: virtio 1.2, 5.1.6.5.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "tests/conformance/driver_suite.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"

#define RING	2 /* of the guest's, whose place the control queue takes */
#define VERDICT 512 /* offset in the buffer of a chain */

static uint16_t control_index(struct guest *g)
{
	return (uint16_t)g->ops->caps(g->device)->n_queues;
}

/* A guest whose driver knows the control queue; nothing runs. */
static struct guest *control_guest(void **state)
{
	struct guest *g = suite_guest(state, 2);

	if (!g->ops->caps(g->device)->control_queue)
		skip();
	g->features |= g->ops->caps(g->device)->features &
		       (BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX) |
			       BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR));
	assert_int_equal(guest_setup(g), 0);
	return g;
}

static int prepare(struct guest *g)
{
	struct driver_queue q = guest_facts(g, RING);

	q.index = control_index(g);
	return g->ops->prepare(g->device, &q, 1);
}

static bool together(struct guest *g)
{
	return g->ops->caps(g->device)->together;
}

/* The control queue; with the others, where they start and stop together. */
static struct queue_set control_set(struct guest *g)
{
	struct queue_set set = together(g) ? guest_set(0, 1) : (struct queue_set){ 0 };

	queue_set_add(&set, control_index(g));
	return set;
}

static void start(struct guest *g)
{
	const struct queue_set data = guest_set(0, 1), control = control_set(g);
	struct driver_queue queues[2] = { guest_facts(g, 0), guest_facts(g, 1) };

	guest_fill(g, 0);
	assert_int_equal(g->ops->prepare(g->device, queues, 2), 0);
	assert_int_equal(prepare(g), 0);
	if (!together(g))
		assert_int_equal(g->ops->start(g->device, &data), 0);
	assert_int_equal(g->ops->start(g->device, &control), 0);
}

static struct queue_position stop(struct guest *g)
{
	const struct queue_set control = control_set(g);
	struct queue_position at[QUEUE_MAX];

	assert_int_equal(g->ops->stop(g->device, &control, at), 0);
	return at[control_index(g)];
}

/* Two descriptors of a ring that is empty. */
static void offer_split(struct guest *g, uint64_t command, uint32_t size)
{
	struct guest_ring *r = &g->rings[RING];
	struct vring_desc *desc = guest_at(g, r->desc);
	struct vring_avail *avail = guest_at(g, r->driver);

	desc[0] = (struct vring_desc){ .addr = command, .len = size, .flags = VRING_DESC_F_NEXT, .next = 1 };
	desc[1] = (struct vring_desc){ .addr = command + VERDICT, .len = 1, .flags = VRING_DESC_F_WRITE };
	avail->ring[r->at.avail % r->size] = 0;
	r->at.avail++;
	__atomic_store_n(&avail->idx, r->at.avail, __ATOMIC_RELEASE);
}

/* The ring's size is even, so a chain never goes around its end. */
static void offer_packed(struct guest *g, uint64_t command, uint32_t size)
{
	struct guest_ring *r = &g->rings[RING];
	struct vring_packed_desc *desc =
		(struct vring_packed_desc *)guest_at(g, r->desc) + r->at.avail;
	const uint16_t available = r->at.avail_wrap ? BIT(VRING_PACKED_DESC_F_AVAIL) :
						      BIT(VRING_PACKED_DESC_F_USED);

	desc[1] = (struct vring_packed_desc){
		.addr = command + VERDICT,
		.len = 1,
		.flags = available | VRING_DESC_F_WRITE,
	};
	desc->addr = command;
	desc->len = size;
	desc->id = 0;
	__atomic_store_n(&desc->flags, (uint16_t)(available | VRING_DESC_F_NEXT), __ATOMIC_RELEASE);
	r->at.avail = (uint16_t)(r->at.avail + 2);
	if (r->at.avail == r->size) {
		r->at.avail = 0;
		r->at.avail_wrap = !r->at.avail_wrap;
	}
}

static bool came_back(struct guest *g)
{
	struct guest_ring *r = &g->rings[RING];
	const struct vring_packed_desc *desc =
		(struct vring_packed_desc *)guest_at(g, r->desc) + r->at.used;
	const struct vring_used *used = guest_at(g, r->device);
	uint16_t flags;

	if (!g->packed)
		return __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == r->at.avail;
	flags = __atomic_load_n(&desc->flags, __ATOMIC_ACQUIRE);
	return ((flags & BIT(VRING_PACKED_DESC_F_AVAIL)) != 0) == r->at.used_wrap &&
	       ((flags & BIT(VRING_PACKED_DESC_F_USED)) != 0) == r->at.used_wrap;
}

/* Return: the verdict. */
static uint8_t command(struct guest *g, const void *bytes, uint32_t size)
{
	struct guest_ring *r = &g->rings[RING];
	uint8_t *buffer = guest_buffer(g, RING, 0);
	uint64_t since = clock_now_ns();

	memcpy(buffer, bytes, size);
	buffer[VERDICT] = 0xee;
	if (g->packed)
		offer_packed(g, r->buffers, size);
	else
		offer_split(g, r->buffers, size);
	guest_kick(g, RING);
	while (!came_back(g))
		guest_pause(since, "a verdict");
	r->at.used = r->at.avail;
	r->at.used_wrap = r->at.avail_wrap;
	return buffer[VERDICT];
}

static uint8_t set_mode(struct guest *g, uint8_t mode, bool on)
{
	const uint8_t bytes[] = { VIRTIO_NET_CTRL_RX, mode, on };

	return command(g, bytes, sizeof(bytes));
}

static struct control_state state_of(struct guest *g)
{
	struct control_state ret;

	assert_int_equal(g->ops->get_control(g->device, &ret), 0);
	return ret;
}

/* --------------------------------------------------------------------------------- tests */

static void a_command_has_taken_effect_when_it_comes_back(void **state)
{
	struct guest *a = control_guest(state);

	start(a);
	assert_int_equal(state_of(a).flags, 0);
	assert_int_equal(set_mode(a, VIRTIO_NET_CTRL_RX_ALLMULTI, true), VIRTIO_NET_OK);
	assert_int_equal(state_of(a).flags, CONTROL_ALLMULTI | CONTROL_FILTERS);
	assert_int_equal(set_mode(a, VIRTIO_NET_CTRL_RX_ALLMULTI, false), VIRTIO_NET_OK);
	assert_int_equal(state_of(a).flags, CONTROL_FILTERS);
}

static void a_command_that_makes_no_sense_is_answered(void **state)
{
	struct guest *a = control_guest(state);
	const uint8_t nonsense[] = { 99, 99, 99 };

	start(a);
	assert_int_equal(command(a, nonsense, sizeof(nonsense)), VIRTIO_NET_ERR);
	assert_int_equal(command(a, nonsense, 1), VIRTIO_NET_ERR);
	assert_int_equal(set_mode(a, VIRTIO_NET_CTRL_RX_PROMISC, false), VIRTIO_NET_OK);
}

static void an_address_that_the_driver_sets_is_in_the_configuration(void **state)
{
	struct guest *a = control_guest(state);
	const uint8_t bytes[] = { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 2, 0, 0, 0, 9, 9 };
	struct driver_net_config config;

	start(a);
	assert_int_equal(command(a, bytes, sizeof(bytes)), VIRTIO_NET_OK);
	assert_int_equal(a->ops->get_config(a->device, &config), 0);
	assert_memory_equal(config.mac, bytes + 2, sizeof(config.mac));
}

static void a_control_queue_stops_and_goes_on_where_it_stood(void **state)
{
	struct guest *a = control_guest(state);

	suite_need_any_position(a);
	start(a);
	for (int i = 0; i < 40; i++)
		assert_int_equal(set_mode(a, VIRTIO_NET_CTRL_RX_ALLMULTI, i % 2), VIRTIO_NET_OK);
	a->rings[RING].start = stop(a);
	assert_true(queue_position_equal(a->rings[RING].start, a->rings[RING].at));
	assert_int_equal(state_of(a).flags, CONTROL_ALLMULTI | CONTROL_FILTERS);
	start(a);
	assert_int_equal(set_mode(a, VIRTIO_NET_CTRL_RX_ALLMULTI, false), VIRTIO_NET_OK);
}

static void what_was_set_ends_with_a_reset_and_not_with_other_features(void **state)
{
	struct guest *a = control_guest(state);
	static const struct control_state nothing;
	struct control_state now;

	start(a);
	assert_int_equal(set_mode(a, VIRTIO_NET_CTRL_RX_ALLMULTI, true), VIRTIO_NET_OK);
	if (!together(a))
		assert_int_equal(guest_stop(a, (struct queue_position[QUEUE_MAX]){ 0 }), 0);
	stop(a);
	assert_int_equal(a->ops->set_features(a->device, a->features & ~BIT_ULL(VIRTIO_NET_F_CTRL_VQ)), 0);
	assert_int_equal(state_of(a).flags, CONTROL_ALLMULTI | CONTROL_FILTERS);
	assert_int_equal(a->ops->reset(a->device), 0);
	now = state_of(a);
	assert_memory_equal(&now, &nothing, sizeof(now));
}

static struct control_state much(void)
{
	struct control_state ret = {
		.flags = CONTROL_NOBCAST | CONTROL_FILTERS | CONTROL_MAC | CONTROL_ANNOUNCE,
		.pairs = 2,
		.n_unicast = 1,
		.n_multicast = 2,
		.mac = { 2, 0, 0, 0, 7, 7 },
		.vlans = { [1] = 5 },
		.unicast = { { 2, 1, 1, 1, 1, 1 } },
		.multicast = { { 3, 1, 1, 1, 1, 1 }, { 3, 1, 1, 1, 1, 2 } },
	};

	return ret;
}

static void a_state_is_given_and_found_as_it_is(void **state)
{
	struct guest *a = control_guest(state);
	const struct control_state set = much();
	struct driver_net_config config;
	struct control_state got;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(a->ops->set_control(a->device, &set), 0);
		got = state_of(a);
		assert_memory_equal(&got, &set, sizeof(got));
	}
	assert_int_equal(a->ops->get_config(a->device, &config), 0);
	assert_true(config.announce);
	guest_close(a);
	assert_int_equal(guest_open(a), 0);
	got = state_of(a);
	assert_memory_equal(&got, &set, sizeof(got));
}

static void a_state_that_no_driver_can_set_is_refused(void **state)
{
	struct guest *a = control_guest(state);
	const struct control_state good = much();
	struct control_state bad[4], got;

	assert_int_equal(a->ops->set_control(a->device, &good), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].pairs = 3;
	bad[1].n_unicast = CONTROL_MAX_MACS + 1;
	bad[2].n_multicast = UINT16_MAX;
	bad[3].mac[0] = 1;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(a->ops->set_control(a->device, &bad[i]), -EINVAL);
		got = state_of(a);
		assert_memory_equal(&got, &good, sizeof(got));
	}
}

static void what_was_set_is_known_of_a_device_that_is_lost(void **state)
{
	struct guest *a = control_guest(state);
	struct control_state before;

	if (!suite_rig(state)->lose)
		skip();
	start(a);
	assert_int_equal(set_mode(a, VIRTIO_NET_CTRL_RX_ALLMULTI, true), VIRTIO_NET_OK);
	suite_rig(state)->lose();
	before = state_of(a);
	assert_int_equal(before.flags, CONTROL_ALLMULTI | CONTROL_FILTERS);
	assert_int_equal(a->ops->reopen(a->device, a->nic_device->fds, a->nic_device->n_fds), 0);
	assert_int_equal(state_of(a).flags, 0);
	assert_int_equal(a->ops->set_control(a->device, &before), 0);
	assert_int_equal(state_of(a).flags, before.flags);
}

const struct suite_test driver_control_tests[] = {
	BOTH(a_command_has_taken_effect_when_it_comes_back),
	ONCE(a_command_that_makes_no_sense_is_answered),
	ONCE(an_address_that_the_driver_sets_is_in_the_configuration),
	BOTH(a_control_queue_stops_and_goes_on_where_it_stood),
	ONCE(what_was_set_ends_with_a_reset_and_not_with_other_features),
	ONCE(a_state_is_given_and_found_as_it_is),
	ONCE(a_state_that_no_driver_can_set_is_refused),
	ONCE(what_was_set_is_known_of_a_device_that_is_lost),
	{ 0 },
};
