/* SPDX-License-Identifier: BSD-2-Clause */
/* Sending, receiving, and the way out. Source: vhost-user, "Message Specification". */
#include "messages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

_Noreturn void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000ULL + (uint64_t)at.tv_nsec;
}

int dial(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int sock;

	if (strlen(path) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	strcpy(to.sun_path, path);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0)
		die(path);
	return sock;
}

void message_send(int sock, const struct message *msg, int fd)
{
	struct iovec part = { (void *)(uintptr_t)msg, HEADER + msg->size };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr out = { .msg_iov = &part, .msg_iovlen = 1 };

	if (fd >= 0) {
		out.msg_control = &control;
		out.msg_controllen = sizeof(control);
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	if (sendmsg(sock, &out, MSG_NOSIGNAL) != (ssize_t)part.iov_len)
		die("sendmsg");
}

static void receive_bytes(int sock, void *to, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = recv(sock, (char *)to + done, size - done, 0);

		if (n <= 0)
			die(n == 0 ? "the back-end hung up" : "recv");
		done += (size_t)n;
	}
}

/* Every answer that occurs here is a u64, but that librte_vhost answers SET_LOG_BASE with nothing. */
uint64_t message_receive(int sock, uint32_t request)
{
	struct message msg = { 0 };

	receive_bytes(sock, &msg, HEADER);
	if (msg.request != request || (msg.size != sizeof(msg.u64) && msg.size != 0)) {
		fprintf(stderr, "%s: answer %u of %u bytes to request %u\n",
				program_invocation_short_name, msg.request, msg.size, request);
		exit(1);
	}
	receive_bytes(sock, (char *)&msg + HEADER, msg.size);
	return msg.u64;
}
