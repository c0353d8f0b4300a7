/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Offload requests to and from a port of DPDK. What a NIC would do with the request is done here by
 * hand, and the result has to be a frame that any receiver takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <string.h>

#include <rte_ethdev.h>
#include <rte_ip.h>

#include "tools/simnic/port_offload.h"
#include "vdpa/base/bits.h"

#define ALL                                                                                        \
	(RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO | \
		RTE_ETH_TX_OFFLOAD_IPV4_CKSUM)

static struct {
	struct rte_mbuf m;
	_Alignas(64) uint8_t buffer[RTE_PKTMBUF_HEADROOM + 1024];
} room;

/* A frame of one kind, with what a guest asks for it. */
struct kind {
	bool v6, tagged;
	uint8_t protocol;
	bool large;
};

static uint16_t l3_of(const struct kind *k)
{
	return k->tagged ? 18 : 14;
}

static uint16_t l4_of(const struct kind *k)
{
	return (uint16_t)(l3_of(k) + (k->v6 ? 40 : 20));
}

static uint16_t sum_at(const struct kind *k)
{
	return k->protocol == IPPROTO_TCP ? 16 : 6;
}

static void write_ip(uint8_t *p, const struct kind *k, uint16_t payload)
{
	if (k->v6) {
		p[0] = 0x60;
		p[4] = (uint8_t)(payload >> 8);
		p[5] = (uint8_t)payload;
		p[6] = k->protocol;
		p[23] = 1;
		p[39] = 2;
		return;
	}
	p[0] = 0x45;
	p[2] = (uint8_t)((payload + 20) >> 8);
	p[3] = (uint8_t)(payload + 20);
	p[8] = 64;
	p[9] = k->protocol;
	p[10] = 0xab; /* to be replaced when the frame is cut */
	p[15] = 1;
	p[19] = 2;
}

static struct rte_mbuf *make_frame(const struct kind *k)
{
	const uint16_t headers = k->protocol == IPPROTO_TCP ? 20 : 8, payload = headers + 101;
	struct rte_mbuf *m = &room.m;
	uint8_t *p;

	memset(&room, 0, sizeof(room));
	m->buf_addr = room.buffer;
	m->buf_len = sizeof(room.buffer);
	m->data_off = RTE_PKTMBUF_HEADROOM;
	m->nb_segs = 1;
	m->data_len = (uint16_t)(l4_of(k) + payload);
	m->pkt_len = m->data_len;
	p = rte_pktmbuf_mtod(m, uint8_t *);
	if (k->tagged) {
		p[12] = 0x81;
		p[15] = 7;
	}
	p[l3_of(k) - 2] = k->v6 ? 0x86 : 8;
	p[l3_of(k) - 1] = k->v6 ? 0xdd : 0;
	write_ip(p + l3_of(k), k, payload);
	for (uint16_t i = 0; i < payload; i++)
		p[l4_of(k) + i] = (uint8_t)(i * 7 + 1);
	*frame_offload(m) = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = l4_of(k),
		.csum_offset = sum_at(k),
	};
	if (k->large) {
		frame_offload(m)->gso_type = k->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 :
						     VIRTIO_NET_HDR_GSO_TCPV4;
		frame_offload(m)->gso_size = 50;
		frame_offload(m)->hdr_len = (uint16_t)(l4_of(k) + headers);
	}
	return m;
}

/* The sum that a NIC computes over what is in the field already, and what follows. */
static void finish_sum(struct rte_mbuf *m, const struct kind *k)
{
	uint8_t *l4 = rte_pktmbuf_mtod_offset(m, uint8_t *, m->l2_len + m->l3_len);
	uint16_t sum = rte_raw_cksum(l4, (size_t)m->data_len - m->l2_len - m->l3_len);

	sum = (uint16_t)~sum;
	memcpy(l4 + sum_at(k), &sum, sizeof(sum));
}

static bool sum_is_right(struct rte_mbuf *m, const struct kind *k)
{
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);

	if (k->v6)
		return rte_ipv6_udptcp_cksum_verify((struct rte_ipv6_hdr *)(p + l3_of(k)),
			       p + l4_of(k)) == 0;
	return rte_ipv4_udptcp_cksum_verify((struct rte_ipv4_hdr *)(p + l3_of(k)), p + l4_of(k)) ==
	       0;
}

static const struct kind small[] = {
	{ false, false, IPPROTO_TCP, false }, { false, true, IPPROTO_UDP, false },
	{ true, false, IPPROTO_UDP, false }, { true, true, IPPROTO_TCP, false },
};

static void a_port_is_asked_for_the_sum_that_the_sender_left_out(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(small); i++) {
		struct rte_mbuf *m = make_frame(&small[i]);

		assert_true(port_offload_ask(ALL, m));
		assert_int_equal(m->l2_len, l3_of(&small[i]));
		assert_int_equal(m->l2_len + m->l3_len, l4_of(&small[i]));
		assert_int_equal(m->ol_flags & RTE_MBUF_F_TX_L4_MASK,
			small[i].protocol == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM :
							   RTE_MBUF_F_TX_UDP_CKSUM);
		assert_true(m->ol_flags & (small[i].v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4));
		assert_false(m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IP_CKSUM));
		finish_sum(m, &small[i]);
		assert_true(sum_is_right(m, &small[i]));
	}
}

static void a_port_is_asked_to_cut_a_large_frame(void **state)
{
	static const struct kind large[] = {
		{ false, false, IPPROTO_TCP, true }, { true, true, IPPROTO_TCP, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(large); i++) {
		struct rte_mbuf *m = make_frame(&large[i]);
		const uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);
		uint16_t pseudo, wanted;

		assert_true(port_offload_ask(ALL, m));
		assert_true(m->ol_flags & RTE_MBUF_F_TX_TCP_SEG);
		assert_int_equal(m->tso_segsz, 50);
		assert_int_equal(m->l4_len, 20);
		assert_int_equal((m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) != 0, !large[i].v6);
		if (!large[i].v6)
			assert_int_equal(p[24] | p[25], 0);
		memcpy(&pseudo, p + l4_of(&large[i]) + 16, sizeof(pseudo));
		wanted = large[i].v6 ? rte_ipv6_phdr_cksum((const struct rte_ipv6_hdr *)(p + 18),
					       RTE_MBUF_F_TX_TCP_SEG) :
				       rte_ipv4_phdr_cksum((const struct rte_ipv4_hdr *)(p + 14),
					       RTE_MBUF_F_TX_TCP_SEG);
		assert_int_equal(pseudo, wanted); /* without a length */
	}
}

static void a_port_is_not_asked_for_what_it_does_not_have(void **state)
{
	const struct kind large = { false, false, IPPROTO_TCP, true };
	uint8_t before[sizeof(room.buffer)];
	struct rte_mbuf *m = make_frame(&small[0]);

	memcpy(before, room.buffer, sizeof(before));
	assert_false(port_offload_ask(ALL & ~RTE_ETH_TX_OFFLOAD_TCP_CKSUM, m));
	assert_int_equal(m->ol_flags, 0);
	assert_memory_equal(before, room.buffer, sizeof(before));
	assert_false(port_offload_ask(ALL & ~RTE_ETH_TX_OFFLOAD_UDP_CKSUM, make_frame(&small[1])));
	assert_false(port_offload_ask(ALL & ~RTE_ETH_TX_OFFLOAD_TCP_TSO, make_frame(&large)));
	assert_false(port_offload_ask(ALL & ~RTE_ETH_TX_OFFLOAD_IPV4_CKSUM, make_frame(&large)));
	assert_true(port_offload_ask(ALL & ~RTE_ETH_TX_OFFLOAD_TCP_TSO, make_frame(&small[0])));
}

static void a_sum_at_an_unusual_place_is_left_to_us(void **state)
{
	struct rte_mbuf *m = make_frame(&small[0]);

	frame_offload(m)->csum_start++;
	assert_false(port_offload_ask(ALL, m));
	m = make_frame(&small[0]);
	frame_offload(m)->csum_offset = 6;
	assert_false(port_offload_ask(ALL, m));
	m = make_frame(&small[0]);
	rte_pktmbuf_mtod(m, uint8_t *)[14 + 9] = IPPROTO_SCTP;
	assert_false(port_offload_ask(ALL, m));
	m = make_frame(&small[0]);
	rte_pktmbuf_mtod(m, uint8_t *)[14 + 6] = 0x20; /* a fragment */
	assert_false(port_offload_ask(ALL, m));
}

static void what_a_port_found_out_is_told_to_the_guest(void **state)
{
	struct rte_mbuf *m = make_frame(&small[0]);

	m->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_RX_RSS_HASH;
	port_offload_told(m);
	assert_int_equal(frame_offload(m)->flags, VIRTIO_NET_HDR_F_DATA_VALID);
	assert_int_equal(m->ol_flags, RTE_MBUF_F_EXTERNAL); /* whose memory it is */

	m = make_frame(&small[0]);
	m->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_BAD;
	port_offload_told(m);
	assert_false(frame_has_offload(m));
	assert_int_equal(m->ol_flags, 0);
}

static void a_sum_that_is_missing_is_told_to_the_guest(void **state)
{
	struct rte_mbuf *m;

	for (size_t i = 0; i < ARRAY_SIZE(small); i++) {
		m = make_frame(&small[i]);
		frame_clear_offload(m);
		m->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE;
		port_offload_told(m);
		assert_int_equal(frame_offload(m)->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(frame_offload(m)->csum_start, l4_of(&small[i]));
		assert_int_equal(frame_offload(m)->csum_offset, sum_at(&small[i]));
	}
	m = make_frame(&small[0]);
	m->data_len = (uint16_t)(l4_of(&small[0]) + 17); /* it would end in the sum */
	m->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE;
	port_offload_told(m);
	assert_false(frame_has_offload(m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_port_is_asked_for_the_sum_that_the_sender_left_out),
		cmocka_unit_test(a_port_is_asked_to_cut_a_large_frame),
		cmocka_unit_test(a_port_is_not_asked_for_what_it_does_not_have),
		cmocka_unit_test(a_sum_at_an_unusual_place_is_left_to_us),
		cmocka_unit_test(what_a_port_found_out_is_told_to_the_guest),
		cmocka_unit_test(a_sum_that_is_missing_is_told_to_the_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
