/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames of a receive queue that waits for an address translation: the NIC's memory for those that came
 * from the wire and have no place yet. Copies, since a frame is its sender's and may be on its way to
 * others. There is room for some of each queue, and for a part of the NIC's frames altogether, so that
 * no guest that answers nothing takes them from the others.
 */
#ifndef SIMNIC_BACKLOG_H
#define SIMNIC_BACKLOG_H

#include "tools/simnic/nic.h"

#define BACKLOG_MAX 256 /* frames of a queue */

struct backlog {
	uint32_t n;
	struct rte_mbuf *frames[BACKLOG_MAX];
};

/** backlog_init() - the queue may have to wait. Return: 0; -ENOMEM. Paused. */
int backlog_init(struct vq *q);

/** backlog_free() - frames that wait are lost. Paused. */
void backlog_free(struct vq *q);

/** backlog_drop() - the same, and others may wait. Paused, or under the queue's lock. */
void backlog_drop(struct vq *q);

/** backlog_add() - copies of frames, behind those that wait. Under lock. Return: how many had room. */
uint32_t backlog_add(struct vq *q, struct rte_mbuf **frames, uint32_t n);

/** backlog_take() - @n frames found their place. Under lock. */
void backlog_take(struct vq *q, uint32_t n);

#endif
