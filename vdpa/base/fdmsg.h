/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages with file descriptors over a connected AF_UNIX SOCK_SEQPACKET socket: one send is one
 * message. All descriptors arrive close-on-exec, and none is ever lost: what the caller has no
 * room for is closed and reported.
 */
#ifndef VDPA_BASE_FDMSG_H
#define VDPA_BASE_FDMSG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FDMSG_MAX_FDS 64

/**
 * fdmsg_send() - send one message.
 * @sock:  connected SOCK_SEQPACKET socket
 * @data:  message, @size bytes, at least 1
 * @fds:   descriptors to attach; stay the caller's
 * @n_fds: 0..FDMSG_MAX_FDS
 *
 * Blocks while the socket is full unless the socket is non-blocking.
 *
 * Return: 0; -EAGAIN when full and non-blocking; -EPIPE, -ECONNRESET when the peer is gone;
 *         another negative errno of sendmsg(2).
 */
int fdmsg_send(int sock, const void *data, size_t size, const int *fds, size_t n_fds);

/** fdmsg_send_now() - as fdmsg_send(), and never waits. Return: also -EAGAIN: there is no room. */
int fdmsg_send_now(int sock, const void *data, size_t size, const int *fds, size_t n_fds);

/**
 * fdmsg_recv() - receive one message.
 * @sock:      connected SOCK_SEQPACKET socket
 * @data:      room for @size bytes; the rest of a shorter message is zeroed
 * @fds:       room for @max_fds descriptors, owned by the caller on success; may be NULL with 0
 * @ret_n_fds: number of descriptors stored; may be NULL when @max_fds is 0
 * @flags:     flags of recvmsg(2), such as MSG_DONTWAIT; 0 waits
 *
 * Return: bytes received, at least 1; 0 when the peer closed; -EBADMSG when the message is longer
 *         than @size or carries more than @max_fds descriptors (all are closed); -EAGAIN with
 *         MSG_DONTWAIT; another negative errno of recvmsg(2).
 */
ssize_t fdmsg_recv(int sock, void *data, size_t size, int *fds, size_t max_fds, size_t *ret_n_fds,
	int flags);

#endif
