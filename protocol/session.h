/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A conversation with one front-end after the other, about one device.
 *
 * struct session_section is what of it must survive the process; it is a section of the state
 * page. A message is peeked, handled, committed, answered, and only then taken out of the socket;
 * session_section.progress says how far that is, so that a successor goes on at the same place.
 */
#ifndef PROTOCOL_SESSION_H
#define PROTOCOL_SESSION_H

#include "protocol/stream.h"
#include "protocol/transfer.h"
#include "vdpa/device.h"
#include "vdpa/transaction.h"

#define SESSION_SECTION_VERSION 1
#define SESSION_TRACE_SIZE	64
#define SESSION_REASON_SIZE	112
#define SESSION_NO_SLOT		0 /* no slot that a reply's descriptor could have */
#define SESSION_REPLY_SIZE	(sizeof(struct wire_header) + sizeof(struct wire_config))

/* Time a front-end has to finish a message that it began, milliseconds. */
#define SESSION_PARTIAL_MS 5000

/* Time to acknowledge the device's addresses of a memory table, milliseconds. */
#define SESSION_ACK_MS 5000

/* One message of the past, for whoever looks for a fault. */
struct session_trace {
	uint64_t when_ns;    /* CLOCK_MONOTONIC */
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	int32_t result;	     /* 0 or the negative errno it was refused with */
	uint32_t n_fds;
	uint32_t pad;
	uint64_t payload[2]; /* its first bytes */
};

struct session_section {
	uint64_t progress;	     /* see protocol/progress.h */
	uint64_t protocol_features;
	uint64_t connected_ns;	     /* CLOCK_MONOTONIC */
	uint64_t running_ns;	     /* since when queues run; 0: none does; the owner's */
	uint64_t messages, refused, connections;
	int32_t frontend_pid;	     /* 0: none is connected */
	uint32_t frontend_uid;
	int32_t backend_slot;	     /* socket for our own requests; FDSTORE_NONE: none */
	uint8_t connected;
	uint8_t has_protocol_features;
	uint8_t rings_begin_enabled; /* feature bit 30 was not accepted */
	uint8_t features_refused;    /* the last SET_FEATURES was */
	char refusal[SESSION_REASON_SIZE]; /* the last one, in words */
	uint32_t reply_size;	     /* bytes of @reply; 0: none is due */
	uint8_t reply[SESSION_REPLY_SIZE];
	uint32_t trace_next;	     /* entries written so far */
	struct session_trace trace[SESSION_TRACE_SIZE];
	int32_t reply_slot;	     /* descriptor that goes with @reply; SESSION_NO_SLOT: none */
	uint32_t transfer;	     /* enum transfer_outcome, of the last one */
	uint8_t inband[QUEUE_MAX];   /* of each ring, see inband.c */
	uint8_t notifiers[QUEUE_MAX]; /* the front-end may have a page for the ring, see notifier.c */
};

/* Eventfds of ours whose signals become messages. */
struct inband {
	int fd;	   /* epoll over them; -1: there are none */
	bool fresh; /* it was made since somebody asked for it */
	bool full; /* the channel is; then @fd is over that */
	int32_t slots[QUEUE_MAX][2]; /* call and err of each ring; FDSTORE_NONE: not ours */
};

struct session {
	struct session_section *state;
	struct device *device;
	struct transaction transaction;
	struct stream stream;
	struct transfer transfer;  /* of the device's state, if there is one under way */
	struct inband inband;
	uint64_t partial_since_ns; /* 0: no message is half there */
	uint64_t n_refused;	   /* on this connection, in this process */
	char reason[SESSION_REASON_SIZE]; /* why the connection ends */
	struct memory_table table; /* room for a handler */
};

/** session_section_init() - nobody ever connected. */
void session_section_init(struct session_section *state);

/** session_section_check() - could the program have written this? Return: 0 or -EBADMSG. */
int session_section_check(const struct session_section *state);

/** session_section_slots() - set @used[slot] for every slot that @state names. */
void session_section_slots(const struct session_section *state, uint8_t *used);

void session_init(struct session *s, struct session_section *state, struct device *device,
	struct page *page, struct fdstore *fds);

/**
 * session_begin() - a front-end connected. Commits.
 * @sock: connected stream socket, lent until session_end()
 * Return: 0, or a negative errno: the connection is of no use.
 */
int session_begin(struct session *s, int sock);

/**
 * session_resume() - go on with the connection of a predecessor, perhaps in the middle of a
 * message. Return: 0; a negative errno: it has to end, see @s->reason.
 */
int session_resume(struct session *s, int sock);

/** session_end() - the connection is over: reset the device and forget the front-end. Commits. */
void session_end(struct session *s);

/**
 * session_receive() - handle the messages that are there.
 * Return: 0: there are no more; 1: there may be more, call again soon; a negative errno: the
 * connection has to end, see @s->reason.
 */
int session_receive(struct session *s);

/** session_timeout_ms() - how long what is awaited may still take; -1: nothing is awaited. */
int session_timeout_ms(const struct session *s);

/** session_check_deadline() - Return: 0; -ETIMEDOUT: it took too long. */
int session_check_deadline(struct session *s);

/**
 * session_channel() - where a request of our own goes.
 * Return: a descriptor, lent; -1: nowhere, or what the request needs was not negotiated.
 */
int session_channel(const struct session *s, enum wire_backend_request request);

/**
 * session_channel_used() - notes what became of a request; a channel that broke is given up.
 * @result: of protocol/backend.h. The caller commits.
 */
void session_channel_used(struct session *s, int result, enum wire_backend_request request);

/** session_keep_channel() - between two messages: commits if the channel of @before, a slot, was given up. */
void session_keep_channel(struct session *s, int32_t before);

/**
 * session_inband_fd() - a descriptor that is readable when session_notify() has something to do; -1: it
 * has nothing. @ret_fresh: it is another one than at the last call, and that one was closed.
 */
int session_inband_fd(struct session *s, bool *ret_fresh);
void session_notify(struct session *s);

/** session_give_notifiers() - to rings that run and have none, between two messages. Commits. */
void session_give_notifiers(struct session *s);

/** session_say_miss() - ask the front-end for a translation, or tell it of a refused access. */
void session_say_miss(struct session *s, const struct driver_miss *miss);

/** session_config_changed() - tell the front-end that the device's configuration changed. */
void session_config_changed(struct session *s);

#endif
