/* SPDX-License-Identifier: BSD-2-Clause */
/* From a whole message to its effect and its reply, both in the working copies. */
#ifndef PROTOCOL_DISPATCH_H
#define PROTOCOL_DISPATCH_H

#include "protocol/session.h"

/**
 * dispatch_message() - check, handle, and make the reply.
 * @m: its descriptors are taken or closed
 *
 * On return the working copies hold exactly what is to be committed: the message's effect, or the
 * record of its refusal. @s->state->reply_size says whether a reply is due.
 *
 * Return: 0; a negative errno: refused with no way to say so but to close the connection.
 */
int dispatch_message(struct session *s, struct message *m);

#endif
