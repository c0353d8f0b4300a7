/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening Unix sockets at paths, made and taken away with care. */
#ifndef VDPAD_LISTENER_H
#define VDPAD_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tools/vdpad/failure.h"

/**
 * listener_make() - a listening socket at @path.
 * @path: absolute; a socket there that nobody listens to is replaced, anything else is refused
 * @type: SOCK_STREAM or SOCK_SEQPACKET
 * @mode: permissions of the file
 * @gid:  its group, or (gid_t)-1: as it comes
 * @ret_why: filled on failure
 *
 * Return: the descriptor, non-blocking and close-on-exec; -EEXIST taken; another negative errno.
 */
int listener_make(const char *path, int type, mode_t mode, gid_t gid, struct failure *ret_why);

/** listener_is_served() - does somebody listen there, or can't that be told? */
bool listener_is_served(const char *path, int type);

/** listener_remove() - remove the file if it is a socket. */
void listener_remove(const char *path);

#endif
