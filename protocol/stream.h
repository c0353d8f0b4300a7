/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection's bytes, cut into messages. A message is looked at (peeked) while it stays in the
 * socket, and taken out when all that it asked for is done and said.
 */
#ifndef PROTOCOL_STREAM_H
#define PROTOCOL_STREAM_H

#include <stdint.h>

#include "protocol/message.h"

struct stream {
	int sock;	 /* lent; -1: none */
	size_t have;	 /* bytes of the present message peeked so far */
	size_t total;	 /* its size with header; 0: not known yet */
	const char *fault; /* what was wrong when stream_peek() said -EBADMSG */
	uint8_t bytes[sizeof(struct wire_header) + WIRE_MAX_PAYLOAD + 1];
	struct message message;
};

/**
 * stream_open() - begin at the first byte that is in the socket.
 * @sock: connected stream socket, lent; its peek offset is set
 * Return: 0, or a negative errno.
 */
int stream_open(struct stream *s, int sock);

/** stream_close() - forget what was peeked; the socket stays open. */
void stream_close(struct stream *s);

/**
 * stream_peek() - get on with the present message, without waiting.
 * Return: 1: @s->message is whole; 0: more has to come; -ECONNRESET: closed between messages;
 * -EBADMSG: no vhost-user, see @s->fault; another errno of recvmsg(2).
 */
int stream_peek(struct stream *s);

/** stream_is_partial() - a message has begun and is not whole. */
bool stream_is_partial(const struct stream *s);

/**
 * stream_send() - send @size bytes without waiting.
 * @fd: goes with them, stays the caller's; -1: none
 * Return: 0; -EAGAIN: there is no room for all of them; another negative errno of sendmsg(2).
 */
int stream_send(struct stream *s, const void *data, size_t size, int fd);

/** stream_consume() - take @size bytes out of the socket. Return: 0, or a negative errno. */
int stream_consume(struct stream *s, size_t size);

/**
 * stream_unconsumed() - bytes of a finished message that are still in the socket.
 * For a successor; the socket's peek offset is what its predecessor left.
 */
int stream_unconsumed(int sock);

#endif
