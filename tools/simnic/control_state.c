/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's driver set, and what comes of it. The state is kept as it was set, whatever the
 * features are; control_refresh() makes from it what data threads look at. So the order does not
 * matter in which a function that begins anew gets its features and its state.
 *
 * An address: the operator's word counts. While the spoof check is on, the function has the address
 * that it was given. Without it a driver may choose one, but none that another function has: such a
 * choice would take that one's traffic away.
 */
#include "tools/simnic/control.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "tools/simnic/control_command.h"
#include "tools/simnic/control_filter.h"
#include "tools/simnic/function.h"
#include "vdpa/base/bits.h"

static bool has(const struct function *f, unsigned int feature)
{
	return f->features & BIT_ULL(feature);
}

static struct sim_control_regs *regs_of(const struct function *f)
{
	return (struct sim_control_regs *)(void *)(f->bar + SIM_BAR_CONTROL_OFFSET);
}

static void write_regs(struct function *f)
{
	struct sim_control_regs *regs = regs_of(f);
	uint32_t next = !regs->current;

	regs->copies[next] = f->control;
	__atomic_store_n(&regs->current, next, __ATOMIC_RELEASE);
}

/* Return: whether the function's driver may choose its address at all. */
static bool may_choose(const struct function *f)
{
	return !(f->identity.flags & SIM_FUNCTION_SPOOF_CHECK);
}

static bool is_anothers(const struct function *f, uint64_t mac)
{
	for (uint32_t i = 0; i < f->nic->n_slots; i++) {
		const struct function *other = f->nic->functions[i];

		if (other && other != f && (other->mac == mac || macs_word(other->identity.mac) == mac))
			return true;
	}
	return false;
}

static bool may_have(const struct function *f, uint64_t mac)
{
	if (mac == f->mac || mac == macs_word(f->identity.mac))
		return true;
	return may_choose(f) && !is_anothers(f, mac);
}

static uint64_t features_towards_guest(const struct function *f)
{
	if (!has(f, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || !(f->control.flags & SIM_CONTROL_OFFLOADS))
		return f->features;
	return f->features & (~CONTROL_OFFLOADS | f->control.offloads);
}

void control_refresh(struct function *f)
{
	const struct sim_control *c = &f->control;
	uint64_t own = macs_word(f->identity.mac);

	f->chose_mac = c->flags & SIM_CONTROL_MAC && may_choose(f) && macs_word(c->mac) != own;
	f->mac = f->chose_mac ? macs_word(c->mac) : own;
	f->filters = control_filters(f->features, c);
	f->rx_features = features_towards_guest(f);
	function_rescan(f);
}

void control_clear(struct function *f, bool keep_regs)
{
	memset(&f->control, 0, sizeof(f->control));
	if (!keep_regs)
		write_regs(f);
	control_refresh(f);
}

static void take(struct function *f, const struct sim_control *state)
{
	if (memcmp(&f->control, state, sizeof(*state)) == 0)
		return; /* the data threads need not stand still for it */
	nic_pause(f->nic);
	f->control = *state;
	write_regs(f);
	control_refresh(f);
	nic_resume(f->nic);
}

void control_forget_mac(struct function *f)
{
	struct sim_control next = f->control;

	next.flags &= ~(uint32_t)SIM_CONTROL_MAC;
	take(f, &next);
}

int control_set(struct function *f, const struct sim_control *state)
{
	if (!f->control_queue)
		return -EOPNOTSUPP;
	if (!control_state_ok(f->identity.max_pairs, state))
		return -EINVAL;
	take(f, state);
	return 0;
}

static bool is_address(const uint8_t *command)
{
	return command[0] == VIRTIO_NET_CTRL_MAC && command[1] == VIRTIO_NET_CTRL_MAC_ADDR_SET;
}

uint8_t control_carry_out(struct function *f, const uint8_t *bytes, uint32_t size)
{
	struct sim_control next = f->control;
	uint8_t verdict = control_command(f->features, f->identity.max_pairs, bytes, size, &next);

	if (verdict == VIRTIO_NET_OK && is_address(bytes) && !may_have(f, macs_word(next.mac)))
		verdict = VIRTIO_NET_ERR;
	if (verdict == VIRTIO_NET_OK)
		take(f, &next);
	return verdict;
}

uint16_t control_pairs(const struct function *f)
{
	if (!has(f, VIRTIO_NET_F_CTRL_VQ))
		return f->identity.max_pairs; /* who enables rings knows */
	return f->control.pairs > 0 && has(f, VIRTIO_NET_F_MQ) ? f->control.pairs : 1;
}
