/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's state on its way to or from the front-end, over a pipe that the front-end made. It is
 * moved as far as the pipe takes it, never waited for: the front-end may be slow, or never come. A
 * transfer belongs to this process; a successor finds that there was one, which then has failed.
 *
 * Source: vhost-user specification, "Migrating back-end state".
 */
#ifndef PROTOCOL_TRANSFER_H
#define PROTOCOL_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Time that CHECK_DEVICE_STATE waits for the end of a transfer, milliseconds. */
#define TRANSFER_CHECK_MS 1000

enum transfer_outcome {
	TRANSFER_NONE,
	TRANSFER_UNDER_WAY,
	TRANSFER_DONE,
	TRANSFER_FAILED,
	TRANSFER_N_OUTCOMES,
};

struct transfer {
	int fd;	       /* -1: none is under way */
	bool load;
	uint8_t *data; /* save: all of it; load: what came so far */
	size_t size, at;
};

struct session;

/**
 * transfer_run() - get on with it, without waiting. Commits when it ends.
 * For when the descriptor is readable (load), or writable.
 */
void transfer_run(struct session *s);

/** transfer_abandon() - the front-end is gone, or wants another one. */
void transfer_abandon(struct session *s);

#endif
