/* SPDX-License-Identifier: BSD-2-Clause */
/* What both layouts of rings have in common: when a ring is looked at, and the parts of chains. */
#include "tests/conformance/virtio_nic_ring.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "drivers/virtio/function.h"

void nic_ring_begin(struct nic_ring *r)
{
	bool packed = nic_ring_has(r, VIRTIO_F_RING_PACKED);

	r->layout = packed ? &nic_packed : &nic_split;
	r->at = r->called = queue_position_initial(packed);
	r->told = false;
}

bool nic_ring_tell(struct nic_ring *r, uint32_t data)
{
	r->told = true;
	return !nic_ring_has(r, VIRTIO_BIT_NOTIFICATION_DATA) || r->layout->may_say(r, data);
}

int nic_ring_take(struct nic_ring *r, struct nic_chain *ret)
{
	int got = r->told ? r->layout->take(r, ret) : 0;

	if (got != 0 || !r->told)
		return got;
	got = r->layout->ask(r);
	if (got < 0)
		return got;
	/* What came before the driver saw that it is to tell, it does not tell. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	got = r->layout->take(r, ret);
	if (got == 0)
		r->told = false;
	return got;
}

int nic_ring_give(struct nic_ring *r, const struct nic_chain *chain, uint32_t written)
{
	return r->layout->give(r, chain, written);
}

int nic_ring_wants_call(struct nic_ring *r)
{
	int wants;

	if (queue_position_equal(r->at, r->called))
		return 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	wants = r->layout->wants_call(r);
	r->called = r->at;
	return wants;
}

int nic_chain_add(struct nic_chain *chain, uint64_t iova, uint32_t size, uint16_t flags)
{
	bool write = flags & VRING_DESC_F_WRITE;

	if (chain->n_parts == NIC_MOST_PARTS)
		return -EBADMSG;
	if (!write && chain->n_parts > 0 && chain->parts[chain->n_parts - 1].write)
		return -EBADMSG;
	chain->parts[chain->n_parts++] = (struct nic_part){ iova, size, write };
	return 0;
}

int64_t nic_chain_read(struct nic_ring *r, const struct nic_chain *chain, void *to, uint64_t size)
{
	uint64_t done = 0;

	for (size_t i = 0; i < chain->n_parts && done < size; i++) {
		const struct nic_part *part = &chain->parts[i];
		uint64_t n = part->size < size - done ? part->size : size - done;

		if (part->write)
			break;
		if (nic_dma_read(r->dma, part->iova, (uint8_t *)to + done, n) < 0)
			return -EFAULT;
		done += n;
	}
	return (int64_t)done;
}

int64_t nic_chain_write(struct nic_ring *r, const struct nic_chain *chain, const void *from,
	uint64_t size)
{
	uint64_t done = 0;

	for (size_t i = 0; i < chain->n_parts && done < size; i++) {
		const struct nic_part *part = &chain->parts[i];
		uint64_t n = part->size < size - done ? part->size : size - done;

		if (!part->write)
			continue;
		if (nic_dma_write(r->dma, part->iova, (const uint8_t *)from + done, n) < 0)
			return -EFAULT;
		if (r->mark && r->mark(r->mark_arg, part->iova, n) < 0)
			return -EFAULT;
		done += n;
	}
	return (int64_t)done;
}
