/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One place decides on a message: the row's columns are checked, the handler runs, rings are
 * started or stopped as the new state wants it. Whatever refuses on the way, the changes of this
 * message are rolled back, its descriptors are closed, and the front-end is told in the way the
 * message has for it, or by the end of the connection where it has none.
 *
 * A failing device is not the message's fault alone: what the state says about it is kept.
 *
 * Source: vhost-user specification, "Communication", "Protocol feature REPLY_ACK".
 */
#include "protocol/dispatch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/handlers.h"
#include "protocol/table.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/features.h"
#include "vdpa/base/log.h"

#define REFUSALS_LOGGED	 20 /* of a connection, one by one */
#define REFUSALS_SKIPPED 10000

void session_reply(struct session *s, const struct message *m, const void *body, size_t size)
{
	const struct wire_header header = {
		.request = m->header.request,
		.flags = WIRE_VERSION | WIRE_REPLY,
		.size = (uint32_t)size,
	};

	memcpy(s->state->reply, &header, sizeof(header));
	if (size > 0)
		memcpy(s->state->reply + sizeof(header), body, size);
	s->state->reply_size = (uint32_t)(sizeof(header) + size);
}

int session_reply_fd(struct session *s, const struct message *m, const void *body, size_t size, int fd)
{
	int slot = fdstore_add(s->transaction.fds, fd);

	if (slot < 0)
		return slot;
	session_reply(s, m, body, size);
	s->state->reply_slot = slot;
	return 0;
}

void session_forget_reply(struct session *s)
{
	if (s->state->reply_slot != SESSION_NO_SLOT)
		fdstore_remove(s->transaction.fds, s->state->reply_slot);
	s->state->reply_slot = SESSION_NO_SLOT;
	s->state->reply_size = 0;
}

/* Why a message is refused, in words, for the log and for `dev status`. */
__attribute__((format(printf, 3, 4))) static int refuse(char reason[SESSION_REASON_SIZE], int error,
	const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reason, SESSION_REASON_SIZE, format, args);
	va_end(args);
	return error;
}

static int check_shape(const struct message_desc *desc, const struct message *m,
	char reason[SESSION_REASON_SIZE])
{
	if (desc->check_size ? m->header.size < desc->size || desc->check_size(m) < 0
			     : m->header.size != desc->size)
		return refuse(reason, -EBADMSG, "payload of %u bytes", m->header.size);
	if (m->n_fds != message_expected_fds(m))
		return refuse(reason, -EBADMSG, "%zu descriptors instead of %zu", m->n_fds,
			message_expected_fds(m));
	return 0;
}

static int check_state(struct session *s, const struct message_desc *desc,
	char reason[SESSION_REASON_SIZE])
{
	enum device_state state = device_state(s->device);

	if (desc->needs != NEEDS_NOTHING &&
		!(s->state->protocol_features & BIT_ULL(desc->needs - 1)))
		return refuse(reason, -EOPNOTSUPP, "protocol feature %s was not negotiated",
			protocol_feature_name(desc->needs - 1U));
	if ((s->device->offered & desc->needs_virtio) != desc->needs_virtio)
		return refuse(reason, -EOPNOTSUPP, "the device does not offer feature bits %#llx",
			(unsigned long long)desc->needs_virtio);
	if ((s->device->state->features & desc->needs_accepted) != desc->needs_accepted)
		return refuse(reason, -EOPNOTSUPP, "feature bits %#llx were not accepted",
			(unsigned long long)desc->needs_accepted);
	if (!(desc->states & BIT(state)))
		return refuse(reason, -EBUSY, "the device has failed");
	return 0;
}

static int check_fd_word(const struct message *m, uint32_t *ret_ring,
	char reason[SESSION_REASON_SIZE])
{
	uint64_t word = m->payload.u64;

	if (word & ~(uint64_t)(WIRE_VRING_INDEX_MASK | WIRE_VRING_NO_FD))
		return refuse(reason, -EBADMSG, "reserved bits in %#llx", (unsigned long long)word);
	*ret_ring = word & WIRE_VRING_INDEX_MASK;
	return 0;
}

static int check_ring(struct session *s, const struct message_desc *desc, const struct message *m,
	uint32_t *ret_ring, char reason[SESSION_REASON_SIZE])
{
	int r = 0;

	*ret_ring = 0;
	switch (desc->ring) {
	case RING_NOWHERE:
		return 0;
	case RING_IN_STATE:
		*ret_ring = m->payload.state.index;
		break;
	case RING_IN_ADDR:
		*ret_ring = m->payload.addr.index;
		break;
	case RING_IN_FD_WORD:
		r = check_fd_word(m, ret_ring, reason);
		break;
	}
	if (r < 0)
		return r;
	if (*ret_ring >= s->device->n_queues)
		return refuse(reason, -EINVAL, "queue %u of %u", *ret_ring, s->device->n_queues);
	if (desc->ring_state == RING_STOPPED && s->device->state->rings[*ret_ring].running)
		return refuse(reason, -EBUSY, "queue %u is running", *ret_ring);
	return 0;
}

/*
 * The device was lost over a question that its standby can answer as well. Return: 0: ask again; -EBUSY: there
 * is no such standby; -EIO: it does not work either.
 */
static int change_sides(struct session *s)
{
	int r;

	if (!device_standby_can_answer(s->device))
		return -EBUSY;
	r = device_update(s->device);
	return r == 0 ? transaction_commit(&s->transaction) : r;
}

static int handle(struct session *s, const struct message_desc *desc, struct message *m,
	char reason[SESSION_REASON_SIZE])
{
	uint32_t ring = 0;
	int r;

	if (!desc)
		return refuse(reason, -EOPNOTSUPP, "nobody knows it");
	if (!desc->handle)
		return refuse(reason, -EOPNOTSUPP, "not served: %s", desc->why);
	r = check_shape(desc, m, reason);
	if (r == 0)
		r = check_state(s, desc, reason);
	if (r == 0)
		r = check_ring(s, desc, m, &ring, reason);
	if (r < 0)
		return r;

	if (m->header.request != WIRE_GET_VRING_BASE)
		device_unsuspend(s->device);
	r = desc->handle(s, m, ring);
	if (r == -EBUSY && m->n_fds == 0) {
		r = change_sides(s);
		if (r == 0)
			r = desc->handle(s, m, ring);
	}
	if (r == 0)
		r = device_update(s->device);
	return r < 0 ? refuse(reason, r, "%s", r == -EIO ? "the device failed" : strerror(-r)) : 0;
}

/* What comes after a table was answered with the device's addresses; it has no reply itself. */
static int handle_ack(struct session *s, const struct message *m, char reason[SESSION_REASON_SIZE])
{
	int r = postcopy_take_ack(s, m);

	if (r == 0)
		r = device_update(s->device);
	return r < 0 ? refuse(reason, r, "%s",
			       r == -EIO ? "the device failed" :
					   "not the acknowledgement of the memory table") :
		       0;
}

/* The reply that a message gets which has none of its own, or whose own one failed. */
static int make_reply(struct session *s, const struct message_desc *desc, const struct message *m,
	int result)
{
	enum message_reply kind = desc ? desc->reply : REPLY_ACK;
	static const uint8_t zeros[sizeof(struct wire_inflight)];
	uint64_t ack = result < 0;

	if (result == -EPROTO)
		return result; /* the specification has no other answer than the end */
	if (kind == REPLY_ACK_OR_OWN)
		kind = device_postcopy_listens(s->device) ? REPLY_OWN : REPLY_ACK;
	if ((kind == REPLY_OWN || kind == REPLY_OWN_EMPTY || kind == REPLY_OWN_ZERO) && result == 0)
		return 0; /* the handler made it */
	if (kind == REPLY_OWN_ZERO) {
		session_reply(s, m, zeros, m->header.size == sizeof(zeros) ? sizeof(zeros) : desc->size);
		return 0;
	}
	if (kind == REPLY_OWN_EMPTY) {
		session_reply(s, m, NULL, 0);
		return 0;
	}
	if (kind == REPLY_ACK_NO_FD)
		ack |= WIRE_TRANSFER_NO_FD;
	if (kind == REPLY_ACK_ALWAYS || kind == REPLY_ACK_NO_FD ||
		(kind == REPLY_ACK && m->header.flags & WIRE_NEED_REPLY &&
			s->state->protocol_features & BIT_ULL(WIRE_PF_REPLY_ACK))) {
		session_reply(s, m, &ack, sizeof(ack));
		return 0;
	}
	return result;
}

static void record(struct session *s, const struct message *m, size_t n_fds, int result)
{
	struct session_section *state = s->state;
	struct session_trace *trace = &state->trace[state->trace_next++ % SESSION_TRACE_SIZE];

	*trace = (struct session_trace){
		.when_ns = clock_now_ns(),
		.request = m->header.request,
		.flags = m->header.flags,
		.size = m->header.size,
		.result = result,
		.n_fds = (uint32_t)n_fds,
	};
	memcpy(trace->payload, m->payload.bytes, sizeof(trace->payload));
	state->messages++;
	if (result < 0)
		state->refused++;
}

/* A front-end may make us refuse as fast as it can: it does not get to fill the disk. */
static void log_refusal(struct session *s, const struct message *m, const char *reason)
{
	uint64_t n = ++s->n_refused;

	if (n > REFUSALS_LOGGED && n % REFUSALS_SKIPPED != 0)
		return;
	log_warning("refused %s (%u): %s%s", message_name(m->header.request), m->header.request, reason,
		n == REFUSALS_LOGGED ? "; of more of them on this connection only some are logged" : "");
}

/*
 * Of a message that came to a device which failed, all is kept that the state names, and nothing else. So
 * it is when rings stopped for a message that is refused then, with a commit of their own.
 */
static void drop_unnamed(struct session *s)
{
	uint8_t used[FDSTORE_MAX_SLOTS] = { 0 };

	device_section_slots(s->device->state, used);
	session_section_slots(s->state, used);
	fdstore_remove_unnamed(s->transaction.fds, used);
}

int dispatch_message(struct session *s, struct message *m)
{
	const struct message_desc *desc = message_find(m->header.request);
	char reason[SESSION_REASON_SIZE];
	bool is_ack = postcopy_expects_ack(s, m);
	size_t n_fds;
	int r;

	if (m->fds_doubtful && (is_ack || message_expected_fds(m) == 0))
		message_close_fds(m);
	n_fds = m->n_fds;
	session_forget_reply(s);
	r = is_ack ? handle_ack(s, m, reason) : handle(s, desc, m, reason);
	message_close_fds(m);
	if (r < 0 && r != -EIO)
		transaction_rollback(&s->transaction);
	if (r < 0) {
		session_forget_reply(s);
		drop_unnamed(s);
		snprintf(s->state->refusal, sizeof(s->state->refusal), "%s: %.80s",
			message_name(m->header.request), reason);
		log_refusal(s, m, reason);
	}
	if (m->header.request == WIRE_SET_FEATURES)
		s->state->features_refused = r < 0;
	record(s, m, n_fds, r);
	if (!is_ack)
		r = make_reply(s, desc, m, r);
	if (r < 0)
		snprintf(s->reason, sizeof(s->reason), "refused %.100s", s->state->refusal);
	return r;
}
