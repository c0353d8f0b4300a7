/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame on its way: an mbuf, with the offloads its sender asked for in the mbuf's private area,
 * as virtio-net writes them (checked, host order equals wire order: little-endian).
 */
#ifndef SIMNIC_FRAME_H
#define SIMNIC_FRAME_H

#include <linux/virtio_net.h>

#include <rte_mbuf.h>

#define FRAME_PRIVATE_SIZE 16
#define FRAME_DATA_ROOM	   (RTE_PKTMBUF_HEADROOM + 2048)
#define FRAME_MIN_SIZE	   14U
#define FRAME_MAX_SIZE	   (65535U + 18U)

static inline struct virtio_net_hdr *frame_offload(struct rte_mbuf *m)
{
	return rte_mbuf_to_priv(m);
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
