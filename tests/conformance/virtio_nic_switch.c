/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames go to the function whose address they bear; those for a group, to all others. Nothing waits:
 * a frame that finds no buffer, no link, or nobody is gone. It comes to one of the receive queues that
 * run, of the pairs that are enabled, chosen by its flow.
 */
#include "tests/conformance/virtio_nic_parts.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#define MAC_SIZE     6
#define ETHER_HEADER 14U
#define FLOW_AT	     14U /* IPv4's header and ports: bytes that all frames of a flow share */
#define FLOW_SIZE    24U

struct frame {
	uint8_t bytes[NIC_HEADER + NIC_MAX_FRAME]; /* a header comes first */
	size_t size;				   /* without it */
};

static const uint8_t *ether_of(const struct frame *frame)
{
	return frame->bytes + NIC_HEADER;
}

static bool linked(const struct nic_function *f)
{
	return f->model.net[MODEL_NET_STATUS] & VIRTIO_NET_S_LINK_UP;
}

/* FNV-1a. */
static uint32_t flow_of(const struct frame *frame)
{
	const uint8_t *p = ether_of(frame);
	uint32_t hash = 2166136261U;

	for (size_t i = FLOW_AT; i < FLOW_AT + FLOW_SIZE && i < frame->size; i++)
		hash = (hash ^ p[i]) * 16777619U;
	return hash >> 16 ^ hash;
}

/* Return: a receive queue; MODEL_MAX_QUEUES: none runs. */
static uint16_t choose_queue(const struct nic_function *f, const struct frame *frame)
{
	uint16_t running[MODEL_MAX_QUEUES];
	uint32_t n = 0;

	for (uint16_t i = 0; i < 2 * f->figures.pairs; i = (uint16_t)(i + 2)) {
		if (f->queues[i].running)
			running[n++] = i;
	}
	return n > 0 ? running[flow_of(frame) % n] : MODEL_MAX_QUEUES;
}

/* Return: 1; 0 it has no room for the frame; a negative errno. */
static int fill(struct nic_ring *ring, struct frame *frame)
{
	const struct virtio_net_hdr_mrg_rxbuf header = { .num_buffers = 1 };
	const struct queue_position before = ring->at;
	struct nic_chain chain;
	uint64_t size = NIC_HEADER + frame->size, room = 0;
	int got = nic_ring_take(ring, &chain);
	int64_t written;

	if (got <= 0)
		return got;
	for (size_t i = 0; i < chain.n_parts; i++)
		room += chain.parts[i].write ? chain.parts[i].size : 0;
	if (room < size) {
		ring->at = before;
		return 0;
	}
	memcpy(frame->bytes, &header, NIC_HEADER);
	written = nic_chain_write(ring, &chain, frame->bytes, size);
	if (written < 0)
		return (int)written;
	got = nic_ring_give(ring, &chain, (uint32_t)written);
	return got < 0 ? got : 1;
}

static void receive(struct nic_function *f, struct frame *frame)
{
	uint16_t queue = choose_queue(f, frame);
	int r;

	if (!nic_function_works(f) || !linked(f) || queue == MODEL_MAX_QUEUES)
		return;
	r = fill(&f->queues[queue].ring, frame);
	if (r < 0) {
		nic_function_break(f);
	} else if (r == 0) {
		f->figures.dropped++;
	} else {
		f->figures.received++;
		nic_function_call(f, queue);
	}
}

static bool is_for(const struct nic_function *f, const struct frame *frame)
{
	const uint8_t *to = ether_of(frame);

	return (to[0] & 1) || memcmp(to, &f->model.net[MODEL_NET_MAC], MAC_SIZE) == 0;
}

static void deliver(struct nic_function *from, struct frame *frame)
{
	struct nic_function *const *functions = from->nic->functions;

	if (frame->size < ETHER_HEADER || !linked(from))
		return;
	from->figures.sent++;
	for (size_t i = 0; i < NIC_MAX_FUNCTIONS; i++) {
		if (functions[i] && functions[i] != from && is_for(functions[i], frame))
			receive(functions[i], frame);
	}
}

/* Return: 1 a frame was sent; 0 there was none; a negative errno. */
static int send_one(struct nic_function *f, struct nic_ring *ring)
{
	static _Thread_local struct frame frame; /* much for a stack */
	struct nic_chain chain;
	int64_t size;
	int got = nic_ring_take(ring, &chain);

	if (got <= 0)
		return got;
	size = nic_chain_read(ring, &chain, frame.bytes, sizeof(frame.bytes));
	if (size < 0)
		return (int)size;
	if (size < NIC_HEADER)
		return -EBADMSG;
	frame.size = (size_t)size - NIC_HEADER;
	deliver(f, &frame);
	got = nic_ring_give(ring, &chain, 0);
	return got < 0 ? got : 1;
}

static void serve_queue(struct nic_function *f, uint16_t queue)
{
	int r = 1;

	while (r > 0 && nic_function_works(f))
		r = send_one(f, &f->queues[queue].ring);
	if (r < 0)
		nic_function_break(f);
	else if (nic_function_works(f))
		nic_function_call(f, queue);
}

void nic_switch_serve(struct nic_function *f)
{
	for (uint16_t i = 1; i < 2 * f->figures.pairs; i = (uint16_t)(i + 2)) {
		if (f->queues[i].running)
			serve_queue(f, i);
	}
}
