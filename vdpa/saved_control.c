/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Little-endian, in this order: flags (32 bits), pairs, unicast and multicast addresses (16 bits each),
 * the MAC; offloads (64 bits); a bit for each VLAN; both tables, whole. What no driver set is not
 * carried along: that the guest is to announce itself is the news of its arrival, not of its past.
 */
#include "vdpa/saved_control.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

_Static_assert(SAVED_CONTROL_SIZE % 8 == 0, "a section is whole words");

static uint8_t *put(uint8_t *at, const void *bytes, size_t size)
{
	memcpy(at, bytes, size);
	return at + size;
}

static uint8_t *put16(uint8_t *at, uint16_t value)
{
	value = htole16(value);
	return put(at, &value, sizeof(value));
}

static uint8_t *put64(uint8_t *at, uint64_t value)
{
	value = htole64(value);
	return put(at, &value, sizeof(value));
}

void saved_control_put(const struct control_state *state, uint8_t *ret)
{
	uint32_t flags = htole32(state->flags & ~(uint32_t)CONTROL_ANNOUNCE);

	ret = put(ret, &flags, sizeof(flags));
	ret = put16(ret, state->pairs);
	ret = put16(ret, state->n_unicast);
	ret = put16(ret, state->n_multicast);
	ret = put(ret, state->mac, sizeof(state->mac));
	ret = put64(ret, state->offloads);
	for (size_t i = 0; i < ARRAY_SIZE(state->vlans); i++)
		ret = put64(ret, state->vlans[i]);
	ret = put(ret, state->unicast, sizeof(state->unicast));
	put(ret, state->multicast, sizeof(state->multicast));
}

static const uint8_t *get(const uint8_t *at, void *ret, size_t size)
{
	memcpy(ret, at, size);
	return at + size;
}

static const uint8_t *get16(const uint8_t *at, uint16_t *ret)
{
	at = get(at, ret, sizeof(*ret));
	*ret = le16toh(*ret);
	return at;
}

static const uint8_t *get64(const uint8_t *at, uint64_t *ret)
{
	at = get(at, ret, sizeof(*ret));
	*ret = le64toh(*ret);
	return at;
}

int saved_control_get(const uint8_t *data, size_t size, struct control_state *ret)
{
	if (size < SAVED_CONTROL_SIZE)
		return -EBADMSG;
	data = get(data, &ret->flags, sizeof(ret->flags));
	ret->flags = le32toh(ret->flags);
	data = get16(data, &ret->pairs);
	data = get16(data, &ret->n_unicast);
	data = get16(data, &ret->n_multicast);
	data = get(data, ret->mac, sizeof(ret->mac));
	data = get64(data, &ret->offloads);
	for (size_t i = 0; i < ARRAY_SIZE(ret->vlans); i++)
		data = get64(data, &ret->vlans[i]);
	data = get(data, ret->unicast, sizeof(ret->unicast));
	get(data, ret->multicast, sizeof(ret->multicast));
	return ret->flags & ~(uint32_t)(CONTROL_ALL & ~CONTROL_ANNOUNCE) ||
			       ret->n_unicast > CONTROL_MAX_MACS || ret->n_multicast > CONTROL_MAX_MACS ?
		       -EBADMSG :
		       0;
}
