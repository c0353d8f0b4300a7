/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The NIC that the driver is tested on works, and knows what is wrong: else the driver's tests would
 * prove nothing. Two functions are driven by hand; the guests' rings are those of the conformance suite.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drivers/virtio/function.h"
#include "drivers/virtio/net.h"
#include "drivers/virtio/queue.h"
#include "tests/conformance/driver_guest.h"
#include "tests/conformance/virtio_nic.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"

#define RING_SIZE  8U
#define LONG_MS	   60000
#define N_VECTORS  8
#define CONFIG_VECTOR 0 /* queue i has vector i + 1 */
#define CONTROL	   2	/* index of the control queue without MQ */
#define CONTROL_RING  3 /* of the guest's, whose place it takes */

#define F(name) BIT_ULL(name)

/* A function, its driver's state, and the guest's rings. */
struct end {
	struct guest guest;
	struct rig_device device;
	struct nic_function *nic;
	struct virtio_transport *transport;
	struct virtio_function function;
	struct virtio_doorbell bells[GUEST_MAX_QUEUES];
	struct dma_table table;
	struct dma dma;
	int vectors[N_VECTORS];
};

struct stand {
	struct virtio_nic *nic;
	struct end ends[2];
};

/* ------------------------------------------------------------------------------- stand */

static uint64_t take_memory(struct guest *g, uint64_t size)
{
	uint64_t at = GUEST_BASE + g->next;

	g->next = align_up(g->next + size, 4096);
	return at;
}

static void make_guest(struct end *e, uint8_t number, uint16_t n_queues)
{
	struct guest *g = &e->guest;

	e->device = (struct rig_device){ .mac = { 0x52, 0x54, 0, 1, 2, number } };
	g->nic_device = &e->device;
	g->n_queues = n_queues;
	g->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(g->memory_fd, GUEST_MEMORY), 0);
	g->memory = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, g->memory_fd, 0);
	assert_ptr_not_equal(g->memory, MAP_FAILED);
	for (uint16_t i = 0; i < n_queues; i++) {
		struct guest_ring *r = &g->rings[i];

		*r = (struct guest_ring){
			.size = RING_SIZE,
			.desc = take_memory(g, 4096),
			.driver = take_memory(g, 4096),
			.device = take_memory(g, 4096),
			.buffers = take_memory(g, (uint64_t)GUEST_BUFFER * RING_SIZE),
			.kick = -1,
			.call = -1,
			.err = -1,
		};
	}
}

static void make_function(struct stand *s, struct end *e)
{
	struct nic_facts facts = { .pairs = 3, .mtu = 1500, .features = NIC_FEATURES };

	memcpy(facts.mac, e->device.mac, sizeof(facts.mac));
	e->nic = nic_function_new(s->nic, &facts);
	e->transport = nic_transport_new(e->nic);
	assert_int_equal(virtio_function_open(e->transport->pci, &e->function), 0);
	assert_int_equal(pci_dma_allow(e->transport->pci), 0);
	e->dma = (struct dma){ e->transport->dma, e->transport->dma_arg, 4096, &e->table };
	for (size_t i = 0; i < N_VECTORS; i++)
		e->vectors[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(e->transport->ops->irqs_begin(e->transport, e->vectors, N_VECTORS), 0);
}

static void map_all(struct end *e)
{
	const struct driver_map map = guest_map(&e->guest);

	assert_int_equal(dma_map(&e->dma, &map), 0);
}

static int setup(void **state)
{
	struct stand *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->nic = virtio_nic_new();
	for (uint8_t i = 0; i < 2; i++) {
		make_guest(&s->ends[i], i, 6);
		make_function(s, &s->ends[i]);
		map_all(&s->ends[i]);
	}
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct stand *s = *state;

	for (size_t i = 0; i < 2; i++) {
		struct end *e = &s->ends[i];

		e->transport->ops->free(e->transport);
		nic_function_free(e->nic);
		for (size_t v = 0; v < N_VECTORS; v++)
			close(e->vectors[v]);
		munmap(e->guest.memory, GUEST_MEMORY);
		close(e->guest.memory_fd);
	}
	virtio_nic_free(s->nic);
	free(s);
	return 0;
}

/* ------------------------------------------------------------------------------ driver */

static void enable(struct end *e, uint16_t queue, uint16_t ring)
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

static void ring_bell(struct end *e, uint16_t queue)
{
	virtio_doorbell_ring(&e->function, &e->bells[queue], e->guest.rings[queue].at);
}

/* A driver that was just loaded, up to the point where it sets up queues. */
static void negotiate(struct end *e, uint64_t features)
{
	e->guest.packed = features & F(VIRTIO_F_RING_PACKED);
	for (uint16_t i = 0; i < e->guest.n_queues; i++)
		guest_ring_init(&e->guest, i, 0);
	assert_int_equal(virtio_function_reset(&e->function, LONG_MS), 0);
	assert_int_equal(virtio_function_negotiate(&e->function, F(VIRTIO_F_VERSION_1) | features),
		0);
	assert_int_equal(virtio_function_set_config_vector(&e->function, CONFIG_VECTOR), 0);
}

/* The same, and one pair runs. */
static void run(struct end *e, uint64_t features)
{
	negotiate(e, features);
	enable(e, 0, 0);
	enable(e, 1, 1);
	assert_int_equal(virtio_function_run(&e->function), 0);
	guest_fill(&e->guest, 0);
	ring_bell(e, 0);
}

static void run_both(struct stand *s, uint64_t features)
{
	run(&s->ends[0], features);
	run(&s->ends[1], features);
}

static void refill(struct end *e)
{
	guest_fill(&e->guest, 0);
	ring_bell(e, 0);
}

static void send(struct end *from, const struct end *to, uint32_t number)
{
	assert_true(guest_offer_frame(&from->guest, 0, to->device.mac, number) >= 0);
	ring_bell(from, 1);
	guest_wait(&from->guest, 1, NULL);
}

static void exchange(struct end *a, struct end *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		send(a, b, 100 + i);
		assert_int_equal(guest_receive(&b->guest), 100 + i);
		refill(b);
	}
}

static void wait_needs_reset(struct end *e)
{
	uint64_t since = clock_now_ns();

	while (virtio_function_check(&e->function) != -EIO)
		guest_pause(since, "a device that wants to be reset");
}

static const uint64_t layouts[] = { 0, F(VIRTIO_F_RING_PACKED) };

/* ------------------------------------------------------------------------------- tests */

static void frames_pass_both_ways_and_around_the_rings(void **state)
{
	struct stand *s = *state;
	static const uint64_t more[] = { 0, F(VIRTIO_RING_F_EVENT_IDX), F(VIRTIO_NET_F_MRG_RXBUF),
		F(VIRTIO_BIT_NOTIFICATION_DATA), F(VIRTIO_F_IN_ORDER) };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(more); i++) {
		run_both(s, layouts[i % 2] | more[i / 2]);
		exchange(&s->ends[0], &s->ends[1], 3 * RING_SIZE + 1);
		exchange(&s->ends[1], &s->ends[0], 2 * RING_SIZE + 3);
	}
}

static void the_caller_may_unmap_what_it_mapped(void **state)
{
	struct stand *s = *state;

	/* dma_map() did so: only the guest's own mapping is left here. */
	run_both(s, 0);
	exchange(&s->ends[0], &s->ends[1], 1);
	assert_int_equal(nic_function_figures(s->ends[0].nic).faults, 0);
}

static void without_a_doorbell_nothing_is_seen(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0];

	for (size_t i = 0; i < 2; i++) {
		run_both(s, layouts[i]);
		assert_true(guest_offer_frame(&a->guest, 0, s->ends[1].device.mac, 1) >= 0);
		exchange(&s->ends[1], a, 2);
		assert_int_equal(guest_take(&a->guest, 1, NULL), -1);
		ring_bell(a, 1);
		guest_wait(&a->guest, 1, NULL);
	}
}

static void each_queue_has_its_vector(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0], *b = &s->ends[1];

	for (size_t i = 0; i < 2; i++) {
		run_both(s, layouts[i]);
		exchange(a, b, 1);
		guest_wait_count(a->vectors[2]);
		guest_wait_count(b->vectors[1]);
		assert_int_equal(guest_count(a->vectors[1]), 0);
		assert_int_equal(guest_count(b->vectors[2]), 0);
		assert_int_equal(guest_count(a->vectors[CONFIG_VECTOR]), 0);
	}
}

static void a_vectors_eventfd_is_replaced_and_taken_away(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0];
	_cleanup_close_ int other = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	run_both(s, 0);
	assert_int_equal(a->transport->ops->irq_set(a->transport, 2, other), 0);
	exchange(a, &s->ends[1], 1);
	guest_wait_count(other);
	assert_int_equal(a->transport->ops->irq_set(a->transport, 2, -1), 0);
	exchange(a, &s->ends[1], 1);
	nic_wait_idle(s->nic);
	assert_int_equal(guest_count(other), 0);
	assert_int_equal(guest_count(a->vectors[2]), 0);
	assert_int_equal(a->transport->ops->irq_set(a->transport, N_VECTORS, other), -EINVAL);
	assert_int_equal(a->transport->ops->irqs_end(a->transport), 0);
	assert_int_equal(a->transport->ops->irq_set(a->transport, 0, other), -EINVAL);
}

/* What the driver writes to say when it wants an interrupt for transmit chains. */
static void want_none(struct end *e)
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
static void want_after(struct end *e, uint16_t n)
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
	event->off_wrap = (uint16_t)((uint32_t)at % r->size | (wrap ? BIT(VRING_PACKED_EVENT_F_WRAP_CTR) : 0U));
	event->flags = VRING_PACKED_EVENT_FLAG_DESC;
}

static void a_driver_that_wants_no_interrupts_gets_none(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0];

	for (size_t i = 0; i < 2; i++) {
		run_both(s, layouts[i]);
		want_none(a);
		exchange(a, &s->ends[1], 3);
		nic_wait_idle(s->nic);
		assert_int_equal(guest_count(a->vectors[2]), 0);
	}
}

static void an_interrupt_comes_at_the_chain_that_was_named(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0];

	for (uint32_t i = 0; i < 2; i++) {
		run_both(s, layouts[i] | F(VIRTIO_RING_F_EVENT_IDX));
		for (uint16_t n = 0; n < 3 * RING_SIZE; n++) {
			uint16_t later = n % 4;

			want_after(a, later);
			exchange(a, &s->ends[1], later);
			nic_wait_idle(s->nic);
			assert_int_equal(guest_count(a->vectors[2]), 0);
			exchange(a, &s->ends[1], 1);
			guest_wait_count(a->vectors[2]);
			exchange(a, &s->ends[1], 1);
			nic_wait_idle(s->nic);
			assert_int_equal(guest_count(a->vectors[2]), 0);
		}
	}
}

static void the_device_names_the_chain_it_wants_to_be_told_of(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0];

	for (size_t i = 0; i < 2; i++) {
		const struct guest_ring *r = &a->guest.rings[1];
		const struct vring_packed_desc_event *event = guest_at(&a->guest, r->device);
		const struct vring_used *used = guest_at(&a->guest, r->device);

		run_both(s, layouts[i] | F(VIRTIO_RING_F_EVENT_IDX));
		exchange(a, &s->ends[1], RING_SIZE + 3);
		nic_wait_idle(s->nic);
		if (a->guest.packed) {
			assert_int_equal(event->flags, VRING_PACKED_EVENT_FLAG_DESC);
			assert_int_equal(event->off_wrap, 3); /* the second lap's counter is 0 */
		} else {
			assert_int_equal(used->ring[r->size].id & UINT16_MAX, RING_SIZE + 3);
		}
	}
}

static void frames_lie_in_tables_of_descriptors(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0], *b = &s->ends[1];
	struct guest *g = &a->guest;
	uint64_t table = g->rings[3].buffers;

	for (size_t i = 0; i < 2; i++) {
		int slot;

		run_both(s, layouts[i] | F(VIRTIO_RING_F_INDIRECT_DESC));
		slot = guest_offer_frame(g, 0, b->device.mac, 7);
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
			parts[0] = (struct vring_desc){ .addr = desc->addr, .len = 20,
				.flags = VRING_DESC_F_NEXT, .next = 1 };
			desc->addr = table;
			desc->len = 2 * sizeof(*desc);
			desc->flags = VRING_DESC_F_INDIRECT;
		}
		ring_bell(a, 1);
		guest_wait(g, 1, NULL);
		assert_int_equal(guest_receive(&b->guest), 7);
	}
}

static void memory_that_is_not_mapped_is_a_fault(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0], *b = &s->ends[1];
	static const uint64_t places[] = { 0x1000, GUEST_BASE - 8, GUEST_BASE + GUEST_MEMORY - 8,
		UINT64_MAX - 8 };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(places); i++) {
		unsigned int before = nic_function_figures(a->nic).faults;

		run_both(s, layouts[i % 2]);
		guest_count(a->vectors[CONFIG_VECTOR]);
		guest_add_at(&a->guest, 1, places[i / 2], 100);
		ring_bell(a, 1);
		wait_needs_reset(a);
		guest_wait_count(a->vectors[CONFIG_VECTOR]);
		assert_true(nic_function_figures(a->nic).faults > before);
		assert_int_equal(guest_take(&a->guest, 1, NULL), -1);
		assert_int_equal(virtio_function_check(&b->function), 0);
	}
	run_both(s, 0);
	exchange(a, b, 1);
}

static void memory_is_not_written_without_the_right(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0], *b = &s->ends[1];
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

	run(a, 0);
	run(b, 0);
	guest_ring_init(&b->guest, 0, 0);
	guest_add_at(&b->guest, 0, GUEST_BASE + half, GUEST_BUFFER);
	memcpy(before, guest_at(&b->guest, GUEST_BASE + half), sizeof(before));
	ring_bell(b, 0);
	send(a, b, 1);
	wait_needs_reset(b);
	assert_int_equal(nic_function_figures(b->nic).last_fault, GUEST_BASE + half);
	assert_memory_equal(guest_at(&b->guest, GUEST_BASE + half), before, sizeof(before));
}

static void a_ring_that_breaks_the_rules_is_not_gone_on_with(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0];
	struct guest *g = &a->guest;

	for (int i = 0; i < 4; i++) {
		struct vring_avail *avail;
		struct vring_desc *desc;

		run_both(s, 0);
		avail = guest_at(g, g->rings[1].driver);
		desc = guest_at(g, g->rings[1].desc);
		guest_offer_frame(g, 0, s->ends[1].device.mac, 1);
		if (i == 0)
			avail->idx = RING_SIZE + 1;
		if (i == 1)
			avail->ring[0] = RING_SIZE;
		if (i == 2)
			desc[avail->ring[0]].flags = VRING_DESC_F_INDIRECT; /* not negotiated */
		if (i == 3) {
			desc[avail->ring[0]].flags = VRING_DESC_F_NEXT;
			desc[avail->ring[0]].next = avail->ring[0];
		}
		ring_bell(a, 1);
		wait_needs_reset(a);
	}
	assert_int_equal(nic_function_figures(a->nic).broken, 4);
}

static void who_may_not_master_the_bus_reaches_nothing(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0], *b = &s->ends[1];

	run_both(s, 0);
	assert_int_equal(pci_dma_forbid(a->transport->pci), 0);
	guest_offer_frame(&a->guest, 0, b->device.mac, 1);
	ring_bell(a, 1);
	send(b, a, 2);
	exchange(b, a, 0);
	assert_int_equal(guest_take(&a->guest, 1, NULL), -1);
	assert_int_equal(guest_take(&a->guest, 0, NULL), -1);
	assert_int_equal(pci_dma_allow(a->transport->pci), 0);
	assert_int_equal(guest_receive(&b->guest), 1);
}

static void a_queue_is_reset_alone_and_begins_anew(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0], *b = &s->ends[1];

	for (size_t i = 0; i < 2; i++) {
		run_both(s, layouts[i] | F(VIRTIO_BIT_RING_RESET));
		exchange(a, b, 3);
		assert_int_equal(virtio_queue_reset(&a->function, 1, LONG_MS), 0);
		guest_offer_frame(&a->guest, 0, b->device.mac, 1);
		ring_bell(a, 1);
		exchange(b, a, 2); /* the other one goes on */
		assert_int_equal(guest_take(&a->guest, 1, NULL), -1);
		guest_ring_init(&a->guest, 1, 0);
		enable(a, 1, 1);
		exchange(a, b, 3);
	}
}

static void after_a_reset_nothing_is_touched(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0], *b = &s->ends[1];

	run_both(s, 0);
	assert_int_equal(virtio_function_reset(&a->function, LONG_MS), 0);
	send(b, a, 1);
	assert_int_equal(guest_take(&a->guest, 0, NULL), -1);
	run(a, 0);
	assert_int_equal(a->transport->ops->reset(a->transport), 0);
	assert_int_equal(virtio_function_check(&a->function), -ENODEV);
	send(b, a, 1);
	assert_int_equal(guest_take(&a->guest, 0, NULL), -1);
}

static uint8_t command(struct end *e, uint16_t queue, const uint8_t *bytes, uint32_t size)
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

static uint8_t set_pairs(struct end *e, uint16_t queue, uint8_t pairs)
{
	const uint8_t bytes[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs, 0 };

	return command(e, queue, bytes, sizeof(bytes));
}

static void frames_spread_over_the_pairs_that_the_driver_enabled(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0], *b = &s->ends[1];
	const uint64_t many = F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_CTRL_VQ);

	run(a, 0);
	negotiate(b, many);
	for (uint16_t i = 0; i < 2; i++)
		enable(b, i, i);
	enable(b, 4, 4);
	enable(b, 6, CONTROL_RING);
	assert_int_equal(virtio_function_run(&b->function), 0);
	for (uint16_t i = 0; i <= 4; i = (uint16_t)(i + 4)) {
		guest_fill(&b->guest, i);
		ring_bell(b, i);
	}
	for (int all = 0; all < 2; all++) {
		assert_int_equal(set_pairs(b, 6, 0), VIRTIO_NET_ERR);
		assert_int_equal(set_pairs(b, 6, 4), VIRTIO_NET_ERR);
		assert_int_equal(set_pairs(b, 6, all ? 3 : 1), VIRTIO_NET_OK);
		b->guest.rings[0].n_used = b->guest.rings[4].n_used = 0;
		for (uint16_t flow = 0; flow < 40; flow++) {
			uint32_t number = 0;

			guest_offer_flow(&a->guest, 0, b->device.mac, flow, flow);
			ring_bell(a, 1);
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
	struct stand *s = *state;
	struct end *a = &s->ends[0];
	const uint8_t allmulti[] = { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 1 };

	negotiate(a, F(VIRTIO_NET_F_CTRL_VQ) | F(VIRTIO_NET_F_CTRL_RX));
	enable(a, CONTROL, CONTROL_RING);
	assert_int_equal(virtio_function_run(&a->function), 0);
	assert_int_equal(command(a, CONTROL, allmulti, sizeof(allmulti)), VIRTIO_NET_OK);
	assert_int_equal(set_pairs(a, CONTROL, 2), VIRTIO_NET_ERR);
	guest_wait_count(a->vectors[CONTROL + 1]);
}

static void a_link_that_changes_is_told_and_seen(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0];
	struct virtio_net_facts facts;

	run_both(s, F(VIRTIO_NET_F_STATUS));
	for (int up = 0; up < 2; up++) {
		nic_function_set_link(a->nic, up);
		guest_wait_count(a->vectors[CONFIG_VECTOR]);
		assert_int_equal(virtio_net_read(&a->function, &facts), 0);
		assert_int_equal(facts.link_up, up);
	}
	exchange(a, &s->ends[1], 1);
}

static void a_function_that_is_lost_answers_all_ones_and_reaches_nothing(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0], *b = &s->ends[1];
	_cleanup_close_ int removal = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	run_both(s, 0);
	assert_int_equal(a->transport->ops->watch_removal(a->transport, removal), 0);
	nic_function_lose(a->nic);
	assert_int_equal(guest_count(removal), 1);
	assert_int_equal(virtio_function_check(&a->function), -ENODEV);
	assert_int_equal(pci_config_read(a->transport->pci, 0, 4), UINT32_MAX);
	assert_int_equal(a->transport->ops->irqs_begin(a->transport, a->vectors, 1), -ENODEV);
	send(b, a, 1);
	assert_int_equal(guest_take(&a->guest, 0, NULL), -1);
}

static void a_reset_takes_as_long_as_it_was_told(void **state)
{
	struct stand *s = *state;
	struct end *a = &s->ends[0];
	uint64_t begin = clock_now_ns();

	run_both(s, 0);
	nic_function_delay(a->nic, 200);
	assert_int_equal(virtio_function_reset(&a->function, LONG_MS), 0);
	assert_true(clock_now_ns() - begin >= 200 * NS_PER_MS);
	run(a, 0);
	nic_function_delay(a->nic, UINT_MAX);
	assert_int_equal(virtio_function_reset(&a->function, 50), -ETIMEDOUT);
	assert_int_equal(virtio_function_reset(&a->function, LONG_MS), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(frames_pass_both_ways_and_around_the_rings),
		TEST(the_caller_may_unmap_what_it_mapped),
		TEST(without_a_doorbell_nothing_is_seen),
		TEST(each_queue_has_its_vector),
		TEST(a_vectors_eventfd_is_replaced_and_taken_away),
		TEST(a_driver_that_wants_no_interrupts_gets_none),
		TEST(an_interrupt_comes_at_the_chain_that_was_named),
		TEST(the_device_names_the_chain_it_wants_to_be_told_of),
		TEST(frames_lie_in_tables_of_descriptors),
		TEST(memory_that_is_not_mapped_is_a_fault),
		TEST(memory_is_not_written_without_the_right),
		TEST(a_ring_that_breaks_the_rules_is_not_gone_on_with),
		TEST(who_may_not_master_the_bus_reaches_nothing),
		TEST(a_queue_is_reset_alone_and_begins_anew),
		TEST(after_a_reset_nothing_is_touched),
		TEST(frames_spread_over_the_pairs_that_the_driver_enabled),
		TEST(without_mq_the_control_queue_is_the_third),
		TEST(a_link_that_changes_is_told_and_seen),
		TEST(a_function_that_is_lost_answers_all_ones_and_reaches_nothing),
		TEST(a_reset_takes_as_long_as_it_was_told),
	};

	return cmocka_run_group_tests_name("virtio_nic", tests, NULL, NULL);
}
