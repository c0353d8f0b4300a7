/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The worker's side of tools/shim/wire.h. The shim is the keeper of descriptors: what it was sent
 * outlives this process, also when this process dies before the shim read it.
 *
 * Without its shim a worker can keep nothing, so it ends.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tools/worker/worker.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"

static struct worker *worker_of(struct fdstore_keeper *keeper)
{
	return (struct worker *)((char *)keeper - offsetof(struct worker, fd_keeper));
}

static int send_message(struct worker *w, enum shim_kind kind, uint32_t seq, int32_t status,
	const void *payload, size_t size, const int *fds, size_t n_fds)
{
	struct shim_message message = {
		.header = { .kind = kind, .seq = seq, .status = status, .size = (uint32_t)size },
	};
	int r;

	if (size > 0)
		memcpy(&message.payload, payload, size);
	r = fdmsg_send(w->shim, &message, sizeof(message.header) + size, fds, n_fds);
	if (r < 0) {
		log_error("shim does not listen: %s", strerror(-r));
		w->stopping = true;
	}
	return r;
}

static int send_slots(struct worker *w, enum shim_kind kind, const uint32_t *slots, const int *fds,
	size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i += SHIM_FDS_A_MESSAGE) {
		struct shim_slots message = { .n = SHIM_FDS_A_MESSAGE };

		if (n - i < SHIM_FDS_A_MESSAGE)
			message.n = (uint32_t)(n - i);
		memcpy(message.slot, slots + i, message.n * sizeof(slots[0]));
		r = send_message(w, kind, 0, 0, &message, sizeof(message), fds ? fds + i : NULL,
			fds ? message.n : 0);
	}
	return r;
}

static int keep_store(struct fdstore_keeper *keeper, const uint32_t *slots, const int *fds, size_t n)
{
	return send_slots(worker_of(keeper), SHIM_STORE, slots, fds, n);
}

static int keep_drop(struct fdstore_keeper *keeper, const uint32_t *slots, size_t n)
{
	return send_slots(worker_of(keeper), SHIM_DROP, slots, NULL, n);
}

void shim_link_init(struct worker *w)
{
	w->fd_keeper = (struct fdstore_keeper){ .store = keep_store, .drop = keep_drop };
	fdstore_init(&w->fds, &w->fd_keeper, SHIM_SLOT_FREE);
}

void shim_link_send(struct worker *w, enum shim_kind kind)
{
	send_message(w, kind, 0, 0, NULL, 0, NULL, 0);
}

void shim_link_event(struct worker *w, enum shim_event_kind kind, const char *format, ...)
{
	struct shim_event event = { .kind = kind };
	va_list args;

	va_start(args, format);
	vsnprintf(event.text, sizeof(event.text), format, args);
	va_end(args);
	send_message(w, SHIM_WORKER_EVENT, 0, 0, &event, sizeof(event), NULL, 0);
}

/* A message of the shim, with its descriptors. */
struct incoming {
	struct shim_message message;
	int fds[SHIM_FDS_A_MESSAGE];
	size_t n_fds;
};

static void close_incoming(struct incoming *in)
{
	for (size_t i = 0; i < in->n_fds; i++)
		in->fds[i] = close_keep_errno(in->fds[i]);
	in->n_fds = 0;
}

static void take_spec(struct worker *w, const struct shim_spec *spec)
{
	w->spec = *spec;
	w->spec.name[sizeof(w->spec.name) - 1] = '\0';
	w->spec.driver[sizeof(w->spec.driver) - 1] = '\0';
	w->spec.socket_path[sizeof(w->spec.socket_path) - 1] = '\0';
	w->spec.standby[sizeof(w->spec.standby) - 1] = '\0';
	log_set_level((enum log_level)w->spec.log_level);
}

static void on_spec(struct worker *w, struct incoming *in)
{
	bool now = in->message.payload.spec.flags & SHIM_SPEC_NOW;

	take_spec(w, &in->message.payload.spec);
	if (w->serves)
		driver_link_wish(w, now);
}

static void on_slots(struct worker *w, struct incoming *in)
{
	const struct shim_slots *slots = &in->message.payload.slots;

	for (size_t i = 0; i < slots->n && i < in->n_fds; i++) {
		uint32_t slot = slots->slot[i];

		if (slot >= SHIM_SLOT_STANDBY && slot < SHIM_MAX_SLOTS)
			w->sides[DEVICE_STANDBY].fds[slot - SHIM_SLOT_STANDBY] = TAKE_FD(in->fds[i]);
		else
			fdstore_put(&w->fds, slot, TAKE_FD(in->fds[i]));
	}
}

static void on_device_changed(struct worker *w, struct incoming *in)
{
	driver_link_changed(w, DEVICE_PRIMARY, in->fds, in->n_fds);
}

static void on_standby_changed(struct worker *w, struct incoming *in)
{
	driver_link_changed(w, DEVICE_STANDBY, in->fds, in->n_fds);
}

static void on_connected(struct worker *w, struct incoming *in)
{
	if (in->n_fds != 1)
		return;
	fdstore_put(&w->fds, SHIM_SLOT_CONN, TAKE_FD(in->fds[0]));
	if (w->serves)
		connection_take(w);
}

static void reply(struct worker *w, const struct incoming *in, int status)
{
	send_message(w, SHIM_REPLY, in->message.header.seq, status, NULL, 0, NULL, 0);
}

static void on_refresh(struct worker *w, struct incoming *in)
{
	report_health(w);
	reply(w, in, 0);
}

static void on_dump(struct worker *w, struct incoming *in)
{
	reply(w, in, in->n_fds == 1 ? dump_write(w, in->fds[0]) : -EBADMSG);
}

static void on_go(struct worker *w, struct incoming *in)
{
}

static const struct {
	enum shim_kind kind;
	size_t size; /* of the payload */
	void (*handle)(struct worker *w, struct incoming *in);
} kinds[] = {
	{ SHIM_START, sizeof(struct shim_spec), on_spec },
	{ SHIM_SLOTS, sizeof(struct shim_slots), on_slots },
	{ SHIM_GO, 0, on_go },
	{ SHIM_SPEC_CHANGED, sizeof(struct shim_spec), on_spec },
	{ SHIM_DEVICE_CHANGED, 0, on_device_changed },
	{ SHIM_CONNECTED, 0, on_connected },
	{ SHIM_STANDBY_CHANGED, 0, on_standby_changed },
	{ SHIM_REFRESH, 0, on_refresh },
	{ SHIM_DUMP, 0, on_dump },
};

/* One message. Return: its kind; -EAGAIN; another negative errno: the shim is gone or mad. */
static int receive_one(struct worker *w, int flags)
{
	struct incoming in;
	ssize_t n = fdmsg_recv(w->shim, &in.message, sizeof(in.message), in.fds,
		ARRAY_SIZE(in.fds), &in.n_fds, flags);

	if (n <= 0)
		return n == 0 ? -ECONNRESET : (int)n;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (in.message.header.kind != (uint32_t)kinds[i].kind)
			continue;
		if ((size_t)n != sizeof(in.message.header) + kinds[i].size)
			break;
		kinds[i].handle(w, &in);
		close_incoming(&in);
		return (int)in.message.header.kind;
	}
	close_incoming(&in);
	log_error("shim sent a message of kind %u and %zd bytes", in.message.header.kind, n);
	return -EBADMSG;
}

int shim_link_begin(struct worker *w)
{
	int r;

	do
		r = receive_one(w, 0);
	while (r > 0 && r != SHIM_GO);
	return r < 0 ? r : 0;
}

int shim_link_wait_for_device(struct worker *w)
{
	int r;

	log_info("waiting for the device");
	do
		r = receive_one(w, 0);
	while (r > 0 && r != SHIM_DEVICE_CHANGED && r != SHIM_STANDBY_CHANGED);
	return r < 0 ? r : 0;
}

void shim_link_receive(struct worker *w)
{
	int r;

	do
		r = receive_one(w, MSG_DONTWAIT);
	while (r > 0 && !w->stopping);
	if (r < 0 && r != -EAGAIN)
		w->stopping = true;
}
