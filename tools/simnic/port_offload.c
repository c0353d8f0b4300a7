/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port wants the pseudo header's sum in the checksum field, and for a frame to be cut up without
 * the length in it, as rte_ipv4_phdr_cksum() computes it. What a sender wrote there is not trusted:
 * it is computed anew.
 */
#include "tools/simnic/port_offload.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_ip.h>

#include "tools/simnic/flow.h"

#define TCP_SUM 16 /* offset of the checksum in its header */
#define UDP_SUM 6

static void write_pseudo_sum(struct rte_mbuf *m, const struct flow_headers *h, uint16_t offset)
{
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);
	uint16_t sum;

	if (h->ip_version == 4)
		sum = rte_ipv4_phdr_cksum((const struct rte_ipv4_hdr *)(p + h->l3), m->ol_flags);
	else
		sum = rte_ipv6_phdr_cksum((const struct rte_ipv6_hdr *)(p + h->l3), m->ol_flags);
	memcpy(p + h->l4 + offset, &sum, sizeof(sum));
}

/* A port that cuts an IPv4 frame writes each part's header sum, beginning from zero. */
static void clear_ip_sum(struct rte_mbuf *m, const struct flow_headers *h)
{
	memset(rte_pktmbuf_mtod_offset(m, uint8_t *, h->l3 + 10), 0, 2);
}

static uint64_t needed(const struct virtio_net_hdr *o, const struct flow_headers *h)
{
	if (o->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
		       RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
	return h->protocol == IPPROTO_TCP ? RTE_ETH_TX_OFFLOAD_TCP_CKSUM :
					    RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
}

bool port_offload_ask(uint64_t offered, struct rte_mbuf *m)
{
	const struct virtio_net_hdr *o = frame_offload(m);
	bool large = o->gso_type != VIRTIO_NET_HDR_GSO_NONE;
	struct flow_headers h = flow_parse(m);
	bool tcp = h.protocol == IPPROTO_TCP;

	if (!h.l4 || (!tcp && h.protocol != IPPROTO_UDP) || o->csum_start != h.l4 ||
		o->csum_offset != (tcp ? TCP_SUM : UDP_SUM) || (needed(o, &h) & ~offered))
		return false;

	m->l2_len = (uint64_t)h.l3 & 0x7f;
	m->l3_len = (uint64_t)(h.l4 - h.l3) & 0x1ff;
	m->l4_len = large ? (uint64_t)(o->hdr_len - h.l4) & 0xff : tcp ? 20 : 8;
	m->ol_flags |= h.ip_version == 4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
	m->ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
	if (large) {
		m->tso_segsz = o->gso_size;
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
		if (h.ip_version == 4) {
			m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
			clear_ip_sum(m, &h);
		}
	}
	write_pseudo_sum(m, &h, o->csum_offset);
	return true;
}

/* The sender was on this host and left the sum to whoever needs it. */
static void sum_is_missing(struct rte_mbuf *m)
{
	struct flow_headers h = flow_parse(m);
	bool tcp = h.protocol == IPPROTO_TCP;
	uint16_t offset = tcp ? TCP_SUM : UDP_SUM;
	struct virtio_net_hdr *o = frame_offload(m);

	if (!h.l4 || (!tcp && h.protocol != IPPROTO_UDP) || h.l4 + offset + 2U > m->data_len)
		return;
	o->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	o->csum_start = h.l4;
	o->csum_offset = offset;
}

void port_offload_told(struct rte_mbuf *m)
{
	uint64_t sum = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;

	frame_clear_offload(m);
	if (sum == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
		frame_offload(m)->flags = VIRTIO_NET_HDR_F_DATA_VALID;
	else if (sum == RTE_MBUF_F_RX_L4_CKSUM_NONE)
		sum_is_missing(m);
	m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
}
