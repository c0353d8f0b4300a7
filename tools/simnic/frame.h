/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame on its way: an mbuf, and right before its data, in the headroom, the header that virtio-net
 * puts before a frame (checked; host order equals wire order, little-endian). So a frame is
 * copied from a guest and to a guest with its header, in one piece.
 */
#ifndef SIMNIC_FRAME_H
#define SIMNIC_FRAME_H

#include <linux/virtio_net.h>

#include <rte_mbuf.h>

#define FRAME_ROOM	2048U /* bytes of a frame in one mbuf */
#define FRAME_DATA_ROOM (RTE_PKTMBUF_HEADROOM + FRAME_ROOM)
#define FRAME_MIN_SIZE	14U
#define FRAME_MAX_SIZE	(65535U + 18U)

/** frame_header() - the whole header, whose offload request is valid. */
static inline struct virtio_net_hdr_mrg_rxbuf *frame_header(struct rte_mbuf *m)
{
	return rte_pktmbuf_mtod_offset(m, struct virtio_net_hdr_mrg_rxbuf *,
		-(int)sizeof(struct virtio_net_hdr_mrg_rxbuf));
}

static inline struct virtio_net_hdr *frame_offload(struct rte_mbuf *m)
{
	return &frame_header(m)->hdr;
}

static inline bool frame_has_offload(struct rte_mbuf *m)
{
	const struct virtio_net_hdr *h = frame_offload(m);

	return h->flags != 0 || h->gso_type != 0;
}

static inline void frame_clear_offload(struct rte_mbuf *m)
{
	*frame_offload(m) = (struct virtio_net_hdr){ 0 };
}

#endif
