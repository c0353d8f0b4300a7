/* SPDX-License-Identifier: BSD-2-Clause */
/* Source: virtio 1.2, 2.7. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "tests/conformance/virtio_nic_ring.h"

/* Offsets in the available and the used ring. */
#define FLAGS	   0U
#define INDEX	   2U
#define ENTRIES	   4U
#define AVAIL_SIZE sizeof(uint16_t)
#define USED_SIZE  sizeof(struct vring_used_elem)

static uint64_t avail_entry(const struct nic_ring *r, uint32_t i)
{
	return r->driver + ENTRIES + AVAIL_SIZE * i;
}

static uint64_t used_entry(const struct nic_ring *r, uint32_t i)
{
	return r->device + ENTRIES + USED_SIZE * i;
}

enum depth { IN_THE_RING, IN_A_TABLE };

static int walk(struct nic_ring *r, uint64_t table, uint32_t n, uint16_t at, enum depth depth,
	struct nic_chain *chain);

static int walk_table(struct nic_ring *r, const struct vring_desc *desc, struct nic_chain *chain)
{
	if (!nic_ring_has(r, VIRTIO_RING_F_INDIRECT_DESC) || (desc->flags & VRING_DESC_F_NEXT) ||
		desc->len == 0 || desc->len % sizeof(*desc) != 0)
		return -EBADMSG;
	return walk(r, desc->addr, desc->len / (uint32_t)sizeof(*desc), 0, IN_A_TABLE, chain);
}

/* The chain that begins at @at of a table of @n descriptors. */
static int walk(struct nic_ring *r, uint64_t table, uint32_t n, uint16_t at, enum depth depth,
	struct nic_chain *chain)
{
	struct vring_desc desc;

	for (uint32_t i = 0; i < n && at < n; i++) {
		int ret = nic_dma_read(r->dma, table + sizeof(desc) * at, &desc, sizeof(desc));

		if (ret < 0)
			return ret;
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return depth == IN_A_TABLE ? -EBADMSG : walk_table(r, &desc, chain);
		ret = nic_chain_add(chain, desc.addr, desc.len, desc.flags);
		if (ret < 0 || !(desc.flags & VRING_DESC_F_NEXT))
			return ret;
		at = desc.next;
	}
	return -EBADMSG;
}

static int take(struct nic_ring *r, struct nic_chain *ret)
{
	uint16_t index, head;
	int got = nic_dma_load16(r->dma, r->driver + INDEX, &index);

	if (got < 0 || index == r->at.avail)
		return got;
	if ((uint16_t)(index - r->at.avail) > r->size)
		return -EBADMSG;
	got = nic_dma_read(r->dma, avail_entry(r, r->at.avail % r->size), &head, sizeof(head));
	if (got < 0)
		return got;
	ret->id = head;
	ret->n_slots = 1;
	ret->n_parts = 0;
	got = walk(r, r->desc, r->size, head, IN_THE_RING, ret);
	if (got < 0)
		return got;
	r->at.avail++;
	return 1;
}

static int give(struct nic_ring *r, const struct nic_chain *chain, uint32_t written)
{
	const struct vring_used_elem elem = { .id = chain->id, .len = written };
	int ret = nic_dma_write(r->dma, used_entry(r, r->at.used % r->size), &elem, sizeof(elem));

	if (ret < 0)
		return ret;
	r->at.used++;
	return nic_dma_store16(r->dma, r->device + INDEX, r->at.used);
}

static int wants_call(struct nic_ring *r)
{
	bool by_index = nic_ring_has(r, VIRTIO_RING_F_EVENT_IDX);
	uint16_t word;
	int ret = nic_dma_load16(r->dma,
		by_index ? avail_entry(r, r->size) : r->driver + FLAGS, &word);

	if (ret < 0)
		return ret;
	if (by_index)
		return vring_need_event(word, r->at.used, r->called.used);
	return !(word & VRING_AVAIL_F_NO_INTERRUPT);
}

static int ask(struct nic_ring *r)
{
	if (!nic_ring_has(r, VIRTIO_RING_F_EVENT_IDX))
		return 0;
	return nic_dma_store16(r->dma, used_entry(r, r->size), r->at.avail);
}

/* 15 bits of an index that is not ahead of the ring's, nor more than the ring behind. */
static bool may_say(struct nic_ring *r, uint32_t data)
{
	uint16_t index;

	if (nic_dma_load16(r->dma, r->driver + INDEX, &index) < 0)
		return true; /* another one's business */
	return ((index - (data >> 16)) & 0x7fff) <= r->size;
}

const struct nic_layout nic_split = {
	.take = take,
	.give = give,
	.wants_call = wants_call,
	.ask = ask,
	.may_say = may_say,
};
