/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests to a shim or to simnic, and their answers, without ever waiting. */
#ifndef VDPAD_CHANNEL_H
#define VDPAD_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/*
 * Header of both kinds of messages: struct shim_header and struct sim_header have this form, which
 * channel.c asserts.
 */
struct channel_header {
	uint32_t kind;
	uint32_t seq;
	int32_t status;
	uint32_t size;
};

/**
 * struct channel_answer - what came for a request.
 * @status:  0; what the peer answered, a negative errno; -ETIMEDOUT no answer in time;
 *	     -ECONNRESET the peer is gone; -ECANCELED the channel was freed; -EBADMSG nonsense
 * @payload: @size bytes, valid during the call; exactly as many as were asked for when status is 0
 * @fd:	     a descriptor that came along, or -1; taken with TAKE_FD() or closed afterwards
 */
struct channel_answer {
	int status;
	const void *payload;
	size_t size;
	int fd;
};

typedef void (*channel_done)(void *arg, struct channel_answer *answer);

/**
 * struct channel_owner - who is told what nobody asked for.
 * @on_event: a message with seq 0; @payload has @size bytes and is hostile
 * @on_lost:  the peer is gone; pending requests were answered before; the owner frees the channel
 */
struct channel_owner {
	void (*on_event)(void *arg, uint32_t kind, const void *payload, size_t size);
	void (*on_lost)(void *arg);
	void *arg;
};

struct channel;

/**
 * channel_open() - connect to a listening SOCK_SEQPACKET socket.
 * @path: of the socket
 * Return: 0; -ECONNREFUSED, -ENOENT nobody listens; another negative errno.
 */
int channel_open(sd_event *event, const char *path, const struct channel_owner *owner,
	struct channel **ret);

/** channel_free() - end the connection; pending requests are answered with -ECANCELED. NULL is fine. */
void channel_free(struct channel *ch);

/** channel_forget() - drop the answers of requests with this @arg: it will not be there any more. */
void channel_forget(struct channel *ch, const void *arg);

/** struct channel_request - one request. */
struct channel_request {
	uint32_t kind;
	const void *payload;
	size_t size;
	const int *fds; /* stay the caller's */
	size_t n_fds;
	size_t answer_size;   /* payload of a good answer, bytes */
	uint64_t deadline_ms; /* from now */
	channel_done done;
	void *arg;
};

/**
 * channel_call() - send a request; @request->done is called exactly once, later, if this succeeds.
 *		    NULL: nobody waits for the answer.
 * Return: 0; -ENOTCONN without a channel; -EAGAIN the peer does not read; another negative errno.
 */
int channel_call(struct channel *ch, const struct channel_request *request);

#endif
