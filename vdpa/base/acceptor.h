/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VDPA_BASE_ACCEPTOR_H
#define VDPA_BASE_ACCEPTOR_H

/**
 * acceptor_take() - accept4(2), also when this process has no descriptor left.
 * @listener: listening socket, non-blocking or known to be readable
 * @flags:    SOCK_NONBLOCK or 0; the connection is closed on exec always
 *
 * Somebody who can't be accepted goes on waiting, and a listener that is watched by level would say so
 * for ever. So one descriptor is kept in reserve: it takes the connection, which is then closed. One
 * reserve for the process, used by one thread.
 *
 * Return: the connection; -EAGAIN: there is none; -EMFILE, -ENFILE: whoever came was turned away; another
 *         negative errno.
 */
int acceptor_take(int listener, int flags);

#endif
