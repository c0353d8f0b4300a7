/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/sim/control.h"

#include <errno.h>
#include <string.h>

static const struct {
	uint32_t ours, theirs;
} flags[] = {
	{ CONTROL_PROMISC, SIM_CONTROL_PROMISC },
	{ CONTROL_ALLMULTI, SIM_CONTROL_ALLMULTI },
	{ CONTROL_ALLUNI, SIM_CONTROL_ALLUNI },
	{ CONTROL_NOMULTI, SIM_CONTROL_NOMULTI },
	{ CONTROL_NOUNI, SIM_CONTROL_NOUNI },
	{ CONTROL_NOBCAST, SIM_CONTROL_NOBCAST },
	{ CONTROL_MORE_UNICAST, SIM_CONTROL_MORE_UNICAST },
	{ CONTROL_MORE_MULTICAST, SIM_CONTROL_MORE_MULTICAST },
	{ CONTROL_FILTERS, SIM_CONTROL_FILTERS },
	{ CONTROL_MAC, SIM_CONTROL_MAC },
	{ CONTROL_OFFLOADS_SET, SIM_CONTROL_OFFLOADS },
	{ CONTROL_ANNOUNCE, SIM_CONTROL_ANNOUNCE },
};

_Static_assert(sizeof(((struct sim_control *)0)->vlans) == sizeof(((struct control_state *)0)->vlans) &&
		       SIM_CONTROL_MACS == CONTROL_MAX_MACS,
	"both forms have room for the same");

void sim_control_form(const struct control_state *state, struct sim_control *ret)
{
	*ret = (struct sim_control){
		.pairs = state->pairs,
		.n_unicast = state->n_unicast,
		.n_multicast = state->n_multicast,
		.offloads = state->offloads,
	};
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		ret->flags |= state->flags & flags[i].ours ? flags[i].theirs : 0;
	memcpy(ret->mac, state->mac, sizeof(ret->mac));
	memcpy(ret->vlans, state->vlans, sizeof(ret->vlans));
	memcpy(ret->unicast, state->unicast, sizeof(ret->unicast));
	memcpy(ret->multicast, state->multicast, sizeof(ret->multicast));
}

/* The copy that is in use; again when it was replaced under our eyes. */
static bool copy(const struct sim_control_regs *regs, struct sim_control *ret)
{
	for (int tries = 0; tries < 100; tries++) {
		uint32_t current = __atomic_load_n(&regs->current, __ATOMIC_ACQUIRE);

		if (current > 1)
			return false;
		memcpy(ret, &regs->copies[current], sizeof(*ret));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&regs->current, __ATOMIC_RELAXED) == current)
			return true;
	}
	return false;
}

int sim_control_read(const struct sim_regs *regs, struct control_state *ret)
{
	const uint8_t *at = (const uint8_t *)regs + SIM_BAR_CONTROL_OFFSET - SIM_BAR_REGS_OFFSET;
	struct sim_control c;

	if (!copy((const struct sim_control_regs *)(const void *)at, &c) ||
		c.n_unicast > SIM_CONTROL_MACS || c.n_multicast > SIM_CONTROL_MACS)
		return -EPROTO;
	*ret = (struct control_state){
		.pairs = c.pairs,
		.n_unicast = c.n_unicast,
		.n_multicast = c.n_multicast,
		.offloads = c.offloads,
	};
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		ret->flags |= c.flags & flags[i].theirs ? flags[i].ours : 0;
	memcpy(ret->mac, c.mac, sizeof(ret->mac));
	memcpy(ret->vlans, c.vlans, sizeof(ret->vlans));
	memcpy(ret->unicast, c.unicast, sizeof(ret->unicast));
	memcpy(ret->multicast, c.multicast, sizeof(ret->multicast));
	return 0;
}
