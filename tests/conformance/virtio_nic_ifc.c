/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An IFC function at work. It looks ahead in a ring, so that its available index is mostly not where it
 * stands; and it marks the buffers that it writes in memory that it reaches as any other.
 */
#include "tests/conformance/virtio_nic_parts.h"

#include <errno.h>
#include <linux/virtio_ring.h>

#define LOG_PAGE 4096U

static int mark_page(struct nic_function *f, uint64_t page)
{
	uint64_t byte = page / 8;

	if (byte >= model_ifc_log_size(&f->model)) {
		model_complain(&f->model, "page 0x%llx is written and has no bit in the log",
			(unsigned long long)page);
		return 0;
	}
	return nic_dma_or8(&f->dma, model_ifc_log_address(&f->model) + byte, (uint8_t)(1U << page % 8));
}

static int mark(void *arg, uint64_t iova, uint64_t size)
{
	struct nic_function *f = arg;
	int r = 0;

	if (model_ifc_log_size(&f->model) == 0 || size == 0)
		return 0;
	for (uint64_t page = iova / LOG_PAGE; page <= (iova + size - 1) / LOG_PAGE && r == 0; page++)
		r = mark_page(f, page);
	return r;
}

void nic_ifc_begin(struct nic_function *f, uint16_t queue)
{
	uint32_t state = f->model.ifc.state[queue];
	struct nic_ring *ring = &f->queues[queue].ring;

	if (queue == nic_control_index(f))
		return;
	ring->at = ring->called = (struct queue_position){
		.avail = (uint16_t)state,
		.used = (uint16_t)(state >> 16),
	};
	ring->mark = mark;
	ring->mark_arg = f;
}

void nic_ifc_end(struct nic_function *f, uint16_t queue)
{
	const struct nic_ring *ring = &f->queues[queue].ring;
	uint16_t ahead;

	if (!f->model.status || queue == nic_control_index(f))
		return;
	/* Without memory it can't look. */
	if (nic_dma_load16(&f->dma, ring->driver + offsetof(struct vring_avail, idx), &ahead) < 0)
		ahead = ring->at.avail;
	f->model.ifc.state[queue] = ahead | (uint32_t)ring->at.used << 16;
}
