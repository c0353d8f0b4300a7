/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests of the worker's own, and signals of the device that become some. */
#include "tests/fuzz/play_internal.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/backend.h"
#include "tests/fuzz/files.h"
#include "tests/fuzz/must.h"
#include "vdpa/base/bits.h"

#define FILLER UINT32_MAX /* as a request: it fills the channel */

static size_t close_all(struct msghdr *header)
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		int fd;

		must(c->cmsg_len == CMSG_LEN(sizeof(int)), "a request with several descriptors");
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		close(fd);
		n++;
	}
	return n;
}

static bool read_request(struct play *p)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int) * 4)];
		struct cmsghdr align;
	} control;
	struct wire_header m;
	struct iovec iov = { .iov_base = &m, .iov_len = sizeof(m) };
	struct msghdr header = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buffer,
		.msg_controllen = sizeof(control.buffer) };
	const int from = files_channel_peer();
	union wire_payload payload = { 0 };
	const struct backend_desc *desc;
	uint32_t ring;
	size_t n_fds;

	if (recvmsg(from, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(m))
		return false;
	n_fds = close_all(&header);
	if (m.request == FILLER)
		return true;
	must(m.request < WIRE_BACKEND_N_REQUESTS, "request %u of the worker's own", m.request);
	desc = backend_find((enum wire_backend_request)m.request);
	must(desc->when && m.size == desc->size && m.flags == WIRE_VERSION,
		"%s with %u bytes, flags %#x", desc->name, m.size, m.flags);
	must(n_fds == (m.request == WIRE_BACKEND_VRING_HOST_NOTIFIER), "%s with %zu descriptors",
		desc->name, n_fds);
	must(m.size == 0 || recv(from, &payload, m.size, MSG_DONTWAIT) == (ssize_t)m.size,
		"%s without its end", desc->name);
	ring = payload.state.index;
	must(m.request == WIRE_BACKEND_CONFIG_CHANGE || m.request == WIRE_BACKEND_IOTLB_MSG ||
			ring < p->stand.device.n_queues,
		"%s of ring %u", desc->name, ring);
	if (m.request == WIRE_BACKEND_VRING_CALL || m.request == WIRE_BACKEND_VRING_ERR)
		p->owed[ring][m.request == WIRE_BACKEND_VRING_ERR] = false;
	must(m.request != WIRE_BACKEND_IOTLB_MSG ||
			((payload.iotlb.type == WIRE_IOTLB_MISS ||
				 payload.iotlb.type == WIRE_IOTLB_ACCESS_FAIL) &&
				payload.iotlb.perm != 0 && payload.iotlb.perm <= 3),
		"%s of type %u for %u", desc->name, payload.iotlb.type, payload.iotlb.perm);
	return true;
}

void play_round(struct play *p)
{
	bool fresh;

	session_notify(&p->stand.session);
	(void)session_inband_fd(&p->stand.session, &fresh);
	session_give_notifiers(&p->stand.session);
	while (!p->channel_waits && read_request(p))
		;
}

static bool is_channel(int fd)
{
	struct stat have, want;

	return fd >= 0 && fstat(fd, &have) == 0 && fstat(files_fd(FILE_CHANNEL), &want) == 0 &&
	       have.st_ino == want.st_ino;
}

void play_call(struct play *p, const struct step *step)
{
	uint32_t ring = step->ring % p->stand.device.n_queues;
	enum driver_queue_fd which = step->more[0] % 2 ? DRIVER_FD_ERR : DRIVER_FD_CALL;
	enum wire_backend_request request =
		which == DRIVER_FD_ERR ? WIRE_BACKEND_VRING_ERR : WIRE_BACKEND_VRING_CALL;
	const struct ring_state *state = &p->stand.device_section.rings[ring];
	int fd = fdstore_get(
		&p->stand.fds, which == DRIVER_FD_ERR ? state->err_slot : state->call_slot);
	struct pollfd room = { .fd = fd, .events = POLLOUT };
	const uint64_t one = 1;

	if (fd < 0 || !(p->stand.session_section.inband[ring] & BIT(which)) ||
		poll(&room, 1, 0) != 1 || write(fd, &one, sizeof(one)) < 0)
		return;
	p->owed[ring][which == DRIVER_FD_ERR] = true;
	play_round(p);
	must(p->forged || p->channel_waits || p->channel_ended ||
			!is_channel(session_channel(&p->stand.session, request)) ||
			!p->owed[ring][which == DRIVER_FD_ERR],
		"the front-end does not hear of ring %u", ring);
}

static bool is_signalled(const struct play *p, int32_t slot)
{
	struct pollfd signal = { .fd = fdstore_get(&p->stand.fds, slot), .events = POLLIN };

	return poll(&signal, 1, 0) > 0 && signal.revents & POLLIN;
}

/* There is room again: nothing that was signalled meanwhile stays. */
static void check_signals(struct play *p)
{
	const struct session_section *now = &p->stand.session_section;

	for (int i = 0; i < 4; i++)
		play_round(p);
	if (p->forged || p->channel_ended ||
		!is_channel(session_channel(&p->stand.session, WIRE_BACKEND_VRING_CALL)))
		return;
	for (uint32_t i = 0; i < p->stand.device.n_queues; i++) {
		const struct ring_state *ring = &p->stand.device_section.rings[i];

		must(!(now->inband[i] & BIT(DRIVER_FD_CALL)) || !is_signalled(p, ring->call_slot),
			"ring %u: a call is held back", i);
		must(!(now->inband[i] & BIT(DRIVER_FD_ERR)) || !is_signalled(p, ring->err_slot),
			"ring %u: an error is held back", i);
		must(!p->owed[i][0] && !p->owed[i][1], "ring %u: a signal was lost", i);
	}
}

void play_forget_signals(struct play *p)
{
	memset(p->owed, 0, sizeof(p->owed));
}

void play_channel(struct play *p, const struct step *step)
{
	static const struct wire_header filler = { .request = FILLER };

	switch (step->ring % 4) {
	case 0:
		p->channel_waits = true;
		files_fill_channel(&filler, sizeof(filler));
		break;
	case 1:
		p->channel_waits = false;
		check_signals(p);
		break;
	case 2:
		p->channel_ended = true;
		play_forget_signals(p);
		files_end_channel(false);
		break;
	default:
		p->channel_ended = p->channel_waits = false;
		play_forget_signals(p);
		files_end_channel(true);
	}
}
