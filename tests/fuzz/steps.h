/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The grammar of a conversation. An input is a head and steps of fixed length, so that mutations
 * can put in, take out and repeat whole ones. What a message has to look like is read from its row
 * of protocol/table.c: a step of zeros but for the request is a message as its row wants it, and
 * each byte that is not 0 makes it differ in one respect.
 */
#ifndef TESTS_FUZZ_STEPS_H
#define TESTS_FUZZ_STEPS_H

#include "protocol/session.h"
#include "tests/fuzz/fuzz.h"

#define STEPS_HEAD_SIZE 8
#define STEPS_MAX       200

enum step_kind {
	STEP_MESSAGE,
	STEP_MESSAGE_AGAIN, /* more messages than anything else */
	STEP_MESSAGE_TOO,
	STEP_MESSAGE_ALSO,
	STEP_HOLD,    /* a message that comes together with the next one */
	STEP_PARTIAL, /* of a message, as many bytes as @more says */
	STEP_BYTES,   /* of no message */
	STEP_CLOSE,   /* the front-end leaves, and another one comes */
	STEP_RESTART, /* the worker dies between two messages, another begins */
	STEP_EVENT,   /* of the device, of kind @ring */
	STEP_FAIL,    /* the driver's call after @more others fails with error @ring, and some behind it */
	STEP_RETURN,  /* the device is replaced */
	STEP_TIME,    /* @more times 100 ms pass */
	STEP_RELAY,   /* relays get their turn */
	STEP_GUEST,   /* the guest writes to its rings */
	STEP_WORK,    /* the device completes @more chains of queue @ring */
	STEP_CUT,     /* a file becomes shorter */
	STEP_PIPE,    /* what the front-end does at its end of a transfer */
	STEP_DIE,     /* the worker dies in the next message, before its call @more outside */
	STEP_MISS,    /* queue @ring can't translate an address, or must not use it so */
	STEP_CALL,    /* the device signals an eventfd of ring @ring, if it is the worker's own */
	STEP_CHANNEL, /* what the front-end does at its end of the channel of our own requests */
	STEP_CONTROL, /* the guest's driver sets something through the control queue */
	STEP_N_KINDS
};

/* One byte each; for a message, 0 is what its row wants. */
struct step {
	uint8_t kind; /* enum step_kind */
	uint8_t request;
	uint8_t flags; /* bit 0: need_reply; others: of the header, flipped */
	uint8_t size;  /* bytes more, as int8_t */
	uint8_t n_fds; /* 0: as many as the row wants; n: n - 1 */
	uint8_t file;  /* enum file_kind + 1 */
	uint8_t ring;
	uint8_t value[5]; /* which one, for each field of the payload */
	uint8_t more[4];
};

_Static_assert(sizeof(struct step) == 16, "steps lie one behind the other");

/* A message on its way. */
struct step_message {
	struct wire_header header;
	union wire_payload payload;
	int fds[WIRE_MAX_FDS + 2]; /* lent */
	size_t n_fds;
};

/** steps_message() - @step as a message for @s. */
void steps_message(const struct session *s, const struct step *step, struct step_message *ret);

/* mutate.c */

/** steps_play() - what a front-end usually does, part @i, of @ret_n steps; NULL: there are no more.
 */
const struct step *steps_play(size_t i, size_t *ret_n);

/** steps_mutate() - for LLVMFuzzerCustomMutator(). */
size_t steps_mutate(uint8_t *data, size_t size, size_t max_size, uint64_t seed);

#endif
