/* SPDX-License-Identifier: BSD-2-Clause */
/* What the mailbox does to queues. Control thread only. */
#ifndef SIMNIC_QUEUES_H
#define SIMNIC_QUEUES_H

#include "tools/simnic/function.h"

/**
 * queues_prepare() - see SIM_PREPARE.
 * @fds: one for each bit of each have_fds, in their order; those used are set to -1
 *
 * Return: 0; -EINVAL bad index, size, alignment, position, or a descriptor that is no eventfd;
 *         -EFAULT an area is not mapped in one piece; -EBUSY one runs with other facts. On failure
 *         nothing has changed.
 */
int queues_prepare(struct function *f, const struct sim_queue_setup *setups, size_t n, int *fds);

/** queue_set_fds() - see SIM_SET_FDS; @fds as for queues_prepare(). */
int queue_set_fds(struct function *f, const struct sim_queue_fds *change, int *fds);

/** queues_start() - see SIM_START. Return: 0; -EINVAL one is not prepared; -EIO memory is gone. */
int queues_start(struct function *f, const struct sim_queue_set *set);

/** queues_stop() - see SIM_STOP. Return: 0; -EINVAL unknown queue in @set. */
int queues_stop(struct function *f, const struct sim_queue_set *set, struct sim_positions *ret);

/** queue_disable() - a queue that does not run has to be prepared again. Paused. */
void queue_disable(struct vq *q);

/** queue_clear() - stop and forget everything; @keep_regs leaves its registers alone. Paused. */
void queue_clear(struct vq *q, bool keep_regs);

/**
 * queue_lies_in() - whether a prepared or running queue's areas touch the range of the function's memory.
 * queue_asks_in() - the same of the addresses that it was given.
 * queue_loses_by() - whether some of its areas would be elsewhere by @entry, or not for what is done there.
 */
bool queue_lies_in(const struct vq *q, uint64_t iova, uint64_t size);
bool queue_asks_in(const struct vq *q, uint64_t iova, uint64_t size);
bool queue_loses_by(const struct vq *q, const struct iotlb_entry *entry);

/** queue_update_poll() - after its kick descriptor or the function's doorbell changed. Paused. */
void queue_update_poll(struct vq *q);

#endif
