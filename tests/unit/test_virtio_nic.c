/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The NIC that the driver is tested on works, and knows what is wrong: else the driver's tests
 * would prove nothing. Here: frames, what is reset, control queue, link, and loss. Interrupts and
 * memory have tests of their own.
 */
#include "tests/unit/nic_ends.h"

#include <errno.h>
#include <limits.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>

#include "drivers/virtio/net.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define CONTROL      2 /* index of the control queue without MQ */
#define CONTROL_RING 3 /* of the guest's, whose place it takes */

static void frames_pass_both_ways_and_around_the_rings(void **state)
{
	struct nic_ends *s = *state;
	static const uint64_t more[] = { 0, BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
		BIT_ULL(VIRTIO_NET_F_MRG_RXBUF), BIT_ULL(VIRTIO_BIT_NOTIFICATION_DATA),
		BIT_ULL(VIRTIO_F_IN_ORDER) };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(more); i++) {
		nic_ends_run(s, nic_end_layouts[i % 2] | more[i / 2]);
		nic_end_exchange(&s->ends[0], &s->ends[1], 3 * NIC_END_RING + 1);
		nic_end_exchange(&s->ends[1], &s->ends[0], 2 * NIC_END_RING + 3);
	}
}

static void a_queue_is_reset_alone_and_begins_anew(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0], *b = &s->ends[1];

	for (size_t i = 0; i < 2; i++) {
		nic_ends_run(s, nic_end_layouts[i] | BIT_ULL(VIRTIO_BIT_RING_RESET));
		nic_end_exchange(a, b, 3);
		assert_int_equal(virtio_queue_reset(&a->function, 1, NIC_END_PATIENCE), 0);
		guest_offer_frame(&a->guest, 0, b->guest.nic_device->mac, 1);
		nic_end_ring_bell(a, 1);
		nic_end_exchange(b, a, 2); /* the other one goes on */
		assert_int_equal(guest_take(&a->guest, 1, NULL), -1);
		guest_ring_init(&a->guest, 1, 0);
		nic_end_enable(a, 1, 1);
		nic_end_exchange(a, b, 3);
	}
}

static void after_a_reset_nothing_is_touched(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0], *b = &s->ends[1];

	nic_ends_run(s, 0);
	assert_int_equal(virtio_function_reset(&a->function, NIC_END_PATIENCE), 0);
	nic_end_send(b, a, 1);
	assert_int_equal(guest_take(&a->guest, 0, NULL), -1);
	nic_end_run(a, 0);
	assert_int_equal(a->transport->ops->reset(a->transport), 0);
	assert_int_equal(virtio_function_check(&a->function), -ENODEV);
	nic_end_send(b, a, 1);
	assert_int_equal(guest_take(&a->guest, 0, NULL), -1);
}

static void a_reset_takes_as_long_as_it_was_told(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0];
	uint64_t begin = clock_now_ns();

	nic_ends_run(s, 0);
	nic_function_delay(a->nic, 200);
	assert_int_equal(virtio_function_reset(&a->function, NIC_END_PATIENCE), 0);
	assert_true(clock_now_ns() - begin >= 200 * NS_PER_MS);
	nic_end_run(a, 0);
	nic_function_delay(a->nic, UINT_MAX);
	assert_int_equal(virtio_function_reset(&a->function, 50), -ETIMEDOUT);
	assert_int_equal(virtio_function_reset(&a->function, NIC_END_PATIENCE), 0);
}

static uint8_t command(struct nic_end *e, uint16_t queue, const uint8_t *bytes, uint32_t size)
{
	struct guest *g = &e->guest;
	struct guest_ring *r = &g->rings[CONTROL_RING];
	struct vring_desc *desc = guest_at(g, r->desc);
	struct vring_avail *avail = guest_at(g, r->driver);
	const struct vring_used *used = guest_at(g, r->device);
	uint8_t *buffer = guest_at(g, r->buffers);
	uint64_t since = clock_now_ns();

	memcpy(buffer, bytes, size);
	desc[0] = (struct vring_desc){ r->buffers, size, VRING_DESC_F_NEXT, 1 };
	desc[1] = (struct vring_desc){ r->buffers + 512, 1, VRING_DESC_F_WRITE, 0 };
	buffer[512] = 0xee;
	avail->ring[r->at.avail++ % r->size] = 0;
	__atomic_store_n(&avail->idx, r->at.avail, __ATOMIC_RELEASE);
	virtio_doorbell_ring(&e->function, &e->bells[queue], r->at);
	while (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) != r->at.avail)
		guest_pause(since, "a verdict");
	return buffer[512];
}

static uint8_t set_pairs(struct nic_end *e, uint16_t queue, uint8_t pairs)
{
	const uint8_t bytes[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs, 0 };

	return command(e, queue, bytes, sizeof(bytes));
}

static void frames_spread_over_the_pairs_that_the_driver_enabled(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0], *b = &s->ends[1];
	const uint64_t many = BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(VIRTIO_NET_F_CTRL_VQ);

	nic_end_run(a, 0);
	nic_end_negotiate(b, many);
	for (uint16_t i = 0; i < 2; i++)
		nic_end_enable(b, i, i);
	nic_end_enable(b, 4, 4);
	nic_end_enable(b, 6, CONTROL_RING);
	assert_int_equal(virtio_function_run(&b->function), 0);
	for (uint16_t i = 0; i <= 4; i = (uint16_t)(i + 4)) {
		guest_fill(&b->guest, i);
		nic_end_ring_bell(b, i);
	}
	for (int all = 0; all < 2; all++) {
		assert_int_equal(set_pairs(b, 6, 0), VIRTIO_NET_ERR);
		assert_int_equal(set_pairs(b, 6, 4), VIRTIO_NET_ERR);
		assert_int_equal(set_pairs(b, 6, all ? 3 : 1), VIRTIO_NET_OK);
		b->guest.rings[0].n_used = b->guest.rings[4].n_used = 0;
		for (uint16_t flow = 0; flow < 40; flow++) {
			uint32_t number = 0;

			guest_offer_flow(&a->guest, 0, b->guest.nic_device->mac, flow, flow);
			nic_end_ring_bell(a, 1);
			guest_wait(&a->guest, 1, NULL);
			assert_true(guest_received(&b->guest, &number));
			assert_int_equal(number, flow);
		}
		assert_true(b->guest.rings[0].n_used > 0);
		assert_int_equal(b->guest.rings[4].n_used > 0, all);
	}
}

static void without_mq_the_control_queue_is_the_third(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0];
	const uint8_t allmulti[] = { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 1 };

	nic_end_negotiate(a, BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX));
	nic_end_enable(a, CONTROL, CONTROL_RING);
	assert_int_equal(virtio_function_run(&a->function), 0);
	assert_int_equal(command(a, CONTROL, allmulti, sizeof(allmulti)), VIRTIO_NET_OK);
	assert_int_equal(set_pairs(a, CONTROL, 2), VIRTIO_NET_ERR);
	guest_wait_count(a->vectors[CONTROL + 1]);
}

static void a_link_that_changes_is_told_and_seen(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0];
	struct virtio_net_facts facts;

	nic_ends_run(s, BIT_ULL(VIRTIO_NET_F_STATUS));
	for (int up = 0; up < 2; up++) {
		nic_function_set_link(a->nic, up);
		guest_wait_count(a->vectors[NIC_END_CONFIG]);
		assert_int_equal(virtio_net_read(&a->function, &facts), 0);
		assert_int_equal(facts.link_up, up);
	}
	nic_end_exchange(a, &s->ends[1], 1);
}

static void a_function_that_is_lost_answers_all_ones_and_reaches_nothing(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0], *b = &s->ends[1];
	_cleanup_close_ int removal = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	nic_ends_run(s, 0);
	assert_int_equal(a->transport->ops->watch_removal(a->transport, removal), 0);
	nic_function_lose(a->nic);
	assert_int_equal(guest_count(removal), 1);
	assert_int_equal(virtio_function_check(&a->function), -ENODEV);
	assert_int_equal(pci_config_read(a->transport->pci, 0, 4), UINT32_MAX);
	assert_int_equal(a->transport->ops->irqs_begin(a->transport, a->vectors, 1), -ENODEV);
	nic_end_send(b, a, 1);
	assert_int_equal(guest_take(&a->guest, 0, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_ENDS_TEST(frames_pass_both_ways_and_around_the_rings),
		NIC_ENDS_TEST(a_queue_is_reset_alone_and_begins_anew),
		NIC_ENDS_TEST(after_a_reset_nothing_is_touched),
		NIC_ENDS_TEST(a_reset_takes_as_long_as_it_was_told),
		NIC_ENDS_TEST(frames_spread_over_the_pairs_that_the_driver_enabled),
		NIC_ENDS_TEST(without_mq_the_control_queue_is_the_third),
		NIC_ENDS_TEST(a_link_that_changes_is_told_and_seen),
		NIC_ENDS_TEST(a_function_that_is_lost_answers_all_ones_and_reaches_nothing),
	};

	return cmocka_run_group_tests_name("virtio_nic", tests, NULL, NULL);
}
