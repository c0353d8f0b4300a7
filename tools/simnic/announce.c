/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest has moved here: the one frame that simnic sends by itself. Source: RFC 903. */
#include "tools/simnic/announce.h"

#include <errno.h>
#include <string.h>

#include <rte_cycles.h>

#include "tools/simnic/frame.h"
#include "tools/simnic/switch.h"

struct rarp {
	uint8_t to[6], from[6];
	uint8_t type[2], hardware[2], protocol[2], sizes[2], operation[2];
	uint8_t sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
	uint8_t fill[18]; /* up to the shortest frame of Ethernet */
};

int announce(struct function *f, uint64_t mac)
{
	struct data_thread *t = f->nic->own;
	struct rarp rarp = {
		.type = { 0x80, 0x35 },
		.hardware = { 0, 1 },
		.protocol = { 8, 0 },
		.sizes = { 6, 4 },
		.operation = { 0, 3 },
	};
	struct rte_mbuf *m;
	char *at;

	if (mac == 0 || mac & 1 || mac >> 48)
		return -EINVAL;
	memset(rarp.to, 0xff, sizeof(rarp.to));
	memcpy(rarp.from, &mac, sizeof(rarp.from));
	memcpy(rarp.sender_mac, &mac, sizeof(rarp.sender_mac));
	memcpy(rarp.target_mac, &mac, sizeof(rarp.target_mac));

	m = rte_pktmbuf_alloc(f->nic->pool);
	if (!m)
		return -ENOMEM;
	frame_clear_offload(m);
	at = rte_pktmbuf_append(m, sizeof(rarp));
	memcpy(at, &rarp, sizeof(rarp));

	nic_pause(f->nic);
	t->now = rte_rdtsc();
	t->now_s = (uint32_t)(t->now / rte_get_tsc_hz());
	switch_input(t, f, &m, 1);
	nic_resume(f->nic);
	return 0;
}
