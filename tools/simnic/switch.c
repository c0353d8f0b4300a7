/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A learning switch. A function's own address is where the function is, whatever frames say; other
 * source addresses are learned. What is for all, or for an unknown address, goes to all but the
 * sender; of such frames a function may send a limited number per second, so that it can't keep
 * the others' queues full.
 */
#include "tools/simnic/switch.h"

#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_cycles.h>

#include "tools/simnic/frame.h"
#include "tools/simnic/net.h"
#include "tools/simnic/port.h"

/* Beside functions' slots, MACS_UPLINK and MACS_NOWHERE. */
#define TO_NOBODY 0xfffdU
#define TO_ALL	  0xfffcU

/*
 * Two functions may have one MAC, as during a migration: the one that was started last has it. An
 * address that a driver chose takes nothing from anybody who is there: neither from a function that was
 * given it, nor from one that uses it already.
 */
static bool has_better_claim(const struct function *f, const struct function *other)
{
	if (f->chose_mac != other->chose_mac)
		return other->chose_mac;
	if (!f->chose_mac)
		return f->running_since >= other->running_since;
	return other->running_since == 0 ||
	       (f->running_since != 0 && f->running_since < other->running_since);
}

void nic_rescan(struct nic *nic)
{
	macs_own_clear(&nic->macs);
	for (uint32_t i = 0; i < nic->n_slots; i++) {
		const struct function *f = nic->functions[i], *other;
		uint64_t mac;
		uint16_t at;

		if (!f)
			continue;
		mac = f->mac;
		at = macs_find_own(&nic->macs, mac);
		other = at == MACS_NOWHERE ? NULL : nic->functions[at];
		if (!other || has_better_claim(f, other))
			macs_own_add(&nic->macs, mac, (uint16_t)i);
	}
}

static bool may_flood(struct data_thread *t, struct function *f)
{
	uint64_t rate = t->nic->options.flood_limit;
	bool ok;

	if (rate == 0)
		return true;
	rte_spinlock_lock(&f->flood_lock);
	ok = flood_take(&f->flood, t->now, rte_get_tsc_hz(), rate);
	rte_spinlock_unlock(&f->flood_lock);
	if (!ok)
		__atomic_fetch_add(&f->regs->flood_drops, 1, __ATOMIC_RELAXED);
	return ok;
}

/* Return: whether the frame may come from there. */
static bool check_source(struct data_thread *t, struct function *from, uint64_t source)
{
	bool group = source & 1;

	if (from && likely(source == from->mac))
		return true;
	if (from && from->identity.flags & SIM_FUNCTION_SPOOF_CHECK) {
		__atomic_fetch_add(&from->regs->spoof_drops, 1, __ATOMIC_RELAXED);
		from->regs->last_spoof_mac = source;
		return false;
	}
	if (!group)
		macs_learn(&t->nic->macs, source, from ? (uint16_t)from->slot : MACS_UPLINK,
			t->now_s);
	return true;
}

static uint16_t destination(struct data_thread *t, struct function *from, struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint64_t to = macs_word(p);
	uint16_t port = MACS_NOWHERE;

	if (!check_source(t, from, macs_word(p + 6)))
		return TO_NOBODY;
	if (!(to & 1))
		port = macs_find(&t->nic->macs, to, t->now_s);
	if (port == (from ? from->slot : MACS_UPLINK))
		return TO_NOBODY;
	if (port != MACS_NOWHERE)
		return port;
	if (t->nic->uplink && t->nic->uplink->kind == UPLINK_LOOP && !(to & 1))
		return MACS_UPLINK;
	return !from || may_flood(t, from) ? TO_ALL : TO_NOBODY;
}

static void forward(struct data_thread *t, struct function *from, uint16_t to,
	struct rte_mbuf **frames, uint32_t n)
{
	struct nic *nic = t->nic;

	if (n == 0 || to == TO_NOBODY)
		return;
	if (to == TO_ALL) {
		for (uint32_t i = 0; i < nic->n_slots; i++) {
			if (nic->functions[i] && nic->functions[i] != from)
				net_receive(t, nic->functions[i], frames, n);
		}
	} else if (to != MACS_UPLINK && nic->functions[to]) {
		net_receive(t, nic->functions[to], frames, n);
	}
	if ((to == TO_ALL || to == MACS_UPLINK) && from && nic->uplink)
		port_send(t, nic->uplink, from, frames, n);
}

void switch_input(struct data_thread *t, struct function *from, struct rte_mbuf **frames,
	uint32_t n)
{
	uint16_t to = TO_NOBODY;
	uint32_t first = 0;

	if (!from || from->identity.flags & SIM_FUNCTION_LINK_UP) {
		for (uint32_t i = 0; i < n; i++) {
			uint16_t next = destination(t, from, frames[i]);

			if (next == to)
				continue;
			forward(t, from, to, frames + first, i - first);
			first = i;
			to = next;
		}
		forward(t, from, to, frames + first, n - first);
	}
	rte_pktmbuf_free_bulk(frames, n);
}
