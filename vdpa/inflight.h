/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inflight area: memory that the front-end keeps, in which a back-end notes each chain that it
 * has taken and not given back, so that the next back-end can do it again. Of each ring there is one
 * part. This module knows a part's layout and the order of its changes; the relay (relay_inflight.c)
 * tells it what happens.
 *
 * A chain's name is, split: its head; packed: the first of the part's entries in which it is noted,
 * since descriptors of a packed ring are overwritten while others are in flight.
 *
 * The part is shared with the front-end and hostile: what is read is read once and bounded, and
 * nothing that was written there is trusted afterwards.
 *
 * Source: vhost-user specification, "Inflight I/O tracking".
 */
#ifndef VDPA_INFLIGHT_H
#define VDPA_INFLIGHT_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "vdpa/queue.h"

/**
 * struct inflight - one ring's part, in this process.
 * @at:    its first byte; NULL: chains are noted nowhere
 * @size:  entries, as many as the ring has descriptors
 * @links: packed: the entry after each one, in its chain or in the list of free ones; @size of them,
 *         memory that outlives the process and is nobody else's
 */
struct inflight {
	uint8_t *at;
	uint32_t size;
	bool packed;
	uint16_t *links;
	uint16_t free;	  /* packed: the first free entry */
	uint64_t counter; /* of the next chain */
};

struct inflight_chain {
	uint16_t name;
	uint16_t n_desc; /* packed: entries; split: 1 */
};

/** inflight_part_size() - bytes of a ring's part. @size: descriptors. */
uint64_t inflight_part_size(uint32_t size, bool packed);

/**
 * inflight_find() - what the back-end before left in flight.
 * @ring:	packed: the ring, @f->size descriptors; split: not used
 * @position:	in: split: @used as the ring has it; packed: as the front-end says. Out: where to go
 *		on; the chains that were found lie between used and available
 * @ret_chains: room for @f->size; those in flight, oldest first. Fills @f->links
 * @ret_n:	how many
 *
 * A part in which no back-end of this layout and size ever wrote tells nothing: there are none, and
 * @position stays.
 *
 * Return: 0; -EBADMSG the part contradicts itself; -ENOMEM.
 */
int inflight_find(struct inflight *f, const void *ring, struct queue_position *position,
	struct inflight_chain *ret_chains, uint32_t *ret_n);

/**
 * inflight_begin() - make the part say that these chains are in flight, and no others.
 * @chains:   @n of them; packed: their entries are linked by @f->links
 * @position: of which used counts
 * Return: 0; -EBADMSG: @f->links is not what it should be; -ENOMEM; then the part is as it was.
 */
int inflight_begin(struct inflight *f, const struct inflight_chain *chains, uint32_t n,
	struct queue_position position);

/** inflight_take_split() - @head is in flight. Before the device sees it. */
void inflight_take_split(struct inflight *f, uint16_t head);

/**
 * inflight_take_packed() - a chain is in flight. Before the device sees it.
 * @descs: its @n descriptors; at most as many as entries are free
 * Return: its name.
 */
uint16_t inflight_take_packed(
	struct inflight *f, const struct vring_packed_desc *descs, uint32_t n);

/** inflight_desc() - packed: entry @at, and in @ret_next the one after it. */
struct vring_packed_desc inflight_desc(const struct inflight *f, uint16_t at, uint16_t *ret_next);

/**
 * inflight_link() - @chain is about to be given back; it is part of the batch.
 * @n_desc: packed: its entries
 */
void inflight_link(struct inflight *f, uint16_t chain, uint32_t n_desc);

/** inflight_propose() - all of the batch is linked. Before the guest sees it. @next: used after it. */
void inflight_propose(struct inflight *f, struct queue_position next);

/** inflight_clear(), inflight_settle() - the guest has seen the batch: each chain, then its end. */
void inflight_clear(struct inflight *f, uint16_t chain);
void inflight_settle(struct inflight *f, struct queue_position next);

#endif
