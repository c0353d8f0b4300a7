/* SPDX-License-Identifier: BSD-2-Clause */
/* The control queue. Source: virtio 1.2, 5.1.6.5. */
#include "tests/conformance/virtio_nic_parts.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#define MOST_BYTES 512

/* A command as it came. */
struct command {
	uint8_t bytes[MOST_BYTES];
	size_t size;
};

static uint8_t set_pairs(struct nic_function *f, const struct command *c)
{
	uint16_t pairs;

	if (c->size != 2 + sizeof(pairs) || c->bytes[1] != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
		return VIRTIO_NET_ERR;
	memcpy(&pairs, c->bytes + 2, sizeof(pairs));
	if (pairs == 0 || pairs > f->facts.pairs)
		return VIRTIO_NET_ERR;
	f->figures.pairs = pairs;
	return VIRTIO_NET_OK;
}

static uint8_t set_mac(struct nic_function *f, const struct command *c)
{
	if (c->bytes[1] != VIRTIO_NET_CTRL_MAC_ADDR_SET)
		return VIRTIO_NET_OK;
	if (c->size != 2 + 6)
		return VIRTIO_NET_ERR;
	memcpy(&f->model.net[MODEL_NET_MAC], c->bytes + 2, 6);
	return VIRTIO_NET_OK;
}

static uint8_t announced(struct nic_function *f, const struct command *c)
{
	f->model.net[MODEL_NET_STATUS] &= (uint8_t)~VIRTIO_NET_S_ANNOUNCE;
	return VIRTIO_NET_OK;
}

/* It filters nothing, and so it may take any filter. */
static uint8_t take_filter(struct nic_function *f, const struct command *c)
{
	return VIRTIO_NET_OK;
}

static const struct {
	uint8_t feature;
	uint8_t (*run)(struct nic_function *f, const struct command *c);
} classes[] = {
	[VIRTIO_NET_CTRL_RX] = { VIRTIO_NET_F_CTRL_RX, take_filter },
	[VIRTIO_NET_CTRL_MAC] = { VIRTIO_NET_F_CTRL_MAC_ADDR, set_mac },
	[VIRTIO_NET_CTRL_VLAN] = { VIRTIO_NET_F_CTRL_VLAN, take_filter },
	[VIRTIO_NET_CTRL_ANNOUNCE] = { VIRTIO_NET_F_GUEST_ANNOUNCE, announced },
	[VIRTIO_NET_CTRL_MQ] = { VIRTIO_NET_F_MQ, set_pairs },
};

static uint8_t run(struct nic_function *f, const struct command *c)
{
	uint8_t class = c->bytes[0];

	if (c->size < 2 || class >= ARRAY_SIZE(classes) ||
		!(f->model.accepted & BIT_ULL(classes[class].feature)))
		return VIRTIO_NET_ERR;
	return classes[class].run(f, c);
}

/* Return: 1 a command was answered; 0 there was none; a negative errno. */
static int answer_one(struct nic_function *f, struct nic_ring *ring)
{
	struct command c = { 0 };
	struct nic_chain chain;
	int64_t size;
	uint8_t verdict;
	int got = nic_ring_take(ring, &chain);

	if (got <= 0)
		return got;
	size = nic_chain_read(ring, &chain, c.bytes, sizeof(c.bytes));
	if (size < 0)
		return (int)size;
	c.size = (size_t)size;
	verdict = run(f, &c);
	size = nic_chain_write(ring, &chain, &verdict, sizeof(verdict));
	if (size <= 0)
		return size < 0 ? (int)size : -EBADMSG;
	got = nic_ring_give(ring, &chain, sizeof(verdict));
	return got < 0 ? got : 1;
}

void nic_control_serve(struct nic_function *f)
{
	uint16_t index = nic_control_index(f);
	struct nic_queue *q = &f->queues[index < MODEL_MAX_QUEUES ? index : 0];
	int r = 1;

	if (index >= f->model.n_queues || !q->running)
		return;
	while (r > 0 && nic_function_works(f))
		r = answer_one(f, &q->ring);
	if (r < 0)
		nic_function_break(f);
	else if (nic_function_works(f))
		nic_function_call(f, index);
}
