/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a MAC address is: the functions' own addresses, which nobody can take over, and addresses
 * learned from frames, which age.
 */
#ifndef SIMNIC_MACS_H
#define SIMNIC_MACS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MACS_NOWHERE  0xffffU
#define MACS_UPLINK   0xfffeU
#define MACS_OWN_SIZE 4096U /* slots: at least twice the functions */
#define MACS_BUCKETS  1024U
#define MACS_WAYS     4U
#define MACS_PORTS    1025U /* functions by their slot, the last one is the uplink */
#define MACS_LEARNED_MAX 256U /* addresses that one function can put into the table */
#define MACS_AGE_S    300U

struct macs {
	/* changed while paused; read by data threads. An entry: MAC in bits 0-47, port above */
	uint64_t own[MACS_OWN_SIZE];

	/* data threads, without a lock: an entry is one word, and a lost one is learned again */
	struct {
		atomic_uint_least64_t entry; /* 0: free */
		atomic_uint seen;	     /* second of the last frame */
	} learned[MACS_BUCKETS][MACS_WAYS];
	atomic_uint n_learned[MACS_PORTS];
};

/** macs_word() - a MAC as a number below 2^48. */
static inline uint64_t macs_word(const uint8_t mac[6])
{
	uint32_t low;
	uint16_t high;

	__builtin_memcpy(&low, mac, sizeof(low)); /* two loads, no round trip through the stack */
	__builtin_memcpy(&high, mac + 4, sizeof(high));
	return low | (uint64_t)high << 32;
}

/** macs_own_clear(), macs_own_add() - the functions' own addresses anew. Paused. */
void macs_own_clear(struct macs *macs);
void macs_own_add(struct macs *macs, uint64_t mac, uint16_t port);

/** macs_find_own() - the function with this address, or MACS_NOWHERE. */
uint16_t macs_find_own(const struct macs *macs, uint64_t mac);

/** macs_forget() - drop what was learned from @port. Paused. */
void macs_forget(struct macs *macs, uint16_t port);

/** macs_find() - port of @mac at second @now, or MACS_NOWHERE. */
uint16_t macs_find(struct macs *macs, uint64_t mac, uint32_t now);

/** macs_learn() - @mac was a source at @port; never moves a function's own address. */
void macs_learn(struct macs *macs, uint64_t mac, uint16_t port, uint32_t now);

#endif
