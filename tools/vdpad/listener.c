/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A socket file outlives its process. Before a new one is made, what is at the path is looked at:
 * nothing is fine, a socket that refuses connections is a leftover and is removed, a socket that
 * somebody serves and anything that is no socket is left alone. Permissions are right from the first
 * moment on: the umask hides the file until its owner and mode are set.
 */
#include "tools/vdpad/listener.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vdpa/base/cleanup.h"

#define BACKLOG 64

static int address_of(const char *path, struct sockaddr_un *ret, struct failure *why)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret->sun_path))
		return failure_set(why, FAILURE_INVALID,
			"socket path %s is too long: %zu bytes, %zu are possible; choose a shorter one",
			path, strlen(path), sizeof(ret->sun_path) - 1);
	strcpy(ret->sun_path, path);
	return 0;
}

static bool somebody_listens(const struct sockaddr_un *address, int type)
{
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return true; /* can't tell: leave it alone */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return true;
	return errno != ECONNREFUSED && errno != ENOENT;
}

static int make_room(const struct sockaddr_un *address, int type, struct failure *why)
{
	const char *path = address->sun_path;
	struct stat st;

	if (lstat(path, &st) < 0) {
		if (errno == ENOENT)
			return 0;
		return failure_set(why, FAILURE_INVALID, "socket path %s can't be used: %s", path,
			strerror(errno));
	}
	if (!S_ISSOCK(st.st_mode))
		return failure_set(why, FAILURE_EXISTS,
			"socket path %s is taken by something that is no socket; remove it or choose "
			"another path", path);
	if (somebody_listens(address, type))
		return failure_set(why, FAILURE_EXISTS,
			"socket path %s is served by another process; end that or choose another path",
			path);
	if (unlink(path) < 0 && errno != ENOENT)
		return failure_set(why, FAILURE_INVALID, "old socket %s can't be removed: %s", path,
			strerror(errno));
	return 0;
}

static int bind_and_listen(int fd, const struct sockaddr_un *address, mode_t mode, gid_t gid)
{
	mode_t before = umask(0177);
	int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

	umask(before);
	if (r < 0)
		return r;
	if (gid != (gid_t)-1 && lchown(address->sun_path, (uid_t)-1, gid) < 0)
		r = -errno;
	if (r == 0 && chmod(address->sun_path, mode) < 0)
		r = -errno;
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r < 0)
		unlink(address->sun_path);
	return r;
}

int listener_make(const char *path, int type, mode_t mode, gid_t gid, struct failure *why)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	int r;

	r = address_of(path, &address, why);
	if (r == 0)
		r = make_room(&address, type, why);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = fd < 0 ? -errno : bind_and_listen(fd, &address, mode, gid);
	if (r < 0)
		return failure_set(why, FAILURE_INVALID, "socket %s can't be made: %s", path,
			strerror(-r));
	return TAKE_FD(fd);
}

bool listener_is_served(const char *path, int type)
{
	struct sockaddr_un address;
	struct failure why;

	return address_of(path, &address, &why) < 0 || somebody_listens(&address, type);
}

void listener_remove(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
}
