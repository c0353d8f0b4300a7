/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands to simnic's mailbox, with a deadline over each batch. */
#ifndef DRIVERS_SIM_CHANNEL_H
#define DRIVERS_SIM_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "drivers/sim/mailbox.h"

#define SIM_CHANNEL_EVENTS 32

struct sim_channel {
	int sock;     /* mailbox, lent; -1: the device is gone */
	uint32_t seq; /* of the last request */
	struct sim_event events[SIM_CHANNEL_EVENTS]; /* arrived while a reply was awaited */
	size_t n_events;
	unsigned int lost_events; /* did not fit; the reader looks at everything */
};

/**
 * struct sim_request - one command and what came back.
 * @payload, @size: of the request
 * @fds, @n_fds: to attach; lent
 * @reply: payload of the reply, @reply_size bytes are wanted exactly
 * @reply_fd: descriptor of the reply, the caller's; -1 when there was none
 */
struct sim_request {
	enum sim_command command;
	const void *payload;
	size_t size;
	const int *fds;
	size_t n_fds;
	void *reply;
	size_t reply_size;
	int reply_fd;
};

/** sim_channel_init() - begin on a mailbox, whose last user may have left replies behind. */
void sim_channel_init(struct sim_channel *channel, int sock);

/**
 * sim_channel_call() - one command, one reply.
 * @deadline_ms: from now
 * Return: the device's status; -ENODEV the device is gone; -ETIMEDOUT; -EPROTO it answered
 * something else than its interface says.
 */
int sim_channel_call(struct sim_channel *channel, struct sim_request *request,
	unsigned int deadline_ms);

/**
 * sim_channel_next_event() - take one event without waiting.
 * Return: 0; -EAGAIN none; -ENODEV the device is gone.
 */
int sim_channel_next_event(struct sim_channel *channel, struct sim_event *ret);

#endif
