/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening sockets at paths: what lies there is replaced only if nobody can miss it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/folder.h"
#include "tools/vdpad/listener.h"
#include "vdpa/base/cleanup.h"

static char path[64];
static struct failure why;

static int name_file(void **state)
{
	int r = make_folder(state);

	snprintf(path, sizeof(path), "%s/sock", folder);
	return r;
}

static int remove_file(void **state)
{
	unlink(path);
	return 0;
}

static int make(void)
{
	return listener_make(path, SOCK_STREAM, 0600, (gid_t)-1, &why);
}

static int try_connect(int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

static void a_socket_listens_with_its_mode_and_group(void **state)
{
	_cleanup_close_ int fd = listener_make(path, SOCK_SEQPACKET, 0660, 4321, &why);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(st.st_gid, 4321);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(try_connect(SOCK_SEQPACKET), 0);
}

static void the_umask_is_as_before(void **state)
{
	mode_t before = umask(0123);
	_cleanup_close_ int fd = make();

	assert_true(fd >= 0);
	assert_int_equal(umask(before), 0123);
}

static void a_socket_that_nobody_serves_is_replaced(void **state)
{
	int old = make();

	assert_true(old >= 0);
	close_keep_errno(old);
	assert_int_equal(try_connect(SOCK_STREAM), -ECONNREFUSED);
	_cleanup_close_ int fd = make();

	assert_true(fd >= 0);
	assert_int_equal(try_connect(SOCK_STREAM), 0);
}

/* hostile(166) */
static void a_socket_that_is_served_is_left_alone(void **state)
{
	_cleanup_close_ int old = make();

	assert_true(old >= 0);
	assert_int_equal(make(), -EEXIST);
	assert_int_equal(why.code, FAILURE_EXISTS);
	assert_non_null(strstr(why.text, "served by another process"));
	/* also one of another type, which can't even be asked */
	assert_int_equal(listener_make(path, SOCK_SEQPACKET, 0600, (gid_t)-1, &why), -EEXIST);
	assert_int_equal(try_connect(SOCK_STREAM), 0);
}

/* hostile(166) */
static void what_is_no_socket_is_left_alone(void **state)
{
	struct stat st;
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0 && close(fd) == 0);
	assert_int_equal(make(), -EEXIST);
	assert_non_null(strstr(why.text, "no socket"));
	listener_remove(path);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(unlink(path), 0);

	assert_int_equal(symlink("/nowhere/at/all", path), 0); /* not followed either */
	assert_int_equal(make(), -EEXIST);
	assert_int_equal(lstat(path, &st), 0);
}

/* hostile(166) */
static void a_path_is_as_long_as_an_address_and_no_longer(void **state)
{
	char text[120];

	snprintf(text, sizeof(text), "%s/", folder);
	memset(text + strlen(folder) + 1, 'x', sizeof(text) - strlen(folder) - 1);
	text[108] = '\0';
	assert_int_equal(listener_make(text, SOCK_STREAM, 0600, (gid_t)-1, &why), -EINVAL);
	assert_non_null(strstr(why.text, "too long: 108 bytes, 107 are possible"));
	text[107] = '\0';
	_cleanup_close_ int fd = listener_make(text, SOCK_STREAM, 0600, (gid_t)-1, &why);

	assert_true(fd >= 0);
	assert_int_equal(unlink(text), 0);
}

static void a_folder_that_is_not_there_is_told(void **state)
{
	assert_true(listener_make("/nowhere/at/all", SOCK_STREAM, 0600, (gid_t)-1, &why) < 0);
	assert_non_null(strstr(why.text, "/nowhere/at/all"));
}

static void whether_somebody_listens_is_told(void **state)
{
	int fd;

	assert_false(listener_is_served(path, SOCK_STREAM));
	fd = make();
	assert_true(fd >= 0);
	assert_true(listener_is_served(path, SOCK_STREAM));
	close_keep_errno(fd);
	assert_false(listener_is_served(path, SOCK_STREAM));
}

static void a_socket_is_removed(void **state)
{
	_cleanup_close_ int fd = make();
	struct stat st;

	assert_true(fd >= 0);
	listener_remove(path);
	assert_int_equal(lstat(path, &st), -1);
	listener_remove(path);
}

#define TEST(name) cmocka_unit_test_teardown(name, remove_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_socket_listens_with_its_mode_and_group),
		TEST(the_umask_is_as_before),
		TEST(a_socket_that_nobody_serves_is_replaced),
		TEST(a_socket_that_is_served_is_left_alone),
		TEST(what_is_no_socket_is_left_alone),
		TEST(a_path_is_as_long_as_an_address_and_no_longer),
		TEST(a_folder_that_is_not_there_is_told),
		TEST(whether_somebody_listens_is_told),
		TEST(a_socket_is_removed),
	};

	return cmocka_run_group_tests(tests, name_file, remove_folder);
}
