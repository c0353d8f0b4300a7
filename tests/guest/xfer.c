/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bulk transfer with a check of every byte, for guests.
 *
 *   xfer serve PORT [RATE]		take one connection after the other, for ever; read at most
 *					RATE MiB/s of each, so that there is always something unread
 *   xfer send HOST PORT BYTES		send BYTES, read the verdict
 *   xfer stream HOST PORT FILE		send until killed; FILE holds how many bytes were acknowledged
 *
 * The stream is 64-bit words, each a hash of its own position, so that a lost, repeated, moved or
 * changed word shows. The server answers each MiB, and the end, with `sum COUNT` while all was
 * right and `bad POSITION` else. TCP's own checksum does not do: with checksum offload nobody on
 * the way computes it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK (1024 * 1024)
#define WORDS (BLOCK / sizeof(uint64_t))
#define STEPS 16 /* that a block is read in when it is read slowly */

static uint64_t words[WORDS];

static uint64_t word_at(uint64_t position)
{
	uint64_t x = position * 0x9e3779b97f4a7c15ULL + 0x1234567;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ULL;
	return x ^ (x >> 32);
}

static int dial(const char *host, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || inet_pton(AF_INET, host, &to.sin_addr) != 1 ||
			connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		perror("xfer: connect");
		exit(1);
	}
	return fd;
}

/* Return: bytes read, less than @size only at the end of the stream. */
static size_t read_full(int fd, void *to, size_t size)
{
	size_t done = 0;
	ssize_t n;

	while (done < size) {
		n = read(fd, (char *)to + done, size - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

static int write_full(int fd, const void *from, size_t size)
{
	ssize_t n;

	while (size > 0) {
		n = write(fd, from, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		from = (const char *)from + n;
		size -= (size_t)n;
	}
	return 0;
}

/* As read_full(words, BLOCK); @rate: MiB/s, 0: as fast as it goes */
static size_t read_block(int fd, unsigned int rate)
{
	size_t done = 0, n, part = BLOCK / STEPS;

	if (rate == 0)
		return read_full(fd, words, BLOCK);
	do {
		n = read_full(fd, (char *)words + done, part);
		done += n;
		usleep(1000000 / STEPS / rate);
	} while (n == part && done < BLOCK);
	return done;
}

static void serve_one(int fd, unsigned int rate)
{
	uint64_t at = 0;
	size_t n, i;

	do {
		n = read_block(fd, rate);
		for (i = 0; i < n / sizeof(uint64_t); i++, at++) {
			if (words[i] == word_at(at))
				continue;
			dprintf(fd, "bad %llu\n", (unsigned long long)at * 8);
			return;
		}
		dprintf(fd, "sum %llu\n", (unsigned long long)at * 8);
	} while (n == BLOCK);
}

static int serve(const char *port, unsigned int rate)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1, conn;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 8) < 0) {
		perror("xfer: listen");
		return 1;
	}
	for (;;) {
		conn = accept(fd, NULL, NULL);
		if (conn < 0)
			continue;
		if (fork() == 0) {
			serve_one(conn, rate);
			_exit(0);
		}
		close(conn);
	}
}

static void fill(uint64_t block)
{
	size_t i;

	for (i = 0; i < WORDS; i++)
		words[i] = word_at(block * WORDS + i);
}

/* Read one answer. Return: bytes the peer found right, or -1. */
static long long verdict(FILE *from)
{
	unsigned long long n;
	char word[8];

	if (fscanf(from, "%7s %llu", word, &n) != 2) {
		fprintf(stderr, "xfer: the peer went away\n");
		return -1;
	}
	if (strcmp(word, "sum") != 0) {
		fprintf(stderr, "xfer: byte %llu is wrong\n", n);
		return -1;
	}
	return (long long)n;
}

static int send_bytes(const char *host, const char *port, uint64_t size)
{
	int fd = dial(host, port);
	FILE *in = fdopen(fd, "r");
	uint64_t done, part;
	long long right = 0;

	for (done = 0; done < size; done += part) {
		part = size - done < BLOCK ? size - done : BLOCK;
		fill(done / BLOCK);
		if (write_full(fd, words, part) < 0) {
			perror("xfer: write");
			return 1;
		}
		if (part == BLOCK && (right = verdict(in)) < 0)
			return 1;
	}
	shutdown(fd, SHUT_WR);
	right = verdict(in);
	if (right != (long long)size) {
		fprintf(stderr, "xfer: %lld of %llu bytes arrived\n", right, (unsigned long long)size);
		return 1;
	}
	printf("%lld bytes, every one right\n", right);
	return 0;
}

static int stream(const char *host, const char *port, const char *path)
{
	int fd = dial(host, port);
	FILE *in = fdopen(fd, "r");
	uint64_t block;
	long long right;
	char text[32];
	int report = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), n;

	for (block = 0;; block++) {
		fill(block);
		if (write_full(fd, words, BLOCK) < 0)
			break;
		right = verdict(in);
		if (right < 0)
			break;
		n = snprintf(text, sizeof(text), "%lld\n", right);
		if (pwrite(report, text, (size_t)n, 0) != n)
			break;
	}
	n = snprintf(text, sizeof(text), "broken\n");
	return pwrite(report, text, (size_t)n, 0) == n ? 1 : 2;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	if ((argc == 3 || argc == 4) && !strcmp(argv[1], "serve"))
		return serve(argv[2], argc == 4 ? (unsigned int)atoi(argv[3]) : 0);
	if (argc == 5 && !strcmp(argv[1], "send"))
		return send_bytes(argv[2], argv[3], strtoull(argv[4], NULL, 0) & ~7ULL);
	if (argc == 5 && !strcmp(argv[1], "stream"))
		return stream(argv[2], argv[3], argv[4]);
	fprintf(stderr, "usage: xfer serve PORT [RATE] | send HOST PORT BYTES | stream HOST PORT FILE\n");
	return 2;
}
