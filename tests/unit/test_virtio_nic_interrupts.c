/* SPDX-License-Identifier: BSD-2-Clause */
/* When who is told: doorbells and interrupts of the NIC that the driver is tested on. */
#include "tests/unit/nic_ends.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>

#include "vdpa/base/cleanup.h"

static void without_a_doorbell_nothing_is_seen(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0];

	for (size_t i = 0; i < 2; i++) {
		nic_ends_run(s, nic_end_layouts[i]);
		assert_true(
			guest_offer_frame(&a->guest, 0, s->ends[1].guest.nic_device->mac, 1) >= 0);
		nic_end_exchange(&s->ends[1], a, 2);
		assert_int_equal(guest_take(&a->guest, 1, NULL), -1);
		nic_end_ring_bell(a, 1);
		guest_wait(&a->guest, 1, NULL);
	}
}

static void each_queue_has_its_vector(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0], *b = &s->ends[1];

	for (size_t i = 0; i < 2; i++) {
		nic_ends_run(s, nic_end_layouts[i]);
		nic_end_exchange(a, b, 1);
		guest_wait_count(a->vectors[2]);
		guest_wait_count(b->vectors[1]);
		assert_int_equal(guest_count(a->vectors[1]), 0);
		assert_int_equal(guest_count(b->vectors[2]), 0);
		assert_int_equal(guest_count(a->vectors[NIC_END_CONFIG]), 0);
	}
}

static void a_vectors_eventfd_is_replaced_and_taken_away(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0];
	_cleanup_close_ int other = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	nic_ends_run(s, 0);
	assert_int_equal(a->transport->ops->irq_set(a->transport, 2, other), 0);
	nic_end_exchange(a, &s->ends[1], 1);
	guest_wait_count(other);
	assert_int_equal(a->transport->ops->irq_set(a->transport, 2, -1), 0);
	nic_end_exchange(a, &s->ends[1], 1);
	nic_wait_idle(nic_rig_nic());
	assert_int_equal(guest_count(other), 0);
	assert_int_equal(guest_count(a->vectors[2]), 0);
	assert_int_equal(a->transport->ops->irq_set(a->transport, NIC_END_VECTORS, other), -EINVAL);
	assert_int_equal(a->transport->ops->irqs_end(a->transport), 0);
	assert_int_equal(a->transport->ops->irq_set(a->transport, 0, other), -EINVAL);
}

/* What the driver writes to say when it wants an interrupt for transmit chains. */
static void want_none(struct nic_end *e)
{
	struct guest *g = &e->guest;

	if (g->packed)
		((struct vring_packed_desc_event *)guest_at(g, g->rings[1].driver))->flags =
			VRING_PACKED_EVENT_FLAG_DISABLE;
	else
		((struct vring_avail *)guest_at(g, g->rings[1].driver))->flags =
			VRING_AVAIL_F_NO_INTERRUPT;
}

/* An interrupt when the chain comes back that is @n chains from now. */
static void want_after(struct nic_end *e, uint16_t n)
{
	struct guest *g = &e->guest;
	const struct guest_ring *r = &g->rings[1];
	struct vring_packed_desc_event *event = guest_at(g, r->driver);
	struct vring_avail *avail = guest_at(g, r->driver);
	uint16_t at = (uint16_t)(r->at.used + n);
	bool wrap = r->at.used_wrap != (at >= r->size);

	if (!g->packed) {
		avail->ring[r->size] = at;
		return;
	}
	event->off_wrap = (uint16_t)((uint32_t)at % r->size |
				     (wrap ? BIT(VRING_PACKED_EVENT_F_WRAP_CTR) : 0U));
	event->flags = VRING_PACKED_EVENT_FLAG_DESC;
}

static void a_driver_that_wants_no_interrupts_gets_none(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0];

	for (size_t i = 0; i < 2; i++) {
		nic_ends_run(s, nic_end_layouts[i]);
		want_none(a);
		nic_end_exchange(a, &s->ends[1], 3);
		nic_wait_idle(nic_rig_nic());
		assert_int_equal(guest_count(a->vectors[2]), 0);
	}
}

static void an_interrupt_comes_at_the_chain_that_was_named(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0];

	for (uint32_t i = 0; i < 2; i++) {
		nic_ends_run(s, nic_end_layouts[i] | BIT_ULL(VIRTIO_RING_F_EVENT_IDX));
		for (uint16_t n = 0; n < 3 * NIC_END_RING; n++) {
			uint16_t later = n % 4;

			want_after(a, later);
			nic_end_exchange(a, &s->ends[1], later);
			nic_wait_idle(nic_rig_nic());
			assert_int_equal(guest_count(a->vectors[2]), 0);
			nic_end_exchange(a, &s->ends[1], 1);
			guest_wait_count(a->vectors[2]);
			nic_end_exchange(a, &s->ends[1], 1);
			nic_wait_idle(nic_rig_nic());
			assert_int_equal(guest_count(a->vectors[2]), 0);
		}
	}
}

static void the_device_names_the_chain_it_wants_to_be_told_of(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0];

	for (size_t i = 0; i < 2; i++) {
		const struct guest_ring *r = &a->guest.rings[1];
		const struct vring_packed_desc_event *event = guest_at(&a->guest, r->device);
		const struct vring_used *used = guest_at(&a->guest, r->device);

		nic_ends_run(s, nic_end_layouts[i] | BIT_ULL(VIRTIO_RING_F_EVENT_IDX));
		nic_end_exchange(a, &s->ends[1], NIC_END_RING + 3);
		nic_wait_idle(nic_rig_nic());
		if (a->guest.packed) {
			assert_int_equal(event->flags, VRING_PACKED_EVENT_FLAG_DESC);
			assert_int_equal(event->off_wrap, 3); /* the second lap's counter is 0 */
		} else {
			assert_int_equal(used->ring[r->size].id & UINT16_MAX, NIC_END_RING + 3);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_ENDS_TEST(without_a_doorbell_nothing_is_seen),
		NIC_ENDS_TEST(each_queue_has_its_vector),
		NIC_ENDS_TEST(a_vectors_eventfd_is_replaced_and_taken_away),
		NIC_ENDS_TEST(a_driver_that_wants_no_interrupts_gets_none),
		NIC_ENDS_TEST(an_interrupt_comes_at_the_chain_that_was_named),
		NIC_ENDS_TEST(the_device_names_the_chain_it_wants_to_be_told_of),
	};

	return cmocka_run_group_tests_name("virtio_nic_interrupts", tests, NULL, NULL);
}
