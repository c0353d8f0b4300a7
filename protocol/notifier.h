/* SPDX-License-Identifier: BSD-2-Clause */
/* Host notifiers: pages of the device by which a guest kicks it, without anybody in between. */
#ifndef PROTOCOL_NOTIFIER_H
#define PROTOCOL_NOTIFIER_H

#include "protocol/session.h"

/** notifier_forget() - the front-end has none any more. The device is going to be reset. */
void notifier_forget(struct session *s);

/** notifier_ring_stopped() - the front-end gives up that of a ring whose base it asked for. Return: 0; -EIO. */
int notifier_ring_stopped(struct session *s, uint32_t ring);

#endif
