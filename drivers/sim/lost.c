/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * By the rule at struct sim_queue_regs: what the dead device made visible in the ring was done, and
 * the rest was not consumed. The ring is hostile, and so are registers that a page gave us: a position
 * that the ring does not have is none.
 */
#include "drivers/sim/lost.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>

#include "drivers/sim/position.h"
#include "vdpa/base/bits.h"

static bool marked_used(const struct vring_packed_desc *desc, bool wrap)
{
	uint16_t flags = le16toh(desc->flags);
	bool avail = flags & BIT_ULL(VRING_PACKED_DESC_F_AVAIL);
	bool used = flags & BIT_ULL(VRING_PACKED_DESC_F_USED);

	return avail == used && used == wrap;
}

static struct queue_position published_packed(const struct sim_queue_regs *regs, const void *ring,
	uint32_t size)
{
	const struct vring_packed_desc *descs = ring;
	struct queue_position before = sim_position(regs->position, true);
	struct queue_position p = before;

	if (before.used < size && marked_used(&descs[before.used], before.used_wrap))
		p = sim_position(regs->next_position, true);
	p.avail = p.used;
	p.avail_wrap = p.used_wrap;
	return p;
}

bool sim_regs_ran(const struct sim_regs *regs, uint16_t queue)
{
	uint32_t status;

	if (!regs || queue >= SIM_MAX_QUEUES)
		return false;
	status = regs->queues[queue].status;
	return status == SIM_QUEUE_RUNNING || status == SIM_QUEUE_ERROR;
}

int sim_regs_position(const struct sim_regs *regs, const struct driver_queue *queue, bool packed,
	const void *ring, struct queue_position *ret)
{
	struct queue_position position;
	struct sim_queue_regs copy;

	if (!sim_regs_ran(regs, queue->index))
		return -ENOENT;
	copy = regs->queues[queue->index];
	if (copy.in_flight > 0)
		return -ENOENT;
	position = packed ? published_packed(&copy, ring, queue->size) : queue_position_published(ring);
	if (packed && position.used >= queue->size)
		return -ENOENT;
	*ret = position;
	return 0;
}
