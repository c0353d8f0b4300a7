/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Promiscuous mode lets all pass. Otherwise VLANs count as soon as the driver knows of them, and
 * addresses once it has said something about addresses: a driver that never does gets what the switch
 * has for it, as one without a control queue. A priority tag, which names no VLAN, is no tag here.
 *
 * Source: virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3.
 */
#include "tools/simnic/control_filter.h"

#include <linux/virtio_net.h>

#include "tools/simnic/frame.h"
#include "vdpa/base/bits.h"

#define TAGGED_MIN_SIZE 18U /* an Ethernet header with a tag in it */
#define VLAN_MASK	0xfff
#define BROADCAST	0xffffffffffffULL

bool control_filters(uint64_t features, const struct sim_control *state)
{
	if (!(features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ)) || state->flags & SIM_CONTROL_PROMISC)
		return false;
	return features & BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) || state->flags & SIM_CONTROL_FILTERS;
}

static bool in_table(const uint8_t (*table)[6], uint16_t n, uint64_t mac)
{
	for (uint16_t i = 0; i < n; i++) {
		if (macs_word(table[i]) == mac)
			return true;
	}
	return false;
}

static bool wants_vlan(const struct function *f, const uint8_t *frame, uint32_t size)
{
	uint32_t id;

	if (!(f->features & BIT_ULL(VIRTIO_NET_F_CTRL_VLAN)) || size < TAGGED_MIN_SIZE ||
		frame[12] != 0x81 || frame[13] != 0)
		return true;
	id = ((uint32_t)frame[14] << 8 | frame[15]) & VLAN_MASK;
	return id == 0 || f->control.vlans[id / 64] & BIT_ULL(id % 64);
}

static bool wants_address(const struct function *f, uint64_t mac)
{
	const struct sim_control *c = &f->control;

	if (!(c->flags & SIM_CONTROL_FILTERS))
		return true;
	if (mac == BROADCAST)
		return !(c->flags & SIM_CONTROL_NOBCAST);
	if (mac & 1)
		return !(c->flags & SIM_CONTROL_NOMULTI) &&
		       (c->flags & (SIM_CONTROL_ALLMULTI | SIM_CONTROL_MORE_MULTICAST) ||
			       in_table(c->multicast, c->n_multicast, mac));
	return !(c->flags & SIM_CONTROL_NOUNI) &&
	       (c->flags & (SIM_CONTROL_ALLUNI | SIM_CONTROL_MORE_UNICAST) || mac == f->mac ||
		       in_table(c->unicast, c->n_unicast, mac));
}

uint32_t control_filter(struct function *f, struct rte_mbuf **frames, uint32_t n,
	struct rte_mbuf **ret)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *frame = rte_pktmbuf_mtod(frames[i], const uint8_t *);

		if (wants_address(f, macs_word(frame)) &&
			wants_vlan(f, frame, rte_pktmbuf_data_len(frames[i])))
			ret[kept++] = frames[i];
	}
	if (kept < n)
		__atomic_fetch_add(&f->regs->filter_drops, n - kept, __ATOMIC_RELAXED);
	return kept;
}
