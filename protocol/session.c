/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a message (protocol/progress.h has the phases):
 *
 *   stream_peek -> HANDLING -> dispatch_message -> commit: APPLIED -> SENDING -> send -> SENT
 *   -> stream_consume -> NONE
 *
 * The commit of a message without a reply goes to SENT directly. Every arrow is one store in the
 * state page or one system call; session_resume() tells what a successor does at each of them.
 */
#include "protocol/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "protocol/backend.h"
#include "protocol/dispatch.h"
#include "protocol/handlers.h"
#include "protocol/inband.h"
#include "protocol/notifier.h"
#include "protocol/progress.h"
#include "protocol/table.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

/* How long to look for the next message before going to sleep: front-ends send many in a row. */
#define SPIN_NS (40 * NS_PER_US)

/* Messages in a row before everything else gets its turn. */
#define MAX_BATCH 256

void session_section_init(struct session_section *state)
{
	memset(state, 0, sizeof(*state));
	state->backend_slot = FDSTORE_NONE;
}

int session_section_check(const struct session_section *state)
{
	if (progress_phase(state->progress) >= PROGRESS_N_PHASES ||
		progress_size(state->progress) > sizeof(struct wire_header) + WIRE_MAX_PAYLOAD ||
		state->reply_size > sizeof(state->reply) || state->transfer >= TRANSFER_N_OUTCOMES ||
		state->backend_slot < FDSTORE_NONE || state->backend_slot >= FDSTORE_MAX_SLOTS ||
		state->reply_slot < SESSION_NO_SLOT || state->reply_slot >= FDSTORE_MAX_SLOTS ||
		memchr(state->refusal, '\0', sizeof(state->refusal)) == NULL)
		return -EBADMSG;
	return 0;
}

void session_section_slots(const struct session_section *state, uint8_t *used)
{
	if (state->backend_slot >= 0)
		used[state->backend_slot] = 1;
	if (state->reply_slot != SESSION_NO_SLOT)
		used[state->reply_slot] = 1;
}

void session_init(struct session *s, struct session_section *state, struct device *device,
	struct page *page, struct fdstore *fds)
{
	s->state = state;
	s->device = device;
	s->transaction = (struct transaction){ .page = page, .fds = fds };
	s->stream.sock = -1;
	s->stream.message.n_fds = 0;
	s->partial_since_ns = 0;
	s->reason[0] = '\0';
	s->transfer.fd = -1; /* one that was under way went with the predecessor */
	inband_init(s);
}

__attribute__((format(printf, 3, 4))) static int end(struct session *s, int error,
	const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->reason, sizeof(s->reason), format, args);
	va_end(args);
	return error;
}

static int begin_stream(struct session *s, int sock)
{
	int r = stream_open(&s->stream, sock);

	s->partial_since_ns = 0;
	s->n_refused = 0;
	s->reason[0] = '\0';
	return r < 0 ? end(s, r, "connection is of no use: %s", strerror(-r)) : 0;
}

int session_begin(struct session *s, int sock)
{
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);
	int r = begin_stream(s, sock);

	if (r < 0)
		return r;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		log_debug("front-end's identity: %s", strerror(errno));
	if (s->device->state->failed) /* while nobody used it: whoever comes finds a device that was reset */
		device_release(s->device);
	s->state->connected = 1;
	s->state->connected_ns = clock_now_ns();
	s->state->frontend_pid = peer.pid;
	s->state->frontend_uid = peer.uid;
	s->state->connections++;
	return transaction_commit(&s->transaction);
}

static void set_phase(struct session *s, enum progress_phase phase, uint64_t size)
{
	page_poke(s->transaction.page, &s->state->progress, progress_word(phase, 0, size));
}

/* From SENT on: nothing but the message's bytes are left. */
static int consume(struct session *s, size_t size)
{
	int r = stream_consume(&s->stream, size);

	if (r < 0)
		return end(s, r, "connection lost: %s", strerror(-r));
	set_phase(s, PROGRESS_NONE, 0);
	return 0;
}

/* From APPLIED on. */
static int answer(struct session *s, size_t size)
{
	int32_t slot = s->state->reply_slot;
	int fd = slot == SESSION_NO_SLOT ? -1 : fdstore_get(s->transaction.fds, slot);
	int r;

	set_phase(s, PROGRESS_SENDING, size);
	r = stream_send(&s->stream, s->state->reply, s->state->reply_size, fd);
	if (r < 0)
		return end(s, r, "the front-end does not take its replies: %s",
			r == -EAGAIN ? "socket is full" : strerror(-r));
	set_phase(s, PROGRESS_SENT, size);
	return consume(s, size);
}

static int handle_message(struct session *s)
{
	struct session_section *state = s->state;
	size_t size = s->stream.total;
	unsigned int attempts = 1;
	bool reply;
	int refused, r;

	if (progress_phase(state->progress) == PROGRESS_HANDLING)
		attempts += progress_attempts(state->progress);
	page_poke(s->transaction.page, &state->progress,
		progress_word(PROGRESS_HANDLING, attempts, size));

	refused = dispatch_message(s, &s->stream.message);
	reply = state->reply_size > 0;
	state->progress = refused < 0 ? progress_word(PROGRESS_NONE, 0, 0)
				      : progress_word(reply ? PROGRESS_APPLIED : PROGRESS_SENT, 0, size);
	r = transaction_commit(&s->transaction);
	if (r < 0)
		return end(s, r, "state can't be kept: %s", strerror(-r));
	if (refused < 0)
		return refused;
	return reply ? answer(s, size) : consume(s, size);
}

static int check_attempts(struct session *s)
{
	uint64_t word = s->state->progress;

	if (progress_attempts(word) >= PROGRESS_MAX_ATTEMPTS)
		return end(s, -EOWNERDEAD, "a message ended this program %u times",
			progress_attempts(word));
	return 0;
}

int session_resume(struct session *s, int sock)
{
	uint64_t word = s->state->progress;
	enum progress_phase phase = progress_phase(word);
	int left = phase == PROGRESS_SENT ? stream_unconsumed(sock) : 0;
	int r = begin_stream(s, sock);

	if (r < 0)
		return r;
	switch (phase) {
	case PROGRESS_NONE:
		return 0;
	case PROGRESS_HANDLING:
		return check_attempts(s);
	case PROGRESS_APPLIED:
		return answer(s, progress_size(word));
	case PROGRESS_SENT:
		if (left < 0 || (uint64_t)left > progress_size(word))
			return end(s, -EBADMSG, "nobody knows what was taken from the connection");
		return consume(s, (size_t)left);
	default:
		return end(s, -EOWNERDEAD,
			"nobody knows whether the front-end got its last reply");
	}
}

void session_end(struct session *s)
{
	struct session_section *state = s->state;

	device_release(s->device);
	fdstore_remove(s->transaction.fds, state->backend_slot);
	state->backend_slot = FDSTORE_NONE;
	state->progress = progress_word(PROGRESS_NONE, 0, 0);
	state->protocol_features = 0;
	state->has_protocol_features = 0;
	state->rings_begin_enabled = 0;
	state->features_refused = 0;
	state->connected = 0;
	state->connected_ns = 0;
	state->frontend_pid = 0;
	state->frontend_uid = 0;
	session_forget_reply(s);
	inband_forget(s);
	notifier_forget(s);
	transfer_abandon(s);
	state->transfer = TRANSFER_NONE;
	if (transaction_commit(&s->transaction) < 0)
		log_error("the end of the connection can't be kept");
	stream_close(&s->stream);
	s->partial_since_ns = 0;
}

static int stream_failed(struct session *s, int error)
{
	if (error == -ECONNRESET)
		return end(s, error, "the front-end closed it");
	return end(s, error, "%s", error == -EBADMSG ? s->stream.fault : strerror(-error));
}

int session_receive(struct session *s)
{
	uint64_t spin_until = 0;

	for (unsigned int n_messages = 0; n_messages < MAX_BATCH;) {
		int r = stream_peek(&s->stream);

		if (r < 0)
			return stream_failed(s, r);
		if (r == 1) {
			r = handle_message(s);
			if (r < 0)
				return r;
			s->partial_since_ns = 0;
			spin_until = clock_now_ns() + SPIN_NS;
			n_messages++;
			continue;
		}
		if (stream_is_partial(&s->stream) && s->partial_since_ns == 0)
			s->partial_since_ns = clock_now_ns();
		if (spin_until == 0 || clock_now_ns() >= spin_until)
			return 0;
	}
	return 1;
}

static uint64_t partial_deadline_ns(const struct session *s)
{
	return s->partial_since_ns ? s->partial_since_ns + SESSION_PARTIAL_MS * NS_PER_MS : 0;
}

/* The earlier one of those that there are; 0: there is none. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* When the connection ends, if nothing comes. */
static uint64_t deadline_ns(const struct session *s)
{
	uint64_t partial = partial_deadline_ns(s), ack = postcopy_deadline_ns(s);

	return earlier(partial, ack);
}

int session_timeout_ms(const struct session *s)
{
	uint64_t at = earlier(deadline_ns(s), device_iotlb_deadline_ns(s->device));

	return at == 0 ? -1 : clock_ms_until(at);
}

int session_check_deadline(struct session *s)
{
	int32_t channel = s->state->backend_slot;
	uint64_t at = deadline_ns(s);

	device_iotlb_ask_again(s->device);
	session_keep_channel(s, channel);
	if (at == 0 || clock_now_ns() < at)
		return 0;
	if (at == partial_deadline_ns(s))
		return end(s, -ETIMEDOUT, "half a message for %d s", SESSION_PARTIAL_MS / 1000);
	return end(s, -ETIMEDOUT, "a memory table is not acknowledged after %d s",
		SESSION_ACK_MS / 1000);
}

int session_channel(const struct session *s, enum wire_backend_request request)
{
	const uint64_t needs = BIT_ULL(WIRE_PF_BACKEND_REQ) | BIT_ULL(backend_find(request)->needs);

	if ((s->state->protocol_features & needs) != needs)
		return -1;
	return fdstore_get(s->transaction.fds, s->state->backend_slot);
}

void session_channel_used(struct session *s, int result, enum wire_backend_request request)
{
	if (result == 0)
		return;
	log_warning("back-end channel: %s not sent: %s", backend_find(request)->name,
		strerror(-result));
	if (result == -EAGAIN)
		return;
	fdstore_remove(s->transaction.fds, s->state->backend_slot);
	s->state->backend_slot = FDSTORE_NONE;
}

void session_keep_channel(struct session *s, int32_t before)
{
	if (s->state->backend_slot != before && transaction_commit(&s->transaction) < 0)
		log_error("the loss of the back-end channel can't be kept");
}

void session_say_miss(struct session *s, const struct driver_miss *miss)
{
	int channel = session_channel(s, WIRE_BACKEND_IOTLB_MSG);

	if (channel < 0)
		log_warning("%#llx is not translated, and the front-end gave no channel to ask for it",
			(unsigned long long)miss->iova);
	else
		session_channel_used(s, backend_iotlb(channel, miss), WIRE_BACKEND_IOTLB_MSG);
}

void session_config_changed(struct session *s)
{
	int channel = session_channel(s, WIRE_BACKEND_CONFIG_CHANGE);

	if (channel >= 0)
		session_channel_used(s, backend_config_change(channel), WIRE_BACKEND_CONFIG_CHANGE);
}
