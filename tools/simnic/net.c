/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames out of transmit queues and into receive queues.
 *
 * Every byte of guest memory is read once, into an mbuf; what is decided on a frame is decided on
 * that copy. A frame that no rule of the ring forbids, but that is nonsense (too short, too long,
 * offloads that don't fit), is dropped, and its chain goes back as usual.
 */
#include "tools/simnic/net.h"

#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

#include "tools/simnic/backlog.h"
#include "tools/simnic/control_filter.h"
#include "tools/simnic/cursor.h"
#include "tools/simnic/flow.h"
#include "tools/simnic/frame.h"
#include "tools/simnic/held.h"
#include "tools/simnic/offload.h"
#include "vdpa/base/bits.h"

/* ------------------------------------------------------------------ transmit */

static bool read_pieces(struct data_thread *t, struct vq *q, struct chain *c, struct rte_mbuf *m)
{
	uint8_t header[sizeof(struct virtio_net_hdr_mrg_rxbuf)];
	struct cursor at = { .chain = c };
	uint32_t left = c->size - q->header_size;
	struct rte_mbuf *last = m;

	cursor_get(&at, header, q->header_size);
	memcpy(frame_offload(m), header, sizeof(struct virtio_net_hdr));
	for (;;) {
		uint32_t room = rte_pktmbuf_tailroom(last), n = left < room ? left : room;

		cursor_get(&at, rte_pktmbuf_mtod(last, uint8_t *), n);
		last->data_len = (uint16_t)n;
		m->pkt_len += n;
		left -= n;
		if (left == 0)
			return true;
		last->next = rte_pktmbuf_alloc(t->nic->pool);
		if (!last->next)
			return false;
		last = last->next;
		m->nb_segs++;
	}
}

static void reset_frame(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m->next);
	m->next = NULL;
	m->nb_segs = 1;
	m->pkt_len = 0;
	m->data_len = 0;
}

/* Return: false, and @m is empty again, when the frame is to be dropped. */
static inline bool read_frame(struct data_thread *t, struct vq *q, struct chain *c,
	struct rte_mbuf *m)
{
	uint32_t size = c->size - q->header_size;

	if (unlikely(c->size < q->header_size + FRAME_MIN_SIZE || size > FRAME_MAX_SIZE))
		return false;
	if (likely(c->n_pieces == 1 && size <= FRAME_ROOM)) {
		const uint8_t *at = c->pieces->at;

		frame_clear_offload(m);
		if (q->takes_offloads)
			memcpy(frame_offload(m), at, sizeof(struct virtio_net_hdr));
		copy_bytes(rte_pktmbuf_mtod(m, void *), at + q->header_size, size);
		m->data_len = (uint16_t)size;
		m->pkt_len = size;
	} else if (!read_pieces(t, q, c, m)) {
		reset_frame(m);
		return false;
	}
	if (unlikely(frame_has_offload(m)) && !offload_check(m, q->function->features)) {
		reset_frame(m);
		return false;
	}
	return true;
}

/* Return: how many chains keep the queue busy although there are no new ones. */
static uint32_t give_back_later(struct data_thread *t, struct vq *q, uint32_t n)
{
	held_take(q, t->burst, n, t->now);
	return n > 0 ? 0 : held_rest(q, t->burst, t->now);
}

uint32_t net_transmit(struct data_thread *t, struct vq *q, struct rte_mbuf **frames,
	uint32_t *ret_chains)
{
	struct burst *b = t->burst;
	uint32_t n, kept = 0;
	uint64_t bytes = 0;

	ring_begin(q, b);
	n = ring_collect(q, b, NIC_BURST, SIM_PERM_READ);
	if (n > 0 && rte_pktmbuf_alloc_bulk(t->nic->pool, frames, n) < 0)
		n = 0; /* no memory for frames: they wait in the ring */

	for (uint32_t i = 0; i < n; i++) {
		b->chains[i].used = 0;
		b->chains[i].more = false;
		if (unlikely(!read_frame(t, q, &b->chains[i], frames[kept])))
			continue;
		bytes += frames[kept++]->pkt_len;
	}
	if (unlikely(kept < n)) {
		rte_pktmbuf_free_bulk(&frames[kept], n - kept);
		q->regs->drops += n - kept;
	}
	q->regs->bytes += bytes;
	*ret_chains = n;
	if (unlikely(q->holds))
		*ret_chains += give_back_later(t, q, n);
	else
		ring_publish(q, b, n);
	if (unlikely(q->fault != NULL))
		ring_fail(q);

	if (kept > 0) {
		struct sim_regs *regs = q->function->regs;

		__atomic_fetch_add(&regs->tx_frames, kept, __ATOMIC_RELAXED);
		__atomic_fetch_add(&regs->tx_bytes, bytes, __ATOMIC_RELAXED);
	}
	return kept;
}

/* ------------------------------------------------------------------- receive */

/*
 * How many chains from @first on hold @size bytes.
 * Return: 0 when the ring has not so many now; negative when it never will.
 */
static int chains_for(struct vq *q, struct burst *b, uint32_t first, uint32_t size)
{
	uint64_t room = 0;
	uint32_t n = 0;

	while (room < size) {
		if (first + n == b->n_chains && ring_collect(q, b, 4, SIM_PERM_WRITE) == 0)
			return n + 1 >= RING_MAX_CHAINS ? -1 : 0;
		room += b->chains[first + n].size;
		n++;
		if (!q->mergeable && room < size)
			return -1;
	}
	return (int)n;
}

/*
 * Header and frame into one piece. The header is most often the one that is there already; then its
 * cache line is left alone, and the driver's CPU need not fetch it again. It is put together in
 * registers: a load from two stores that are still under way would wait for both.
 */
static void write_piece(struct vq *q, uint8_t *to, struct rte_mbuf *m)
{
	const struct virtio_net_hdr *offload = frame_offload(m);
	uint64_t begin, there_begin;
	uint32_t end = offload->csum_offset | 1U << 16, there_end; /* one buffer */

	memcpy(&begin, offload, sizeof(begin));
	memcpy(&there_begin, to, sizeof(begin));
	memcpy(&there_end, to + sizeof(begin), sizeof(end));
	if (begin != there_begin || end != there_end) {
		memcpy(to, &begin, sizeof(begin));
		memcpy(to + sizeof(begin), &end, q->header_size - sizeof(begin));
	}
	copy_bytes(to + q->header_size, rte_pktmbuf_mtod(m, void *), m->data_len);
}

static void write_frame(struct vq *q, struct chain *c, uint16_t n_chains, struct rte_mbuf *m)
{
	struct virtio_net_hdr_mrg_rxbuf *header = frame_header(m);
	uint32_t left = q->header_size + m->pkt_len;
	struct cursor at = { .chain = c };

	if (likely(n_chains == 1 && c->n_pieces == 1 && m->nb_segs == 1)) {
		write_piece(q, c->pieces->at, m);
		c->used = left;
		c->more = false;
		return;
	}

	header->num_buffers = n_chains;
	cursor_put(&at, (const uint8_t *)header, q->header_size);
	for (; m; m = m->next)
		cursor_put(&at, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len);
	for (uint32_t i = 0; i < n_chains; i++) {
		c[i].used = left < c[i].size ? left : c[i].size;
		c[i].more = i + 1 < n_chains;
		left -= c[i].used;
	}
}

/*
 * Decides how many chains each frame gets; 0: it is dropped.
 * Return: frames done with; *@ret_used chains are needed for them.
 */
static uint32_t allot(struct vq *q, struct burst *b, struct rte_mbuf **frames, uint32_t n,
	uint16_t *allotted, uint32_t *ret_used)
{
	uint32_t i;

	*ret_used = 0;
	for (i = 0; i < n; i++) {
		int chains = chains_for(q, b, *ret_used, q->header_size + frames[i]->pkt_len);

		if (chains == 0)
			break;
		allotted[i] = chains > 0 ? (uint16_t)chains : 0;
		*ret_used += allotted[i];
	}
	return i;
}

/* One burst into a queue. Return: frames done with, written or dropped; 0: no room. */
static uint32_t fill_burst(struct vq *q, struct burst *b, struct rte_mbuf **frames, uint32_t n,
	uint32_t *ret_written, uint64_t *ret_bytes)
{
	struct chain *next = b->chains;
	uint16_t allotted[NIC_BURST];
	uint32_t done, used;

	ring_begin(q, b);
	ring_collect(q, b, n, SIM_PERM_WRITE);
	done = allot(q, b, frames, n, allotted, &used);
	if (unlikely(q->mixes))
		ring_mix(b, used);
	for (uint32_t i = 0; i < done; i++) {
		if (unlikely(allotted[i] == 0))
			continue;
		write_frame(q, next, allotted[i], frames[i]);
		next += allotted[i];
		(*ret_written)++;
		*ret_bytes += frames[i]->pkt_len;
	}
	ring_publish(q, b, used);
	return done;
}

/* As many as there is room for. Return: frames done with. Under lock. */
static uint32_t fill_bursts(struct data_thread *t, struct vq *q, struct rte_mbuf **frames, uint32_t n)
{
	struct sim_regs *regs = q->function->regs;
	uint32_t done = 0, written = 0;
	uint64_t bytes = 0;

	while (done < n && q->status == SIM_QUEUE_RUNNING) {
		uint32_t some = n - done < NIC_BURST ? n - done : NIC_BURST;
		uint32_t i = fill_burst(q, t->burst, frames + done, some, &written, &bytes);

		done += i;
		if (unlikely(q->fault != NULL))
			ring_fail(q);
		if (i == 0)
			break;
	}
	q->regs->bytes += bytes;
	q->regs->drops += done - written;
	__atomic_fetch_add(&regs->rx_frames, written, __ATOMIC_RELAXED);
	__atomic_fetch_add(&regs->rx_bytes, bytes, __ATOMIC_RELAXED);
	return done;
}

/* Frames that waited go first. Under lock. */
static void catch_up(struct data_thread *t, struct vq *q)
{
	if (q->waits || q->backlog->n == 0)
		return;
	backlog_take(q, fill_bursts(t, q, q->backlog->frames, q->backlog->n));
	if (!q->waits)
		backlog_drop(q); /* the ring is full, or has failed */
}

static void fill_queue(struct data_thread *t, struct vq *q, struct rte_mbuf **frames, uint32_t n)
{
	uint32_t done = 0;

	rte_spinlock_lock(&q->lock);
	if (unlikely(q->backlog != NULL))
		catch_up(t, q);
	if (likely(!q->waits))
		done = fill_bursts(t, q, frames, n);
	if (unlikely(q->waits && q->backlog))
		done += backlog_add(q, frames + done, n - done);
	q->regs->drops += n - done;
	rte_spinlock_unlock(&q->lock);
}

void net_catch_up(struct data_thread *t, struct vq *q)
{
	rte_spinlock_lock(&q->lock);
	if (q->backlog)
		catch_up(t, q);
	rte_spinlock_unlock(&q->lock);
}

/* Spreads at most NIC_BURST frames over the running receive queues, in order for each flow. */
static void spread(struct data_thread *t, struct function *f, struct rte_mbuf **frames, uint32_t n)
{
	struct rte_mbuf *same[NIC_BURST];
	uint16_t queue[NIC_BURST];
	uint32_t left = n;

	for (uint32_t i = 0; i < n; i++)
		queue[i] = f->rx_running[((uint64_t)flow_hash(frames[i]) * f->n_rx_running) >> 32];
	for (uint32_t i = 0; left > 0; i++) {
		uint32_t n_same = 0;
		uint16_t wanted = queue[i];

		if (wanted == UINT16_MAX)
			continue;
		for (uint32_t j = i; j < n; j++) {
			if (queue[j] == wanted) {
				same[n_same++] = frames[j];
				queue[j] = UINT16_MAX;
			}
		}
		fill_queue(t, &f->queues[wanted], same, n_same);
		left -= n_same;
	}
}

static void deliver(struct data_thread *t, struct function *f, struct rte_mbuf **frames, uint32_t n)
{
	while (n > 0) {
		uint32_t some = n < NIC_BURST ? n : NIC_BURST;

		if (likely(f->n_rx_running == 1))
			fill_queue(t, &f->queues[f->rx_running[0]], frames, some);
		else
			spread(t, f, frames, some);
		frames += some;
		n -= some;
	}
}

/* A frame whose offloads the function's driver does not know. */
static void deliver_software(struct data_thread *t, struct function *f, struct rte_mbuf *m)
{
	struct rte_mbuf *segments[OFFLOAD_MAX_SEGMENTS];
	uint32_t n;

	if (frame_offload(m)->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		offload_checksum(m);
		deliver(t, f, &m, 1);
		return;
	}
	n = offload_segment(m, t->nic->pool, segments);
	deliver(t, f, segments, n);
	rte_pktmbuf_free_bulk(segments, n);
}

static bool too_long(const struct function *f, struct rte_mbuf *m)
{
	return m->pkt_len > f->mtu + 18U &&
	       frame_offload(m)->gso_type == VIRTIO_NET_HDR_GSO_NONE;
}

static void receive(struct data_thread *t, struct function *f, struct rte_mbuf **frames, uint32_t n)
{
	uint32_t from = 0, i;

	if (f->n_rx_running == 0 || !(f->identity.flags & SIM_FUNCTION_LINK_UP) || f->memory_lost) {
		__atomic_fetch_add(&f->regs->no_queue_drops, n, __ATOMIC_RELAXED);
		return;
	}
	for (i = 0; i < n; i++) {
		bool software = frame_has_offload(frames[i]) &&
				!offload_suits(frames[i], f->rx_features);

		if (likely(!software && !too_long(f, frames[i])))
			continue;
		deliver(t, f, frames + from, i - from);
		from = i + 1;
		if (software)
			deliver_software(t, f, frames[i]);
		else
			__atomic_fetch_add(&f->queues[f->rx_running[0]].regs->drops, 1,
				__ATOMIC_RELAXED);
	}
	deliver(t, f, frames + from, i - from);
}

void net_receive(struct data_thread *t, struct function *f, struct rte_mbuf **frames, uint32_t n)
{
	struct rte_mbuf *wanted[NIC_BURST];

	if (likely(!f->filters)) {
		receive(t, f, frames, n);
		return;
	}
	while (n > 0) {
		uint32_t some = n < NIC_BURST ? n : NIC_BURST;

		receive(t, f, wanted, control_filter(f, frames, some, wanted));
		frames += some;
		n -= some;
	}
}
