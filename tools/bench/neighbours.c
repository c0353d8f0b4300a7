/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Front-ends of many devices, of which one makes trouble, and what the others notice: how long an
 * answer to GET_FEATURES takes.
 *
 *   neighbours SOCKET SOCKET...
 *
 * The first socket is the one that makes trouble. Each line on standard input is TROUBLE COUNT; the
 * others ask COUNT times each, one after the other, while it goes on:
 *	idle   nothing happens
 *	flood  one valid message after the other, 32 of them ahead of their answers
 *	stall  a header and half of its payload is sent, and then nothing
 *	map    4 GiB of memory that nobody has touched, again and again
 *
 * The answer is a line: the longest of all trips, and then the median of each neighbour, nanoseconds. A
 * trip that takes longer than LIMIT_MS counts as that, and so do all that were to follow.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "messages.h"

#define MAX_NEIGHBOURS 64
#define MAX_TRIPS      1000
#define LIMIT_MS       2000
#define AHEAD	       32
#define MAP_SIZE       (4ULL << 30)
#define MAP_GPA	       0x100000000ULL

static const struct message ask = { .request = GET_FEATURES, .flags = FLAG_VERSION };

struct neighbour {
	const char *path;
	int sock;
	bool gone; /* an answer did not come in time: what comes later is none to the next question */
	uint64_t trips_ns[MAX_TRIPS];
};

static void connect_to(struct neighbour *n)
{
	const struct timeval limit = { .tv_sec = LIMIT_MS / 1000, .tv_usec = LIMIT_MS % 1000 * 1000 };
	const struct message owner = { .request = SET_OWNER, .flags = FLAG_VERSION };

	n->sock = dial(n->path);
	message_send(n->sock, &owner, -1);
	message_send(n->sock, &ask, -1);
	message_receive(n->sock, GET_FEATURES); /* it may still be busy with trouble that is over */
	if (setsockopt(n->sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		die("SO_RCVTIMEO");
	n->gone = false;
}

/* ---- trouble, in a process of its own, until it is killed */

static void receive_all(int sock, size_t size)
{
	char bytes[4096];

	while (size > 0) {
		ssize_t n = recv(sock, bytes, size < sizeof(bytes) ? size : sizeof(bytes), 0);

		if (n <= 0)
			die("recv");
		size -= (size_t)n;
	}
}

static void flood(const char *path)
{
	int sock = dial(path);

	for (;;) {
		for (int i = 0; i < AHEAD; i++)
			message_send(sock, &ask, -1);
		receive_all(sock, AHEAD * (HEADER + sizeof(ask.u64)));
	}
}

static void stall(const char *path)
{
	const struct message msg = { SET_PROTOCOL_FEATURES, FLAG_VERSION, sizeof(msg.u64), .u64 = 0 };
	const ssize_t half = HEADER + sizeof(msg.u64) / 2;
	int sock = dial(path);

	if (send(sock, &msg, (size_t)half, 0) != half)
		die("send");
	for (;;)
		pause();
}

/* The acknowledgement says that it is mapped; what was mapped before goes with the connection. */
static void map(const char *path)
{
	for (;;) {
		int sock = dial(path), fd = memfd_create("cold", MFD_CLOEXEC);
		struct message protocol = { SET_PROTOCOL_FEATURES, FLAG_VERSION, sizeof(protocol.u64),
			.u64 = PROTOCOL_REPLY_ACK };
		struct message table = { SET_MEM_TABLE, FLAG_VERSION | FLAG_NEED_REPLY,
			sizeof(table.table), .table = { .n = 1, .gpa = MAP_GPA, .size = MAP_SIZE,
						     .uva = MAP_GPA } };

		if (fd < 0 || ftruncate(fd, MAP_SIZE) < 0)
			die("memory");
		message_send(sock, &protocol, -1);
		message_send(sock, &table, fd);
		if (message_receive(sock, SET_MEM_TABLE) != 0)
			die("the memory was refused");
		close(fd);
		close(sock);
	}
}

static const struct {
	const char *name;
	void (*make)(const char *path); /* NULL: none */
} troubles[] = {
	{ "idle", NULL },
	{ "flood", flood },
	{ "stall", stall },
	{ "map", map },
};

/* Return: its process; 0: there is none; -1: no such trouble. */
static pid_t begin(const char *name, const char *path)
{
	const struct timespec little = { .tv_nsec = 20 * 1000 * 1000 }; /* in which it gets going */

	for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
		pid_t pid;

		if (strcmp(name, troubles[i].name) != 0)
			continue;
		if (!troubles[i].make)
			return 0;
		pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			troubles[i].make(path);
		}
		nanosleep(&little, NULL);
		return pid;
	}
	return -1;
}

/* Trouble that gave up by itself was none: then nothing was measured. */
static void end(pid_t pid)
{
	int status;

	if (pid == 0)
		return;
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status)) {
		fprintf(stderr, "neighbours: the trouble ended by itself\n");
		exit(1);
	}
}

/* ---- the others */

/* Return: nanoseconds of a question and its answer; LIMIT_MS when none came. */
static uint64_t trip(struct neighbour *n)
{
	char answer[HEADER + sizeof(ask.u64)];
	uint64_t begun = now_ns();
	ssize_t size;

	message_send(n->sock, &ask, -1);
	size = recv(n->sock, answer, sizeof(answer), MSG_WAITALL);
	if (size == (ssize_t)sizeof(answer))
		return now_ns() - begun;
	if (size >= 0 || errno != EAGAIN)
		die(n->path);
	n->gone = true;
	return LIMIT_MS * 1000000ULL;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void print_medians(struct neighbour *all, int n, unsigned long count)
{
	uint64_t longest = 0;

	for (int i = 0; i < n; i++) {
		qsort(all[i].trips_ns, count, sizeof(all[i].trips_ns[0]), by_value);
		if (all[i].trips_ns[count - 1] > longest)
			longest = all[i].trips_ns[count - 1];
	}
	printf("%llu", (unsigned long long)longest);
	for (int i = 0; i < n; i++)
		printf(" %llu", (unsigned long long)all[i].trips_ns[count / 2]);
	printf("\n");
	fflush(stdout);
}

static void measure(struct neighbour *all, int n, unsigned long count)
{
	bool given_up = false;

	for (unsigned long k = 0; k < count; k++) {
		for (int i = 0; i < n; i++) {
			all[i].trips_ns[k] = given_up ? LIMIT_MS * 1000000ULL : trip(&all[i]);
			given_up |= all[i].gone;
		}
	}
	print_medians(all, n, count);
}

int main(int argc, char **argv)
{
	static struct neighbour all[MAX_NEIGHBOURS];
	char line[64], name[16];
	unsigned long count;
	int n = argc - 2;

	if (n < 1 || n > MAX_NEIGHBOURS) {
		fprintf(stderr, "usage: neighbours SOCKET SOCKET...\n");
		return 2;
	}
	for (int i = 0; i < n; i++) {
		all[i].path = argv[2 + i];
		connect_to(&all[i]);
	}
	while (fgets(line, sizeof(line), stdin)) {
		pid_t pid;

		if (sscanf(line, "%15s %lu", name, &count) != 2 || count == 0 || count > MAX_TRIPS)
			return 2;
		pid = begin(name, argv[1]);
		if (pid < 0)
			return 2;
		measure(all, n, count);
		end(pid);
		for (int i = 0; i < n; i++) {
			if (!all[i].gone)
				continue;
			close(all[i].sock);
			connect_to(&all[i]);
		}
	}
	return 0;
}
