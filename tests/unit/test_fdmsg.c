/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages with descriptors: nothing is lost, nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vdpa/base/fdmsg.h"

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

/* The lowest free descriptor number: unchanged when nothing leaked. */
static int next_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

static void a_message_arrives_with_its_descriptors_close_on_exec(void **state)
{
	char out[8] = "hello", in[16];
	int pair[2], fds[2];
	size_t n_fds = 0;

	make_pair(pair);
	assert_int_equal(fdmsg_send(pair[0], out, sizeof(out), (int[]){ pair[0], pair[1] }, 2), 0);
	memset(in, 'x', sizeof(in));
	assert_int_equal(fdmsg_recv(pair[1], in, sizeof(in), fds, 2, &n_fds, 0), sizeof(out));
	assert_int_equal(n_fds, 2);
	assert_memory_equal(in, "hello\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	close(fds[0]);
	close(fds[1]);
	close(pair[0]);
	close(pair[1]);
}

static void more_descriptors_than_wanted_are_refused_and_closed(void **state)
{
	for (size_t sent = 1; sent <= FDMSG_MAX_FDS; sent++) {
		int pair[2], before, fds[FDMSG_MAX_FDS];
		size_t n_fds;
		char byte = 1;

		make_pair(pair);
		for (size_t i = 0; i < sent; i++)
			fds[i] = pair[0];
		assert_int_equal(fdmsg_send(pair[0], &byte, 1, fds, sent), 0);
		before = next_fd();
		assert_int_equal(
			fdmsg_recv(pair[1], &byte, 1, fds, sent - 1, &n_fds, 0), -EBADMSG);
		assert_int_equal(next_fd(), before);
		close(pair[0]);
		close(pair[1]);
	}
}

static void a_message_longer_than_the_buffer_is_refused(void **state)
{
	char out[8] = { 0 }, in[7];
	int pair[2];

	make_pair(pair);
	assert_int_equal(fdmsg_send(pair[0], out, sizeof(out), NULL, 0), 0);
	assert_int_equal(fdmsg_recv(pair[1], in, sizeof(in), NULL, 0, NULL, 0), -EBADMSG);
	close(pair[0]);
	assert_int_equal(fdmsg_recv(pair[1], in, sizeof(in), NULL, 0, NULL, 0), 0);
	assert_int_equal(fdmsg_send(pair[1], in, 1, NULL, 0), -EPIPE);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_arrives_with_its_descriptors_close_on_exec),
		cmocka_unit_test(more_descriptors_than_wanted_are_refused_and_closed),
		cmocka_unit_test(a_message_longer_than_the_buffer_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
