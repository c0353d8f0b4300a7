/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A transfer begins with a message, and nothing moves before that is committed: what a process wrote
 * that died can't be taken back, so its successor does not go on with it.
 *
 * Source: vhost-user specification, VHOST_USER_SET_DEVICE_STATE_FD, VHOST_USER_CHECK_DEVICE_STATE.
 */
#include "protocol/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "protocol/handlers.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/saved.h"

void transfer_abandon(struct session *s)
{
	struct transfer *t = &s->transfer;

	t->fd = close_keep_errno(t->fd);
	free(t->data);
	t->data = NULL;
	if (s->state->transfer == TRANSFER_UNDER_WAY)
		s->state->transfer = TRANSFER_FAILED;
}

static void finish(struct session *s, enum transfer_outcome outcome)
{
	s->state->transfer = outcome;
	transfer_abandon(s);
}

/* Return: whether it may go on. */
static bool fail(struct session *s, const char *reason)
{
	log_warning("the device's state was not %s: %s", s->transfer.load ? "loaded" : "saved", reason);
	finish(s, TRANSFER_FAILED);
	return false;
}

/* The pipe took or gave nothing. Return: whether to try again at once. */
static bool hindered(struct session *s)
{
	return errno == EINTR || (errno != EAGAIN && fail(s, strerror(errno)));
}

/*
 * That the descriptor does not wait was set by us, but the front-end may take it back at any time. Older
 * kernels know no such reads and writes of pipes; there the flag has to do.
 */
static ssize_t write_now(int fd, const void *data, size_t size)
{
	const struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
	ssize_t n = pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);

	return n < 0 && errno == EOPNOTSUPP ? write(fd, data, size) : n;
}

static ssize_t read_now(int fd, void *data, size_t size)
{
	const struct iovec iov = { .iov_base = data, .iov_len = size };
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	return n < 0 && errno == EOPNOTSUPP ? read(fd, data, size) : n;
}

static bool save_some(struct session *s)
{
	struct transfer *t = &s->transfer;
	ssize_t n = write_now(t->fd, t->data + t->at, t->size - t->at);

	if (n < 0)
		return hindered(s);
	t->at += (size_t)n;
	if (t->at < t->size)
		return true;
	finish(s, TRANSFER_DONE);
	return false;
}

static bool load_all(struct session *s)
{
	const char *reason = "";

	if (device_load(s->device, s->transfer.data, s->transfer.at, &reason) < 0)
		return fail(s, reason);
	finish(s, TRANSFER_DONE);
	session_config_changed(s); /* the guest may be asked to announce itself, or have another address */
	return false;
}

static bool load_some(struct session *s)
{
	struct transfer *t = &s->transfer;
	ssize_t n = read_now(t->fd, t->data + t->at, t->size - t->at);

	if (n < 0)
		return hindered(s);
	if (n == 0)
		return load_all(s);
	t->at += (size_t)n;
	return t->at < t->size || fail(s, "it is longer than any that there is");
}

static void move(struct session *s)
{
	while (s->transfer.fd >= 0 && (s->transfer.load ? load_some(s) : save_some(s)))
		;
}

void transfer_run(struct session *s)
{
	move(s);
	if (s->transfer.fd < 0 && transaction_commit(&s->transaction) < 0)
		log_error("the end of a transfer can't be kept");
}

/* The front-end's descriptor is a pipe or a socket that is ours from now on, or refused. */
static int prepare_fd(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (fstat(fd, &st) < 0 || flags < 0 || (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)))
		return -EINVAL;
	return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -EINVAL : 0;
}

int on_set_device_state_fd(struct session *s, struct message *m, uint32_t ring)
{
	const struct wire_transfer want = m->payload.transfer;
	struct transfer *t = &s->transfer;

	if (want.direction > WIRE_TRANSFER_LOAD || want.phase != WIRE_TRANSFER_STOPPED)
		return -EINVAL;
	if (device_runs(s->device))
		return -EBUSY;
	if (prepare_fd(m->fds[0]) < 0)
		return -EINVAL;
	transfer_abandon(s);
	t->data = malloc(SAVED_MAX_SIZE);
	if (!t->data)
		return -ENOSPC;
	t->load = want.direction == WIRE_TRANSFER_LOAD;
	t->size = t->load ? SAVED_MAX_SIZE : device_save(s->device, t->data);
	t->at = 0;
	t->fd = message_take_fd(m, 0);
	s->state->transfer = TRANSFER_UNDER_WAY;
	return 0;
}

/* Of a transfer that is nearly there the end is awaited: rings stand still, so nobody else waits. */
static void await_end(struct session *s)
{
	uint64_t end = clock_now_ns() + TRANSFER_CHECK_MS * NS_PER_MS;

	move(s);
	while (s->transfer.fd >= 0 && clock_now_ns() < end) {
		struct pollfd p = {
			.fd = s->transfer.fd,
			.events = s->transfer.load ? POLLIN : POLLOUT,
		};

		poll(&p, 1, (int)((end - clock_now_ns()) / NS_PER_MS) + 1);
		move(s);
	}
}

int on_check_device_state(struct session *s, struct message *m, uint32_t ring)
{
	await_end(s);
	if (s->transfer.fd >= 0)
		fail(s, "the front-end asks for its end, and has not ended it");
	return s->state->transfer == TRANSFER_DONE ? 0 : -EINVAL;
}
