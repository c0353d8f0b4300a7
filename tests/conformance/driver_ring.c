/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's side of rings, split and packed, and frames through them. A frame of the suite is UDP
 * over IPv4 to a port of its own; its flow is the source port, and a number is what it carries.
 *
 * Source: virtio 1.2, 2.7 and 2.8. Numbers are little-endian, as all hosts of the project are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

#include "tests/conformance/driver_guest.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/ringareas.h"

#define FRAME_SIZE  60U
#define FRAME_PORT  34997 /* to which the suite's frames go */
#define FRAME_NUMBER 42	  /* offset of what they carry */

void guest_ring_init(struct guest *g, uint16_t queue, uint16_t split_index)
{
	struct guest_ring *r = &g->rings[queue];
	const uint64_t areas[RING_AREAS] = { r->desc, r->driver, r->device };

	for (enum ring_area i = RING_DESC; i < RING_AREAS; i++)
		memset(guest_at(g, areas[i]), 0, ring_area_facts(i, r->size, g->features).size);
	r->at = queue_position_initial(g->packed);
	if (!g->packed) {
		r->at.avail = r->at.used = split_index;
		((struct vring_avail *)guest_at(g, r->driver))->idx = split_index;
		((struct vring_used *)guest_at(g, r->device))->idx = split_index;
	}
	r->start = r->at;
	r->n_free = r->size;
	r->n_used = 0;
	for (uint32_t i = 0; i < r->size; i++)
		r->free_slots[i] = (uint16_t)(r->size - 1 - i);
}

uint8_t *guest_buffer(struct guest *g, uint16_t queue, int slot)
{
	return guest_at(g, g->rings[queue].buffers + (uint64_t)slot * GUEST_BUFFER);
}

static void step(uint16_t *index, bool *wrap, const struct guest *g, uint32_t size)
{
	(*index)++;
	if (g->packed && *index == size) {
		*index = 0;
		*wrap = !*wrap;
	}
}

static void add_split(struct guest *g, struct guest_ring *r, uint16_t slot, uint64_t iova,
	uint32_t size, bool write)
{
	struct vring_desc *desc = guest_at(g, r->desc);
	struct vring_avail *avail = guest_at(g, r->driver);

	desc[slot] = (struct vring_desc){
		.addr = iova,
		.len = size,
		.flags = write ? VRING_DESC_F_WRITE : 0,
	};
	avail->ring[r->at.avail % r->size] = slot;
	__atomic_store_n(&avail->idx, (uint16_t)(r->at.avail + 1), __ATOMIC_RELEASE);
}

static void add_packed(struct guest *g, struct guest_ring *r, uint16_t slot, uint64_t iova,
	uint32_t size, bool write)
{
	struct vring_packed_desc *desc =
		(struct vring_packed_desc *)guest_at(g, r->desc) + r->at.avail;
	uint16_t flags = r->at.avail_wrap ? BIT(VRING_PACKED_DESC_F_AVAIL) :
					    BIT(VRING_PACKED_DESC_F_USED);

	if (write)
		flags |= VRING_DESC_F_WRITE;
	desc->addr = iova;
	desc->len = size;
	desc->id = slot;
	__atomic_store_n(&desc->flags, flags, __ATOMIC_RELEASE);
}

int guest_add_at(struct guest *g, uint16_t queue, uint64_t iova, uint32_t size)
{
	struct guest_ring *r = &g->rings[queue];
	bool write = queue % 2 == 0;
	uint16_t slot;

	if (r->n_free == 0)
		return -1;
	slot = r->free_slots[--r->n_free];
	if (iova == 0)
		iova = r->buffers + (uint64_t)slot * GUEST_BUFFER;
	if (g->packed)
		add_packed(g, r, slot, iova, size, write);
	else
		add_split(g, r, slot, iova, size, write);
	step(&r->at.avail, &r->at.avail_wrap, g, r->size);
	return slot;
}

int guest_add(struct guest *g, uint16_t queue, uint32_t size)
{
	return guest_add_at(g, queue, 0, size);
}

void guest_fill(struct guest *g, uint16_t queue)
{
	while (guest_add(g, queue, GUEST_BUFFER) >= 0)
		continue;
}

static int take_split(struct guest *g, struct guest_ring *r, uint32_t *ret_size)
{
	struct vring_used *used = guest_at(g, r->device);
	struct vring_used_elem *elem = &used->ring[r->at.used % r->size];

	if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == r->at.used)
		return -1;
	*ret_size = elem->len;
	return (int)elem->id;
}

static int take_packed(struct guest *g, struct guest_ring *r, uint32_t *ret_size)
{
	struct vring_packed_desc *desc =
		(struct vring_packed_desc *)guest_at(g, r->desc) + r->at.used;
	uint16_t flags = __atomic_load_n(&desc->flags, __ATOMIC_ACQUIRE);
	bool avail = flags & BIT(VRING_PACKED_DESC_F_AVAIL);
	bool used = flags & BIT(VRING_PACKED_DESC_F_USED);

	if (avail != used || used != r->at.used_wrap)
		return -1;
	*ret_size = desc->len;
	return desc->id;
}

int guest_take(struct guest *g, uint16_t queue, uint32_t *ret_size)
{
	struct guest_ring *r = &g->rings[queue];
	uint32_t size = 0;
	int slot = g->packed ? take_packed(g, r, &size) : take_split(g, r, &size);

	if (slot < 0)
		return -1;
	assert_true((uint32_t)slot < r->size);
	for (uint32_t i = 0; i < r->n_free; i++)
		assert_int_not_equal(r->free_slots[i], slot); /* it was not given twice */
	r->free_slots[r->n_free++] = (uint16_t)slot;
	r->n_used++;
	step(&r->at.used, &r->at.used_wrap, g, r->size);
	if (ret_size)
		*ret_size = size;
	return slot;
}

int guest_wait(struct guest *g, uint16_t queue, uint32_t *ret_size)
{
	uint64_t since = clock_now_ns();
	int slot;

	while ((slot = guest_take(g, queue, ret_size)) < 0)
		guest_pause(since, "a chain to come back");
	return slot;
}

void guest_kick(struct guest *g, uint16_t queue)
{
	uint64_t one = 1;

	assert_int_equal(write(g->rings[queue].kick, &one, sizeof(one)), sizeof(one));
	guest_pump(g);
}

uint64_t guest_count(int eventfd)
{
	uint64_t count;

	return read(eventfd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

void guest_wait_count(int eventfd)
{
	uint64_t since = clock_now_ns();

	while (guest_count(eventfd) == 0)
		guest_pause(since, "an eventfd to be signalled");
}

/* Source: RFC 791, 768. */
static void write_headers(uint8_t *p, uint16_t flow)
{
	static const uint8_t ip[20] = { 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0x26, 0xbd,
		10, 0, 0, 1, 10, 0, 0, 2 };
	const uint8_t udp[8] = { (uint8_t)(flow >> 8), (uint8_t)flow, FRAME_PORT >> 8,
		FRAME_PORT & 0xff, 0, 26, 0, 0 };

	p[12] = 8;
	p[13] = 0;
	memcpy(p + 14, ip, sizeof(ip));
	memcpy(p + 34, udp, sizeof(udp));
}

static bool is_ours(const uint8_t *p, uint32_t size)
{
	return size >= FRAME_NUMBER + sizeof(uint32_t) && p[12] == 8 && p[13] == 0 &&
	       p[36] == FRAME_PORT >> 8 && p[37] == (FRAME_PORT & 0xff);
}

int guest_offer_flow(struct guest *g, uint16_t pair, const uint8_t to[6], uint16_t flow,
	uint32_t number)
{
	uint16_t queue = (uint16_t)(2 * pair + 1);
	const struct guest_ring *r = &g->rings[queue];
	uint8_t *p;

	if (r->n_free == 0)
		return -1;
	p = guest_buffer(g, queue, r->free_slots[r->n_free - 1]);
	memset(p, 0, GUEST_HEADER + FRAME_SIZE);
	p += GUEST_HEADER;
	memcpy(p, to, 6);
	memcpy(p + 6, g->nic_device->mac, 6);
	write_headers(p, flow);
	memcpy(p + FRAME_NUMBER, &number, sizeof(number));
	return guest_add(g, queue, GUEST_HEADER + FRAME_SIZE);
}

int guest_offer_frame(struct guest *g, uint16_t pair, const uint8_t to[6], uint32_t number)
{
	return guest_offer_flow(g, pair, to, 1000, number);
}

void guest_send(struct guest *g, uint16_t pair, const uint8_t to[6], uint32_t number)
{
	int slot = guest_offer_frame(g, pair, to, number);

	assert_true(slot >= 0);
	guest_kick(g, (uint16_t)(2 * pair + 1));
	assert_int_equal(guest_wait(g, (uint16_t)(2 * pair + 1), NULL), slot);
}

static bool receive_from(struct guest *g, uint16_t queue, uint32_t *ret)
{
	uint32_t size;
	int slot = guest_take(g, queue, &size);
	const uint8_t *p;
	bool ours;

	if (slot < 0)
		return false;
	p = guest_buffer(g, queue, slot) + GUEST_HEADER;
	ours = size >= GUEST_HEADER && is_ours(p, size - GUEST_HEADER);
	if (ours)
		memcpy(ret, p + FRAME_NUMBER, sizeof(*ret));
	guest_add(g, queue, GUEST_BUFFER);
	if (g->rings[queue].kick >= 0)
		guest_kick(g, queue);
	return ours;
}

bool guest_received(struct guest *g, uint32_t *ret)
{
	for (uint16_t i = 0; i < g->n_queues; i += 2) {
		if (receive_from(g, i, ret))
			return true;
	}
	return false;
}

uint32_t guest_receive(struct guest *g)
{
	uint64_t since = clock_now_ns();
	uint32_t number;

	while (!guest_received(g, &number))
		guest_pause(since, "a frame");
	return number;
}

void guest_exchange(struct guest *a, struct guest *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		guest_send(a, 0, b->nic_device->mac, 0x10000 + i);
		assert_int_equal(guest_receive(b), 0x10000 + i);
	}
}
