/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request is taken only if the frame's headers agree with it: a receiver gets numbers that were
 * computed here, not those the sender wrote. Headers that a request needs must lie in the first
 * segment, which holds 2 KiB; what a real sender produces does.
 *
 * Source: virtio 1.2, 5.1.6.2.
 */
#include "tools/simnic/offload.h"

#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>

#include <rte_ip.h>
#include <rte_tcp.h>

#include "tools/simnic/flow.h"
#include "vdpa/base/bits.h"

#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

static bool check_segmentation(struct rte_mbuf *m, struct virtio_net_hdr *o, uint64_t features)
{
	bool v4 = o->gso_type == VIRTIO_NET_HDR_GSO_TCPV4;
	struct flow_headers h = flow_parse(m);
	uint32_t tcp_size;

	if (!v4 && o->gso_type != VIRTIO_NET_HDR_GSO_TCPV6)
		return false;
	if (!(features & BIT_ULL(v4 ? VIRTIO_NET_F_HOST_TSO4 : VIRTIO_NET_F_HOST_TSO6)))
		return false;
	if (!(o->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || o->gso_size == 0)
		return false;
	if (h.ip_version != (v4 ? 4 : 6) || !h.l4 || h.protocol != IPPROTO_TCP)
		return false;
	if (o->csum_start != h.l4 || o->csum_offset != 16 || h.l4 + 20U > m->data_len)
		return false;
	tcp_size = (uint32_t)(rte_pktmbuf_mtod(m, uint8_t *)[h.l4 + 12] >> 4) * 4;
	if (tcp_size < 20 || h.l4 + tcp_size > m->data_len || h.l4 + tcp_size >= m->pkt_len)
		return false;
	o->hdr_len = (uint16_t)(h.l4 + tcp_size);
	return true;
}

bool offload_check(struct rte_mbuf *m, uint64_t features)
{
	struct virtio_net_hdr *o = frame_offload(m);

	if (!(features & BIT_ULL(VIRTIO_NET_F_CSUM))) {
		frame_clear_offload(m);
		return true;
	}
	o->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (o->flags && ((uint32_t)o->csum_start + o->csum_offset + 2 > m->data_len ||
				o->csum_start < 14))
		return false;
	if (o->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return check_segmentation(m, o, features);
	o->gso_size = 0;
	o->hdr_len = 0;
	if (!o->flags)
		frame_clear_offload(m);
	return true;
}

bool offload_suits(struct rte_mbuf *m, uint64_t features)
{
	const struct virtio_net_hdr *o = frame_offload(m);

	if (!(features & BIT_ULL(VIRTIO_NET_F_GUEST_CSUM)))
		return o->flags == 0 && o->gso_type == 0;
	if (o->gso_type == VIRTIO_NET_HDR_GSO_TCPV4)
		return features & BIT_ULL(VIRTIO_NET_F_GUEST_TSO4);
	if (o->gso_type == VIRTIO_NET_HDR_GSO_TCPV6)
		return features & BIT_ULL(VIRTIO_NET_F_GUEST_TSO6);
	return true;
}

void offload_checksum(struct rte_mbuf *m)
{
	const struct virtio_net_hdr *o = frame_offload(m);
	uint16_t sum;

	if (o->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM &&
		rte_raw_cksum_mbuf(m, o->csum_start, m->pkt_len - o->csum_start, &sum) == 0) {
		sum = (uint16_t)~sum;
		if (sum == 0 && o->csum_offset == 6) /* UDP: zero would say that there is none */
			sum = 0xffff;
		memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, o->csum_start + o->csum_offset), &sum,
			sizeof(sum));
	}
	frame_clear_offload(m);
}

/* Copies bytes [offset, offset + size) of @m to the end of @to, whose room was checked. */
static bool append(struct rte_mbuf *to, const struct rte_mbuf *m, uint32_t offset, uint32_t size,
	struct rte_mempool *pool)
{
	while (size > 0) {
		struct rte_mbuf *last = rte_pktmbuf_lastseg(to);
		uint32_t room = rte_pktmbuf_tailroom(last);
		const void *from;
		char *at;

		if (room == 0) {
			struct rte_mbuf *more = rte_pktmbuf_alloc(pool);

			if (!more)
				return false;
			last->next = more;
			to->nb_segs++;
			continue;
		}
		if (room > size)
			room = size;
		at = rte_pktmbuf_mtod_offset(last, char *, last->data_len);
		from = rte_pktmbuf_read(m, offset, room, at);
		if (!from)
			return false;
		if (from != at)
			memcpy(at, from, room);
		last->data_len = (uint16_t)(last->data_len + room);
		to->pkt_len += room;
		offset += room;
		size -= room;
	}
	return true;
}

struct segment {
	uint32_t index;	 /* of this segment in the large frame */
	uint32_t offset; /* of its payload */
	bool last;
};

static void fix_ip(uint8_t *p, const struct flow_headers *h, uint32_t size, uint32_t index)
{
	if (h->ip_version == 4) {
		struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(p + h->l3);

		ip->total_length = rte_cpu_to_be_16((uint16_t)(size - h->l3));
		ip->packet_id = rte_cpu_to_be_16(
			(uint16_t)(rte_be_to_cpu_16(ip->packet_id) + index));
		ip->hdr_checksum = 0;
		ip->hdr_checksum = rte_ipv4_cksum(ip);
	} else {
		struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)(p + h->l3);

		ip->payload_len = rte_cpu_to_be_16((uint16_t)(size - h->l3 - 40));
	}
}

static void fix_tcp(struct rte_mbuf *m, const struct flow_headers *h, const struct segment *s)
{
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);
	struct rte_tcp_hdr *tcp = (struct rte_tcp_hdr *)(p + h->l4);
	uint8_t flags = tcp->tcp_flags;

	tcp->sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(tcp->sent_seq) + s->offset);
	if (!s->last)
		flags &= (uint8_t)~(TCP_FIN | TCP_PSH);
	if (s->index > 0)
		flags &= (uint8_t)~TCP_CWR;
	tcp->tcp_flags = flags;
	tcp->cksum = 0;
	if (h->ip_version == 4)
		tcp->cksum = rte_ipv4_udptcp_cksum_mbuf(m,
			(const struct rte_ipv4_hdr *)(p + h->l3), h->l4);
	else
		tcp->cksum = rte_ipv6_udptcp_cksum_mbuf(m,
			(const struct rte_ipv6_hdr *)(p + h->l3), h->l4);
}

static struct rte_mbuf *make_segment(struct rte_mbuf *m, struct rte_mempool *pool,
	const struct flow_headers *h, const struct segment *s, uint32_t size)
{
	uint32_t headers = frame_offload(m)->hdr_len;
	struct rte_mbuf *n = rte_pktmbuf_alloc(pool);

	if (!n)
		return NULL;
	frame_clear_offload(n);
	if (!append(n, m, 0, headers, pool) || !append(n, m, headers + s->offset, size, pool)) {
		rte_pktmbuf_free(n);
		return NULL;
	}
	fix_ip(rte_pktmbuf_mtod(n, uint8_t *), h, n->pkt_len, s->index);
	fix_tcp(n, h, s);
	return n;
}

uint32_t offload_segment(struct rte_mbuf *m, struct rte_mempool *pool, struct rte_mbuf **ret)
{
	const struct virtio_net_hdr *o = frame_offload(m);
	struct flow_headers h = flow_parse(m);
	uint32_t payload = m->pkt_len - o->hdr_len, n;

	if ((payload + o->gso_size - 1U) / o->gso_size > OFFLOAD_MAX_SEGMENTS)
		return 0;
	for (n = 0; n * o->gso_size < payload; n++) {
		uint32_t left = payload - n * o->gso_size;
		uint32_t size = left < o->gso_size ? left : o->gso_size;
		const struct segment s = { n, n * o->gso_size, size == left };

		ret[n] = make_segment(m, pool, &h, &s, size);
		if (!ret[n]) {
			rte_pktmbuf_free_bulk(ret, n);
			return 0;
		}
	}
	return n;
}
