/* SPDX-License-Identifier: BSD-2-Clause */
/* The mailbox of a function: what its driver may ask for. Control thread only. */
#ifndef SIMNIC_MAILBOX_H
#define SIMNIC_MAILBOX_H

#include "tools/simnic/function.h"

#define MAILBOX_MAX_FDS (3 * SIM_PREPARE_MAX) /* with one request */

/**
 * mailbox_attach() - give the function a new mailbox; the old one, if any, reads end-of-file.
 * @ret_fd: the driver's end, the caller's
 * Return: 0, or a negative errno; then the function may have no mailbox any more.
 */
int mailbox_attach(struct function *f, int *ret_fd);

/** mailbox_event() - tell the driver; a driver that reads nothing loses it. */
void mailbox_event(struct function *f, enum sim_event_kind kind, uint32_t queue);

/** mailbox_config_changed() - registers and event after a change of MAC, MTU or link. */
void mailbox_config_changed(struct function *f);

/** mailbox_reply() - answer a request; takes no ownership of @fd. Return: 0 or negative errno. */
int mailbox_reply(int sock, const struct sim_header *request, int status, const void *payload,
	size_t size, int fd);

/** mailbox_execute() - do a well-formed or malformed request and answer it; closes @fds. */
void mailbox_execute(struct function *f, const struct sim_message *msg, int *fds, size_t n_fds);

/** mailbox_command_name() - for messages; NULL when there is no such command. */
const char *mailbox_command_name(uint32_t command);

#endif
