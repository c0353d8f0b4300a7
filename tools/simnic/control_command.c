/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table of commands: what each needs, and how long its data is. A handler sees data of that length
 * and a copy of the state, which counts when it returns true.
 *
 * A table of addresses that is longer than ours is no error: all addresses of its kind pass then, as
 * the specification lets a filter pass more than it was asked to.
 */
#include "tools/simnic/control_command.h"

#include <linux/virtio_net.h>
#include <string.h>

#define ADDRESS	 6U /* bytes */
#define ANY_SIZE UINT32_MAX

struct data {
	uint64_t features;
	uint16_t max_pairs;
	uint8_t command;
	const uint8_t *bytes;
	uint32_t size;
};

static uint64_t get_le(const uint8_t *bytes, uint32_t size)
{
	uint64_t value = 0;

	while (size-- > 0)
		value = value << 8 | bytes[size];
	return value;
}

/* Source: virtio 1.2, 5.1.6.5.1. The modes' bits stand in the order of the commands. */
static bool on_mode(const struct data *d, struct sim_control *state)
{
	const uint32_t mode = BIT(d->command);

	if (d->bytes[0] > 1)
		return false;
	state->flags = (state->flags & ~mode) | (d->bytes[0] ? mode : 0U) | SIM_CONTROL_FILTERS;
	return true;
}

/*
 * One of the two tables, at the beginning of @bytes.
 * Return: bytes it takes; 0: it is longer than what is there.
 */
static uint32_t take_table(const uint8_t *bytes, uint32_t size, uint8_t (*table)[ADDRESS],
	uint16_t *ret_n, bool *ret_more)
{
	uint64_t n, whole;

	if (size < sizeof(uint32_t))
		return 0;
	n = get_le(bytes, sizeof(uint32_t));
	whole = sizeof(uint32_t) + n * ADDRESS;
	if (whole > size)
		return 0;
	*ret_more = n > SIM_CONTROL_MACS;
	*ret_n = *ret_more ? 0 : (uint16_t)n;
	memset(table, 0, SIM_CONTROL_MACS * sizeof(table[0]));
	memcpy(table, bytes + sizeof(uint32_t), *ret_n * sizeof(table[0]));
	return (uint32_t)whole;
}

/* Source: virtio 1.2, 5.1.6.5.2. Unicast addresses first, then multicast ones. */
static bool on_tables(const struct data *d, struct sim_control *state)
{
	bool more_unicast, more_multicast;
	uint32_t first, second;

	first = take_table(d->bytes, d->size, state->unicast, &state->n_unicast, &more_unicast);
	if (first == 0)
		return false;
	second = take_table(d->bytes + first, d->size - first, state->multicast, &state->n_multicast,
		&more_multicast);
	if (second == 0 || first + second != d->size)
		return false;
	state->flags &= ~(uint32_t)(SIM_CONTROL_MORE_UNICAST | SIM_CONTROL_MORE_MULTICAST);
	state->flags |= (more_unicast ? SIM_CONTROL_MORE_UNICAST : 0U) |
			(more_multicast ? SIM_CONTROL_MORE_MULTICAST : 0U) | SIM_CONTROL_FILTERS;
	return true;
}

static bool mac_ok(const uint8_t mac[ADDRESS])
{
	return !(mac[0] & 1) && get_le(mac, ADDRESS) != 0;
}

static bool on_mac(const struct data *d, struct sim_control *state)
{
	if (!mac_ok(d->bytes))
		return false;
	memcpy(state->mac, d->bytes, ADDRESS);
	state->flags |= SIM_CONTROL_MAC;
	return true;
}

/* Source: virtio 1.2, 5.1.6.5.3. */
static bool on_vlan(const struct data *d, struct sim_control *state)
{
	uint64_t id = get_le(d->bytes, sizeof(uint16_t));

	if (id >= SIM_CONTROL_VLANS)
		return false;
	if (d->command == VIRTIO_NET_CTRL_VLAN_ADD)
		state->vlans[id / 64] |= BIT_ULL(id % 64);
	else
		state->vlans[id / 64] &= ~BIT_ULL(id % 64);
	return true;
}

/* Source: virtio 1.2, 5.1.6.5.4. One that nobody asked for is fine. */
static bool on_announced(const struct data *d, struct sim_control *state)
{
	state->flags &= ~(uint32_t)SIM_CONTROL_ANNOUNCE;
	return true;
}

/* Source: virtio 1.2, 5.1.6.5.5. */
static bool on_pairs(const struct data *d, struct sim_control *state)
{
	uint64_t pairs = get_le(d->bytes, sizeof(uint16_t));

	if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > d->max_pairs)
		return false;
	state->pairs = (uint16_t)pairs;
	return true;
}

/* Source: virtio 1.2, 5.1.6.5.6. */
static bool on_offloads(const struct data *d, struct sim_control *state)
{
	uint64_t offloads = get_le(d->bytes, sizeof(uint64_t));

	if (offloads & ~(d->features & CONTROL_OFFLOADS))
		return false;
	state->offloads = offloads;
	state->flags |= SIM_CONTROL_OFFLOADS;
	return true;
}

static const struct command {
	uint8_t class, first, last; /* commands of the class */
	uint8_t needs;		    /* feature */
	uint32_t size;		    /* of the data */
	bool (*handle)(const struct data *d, struct sim_control *state);
} commands[] = {
	{ VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, VIRTIO_NET_CTRL_RX_ALLMULTI,
		VIRTIO_NET_F_CTRL_RX, 1, on_mode },
	{ VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLUNI, VIRTIO_NET_CTRL_RX_NOBCAST,
		VIRTIO_NET_F_CTRL_RX_EXTRA, 1, on_mode },
	{ VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, VIRTIO_NET_CTRL_MAC_TABLE_SET,
		VIRTIO_NET_F_CTRL_RX, ANY_SIZE, on_tables },
	{ VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, VIRTIO_NET_CTRL_MAC_ADDR_SET,
		VIRTIO_NET_F_CTRL_MAC_ADDR, ADDRESS, on_mac },
	{ VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, VIRTIO_NET_CTRL_VLAN_DEL,
		VIRTIO_NET_F_CTRL_VLAN, sizeof(uint16_t), on_vlan },
	{ VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, VIRTIO_NET_CTRL_ANNOUNCE_ACK,
		VIRTIO_NET_F_GUEST_ANNOUNCE, 0, on_announced },
	{ VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
		VIRTIO_NET_F_MQ, sizeof(uint16_t), on_pairs },
	{ VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
		VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
		sizeof(uint64_t), on_offloads },
};

_Static_assert(SIM_CONTROL_PROMISC == BIT(VIRTIO_NET_CTRL_RX_PROMISC) &&
		       SIM_CONTROL_NOBCAST == BIT(VIRTIO_NET_CTRL_RX_NOBCAST),
	"on_mode() takes a command for its bit");

static const struct command *find(uint8_t class, uint8_t command)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		if (class == c->class && command >= c->first && command <= c->last)
			return c;
	}
	return NULL;
}

uint8_t control_command(uint64_t features, uint16_t max_pairs, const uint8_t *bytes, uint32_t size,
	struct sim_control *state)
{
	const uint32_t head = sizeof(struct virtio_net_ctrl_hdr);
	const struct command *c = size >= head ? find(bytes[0], bytes[1]) : NULL;
	struct sim_control next = *state;
	struct data data;

	if (!c || !(features & BIT_ULL(c->needs)) || (c->size != ANY_SIZE && c->size != size - head))
		return VIRTIO_NET_ERR;
	data = (struct data){
		.features = features,
		.max_pairs = max_pairs,
		.command = bytes[1],
		.bytes = bytes + head,
		.size = size - head,
	};
	if (!c->handle(&data, &next))
		return VIRTIO_NET_ERR;
	*state = next;
	return VIRTIO_NET_OK;
}

bool control_state_ok(uint16_t max_pairs, const struct sim_control *state)
{
	return !(state->flags & ~(uint32_t)SIM_CONTROL_ALL) && state->pairs <= max_pairs &&
	       state->n_unicast <= SIM_CONTROL_MACS && state->n_multicast <= SIM_CONTROL_MACS &&
	       !(state->offloads & ~CONTROL_OFFLOADS) &&
	       (!(state->flags & SIM_CONTROL_MAC) || mac_ok(state->mac));
}
