/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/nic_ends.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vdpa/base/clock.h"

#define PAIRS 3
#define RINGS 6

const uint64_t nic_end_layouts[2] = { 0, BIT_ULL(VIRTIO_F_RING_PACKED) };

/* --------------------------------------------------------------------------------- stand */

static void make_function(struct nic_end *e)
{
	e->nic = nic_device_of(&e->guest)->function;
	e->transport = nic_transport_new(e->nic);
	assert_int_equal(virtio_function_open(e->transport->pci, &e->function), 0);
	assert_int_equal(pci_dma_allow(e->transport->pci), 0);
	e->dma = (struct dma){ e->transport->dma, e->transport->dma_arg, 4096, &e->table };
	for (size_t i = 0; i < NIC_END_VECTORS; i++)
		e->vectors[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(
		e->transport->ops->irqs_begin(e->transport, e->vectors, NIC_END_VECTORS), 0);
}

static void map_all(struct nic_end *e)
{
	const struct driver_map map = guest_map(&e->guest);

	assert_int_equal(dma_map(&e->dma, &map), 0);
}

int nic_ends_setup(void **state)
{
	const struct nic_facts facts = { .features = NIC_FEATURES };
	struct nic_ends *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	nic_rig_begin(&facts);
	for (size_t i = 0; i < 2; i++) {
		struct nic_end *e = &s->ends[i];

		e->guest.nic_device = nic_rig.device_new(PAIRS);
		guest_rings_new(&e->guest, RINGS, NIC_END_RING);
		make_function(e);
		map_all(e);
	}
	*state = s;
	return 0;
}

int nic_ends_teardown(void **state)
{
	struct nic_ends *s = *state;

	for (size_t i = 0; i < 2; i++) {
		struct nic_end *e = &s->ends[i];

		e->transport->ops->free(e->transport);
		nic_rig.device_free(e->guest.nic_device);
		for (size_t v = 0; v < NIC_END_VECTORS; v++)
			close(e->vectors[v]);
		guest_rings_free(&e->guest);
	}
	nic_rig_end();
	free(s);
	return 0;
}

/* -------------------------------------------------------------------------------- driver */

void nic_end_enable(struct nic_end *e, uint16_t queue, uint16_t ring)
{
	const struct guest_ring *r = &e->guest.rings[ring];
	const struct virtio_queue_setup q = {
		.index = queue,
		.size = (uint16_t)r->size,
		.vector = (uint16_t)(queue + 1),
		.desc = r->desc,
		.driver = r->driver,
		.device = r->device,
	};

	assert_int_equal(virtio_queue_enable(&e->function, &q), 0);
	assert_int_equal(virtio_queue_doorbell(&e->function, queue, &e->bells[queue]), 0);
}

void nic_end_ring_bell(struct nic_end *e, uint16_t queue)
{
	virtio_doorbell_ring(&e->function, &e->bells[queue], e->guest.rings[queue].at);
}

void nic_end_negotiate(struct nic_end *e, uint64_t features)
{
	e->guest.packed = features & BIT_ULL(VIRTIO_F_RING_PACKED);
	for (uint16_t i = 0; i < e->guest.n_queues; i++)
		guest_ring_init(&e->guest, i, 0);
	assert_int_equal(virtio_function_reset(&e->function, NIC_END_PATIENCE), 0);
	assert_int_equal(
		virtio_function_negotiate(&e->function, BIT_ULL(VIRTIO_F_VERSION_1) | features), 0);
	assert_int_equal(virtio_function_set_config_vector(&e->function, NIC_END_CONFIG), 0);
}

void nic_end_run(struct nic_end *e, uint64_t features)
{
	nic_end_negotiate(e, features);
	nic_end_enable(e, 0, 0);
	nic_end_enable(e, 1, 1);
	assert_int_equal(virtio_function_run(&e->function), 0);
	guest_fill(&e->guest, 0);
	nic_end_ring_bell(e, 0);
}

void nic_ends_run(struct nic_ends *s, uint64_t features)
{
	nic_end_run(&s->ends[0], features);
	nic_end_run(&s->ends[1], features);
}

static void refill(struct nic_end *e)
{
	guest_fill(&e->guest, 0);
	nic_end_ring_bell(e, 0);
}

void nic_end_send(struct nic_end *from, const struct nic_end *to, uint32_t number)
{
	assert_true(guest_offer_frame(&from->guest, 0, to->guest.nic_device->mac, number) >= 0);
	nic_end_ring_bell(from, 1);
	guest_wait(&from->guest, 1, NULL);
}

void nic_end_exchange(struct nic_end *a, struct nic_end *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		nic_end_send(a, b, 100 + i);
		assert_int_equal(guest_receive(&b->guest), 100 + i);
		refill(b);
	}
}

void nic_end_wait_needs_reset(struct nic_end *e)
{
	uint64_t since = clock_now_ns();

	while (virtio_function_check(&e->function) != -EIO)
		guest_pause(since, "a device that wants to be reset");
}
