/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Own addresses: open addressing, built anew at each change. Learned addresses: buckets of four
 * words; the oldest gives way. A guest can fill the table only up to its share, so it can't make
 * the switch forget, and flood, everybody's addresses.
 */
#include "tools/simnic/macs.h"

#include <string.h>

#define MAC_MASK 0xffffffffffffULL

static uint32_t hash(uint64_t mac)
{
	return (uint32_t)((mac * 0x9e3779b97f4a7c15ULL) >> 40);
}

static uint32_t share_index(uint16_t port)
{
	return port < MACS_PORTS - 1 ? port : MACS_PORTS - 1;
}

void macs_own_clear(struct macs *macs)
{
	memset(macs->own, 0, sizeof(macs->own));
}

void macs_own_add(struct macs *macs, uint64_t mac, uint16_t port)
{
	uint32_t at = hash(mac) % MACS_OWN_SIZE;

	while (macs->own[at] && (macs->own[at] & MAC_MASK) != mac)
		at = (at + 1) % MACS_OWN_SIZE;
	macs->own[at] = mac | (uint64_t)port << 48;
}

uint16_t macs_find_own(const struct macs *macs, uint64_t mac)
{
	uint32_t at = hash(mac) % MACS_OWN_SIZE;

	while (macs->own[at]) {
		if ((macs->own[at] & MAC_MASK) == mac)
			return (uint16_t)(macs->own[at] >> 48);
		at = (at + 1) % MACS_OWN_SIZE;
	}
	return MACS_NOWHERE;
}

void macs_forget(struct macs *macs, uint16_t port)
{
	for (uint32_t b = 0; b < MACS_BUCKETS; b++) {
		for (uint32_t w = 0; w < MACS_WAYS; w++) {
			if (macs->learned[b][w].entry && macs->learned[b][w].entry >> 48 == port)
				macs->learned[b][w].entry = 0;
		}
	}
	macs->n_learned[share_index(port)] = 0;
}

uint16_t macs_find(struct macs *macs, uint64_t mac, uint32_t now)
{
	uint16_t port = macs_find_own(macs, mac);
	uint32_t b = hash(mac) % MACS_BUCKETS;

	for (uint32_t w = 0; port == MACS_NOWHERE && w < MACS_WAYS; w++) {
		uint64_t entry = atomic_load_explicit(&macs->learned[b][w].entry,
			memory_order_relaxed);

		if ((entry & MAC_MASK) == mac && entry &&
			now - macs->learned[b][w].seen < MACS_AGE_S)
			port = (uint16_t)(entry >> 48);
	}
	return port;
}

static void replace(struct macs *macs, uint32_t b, uint32_t w, uint64_t entry, uint32_t now)
{
	uint64_t before = atomic_exchange(&macs->learned[b][w].entry, entry);

	macs->learned[b][w].seen = now;
	if (before)
		atomic_fetch_sub(&macs->n_learned[share_index((uint16_t)(before >> 48))], 1);
	atomic_fetch_add(&macs->n_learned[share_index((uint16_t)(entry >> 48))], 1);
}

/* The way to put a new address: a free or the oldest one. */
static uint32_t victim(struct macs *macs, uint32_t b, uint32_t now)
{
	uint32_t oldest = 0, oldest_age = 0;

	for (uint32_t w = 0; w < MACS_WAYS; w++) {
		uint32_t age = now - macs->learned[b][w].seen;

		if (!macs->learned[b][w].entry)
			return w;
		if (age >= oldest_age) {
			oldest_age = age;
			oldest = w;
		}
	}
	return oldest;
}

void macs_learn(struct macs *macs, uint64_t mac, uint16_t port, uint32_t now)
{
	uint64_t entry = mac | (uint64_t)port << 48;
	uint32_t b = hash(mac) % MACS_BUCKETS;

	for (uint32_t w = 0; w < MACS_WAYS; w++) {
		uint64_t known = atomic_load_explicit(&macs->learned[b][w].entry,
			memory_order_relaxed);

		if (known == entry) {
			if (macs->learned[b][w].seen != now)
				macs->learned[b][w].seen = now;
			return;
		}
		if (known && (known & MAC_MASK) == mac) { /* it moved */
			replace(macs, b, w, entry, now);
			return;
		}
	}
	if (mac == 0 || macs_find_own(macs, mac) != MACS_NOWHERE)
		return;
	if (port != MACS_UPLINK && macs->n_learned[share_index(port)] >= MACS_LEARNED_MAX)
		return;
	replace(macs, b, victim(macs, b, now), entry, now);
}
