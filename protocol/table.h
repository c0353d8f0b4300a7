/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of messages: every precondition of a message is a column of its row. The dispatcher
 * checks them, so a handler sees well-formed messages only.
 */
#ifndef PROTOCOL_TABLE_H
#define PROTOCOL_TABLE_H

#include "protocol/session.h"

enum message_ring {
	RING_NOWHERE,	 /* concerns the whole device */
	RING_IN_STATE,	 /* wire_vring_state.index */
	RING_IN_ADDR,	 /* wire_vring_addr.index */
	RING_IN_FD_WORD, /* low byte of the word; other bits but FDS_BY_WORD's are reserved */
};

enum message_fds {
	FDS_NONE,
	FDS_ONE,
	FDS_ONE_OR_NONE,
	FDS_BY_WORD,	/* one, or none when the word says so */
	FDS_PER_REGION, /* one for each region of the memory table */
};

enum message_reply {
	REPLY_ACK,	 /* success or failure, when the front-end asks for it */
	REPLY_OWN,	 /* always a body of its own */
	REPLY_OWN_EMPTY, /* as REPLY_OWN; a failure is a reply without a body */
	REPLY_OWN_ZERO,	 /* as REPLY_OWN; a failure is a body of zeros, as long as the request's */
	REPLY_ACK_ALWAYS, /* as REPLY_ACK, asked for or not */
	REPLY_ACK_NO_FD, /* as REPLY_ACK_ALWAYS, and that there is no descriptor */
	REPLY_ACK_OR_OWN, /* as REPLY_ACK; as REPLY_OWN while the front-end listens for page faults */
};

enum message_ring_state {
	RING_ANY,
	RING_STOPPED,	 /* refused while the device serves the ring */
};

#define NEEDS_NOTHING 0
#define NEEDS(feature) (1 + (feature)) /* a protocol feature that was negotiated */

/**
 * struct message_desc - a row.
 * @name:   as in the specification
 * @handle: NULL: nobody serves it; refused like an unknown message
 * @why:    why nobody does, for people, 60 characters at most; NULL with a @handle
 * @size:   payload bytes, exactly; with @check_size the least
 * @check_size: further demands on the size; NULL: exactly @size.
 *          Return: 0 or -EBADMSG
 * @sizes:  what @check_size demands, in words; NULL without it
 * @fds:    how many descriptors come with it
 * @ring:   where the ring's index is
 * @ring_state: what the ring has to be doing
 * @needs:  NEEDS() of the protocol feature that it belongs to
 * @needs_virtio: virtio feature bits that the device must offer
 * @needs_accepted: virtio feature bits that the guest's driver must have accepted
 * @states: BIT(enum device_state) in which it is legal
 * @reply:  which kind
 */
struct message_desc {
	const char *name;
	int (*handle)(struct session *s, struct message *m, uint32_t ring);
	const char *why;
	uint16_t size;
	int (*check_size)(const struct message *m);
	const char *sizes;
	enum message_fds fds;
	enum message_ring ring;
	enum message_ring_state ring_state;
	uint8_t needs;
	uint64_t needs_virtio;
	uint64_t needs_accepted;
	uint8_t states;
	enum message_reply reply;
};

/** message_find() - the row of @request, or NULL. */
const struct message_desc *message_find(uint32_t request);

/** message_expected_fds() - how many descriptors @m has to have by its row and payload. */
size_t message_expected_fds(const struct message *m);

/** message_name() - for people; never NULL. */
const char *message_name(uint32_t request);

#endif
