/* SPDX-License-Identifier: BSD-2-Clause */
/* Where headers are in a frame, and which flow it belongs to. */
#ifndef SIMNIC_FLOW_H
#define SIMNIC_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>

#define FLOW_HEADERS_MAX 128U /* bytes that flow_parse() looks at */

struct flow_headers {
	uint16_t l3; /* offset of the IP header; 0: not IP */
	uint16_t l4; /* offset of the transport header; 0: none, unknown, or a fragment */
	uint8_t ip_version;
	uint8_t protocol;
};

/** flow_parse() - find IPv4 or IPv6 and its payload, behind at most two VLAN tags. */
struct flow_headers flow_parse(const struct rte_mbuf *m);

/** flow_hash() - a number that is the same for all frames of a flow. */
uint32_t flow_hash(const struct rte_mbuf *m);

#endif
