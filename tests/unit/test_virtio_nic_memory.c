/* SPDX-License-Identifier: BSD-2-Clause */
/* What the NIC that the driver is tested on finds in memory, and what is out of its reach. */
#include "tests/unit/nic_ends.h"

#include <linux/virtio_ring.h>
#include <string.h>

static void the_caller_may_unmap_what_it_mapped(void **state)
{
	struct nic_ends *s = *state;

	/* dma_map() did so: only the guest's own mapping is left here. */
	nic_ends_run(s, 0);
	nic_end_exchange(&s->ends[0], &s->ends[1], 1);
	assert_int_equal(nic_function_figures(s->ends[0].nic).faults, 0);
}

static void frames_lie_in_tables_of_descriptors(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0], *b = &s->ends[1];
	struct guest *g = &a->guest;
	uint64_t table = g->rings[3].buffers;

	for (size_t i = 0; i < 2; i++) {
		int slot;

		nic_ends_run(s, nic_end_layouts[i] | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC));
		slot = guest_offer_frame(g, 0, b->guest.nic_device->mac, 7);
		if (g->packed) {
			struct vring_packed_desc *desc = guest_at(g, g->rings[1].desc);
			struct vring_packed_desc *parts = guest_at(g, table);

			parts[0] = (struct vring_packed_desc){ .addr = desc->addr, .len = 20 };
			parts[1] = (struct vring_packed_desc){ .addr = desc->addr + 20,
				.len = desc->len - 20 };
			desc->addr = table;
			desc->len = 2 * sizeof(*desc);
			desc->flags |= VRING_DESC_F_INDIRECT;
		} else {
			struct vring_desc *desc = guest_at(g, g->rings[1].desc);
			struct vring_desc *parts = guest_at(g, table);

			desc += slot;
			parts[1] = (struct vring_desc){ .addr = desc->addr + 20,
				.len = desc->len - 20 };
			parts[0] = (struct vring_desc){
				.addr = desc->addr, .len = 20, .flags = VRING_DESC_F_NEXT, .next = 1
			};
			desc->addr = table;
			desc->len = 2 * sizeof(*desc);
			desc->flags = VRING_DESC_F_INDIRECT;
		}
		nic_end_ring_bell(a, 1);
		guest_wait(g, 1, NULL);
		assert_int_equal(guest_receive(&b->guest), 7);
	}
}

static void memory_that_is_not_mapped_is_a_fault(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0], *b = &s->ends[1];
	static const uint64_t places[] = { 0x1000, GUEST_BASE - 8, GUEST_BASE + GUEST_MEMORY - 8,
		UINT64_MAX - 8 };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(places); i++) {
		unsigned int before = nic_function_figures(a->nic).faults;

		nic_ends_run(s, nic_end_layouts[i % 2]);
		guest_count(a->vectors[NIC_END_CONFIG]);
		guest_add_at(&a->guest, 1, places[i / 2], 100);
		nic_end_ring_bell(a, 1);
		nic_end_wait_needs_reset(a);
		guest_wait_count(a->vectors[NIC_END_CONFIG]);
		assert_true(nic_function_figures(a->nic).faults > before);
		assert_int_equal(guest_take(&a->guest, 1, NULL), -1);
		assert_int_equal(virtio_function_check(&b->function), 0);
	}
	nic_ends_run(s, 0);
	nic_end_exchange(a, b, 1);
}

static void memory_is_not_written_without_the_right(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0], *b = &s->ends[1];
	const struct driver_map map = guest_map(&b->guest);
	const uint64_t half = GUEST_MEMORY / 2;
	struct driver_map low = map, high = map;
	uint8_t before[GUEST_BUFFER];

	assert_int_equal(dma_unmap(&b->dma, map.iova, map.size), 0);
	low.size = high.size = half;
	high.iova += half;
	high.offset += half;
	high.perm = DRIVER_PERM_READ;
	assert_int_equal(dma_map(&b->dma, &low), 0);
	assert_int_equal(dma_map(&b->dma, &high), 0);

	nic_end_run(a, 0);
	nic_end_run(b, 0);
	guest_ring_init(&b->guest, 0, 0);
	guest_add_at(&b->guest, 0, GUEST_BASE + half, GUEST_BUFFER);
	memcpy(before, guest_at(&b->guest, GUEST_BASE + half), sizeof(before));
	nic_end_ring_bell(b, 0);
	nic_end_send(a, b, 1);
	nic_end_wait_needs_reset(b);
	assert_int_equal(nic_function_figures(b->nic).last_fault, GUEST_BASE + half);
	assert_memory_equal(guest_at(&b->guest, GUEST_BASE + half), before, sizeof(before));
}

static void a_ring_that_breaks_the_rules_is_not_gone_on_with(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0];
	struct guest *g = &a->guest;

	for (int i = 0; i < 4; i++) {
		struct vring_avail *avail;
		struct vring_desc *desc;

		nic_ends_run(s, 0);
		avail = guest_at(g, g->rings[1].driver);
		desc = guest_at(g, g->rings[1].desc);
		guest_offer_frame(g, 0, s->ends[1].guest.nic_device->mac, 1);
		if (i == 0)
			avail->idx = NIC_END_RING + 1;
		if (i == 1)
			avail->ring[0] = NIC_END_RING;
		if (i == 2)
			desc[avail->ring[0]].flags = VRING_DESC_F_INDIRECT; /* not negotiated */
		if (i == 3) {
			desc[avail->ring[0]].flags = VRING_DESC_F_NEXT;
			desc[avail->ring[0]].next = avail->ring[0];
		}
		nic_end_ring_bell(a, 1);
		nic_end_wait_needs_reset(a);
	}
	assert_int_equal(nic_function_figures(a->nic).broken, 4);
}

static void who_may_not_master_the_bus_reaches_nothing(void **state)
{
	struct nic_ends *s = *state;
	struct nic_end *a = &s->ends[0], *b = &s->ends[1];

	nic_ends_run(s, 0);
	assert_int_equal(pci_dma_forbid(a->transport->pci), 0);
	guest_offer_frame(&a->guest, 0, b->guest.nic_device->mac, 1);
	nic_end_ring_bell(a, 1);
	nic_end_send(b, a, 2);
	nic_end_exchange(b, a, 0);
	assert_int_equal(guest_take(&a->guest, 1, NULL), -1);
	assert_int_equal(guest_take(&a->guest, 0, NULL), -1);
	assert_int_equal(pci_dma_allow(a->transport->pci), 0);
	assert_int_equal(guest_receive(&b->guest), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NIC_ENDS_TEST(the_caller_may_unmap_what_it_mapped),
		NIC_ENDS_TEST(frames_lie_in_tables_of_descriptors),
		NIC_ENDS_TEST(memory_that_is_not_mapped_is_a_fault),
		NIC_ENDS_TEST(memory_is_not_written_without_the_right),
		NIC_ENDS_TEST(a_ring_that_breaks_the_rules_is_not_gone_on_with),
		NIC_ENDS_TEST(who_may_not_master_the_bus_reaches_nothing),
	};

	return cmocka_run_group_tests_name("virtio_nic_memory", tests, NULL, NULL);
}
