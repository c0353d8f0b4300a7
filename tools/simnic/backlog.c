/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/simnic/backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/simnic/frame.h"

int backlog_init(struct vq *q)
{
	if (!q->backlog)
		q->backlog = calloc(1, sizeof(*q->backlog));
	return q->backlog ? 0 : -ENOMEM;
}

void backlog_drop(struct vq *q)
{
	if (!q->backlog)
		return;
	q->regs->drops += q->backlog->n;
	backlog_take(q, q->backlog->n);
}

void backlog_free(struct vq *q)
{
	backlog_drop(q);
	free(q->backlog);
	q->backlog = NULL;
}

/* A place among the frames that may wait. */
static bool reserve(struct nic *nic)
{
	if (atomic_fetch_add(&nic->n_backlog, 1) < nic->pool->size / 4)
		return true;
	atomic_fetch_sub(&nic->n_backlog, 1);
	return false;
}

static bool add(struct vq *q, struct rte_mbuf *frame)
{
	struct nic *nic = q->function->nic;
	struct rte_mbuf *copy;

	if (q->backlog->n == BACKLOG_MAX || !reserve(nic))
		return false;
	copy = rte_pktmbuf_copy(frame, nic->pool, 0, UINT32_MAX);
	if (!copy) {
		atomic_fetch_sub(&nic->n_backlog, 1);
		return false;
	}
	*frame_header(copy) = *frame_header(frame);
	q->backlog->frames[q->backlog->n++] = copy;
	return true;
}

uint32_t backlog_add(struct vq *q, struct rte_mbuf **frames, uint32_t n)
{
	uint32_t done = 0;

	while (done < n && add(q, frames[done]))
		done++;
	return done;
}

void backlog_take(struct vq *q, uint32_t n)
{
	struct backlog *b = q->backlog;

	rte_pktmbuf_free_bulk(b->frames, n);
	b->n -= n;
	memmove(b->frames, b->frames + n, b->n * sizeof(b->frames[0]));
	atomic_fetch_sub(&q->function->nic->n_backlog, n);
}
