/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Datagrams with descriptors. The control buffer is larger than any count that is asked for:
 * the kernel fills CMSG_SPACE's padding with one more descriptor, so the count comes from
 * cmsg_len and is bounded here, never by what was asked for.
 */
#include "vdpa/base/fdmsg.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vdpa/base/cleanup.h"

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int) * FDMSG_MAX_FDS)];
};

static int send_message(int sock, const void *data, size_t size, const int *fds, size_t n_fds, int flags)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	ssize_t n;

	if (size == 0 || n_fds > FDMSG_MAX_FDS)
		return -EINVAL;

	if (n_fds > 0) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
	}

	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int fdmsg_send(int sock, const void *data, size_t size, const int *fds, size_t n_fds)
{
	return send_message(sock, data, size, fds, n_fds, 0);
}

int fdmsg_send_now(int sock, const void *data, size_t size, const int *fds, size_t n_fds)
{
	return send_message(sock, data, size, fds, n_fds, MSG_DONTWAIT);
}

/* Stores what fits, closes the rest; true when everything fitted. */
static bool collect_fds(struct msghdr *msg, int *fds, size_t max_fds, size_t *n_fds)
{
	struct cmsghdr *cmsg;
	bool fitted = true;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		size_t n, i;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
			if (*n_fds < max_fds) {
				fds[(*n_fds)++] = fd;
			} else {
				close_keep_errno(fd);
				fitted = false;
			}
		}
	}
	return fitted;
}

ssize_t fdmsg_recv(int sock, void *data, size_t size, int *fds, size_t max_fds, size_t *ret_n_fds,
	int flags)
{
	struct iovec iov = { .iov_base = data, .iov_len = size };
	union control control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	size_t n_fds = 0;
	bool fitted;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;

	fitted = collect_fds(&msg, fds, max_fds, &n_fds);
	if (!fitted || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		while (n_fds > 0)
			close_keep_errno(fds[--n_fds]);
		return -EBADMSG;
	}

	memset((char *)data + n, 0, size - (size_t)n);
	if (ret_n_fds)
		*ret_n_fds = n_fds;
	return n;
}
