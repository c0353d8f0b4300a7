/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's side of a ring, split or packed, for virtio_nic.h. The caller has the NIC's lock.
 *
 * A ring begins as virtio has it: at the position of a fresh one. It is looked at only after the
 * driver said that there is something, until it is found empty.
 */
#ifndef TESTS_VIRTIO_NIC_RING_H
#define TESTS_VIRTIO_NIC_RING_H

#include "tests/conformance/virtio_nic_dma.h"
#include "vdpa/queue.h"

#define NIC_MOST_PARTS 32

struct nic_part {
	uint64_t iova;
	uint32_t size;
	bool write; /* by the device */
};

struct nic_chain {
	uint16_t id;	  /* by which it is given back */
	uint16_t n_slots; /* packed: of the ring */
	size_t n_parts;	  /* those that are written come last */
	struct nic_part parts[NIC_MOST_PARTS];
};

/**
 * struct nic_ring - a ring that runs.
 * @told:   there may be something that was not seen
 * @mark:   called with @mark_arg for each buffer that was written; NULL: nobody wants to know
 * @called: @at.used when it was last asked whether the driver wants to be called
 */
struct nic_ring {
	const struct nic_layout *layout;
	struct nic_dma *dma;
	uint64_t features; /* that were negotiated */
	uint32_t size;
	uint64_t desc, driver, device;
	struct queue_position at, called;
	bool told;
	int (*mark)(void *mark_arg, uint64_t iova, uint64_t size);
	void *mark_arg;
};

/** struct nic_layout - what split and packed rings do each in their way; see the functions below. */
struct nic_layout {
	int (*take)(struct nic_ring *r, struct nic_chain *ret);
	int (*give)(struct nic_ring *r, const struct nic_chain *chain, uint32_t written);
	int (*wants_call)(struct nic_ring *r);
	int (*ask)(struct nic_ring *r); /* to be told of what comes from here on */
	bool (*may_say)(struct nic_ring *r, uint32_t data);
};

extern const struct nic_layout nic_split, nic_packed;

/** nic_ring_begin() - at the position of a fresh ring; @dma, @features, @size and addresses are set. */
void nic_ring_begin(struct nic_ring *r);

/**
 * nic_ring_tell() - the driver says that there is something.
 * @data: what VIRTIO_F_NOTIFICATION_DATA says besides; 0 without it
 * Return: false when no driver can be there in this ring.
 */
bool nic_ring_tell(struct nic_ring *r, uint32_t data);

/**
 * nic_ring_take() - the next chain; @r->at, written back, takes it back.
 * Return: 1; 0 there is none; -EFAULT; -EBADMSG a rule is broken.
 */
int nic_ring_take(struct nic_ring *r, struct nic_chain *ret);

/**
 * nic_ring_give() - give a chain back, in the order in which they were taken.
 * @written: bytes
 * Return: 0; -EFAULT.
 */
int nic_ring_give(struct nic_ring *r, const struct nic_chain *chain, uint32_t written);

/**
 * nic_ring_wants_call() - whether the driver wants to be called for what was given back since this was
 * last asked.
 * Return: 1; 0; -EFAULT; -EBADMSG.
 */
int nic_ring_wants_call(struct nic_ring *r);

/**
 * nic_chain_read(), nic_chain_write() - bytes of a chain's parts that are read, or written, in order.
 * Return: how many there were, at most @size; -EFAULT.
 */
int64_t nic_chain_read(struct nic_ring *r, const struct nic_chain *chain, void *to, uint64_t size);
int64_t nic_chain_write(struct nic_ring *r, const struct nic_chain *chain, const void *from,
	uint64_t size);

/**
 * nic_chain_add() - for layouts: one more part.
 * @flags: of its descriptor
 * Return: 0; -EBADMSG too many, or one that is read behind one that is written.
 */
int nic_chain_add(struct nic_chain *chain, uint64_t iova, uint32_t size, uint16_t flags);

static inline bool nic_ring_has(const struct nic_ring *r, unsigned int feature)
{
	return r->features & BIT_ULL(feature);
}

#endif
