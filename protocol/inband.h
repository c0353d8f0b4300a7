/* SPDX-License-Identifier: BSD-2-Clause */
/* Notifications as messages, for rings that the front-end gives no eventfds for. */
#ifndef PROTOCOL_INBAND_H
#define PROTOCOL_INBAND_H

#include "protocol/session.h"

/** inband_init() - nothing is watched. */
void inband_init(struct session *s);

/** inband_told() - the front-end gave an eventfd of @ring, or said that there is none. */
void inband_told(struct session *s, uint32_t ring, enum driver_queue_fd which);

/** inband_started() - a ring is started: eventfds of ours for what was not spoken of. Return: 0; -EMFILE;
 * as device_set_ring_fd(). */
int inband_started(struct session *s, uint32_t ring);

/** inband_calls() - is the ring's call eventfd ours? What comes on it goes out, also when the ring has stopped. */
bool inband_calls(const struct session *s, uint32_t ring);

/**
 * inband_stopped() - the kick eventfd is given up with the ring. What the front-end once spoke of it will
 * speak of again: some accept the feature and know nothing of it, and give call after kick.
 */
void inband_stopped(struct session *s, uint32_t ring);

/** inband_forget() - nothing was spoken of any ring. */
void inband_forget(struct session *s);

#endif
