/* SPDX-License-Identifier: BSD-2-Clause */
/* Source: virtio 1.2, 2.8. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "tests/conformance/virtio_nic_ring.h"

#define AVAIL BIT(VRING_PACKED_DESC_F_AVAIL)
#define USED  BIT(VRING_PACKED_DESC_F_USED)

/* Offsets in an event area. */
#define EVENT	    0U
#define EVENT_FLAGS 2U

static uint64_t desc_at(const struct nic_ring *r, uint32_t i)
{
	return r->desc + sizeof(struct vring_packed_desc) * i;
}

static void step(const struct nic_ring *r, uint16_t *index, bool *wrap, uint32_t n)
{
	uint32_t next = *index + n;

	if (next >= r->size) {
		next -= r->size;
		*wrap = !*wrap;
	}
	*index = (uint16_t)next;
}

static int take_table(struct nic_ring *r, const struct vring_packed_desc *desc,
	struct nic_chain *chain)
{
	uint32_t n = desc->len / (uint32_t)sizeof(*desc);

	if (!nic_ring_has(r, VIRTIO_RING_F_INDIRECT_DESC) || (desc->flags & VRING_DESC_F_NEXT) ||
		desc->len == 0 || desc->len % sizeof(*desc) != 0)
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++) {
		struct vring_packed_desc part;
		int ret = nic_dma_read(r->dma, desc->addr + sizeof(part) * i, &part, sizeof(part));

		if (ret == 0 && (part.flags & VRING_DESC_F_INDIRECT))
			ret = -EBADMSG;
		if (ret == 0)
			ret = nic_chain_add(chain, part.addr, part.len, part.flags);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* One descriptor of the ring. Return: 1 another one follows; 0; a negative errno. */
static int take_desc(struct nic_ring *r, uint32_t i, struct nic_chain *chain)
{
	struct vring_packed_desc desc;
	int ret = nic_dma_read(r->dma, desc_at(r, i), &desc, sizeof(desc));

	if (ret < 0)
		return ret;
	chain->id = desc.id;
	if (desc.flags & VRING_DESC_F_INDIRECT)
		return take_table(r, &desc, chain);
	ret = nic_chain_add(chain, desc.addr, desc.len, desc.flags);
	return ret < 0 ? ret : (desc.flags & VRING_DESC_F_NEXT) != 0;
}

static int take(struct nic_ring *r, struct nic_chain *ret)
{
	struct queue_position at = r->at;
	uint16_t flags;
	int more = nic_dma_load16(r->dma,
		desc_at(r, at.avail) + offsetof(struct vring_packed_desc, flags), &flags);

	if (more < 0)
		return more;
	if (((flags & AVAIL) != 0) != at.avail_wrap || ((flags & USED) != 0) == at.avail_wrap)
		return 0;
	ret->n_slots = 0;
	ret->n_parts = 0;
	do {
		if (ret->n_slots == r->size)
			return -EBADMSG;
		more = take_desc(r, at.avail, ret);
		ret->n_slots++;
		step(r, &at.avail, &at.avail_wrap, 1);
	} while (more > 0);
	if (more < 0)
		return more;
	r->at = at;
	return 1;
}

static int give(struct nic_ring *r, const struct nic_chain *chain, uint32_t written)
{
	const struct {
		uint32_t len;
		uint16_t id;
	} body = { written, chain->id };
	uint64_t at = desc_at(r, r->at.used);
	uint16_t flags = (uint16_t)((r->at.used_wrap ? AVAIL | USED : 0) |
				    (written > 0 ? VRING_DESC_F_WRITE : 0));
	int ret = nic_dma_write(r->dma, at + offsetof(struct vring_packed_desc, len), &body,
		offsetof(struct vring_packed_desc, flags) - offsetof(struct vring_packed_desc, len));

	if (ret == 0)
		ret = nic_dma_store16(r->dma, at + offsetof(struct vring_packed_desc, flags), flags);
	step(r, &r->at.used, &r->at.used_wrap, chain->n_slots);
	return ret;
}

/* An event that lies in the lap before the present one is as much less. */
static int wants_at(const struct nic_ring *r, uint16_t word)
{
	uint16_t event = word & (uint16_t)~BIT(VRING_PACKED_EVENT_F_WRAP_CTR);
	uint16_t before = r->called.used;

	if ((word >> VRING_PACKED_EVENT_F_WRAP_CTR) != r->at.used_wrap)
		event = (uint16_t)(event - r->size);
	if (r->called.used_wrap != r->at.used_wrap)
		before = (uint16_t)(before - r->size);
	return vring_need_event(event, r->at.used, before);
}

static int wants_call(struct nic_ring *r)
{
	uint16_t event, flags;
	int ret = nic_dma_load16(r->dma, r->driver + EVENT_FLAGS, &flags);

	if (ret == 0)
		ret = nic_dma_load16(r->dma, r->driver + EVENT, &event);
	if (ret < 0)
		return ret;
	if (flags == VRING_PACKED_EVENT_FLAG_DESC && nic_ring_has(r, VIRTIO_RING_F_EVENT_IDX))
		return wants_at(r, event);
	if (flags > VRING_PACKED_EVENT_FLAG_DISABLE)
		return -EBADMSG;
	return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
}

static int ask(struct nic_ring *r)
{
	uint16_t event = (uint16_t)(r->at.avail |
				    r->at.avail_wrap << VRING_PACKED_EVENT_F_WRAP_CTR);
	int ret;

	if (!nic_ring_has(r, VIRTIO_RING_F_EVENT_IDX))
		return 0;
	ret = nic_dma_store16(r->dma, r->device + EVENT, event);
	return ret < 0 ? ret :
			 nic_dma_store16(r->dma, r->device + EVENT_FLAGS,
				 VRING_PACKED_EVENT_FLAG_DESC);
}

static bool may_say(struct nic_ring *r, uint32_t data)
{
	return (data >> 16 & 0x7fff) < r->size;
}

const struct nic_layout nic_packed = {
	.take = take,
	.give = give,
	.wants_call = wants_call,
	.ask = ask,
	.may_say = may_say,
};
