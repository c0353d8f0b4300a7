/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Client mode: the front-end listens, the shim connects. Whether its socket appears is told by
 * inotify on the folder where the first missing part of its path will be, so that waiting costs no
 * wake-up. A socket nobody listens at is tried again for a short while (it may be between bind(2)
 * and listen(2)); after that only a change in its folder can help.
 *
 * No symbolic link is followed, in no part of the path (openat2(2), RESOLVE_NO_SYMLINKS): the
 * socket is opened by that rule, checked to be a socket, and connected to through the descriptor,
 * so that nobody can exchange it in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/shim/shim.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

#define RETRY_FIRST_NS	 (10 * NS_PER_MS)
#define RETRY_LONGEST_NS (30 * NS_PER_S)
#define REFUSED_TRIES	 10
#define LASTED_NS	 NS_PER_S

static int open_path(const char *path, uint64_t flags)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | flags,
		.resolve = RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* Return: a connected socket, or a negative errno. */
static int try_connect(const char *path)
{
	_cleanup_close_ int file = open_path(path, 0);
	_cleanup_close_ int sock = -1;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;

	if (file < 0)
		return file;
	if (fstat(file, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", file);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(sock);
}

/* Watches the deepest folder of the path that is there. */
static void watch(struct shim *s)
{
	char folder[SHIM_PATH_SIZE];
	_cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char proc[32];
	int dir = -ENOENT;

	snprintf(folder, sizeof(folder), "%s", s->spec.socket_path);
	while (strcmp(folder, "/") != 0 && dir < 0) {
		char copy[SHIM_PATH_SIZE];

		memcpy(copy, folder, sizeof(copy));
		snprintf(folder, sizeof(folder), "%s", dirname(copy));
		dir = open_path(folder, O_DIRECTORY);
	}
	_cleanup_close_ int opened = dir;

	s->poll_fd[SOURCE_WATCH] = close_keep_errno(s->poll_fd[SOURCE_WATCH]);
	if (fd < 0 || opened < 0) {
		log_error("nothing can tell when %s appears: %s", s->spec.socket_path,
			strerror(fd < 0 ? errno : -dir));
		return;
	}
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", opened);
	if (inotify_add_watch(fd, proc, IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF |
						IN_MOVE_SELF) < 0)
		log_error("inotify on %s: %s", folder, strerror(errno));
	else
		s->poll_fd[SOURCE_WATCH] = TAKE_FD(fd);
}

static void retry_later(struct shim *s)
{
	uint64_t wait = RETRY_FIRST_NS << (s->client.attempt < 12 ? s->client.attempt : 12);

	s->client.attempt++;
	s->client.retry_at =
		clock_now_ns() + (wait < RETRY_LONGEST_NS ? wait : RETRY_LONGEST_NS);
}

static void failed(struct shim *s, int error)
{
	if (error != s->client.last_error)
		log_info("waiting for the front-end at %s: %s", s->spec.socket_path,
			error == -ELOOP ? "there is a symbolic link in its path, which is not followed"
					: strerror(-error));
	s->client.last_error = error;
	s->client.retry_at = 0;
	/* Watching began before the attempt, so whatever changed since is an event. */
	if ((error == -ECONNREFUSED || error == -EAGAIN) && s->client.attempt < REFUSED_TRIES)
		retry_later(s);
}

void client_connect(struct shim *s)
{
	int fd, r;

	s->client.retry_at = 0;
	watch(s);
	fd = try_connect(s->spec.socket_path);
	if (fd < 0) {
		failed(s, fd);
		return;
	}
	s->poll_fd[SOURCE_WATCH] = close_keep_errno(s->poll_fd[SOURCE_WATCH]);
	s->client.last_error = 0;
	s->client.connected_at = clock_now_ns();
	slot_put(s, SHIM_SLOT_CONN, fd);
	r = worker_send(s, SHIM_CONNECTED, NULL, 0, &fd, 1);
	if (r < 0) /* its successor finds the connection in the slot */
		log_debug("worker was not told of the connection: %s", strerror(-r));
}

void client_disconnected(struct shim *s)
{
	uint64_t now = clock_now_ns();

	if (now - s->client.connected_at >= LASTED_NS)
		s->client.attempt = 0;
	retry_later(s);
}

void client_stop(struct shim *s)
{
	s->client.retry_at = 0;
	s->poll_fd[SOURCE_WATCH] = close_keep_errno(s->poll_fd[SOURCE_WATCH]);
}

void client_watch_event(struct shim *s)
{
	char events[4096];

	if (read(s->poll_fd[SOURCE_WATCH], events, sizeof(events)) < 0 && errno == EAGAIN)
		return;
	s->client.attempt = 0;
	client_connect(s);
}

void client_check_deadline(struct shim *s, uint64_t now)
{
	if (s->client.retry_at != 0 && now >= s->client.retry_at)
		client_connect(s);
}
