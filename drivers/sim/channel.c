/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mailbox of one function. Requests are numbered from the clock, so that a reply to a
 * predecessor's request, still in the socket after that process died, is told from ours and
 * dropped. A reply that comes after its deadline is dropped the same way. Events are kept aside
 * while a reply is awaited.
 */
#include "drivers/sim/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"

void sim_channel_init(struct sim_channel *channel, int sock)
{
	memset(channel, 0, sizeof(*channel));
	channel->sock = sock;
	channel->seq = (uint32_t)(clock_now_ns() >> 10);
}

static int gone(struct sim_channel *channel)
{
	channel->sock = -1;
	return -ENODEV;
}

static void keep_event(struct sim_channel *channel, const struct sim_event *event)
{
	if (channel->n_events < SIM_CHANNEL_EVENTS)
		channel->events[channel->n_events++] = *event;
	else
		channel->lost_events++;
}

/*
 * Takes one message if there is one. Return: 1 a reply, 0 an event that was kept, -EAGAIN,
 * -ENODEV, -EPROTO.
 */
static int receive(struct sim_channel *channel, struct sim_message *msg, int *ret_fd)
{
	size_t n_fds = 0;
	ssize_t n = fdmsg_recv(channel->sock, msg, sizeof(*msg), ret_fd, 1, &n_fds, MSG_DONTWAIT);

	if (n_fds == 0)
		*ret_fd = -1;
	if (n == -EAGAIN)
		return -EAGAIN;
	if (n == -EBADMSG)
		return -EPROTO;
	if (n <= 0)
		return gone(channel);
	if ((size_t)n < sizeof(msg->header) || msg->header.size != (size_t)n - sizeof(msg->header)) {
		*ret_fd = close_keep_errno(*ret_fd);
		return -EPROTO;
	}
	if (msg->header.command == SIM_EVENT) {
		*ret_fd = close_keep_errno(*ret_fd);
		keep_event(channel, &msg->payload.event);
		return 0;
	}
	return 1;
}

static int wait_readable(struct sim_channel *channel, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = channel->sock, .events = POLLIN };
	uint64_t now = clock_now_ns();
	int r;

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	r = poll(&p, 1, (int)((deadline_ns - now) / NS_PER_MS) + 1);
	if (r < 0 && errno != EINTR)
		return -errno;
	return r == 0 ? -ETIMEDOUT : 0;
}

static int send_request(struct sim_channel *channel, const struct sim_request *request)
{
	struct sim_message msg = {
		.header = {
			.command = request->command,
			.size = (uint32_t)request->size,
		},
	};
	int r;

	if (++channel->seq == 0)
		channel->seq = 1;
	msg.header.seq = channel->seq;
	if (request->size > 0)
		memcpy(&msg.payload, request->payload, request->size);
	r = fdmsg_send(channel->sock, &msg, sizeof(msg.header) + request->size, request->fds,
		request->n_fds);
	return r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN ? gone(channel) : r;
}

static int take_reply(struct sim_request *request, const struct sim_message *msg, int fd)
{
	if (msg->header.command != (uint32_t)request->command || msg->header.status > 0) {
		close_keep_errno(fd);
		return -EPROTO;
	}
	if (msg->header.status < 0) {
		close_keep_errno(fd);
		return msg->header.status;
	}
	if (msg->header.size != request->reply_size) {
		close_keep_errno(fd);
		return -EPROTO;
	}
	if (request->reply_size > 0)
		memcpy(request->reply, &msg->payload, request->reply_size);
	request->reply_fd = fd;
	return 0;
}

int sim_channel_call(struct sim_channel *channel, struct sim_request *request,
	unsigned int deadline_ms)
{
	uint64_t deadline = clock_now_ns() + deadline_ms * NS_PER_MS;
	int r;

	request->reply_fd = -1;
	if (channel->sock < 0)
		return -ENODEV;
	r = send_request(channel, request);
	while (r == 0) {
		struct sim_message msg;
		int fd;

		r = receive(channel, &msg, &fd);
		if (r == 1 && msg.header.seq == channel->seq)
			return take_reply(request, &msg, fd);
		if (r == 1) {
			log_debug("sim: dropped a late reply to command %u", msg.header.command);
			close_keep_errno(fd);
			r = 0;
		}
		if (r == -EAGAIN)
			r = wait_readable(channel, deadline);
	}
	return r;
}

int sim_channel_next_event(struct sim_channel *channel, struct sim_event *ret)
{
	struct sim_message msg;
	int fd, r = 0;

	while (channel->n_events == 0) {
		if (channel->sock < 0)
			return -ENODEV;
		r = receive(channel, &msg, &fd);
		if (r < 0)
			return r;
		if (r == 1)
			close_keep_errno(fd);
	}
	*ret = channel->events[0];
	channel->n_events--;
	memmove(channel->events, channel->events + 1, channel->n_events * sizeof(*ret));
	return 0;
}
