/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of play.h share. There is one struct play, which play.c has. */
#ifndef TESTS_FUZZ_PLAY_INTERNAL_H
#define TESTS_FUZZ_PLAY_INTERNAL_H

#include <setjmp.h>

#include "tests/fuzz/play.h"

#define PLAY_MAX_EXPECTED 64
#define PLAY_MAX_SAVED    (64 * 1024)

/**
 * struct play - a conversation, and what is known of it.
 * @stand:         the worker, its keeper and its device
 * @shows:         for people who repeat an input: steps are told, and all is checked after each
 * @n_base:        descriptors that are open when there is nothing
 * @n_steps:       of all inputs; what takes a while is checked now and then
 * @forged:        nothing that is known of state and device holds any more
 *
 * @dies_after:    calls outside; 0: the worker lives
 * @death:         where it goes on when it does not
 * @died:          one did in a message of this connection: answers are nobody's
 *
 * @peer:          the front-end's end of the connection; -1: there is none
 * @aligned:       no message has begun in the socket: else what comes next may be the end of it
 * @expected:      messages that are whole in the socket, and not handled
 * @n_expected:    how many these are
 *
 * @channel_ended: nobody has the other end of the channel of the worker's own requests
 * @channel_waits: the front-end reads nothing there
 * @owed:          signals of each ring, calls and errors, that nobody has heard of, since the last
 *                 step that is not about signals
 *
 * @saved:         the beginning of what was read last of the device's state
 * @saved_size:    of all that was read then, bytes
 *
 * @before:        the state before the messages of a step, and whether a call was to fail then
 */
struct play {
	struct stand stand;
	bool shows;
	size_t n_base;
	unsigned int n_steps;
	bool forged;

	/* play.c */
	uint32_t dies_after;
	jmp_buf death;
	bool died;

	/* play_frontend.c */
	int peer;
	bool aligned;
	struct wire_header expected[PLAY_MAX_EXPECTED];
	uint32_t n_expected;

	/* play_channel.c */
	bool channel_ended, channel_waits;
	bool owed[QUEUE_MAX][2];

	/* play_steps.c */
	uint8_t saved[PLAY_MAX_SAVED];
	uint64_t saved_size;

	/* play_check.c */
	struct {
		struct device_section device;
		struct session_section session;
		bool failed;
	} before;
};

/* The worker's end of the connection; -1: it has none. */
static inline int play_sock(const struct play *p)
{
	return fdstore_get(&p->stand.fds, SHIM_SLOT_CONN);
}

/* play.c */

/** play_restart() - the worker dies between two messages; the next one takes over. */
void play_restart(struct play *p);

/* play_frontend.c: a connection, messages, replies */

void play_connect(struct play *p);
void play_disconnect(struct play *p);

/**
 * play_message(), play_bytes() - the front-end sends what the step says, or the step itself. It is
 * handled, and its replies are checked.
 */
void play_message(struct play *p, const struct step *step);
void play_bytes(struct play *p, const struct step *step);

/** play_receive() - what is in the socket is handled, or the connection ends. */
void play_receive(struct play *p);

/* play_channel.c: requests of the worker's own */

/**
 * play_round() - what the worker's loop does in each round, whatever came; the front-end reads what
 * it is asked, and that is checked.
 */
void play_round(struct play *p);

/** play_call() - the device signals, where what it signals to is the worker's own. */
void play_call(struct play *p, const struct step *step);

/** play_forget_signals() - nothing is owed any more. */
void play_forget_signals(struct play *p);

/** play_channel() - what the front-end does at its end of the channel. */
void play_channel(struct play *p, const struct step *step);

/* play_check.c: what has to hold; others have more of it, where it happens */

/** play_check_remember() - what is now, before a step. */
void play_check_remember(struct play *p);

/** play_check_refused() - messages that were all refused changed nothing but what they may. */
void play_check_refused(const struct play *p);

/** play_check_taken_back() - what message @m took back is not used from the answer on. */
void play_check_taken_back(const struct play *p, const struct step_message *m);

/** play_check_fds() - each descriptor is somebody's. */
void play_check_fds(const struct play *p);

/** play_check_all() - what takes a while. */
void play_check_all(const struct play *p);

/* play_steps.c */

/**
 * struct play_kind - what steps of a kind are.
 * @shown:         what play_show() says of it
 * @act:           what it does
 * @names_message: it is about the message that it requests, which is shown, too
 * @mortal:        the worker may die in the middle of it
 * @keeps_signals: what is owed stays so; others may give up a ring, or the channel
 */
struct play_kind {
	const char *shown;
	void (*act)(struct play *p, const struct step *step);
	bool names_message, mortal, keeps_signals;
};

const struct play_kind *play_kind(const struct step *step);

/** play_show() - tell of a step. */
void play_show(const struct step *step);

#endif
