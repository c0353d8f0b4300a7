/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection to vdpad's control socket: docs/control-socket.md. */
#ifndef VDPA_COMMAND_CLIENT_H
#define VDPA_COMMAND_CLIENT_H

#include <jansson.h>

#include "tools/vdpa/backend.h"

struct client;

/**
 * client_open() - connect.
 * @path:      of the socket; kept, so it has to live as long as the client
 * @timeout_s: seconds that connecting and each answer may take
 * @ret:       the client, to be freed with client_free(); written on success only
 *
 * Return: 0; -ENAMETOOLONG; -ENOTCONN: nobody listens there; -EACCES: we may not;
 *         another negative errno. @why is filled then.
 */
int client_open(const char *path, unsigned int timeout_s, struct client **ret, struct fault *why);

void client_free(struct client *c);

/** client_fd() - for poll(2). */
int client_fd(const struct client *c);

/**
 * client_call() - ask for something and wait for the answer.
 * @params: an object; stays the caller's
 * @ret:    the result, an object, the caller's; written on success only
 *
 * Return: 0; -EBADMSG: the answer makes no sense; -ETIMEDOUT; -ECONNRESET: vdpad hung up;
 *         -ENOENT and other codes of vdpad's errors. @why is filled then.
 */
int client_call(struct client *c, const char *method, json_t *params, json_t **ret,
	struct fault *why);

/**
 * client_event() - take one line that came on its own, without waiting.
 * @ret: an object, the caller's
 * Return: 0; -EAGAIN: no whole line is there; -EBADMSG; -ECONNRESET. @why is filled then.
 */
int client_event(struct client *c, json_t **ret, struct fault *why);

#endif
