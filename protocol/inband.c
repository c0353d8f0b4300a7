/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Notifications as messages (protocol feature INBAND_NOTIFICATIONS). The device knows eventfds only, so
 * a ring that the front-end gave none for gets some of ours: VRING_KICK signals its kick eventfd; what
 * comes on its call and err eventfds goes out as VRING_CALL and VRING_ERR, on the channel of our own
 * requests. A front-end that gives an eventfd, or says that there is none, is served as ever.
 *
 * Which eventfds are ours is in the state, so that a successor goes on. Only the epoll descriptor over
 * those to be read is this process's; it is made anew whenever one of them changes, since an entry of a
 * descriptor that was closed here and lives on elsewhere can't be taken out.
 *
 * A message that the channel has no room for now is not lost: its eventfd stays as it is, and is looked at
 * again when there is room. It may be its ring's last one, so the call eventfd stays when the ring stops.
 *
 * Source: vhost-user specification, "In-band notifications", VHOST_USER_VRING_KICK,
 * VHOST_USER_BACKEND_VRING_CALL, VHOST_USER_BACKEND_VRING_ERR.
 */
#include "protocol/inband.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "protocol/backend.h"
#include "protocol/handlers.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define MAX_EVENTS   16
#define EVENT_CHANNEL UINT32_MAX

/* Of session_section.inband, for each ring: which eventfds are ours, and which the front-end spoke of. */
#define OURS(which) BIT(which)
#define TOLD(which) (BIT(which) << 4)

static bool is_on(const struct session *s)
{
	return s->state->protocol_features & BIT_ULL(WIRE_PF_INBAND_NOTIFICATIONS);
}

static int32_t *slot_of(struct session *s, uint32_t ring, enum driver_queue_fd which)
{
	struct ring_state *state = &s->device->state->rings[ring];

	return which == DRIVER_FD_KICK   ? &state->kick_slot
	       : which == DRIVER_FD_CALL ? &state->call_slot
					 : &state->err_slot;
}

void inband_told(struct session *s, uint32_t ring, enum driver_queue_fd which)
{
	s->state->inband[ring] = (uint8_t)((s->state->inband[ring] & ~OURS(which)) | TOLD(which));
}

/* An eventfd of ours, where the front-end spoke of none; @ret_slot: FDSTORE_NONE: it did. */
static int make(struct session *s, uint32_t ring, enum driver_queue_fd which, int *ret_slot)
{
	int slot, fd;

	*ret_slot = FDSTORE_NONE;
	if (s->state->inband[ring] & TOLD(which) || *slot_of(s, ring, which) != FDSTORE_NONE)
		return 0;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	slot = fdstore_add(s->transaction.fds, fd);
	if (slot < 0)
		return slot;
	*ret_slot = slot;
	return 0;
}

static int give(struct session *s, uint32_t ring, enum driver_queue_fd which, int slot)
{
	int r;

	if (slot == FDSTORE_NONE)
		return 0;
	if (which != DRIVER_FD_KICK) /* another one was in this slot, perhaps, and that is watched no more */
		s->inband.slots[ring][which - DRIVER_FD_CALL] = FDSTORE_NONE;
	r = device_set_ring_fd(s->device, ring, which, slot);
	if (r == 0)
		s->state->inband[ring] = (uint8_t)(s->state->inband[ring] | OURS(which));
	return r;
}

int inband_started(struct session *s, uint32_t ring)
{
	int call, err, r;

	if (!is_on(s))
		return 0;
	r = make(s, ring, DRIVER_FD_CALL, &call);
	if (r == 0)
		r = make(s, ring, DRIVER_FD_ERR, &err);
	if (r == 0)
		r = give(s, ring, DRIVER_FD_CALL, call);
	return r < 0 ? r : give(s, ring, DRIVER_FD_ERR, err);
}

bool inband_calls(const struct session *s, uint32_t ring)
{
	return s->state->inband[ring] & OURS(DRIVER_FD_CALL);
}

void inband_stopped(struct session *s, uint32_t ring)
{
	s->state->inband[ring] &= (uint8_t)~OURS(DRIVER_FD_KICK);
}

void inband_forget(struct session *s)
{
	memset(s->state->inband, 0, sizeof(s->state->inband));
}

/** on_vring_kick() - there are buffers; also starts a ring. */
int on_vring_kick(struct session *s, struct message *m, uint32_t ring)
{
	const uint64_t one = 1;
	int fd, slot, r;

	if (m->payload.state.num != 0)
		return -EINVAL;
	r = make(s, ring, DRIVER_FD_KICK, &slot);
	if (r == 0)
		r = inband_started(s, ring);
	if (r == 0)
		r = give(s, ring, DRIVER_FD_KICK, slot);
	if (r < 0)
		return r;
	s->device->state->rings[ring].started = 1;
	if (!(s->state->inband[ring] & OURS(DRIVER_FD_KICK)))
		return 0; /* it has an eventfd of its own for that, or is polled */
	fd = fdstore_get(s->transaction.fds, *slot_of(s, ring, DRIVER_FD_KICK));
	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

/* -------------------------------------------------------------- what goes to the front-end */

static uint32_t event_of(uint32_t ring, enum driver_queue_fd which)
{
	return ring << 2 | (uint32_t)which;
}

static int watch(int epoll_fd, int fd, uint32_t events, uint32_t data)
{
	struct epoll_event event = { .events = events, .data.u32 = data };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 && errno != EEXIST ? -errno : 0;
}

/* Those of ours that are to be read: as slots, so that the same ones are known again. */
static bool are_watched(struct session *s)
{
	bool same = true;

	for (uint32_t ring = 0; ring < s->device->n_queues; ring++) {
		for (enum driver_queue_fd which = DRIVER_FD_CALL; which <= DRIVER_FD_ERR; which++) {
			int32_t *seen = &s->inband.slots[ring][which - DRIVER_FD_CALL];
			int32_t now = s->state->inband[ring] & OURS(which) ? *slot_of(s, ring, which) :
									     FDSTORE_NONE;

			same = same && *seen == now;
			*seen = now;
		}
	}
	return same;
}

static int watch_all(struct session *s, int epoll_fd)
{
	int r = 0;

	for (uint32_t ring = 0; ring < s->device->n_queues && r == 0; ring++) {
		for (enum driver_queue_fd which = DRIVER_FD_CALL; which <= DRIVER_FD_ERR && r == 0; which++) {
			int fd = fdstore_get(s->transaction.fds,
				s->inband.slots[ring][which - DRIVER_FD_CALL]);

			if (fd >= 0)
				r = watch(epoll_fd, fd, EPOLLIN, event_of(ring, which));
		}
	}
	return r;
}

static void use(struct session *s, int epoll_fd, bool full)
{
	close_keep_errno(s->inband.fd);
	s->inband.fd = epoll_fd;
	s->inband.full = full;
	s->inband.fresh = true;
}

static void watch_anew(struct session *s)
{
	_cleanup_close_ int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int r = epoll_fd < 0 ? -errno : watch_all(s, epoll_fd);

	if (r < 0)
		log_error("in-band notifications: %s; the guest will wait in vain", strerror(-r));
	use(s, r < 0 ? -1 : TAKE_FD(epoll_fd), false);
}

void inband_init(struct session *s)
{
	s->inband.fd = -1;
	s->inband.full = s->inband.fresh = false;
	for (uint32_t ring = 0; ring < QUEUE_MAX; ring++)
		s->inband.slots[ring][0] = s->inband.slots[ring][1] = FDSTORE_NONE;
}

static bool any_is_watched(const struct session *s)
{
	for (uint32_t ring = 0; ring < s->device->n_queues; ring++) {
		if (s->inband.slots[ring][0] != FDSTORE_NONE || s->inband.slots[ring][1] != FDSTORE_NONE)
			return true;
	}
	return false;
}

int session_inband_fd(struct session *s, bool *ret_fresh)
{
	if (!are_watched(s)) {
		if (any_is_watched(s))
			watch_anew(s);
		else
			use(s, -1, false);
	}
	*ret_fresh = s->inband.fresh;
	s->inband.fresh = false;
	return s->inband.fd;
}

/* Nothing is read until there is room in the channel. */
static void wait_for_room(struct session *s, int channel)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_fd < 0 || watch(epoll_fd, channel, EPOLLOUT, EVENT_CHANNEL) < 0) {
		close_keep_errno(epoll_fd);
		return; /* then it is tried again at once */
	}
	use(s, epoll_fd, true);
}

/* Return: false: the channel is full. */
static bool pass_on(struct session *s, uint32_t event)
{
	uint32_t ring = event >> 2;
	enum driver_queue_fd which = event & 3;
	enum wire_backend_request request = which == DRIVER_FD_ERR ? WIRE_BACKEND_VRING_ERR :
								     WIRE_BACKEND_VRING_CALL;
	int channel = session_channel(s, request), r;
	int fd = fdstore_get(s->transaction.fds, s->inband.slots[ring][which - DRIVER_FD_CALL]);
	uint64_t count;

	r = channel < 0 ? 0 : backend_vring(channel, ring, request);
	if (r == -EAGAIN) {
		wait_for_room(s, channel);
		return false;
	}
	session_channel_used(s, r, request);
	if (read(fd, &count, sizeof(count)) < 0)
		log_debug("in-band notification: %s", strerror(errno));
	return true;
}

void session_notify(struct session *s)
{
	struct epoll_event events[MAX_EVENTS];
	int32_t channel = s->state->backend_slot;
	int n;

	if (s->inband.fd < 0)
		return;
	n = epoll_wait(s->inband.fd, events, MAX_EVENTS, 0);
	if (n > 0 && s->inband.full) {
		watch_anew(s);
		n = epoll_wait(s->inband.fd, events, MAX_EVENTS, 0);
	}
	for (int i = 0; i < n; i++) {
		if (!pass_on(s, events[i].data.u32))
			break;
	}
	session_keep_channel(s, channel);
}
