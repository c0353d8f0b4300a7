/* SPDX-License-Identifier: BSD-2-Clause */
/* A process without descriptors: whoever connects is turned away, and nobody waits. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "vdpa/base/acceptor.h"

#define MOST 64

static struct sockaddr_un address = { .sun_family = AF_UNIX };

static int make_listener(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "vdpad-acceptor-%d", (int)getpid());
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static int make_peer(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	return fd;
}

static void who_can_t_be_accepted_is_turned_away(void **state)
{
	const struct rlimit few = { MOST, MOST };
	int listener = make_listener(), first = make_peer(), second = make_peer(), third = make_peer();
	int fds[MOST], n = 0, fd;
	char byte;

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(acceptor_take(listener, 0), -EAGAIN);
	assert_int_equal(connect(first, (struct sockaddr *)&address, sizeof(address)), 0);
	fd = acceptor_take(listener, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);

	while ((fds[n] = dup(0)) >= 0)
		n++;
	for (int i = 0; i < 2; i++) {
		int peer = i == 0 ? second : third;

		assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof(address)), 0);
		assert_int_equal(acceptor_take(listener, 0), -EMFILE);
		assert_int_equal(read(peer, &byte, 1), 0); /* it does not wait any more */
		assert_int_equal(acceptor_take(listener, 0), -EMFILE); /* nor does anybody: nothing is lost */
	}

	while (n > 0)
		close(fds[--n]);
	close(second);
	second = make_peer();
	assert_int_equal(connect(second, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_true(acceptor_take(listener, 0) >= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_can_t_be_accepted_is_turned_away),
	};

	return cmocka_run_group_tests_name("acceptor", tests, NULL, NULL);
}
