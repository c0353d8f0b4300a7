/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a ring is, where it begins, who signals whom. Handlers note it; the ring starts when all of
 * it is known (device_update()), whatever the order it came in.
 *
 * Source: vhost-user specification, "Ring states", VHOST_USER_SET_VRING_*, "Vring state
 * description"; virtio 1.2, 2.7 and 2.8.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/handlers.h"
#include "protocol/inband.h"
#include "protocol/notifier.h"
#include "vdpa/base/eventfd.h"
#include "vdpa/base/log.h"
#include "vdpa/ring.h"

static struct ring_state *ring_state(struct session *s, uint32_t ring)
{
	return &s->device->state->rings[ring];
}

/** on_set_vring_num() - descriptors; a power of two unless the ring is known to be packed. */
int on_set_vring_num(struct session *s, struct message *m, uint32_t ring)
{
	uint32_t num = m->payload.state.num;
	bool any_size = !s->device->state->has_features || device_is_packed(s->device);

	if (num > s->device->max_queue_size || !ring_size_ok(num, any_size))
		return -EINVAL;
	ring_state(s, ring)->size = num;
	return 0;
}

static bool same_addresses(const struct ring_state *state, const struct wire_vring_addr *addr)
{
	return state->has_addr && state->desc_uva == addr->desc &&
	       state->avail_uva == addr->avail && state->used_uva == addr->used;
}

/** on_set_vring_addr() - where the ring is; of a running one only logging may change. */
int on_set_vring_addr(struct session *s, struct message *m, uint32_t ring)
{
	const struct wire_vring_addr *addr = &m->payload.addr;
	struct ring_state *state = ring_state(s, ring);

	if (addr->flags & ~WIRE_VRING_F_LOG)
		return -EINVAL;
	if (state->running && !same_addresses(state, addr))
		return -EBUSY;
	if (state->running && !device_log_reaches(s->device, ring, addr->flags, addr->log))
		return -EINVAL;
	state->desc_uva = addr->desc;
	state->avail_uva = addr->avail;
	state->used_uva = addr->used;
	state->log_addr = addr->log;
	state->addr_flags = addr->flags;
	state->has_addr = 1;
	return 0;
}

/** on_set_vring_base() - the position word; it is read when the ring starts (vdpa/position.h). */
int on_set_vring_base(struct session *s, struct message *m, uint32_t ring)
{
	uint32_t word = m->payload.state.num;
	bool split = s->device->state->has_features && !device_is_packed(s->device);

	if (split && word > UINT16_MAX)
		return -EINVAL;
	device_ring_goes_on(s->device, ring, word);
	ring_state(s, ring)->base = word;
	return 0;
}

/*
 * Stops the ring; while a migration is under way, all of them together: the front-end is going to ask
 * for each, and the guest stands still already. Any other message says that it is not.
 *
 * A device that fails while it stops is dead anyway, and the front-end needs the
 * position more than the news: it is answered with what the registers and the ring tell.
 */
int on_get_vring_base(struct session *s, struct message *m, uint32_t ring)
{
	struct wire_vring_state reply = { .index = ring };
	int r = s->device->state->logging ? device_suspend(s->device) : 0;

	if (r == 0)
		r = device_stop_ring(s->device, ring);
	if (r < 0 && r != -EIO)
		return r;
	device_set_ring_fd(s->device, ring, DRIVER_FD_KICK, FDSTORE_NONE);
	if (!inband_calls(s, ring))
		device_set_ring_fd(s->device, ring, DRIVER_FD_CALL, FDSTORE_NONE);
	inband_stopped(s, ring);
	notifier_ring_stopped(s, ring);
	reply.num = ring_state(s, ring)->base;
	session_reply(s, m, &reply, sizeof(reply));
	return 0;
}

/*
 * Only eventfds are signalled and waited for. They have no file type of their own; among the files
 * without one they alone take a count of 0, which changes nothing. Not even that is tried when the count
 * is beyond its end, which poll(2) calls an error: it would wait.
 */
static bool is_eventfd(int fd)
{
	struct pollfd p = { .fd = fd };
	const uint64_t zero = 0;
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0 && poll(&p, 1, 0) == 0 &&
	       write(fd, &zero, sizeof(zero)) == (ssize_t)sizeof(zero);
}

/* The message's descriptor, if there is one, for the ring. Return: 0; -EINVAL no eventfd; -EMFILE. */
static int take_fd(struct session *s, struct message *m, int *ret_slot)
{
	int slot = FDSTORE_NONE;

	if (m->n_fds == 1) {
		if (!is_eventfd(m->fds[0]))
			return -EINVAL;
		slot = fdstore_add(s->transaction.fds, message_take_fd(m, 0));
		if (slot < 0)
			return slot;
	}
	*ret_slot = slot;
	return 0;
}

static int give_fd(struct session *s, uint32_t ring, enum driver_queue_fd which, int slot)
{
	inband_told(s, ring, which);
	return device_set_ring_fd(s->device, ring, which, slot);
}

static int set_fd(struct session *s, struct message *m, uint32_t ring, enum driver_queue_fd which)
{
	int slot, r = take_fd(s, m, &slot);

	return r < 0 ? r : give_fd(s, ring, which, slot);
}

/**
 * on_set_vring_kick() - start the ring; without a descriptor the device has to poll it.
 *
 * All descriptors are there before a device, or a relay, that runs hears of one: it is told of no refusal.
 */
int on_set_vring_kick(struct session *s, struct message *m, uint32_t ring)
{
	int slot, r = take_fd(s, m, &slot);

	if (r == 0)
		r = inband_started(s, ring);
	if (r == 0)
		r = give_fd(s, ring, DRIVER_FD_KICK, slot);
	if (r == 0)
		ring_state(s, ring)->started = 1;
	return r;
}

/* One signal, so that what went to the old descriptor meanwhile is not missed. */
static void signal_once(int fd)
{
	int r = eventfd_signal_lent(fd);

	if (r < 0)
		log_debug("call eventfd: %s", strerror(-r));
}

int on_set_vring_call(struct session *s, struct message *m, uint32_t ring)
{
	struct ring_state *state = ring_state(s, ring);
	int r = set_fd(s, m, ring, DRIVER_FD_CALL);

	if (r == 0 && state->running)
		signal_once(fdstore_get(s->transaction.fds, state->call_slot));
	return r;
}

int on_set_vring_err(struct session *s, struct message *m, uint32_t ring)
{
	return set_fd(s, m, ring, DRIVER_FD_ERR);
}

/**
 * on_set_vring_enable() - let the ring run, or not.
 *
 * QEMU sends it before SET_FEATURES, so only a front-end that said it does without is refused.
 */
int on_set_vring_enable(struct session *s, struct message *m, uint32_t ring)
{
	uint32_t num = m->payload.state.num;

	if (num > 1 || s->state->rings_begin_enabled)
		return -EINVAL;
	ring_state(s, ring)->enabled = (uint8_t)num;
	return 0;
}
