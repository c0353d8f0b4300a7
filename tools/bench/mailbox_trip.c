/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one command costs a driver of simnic that has to do with no queue: the round trip of
 * SIM_GET_CONFIG, on a function of our own.
 *
 *   mailbox_trip ADMIN_SOCKET BLOCKS COUNT
 *	BLOCKS lines: the mean of COUNT, in nanoseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "drivers/sim/mailbox.h"
#include "messages.h"

static const struct sim_function function = {
	.name = "mailbox-trip", .mac = { 0x52, 0x54, 0, 0, 0x0f, 1 }, .mtu = 1500, .max_pairs = 1,
};

/* One request and its reply. Return: the descriptor that came along, or -1. */
static int command(int sock, uint32_t what, const void *payload, uint32_t size)
{
	struct sim_message msg = { .header = { .command = what, .seq = 1, .size = size } };
	struct iovec part = { &msg, sizeof(msg) };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr in = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int fd = -1;

	if (size > 0)
		memcpy(&msg.payload, payload, size);
	if (send(sock, &msg, sizeof(msg.header) + size, MSG_NOSIGNAL) < 0 ||
		recvmsg(sock, &in, MSG_CMSG_CLOEXEC) < (ssize_t)sizeof(msg.header))
		die("mailbox");
	if (msg.header.status != 0) {
		fprintf(stderr, "mailbox_trip: command %u: %s\n", what, strerror(-msg.header.status));
		exit(1);
	}
	c = CMSG_FIRSTHDR(&in);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static int dial_admin(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
	if (sock < 0 || connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0)
		die(path);
	return sock;
}

int main(int argc, char **argv)
{
	unsigned long blocks, count;
	int admin, mailbox;

	if (argc != 4 || strtoul(argv[3], NULL, 0) == 0) {
		fprintf(stderr, "usage: mailbox_trip ADMIN_SOCKET BLOCKS COUNT\n");
		return 2;
	}
	blocks = strtoul(argv[2], NULL, 0);
	count = strtoul(argv[3], NULL, 0);
	admin = dial_admin(argv[1]);
	mailbox = command(admin, SIM_ADMIN_ADD, &function, sizeof(function));
	for (; blocks > 0; blocks--) {
		uint64_t begun = now_ns();

		for (unsigned long i = 0; i < count; i++)
			command(mailbox, SIM_GET_CONFIG, NULL, 0);
		printf("%.1f\n", (double)(now_ns() - begun) / (double)count);
	}
	command(admin, SIM_ADMIN_DEL, &function, sizeof(function));
	return 0;
}
