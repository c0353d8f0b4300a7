/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Only the first bytes of the first segment are looked at; every frame from a guest or port has its
 * headers there. IPv6 extension headers end the search: such frames are a flow by their addresses.
 */
#include "tools/simnic/flow.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_hash_crc.h>
#include <rte_ip.h>

static struct flow_headers parse_ipv4(const uint8_t *p, uint32_t size, uint16_t l3)
{
	struct flow_headers h = { .l3 = l3, .ip_version = 4 };
	uint32_t ihl;

	if (size < l3 + sizeof(struct rte_ipv4_hdr) || p[l3] >> 4 != 4)
		return (struct flow_headers){ 0 };
	ihl = (p[l3] & 15U) * 4;
	h.protocol = p[l3 + 9];
	if (ihl >= 20 && l3 + ihl + 4 <= size && !((p[l3 + 6] & 0x3f) | p[l3 + 7]))
		h.l4 = (uint16_t)(l3 + ihl);
	return h;
}

static struct flow_headers parse_ipv6(const uint8_t *p, uint32_t size, uint16_t l3)
{
	struct flow_headers h = { .l3 = l3, .ip_version = 6 };

	if (size < l3 + sizeof(struct rte_ipv6_hdr) || p[l3] >> 4 != 6)
		return (struct flow_headers){ 0 };
	h.protocol = p[l3 + 6];
	if ((h.protocol == IPPROTO_TCP || h.protocol == IPPROTO_UDP) && l3 + 44U <= size)
		h.l4 = (uint16_t)(l3 + 40);
	return h;
}

struct flow_headers flow_parse(const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t size = m->data_len;
	uint16_t l3 = 14;

	for (int tags = 0; tags < 3 && size >= l3; tags++) {
		uint16_t type = (uint16_t)(p[l3 - 2] << 8 | p[l3 - 1]);

		if (type == RTE_ETHER_TYPE_IPV4)
			return parse_ipv4(p, size, l3);
		if (type == RTE_ETHER_TYPE_IPV6)
			return parse_ipv6(p, size, l3);
		if (type != RTE_ETHER_TYPE_VLAN && type != RTE_ETHER_TYPE_QINQ)
			break;
		l3 = (uint16_t)(l3 + 4);
	}
	return (struct flow_headers){ 0 };
}

/* DPDK's function reads whole words, wherever they are. */
static uint32_t hash_bytes(const uint8_t *p, uint32_t size, uint32_t hash)
{
	uint64_t words[4];

	memcpy(words, p, size);
	return rte_hash_crc(words, size, hash);
}

uint32_t flow_hash(const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	struct flow_headers h = flow_parse(m);
	uint32_t hash = h.protocol;

	if (!h.l3) /* not IP: by the addresses of both ends */
		return hash_bytes(p, 12, 0) * 0x9e3779b1U;
	if (h.ip_version == 4)
		hash = hash_bytes(p + h.l3 + 12, 8, hash);
	else
		hash = hash_bytes(p + h.l3 + 8, 32, hash);
	if (h.l4 && (h.protocol == IPPROTO_TCP || h.protocol == IPPROTO_UDP))
		hash = hash_bytes(p + h.l4, 4, hash);
	return hash * 0x9e3779b1U;
}
