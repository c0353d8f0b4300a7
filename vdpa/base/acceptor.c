/* SPDX-License-Identifier: BSD-2-Clause */
#include "vdpa/base/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define LOGGED_EACH 1000 /* after the first one: whoever connects must not fill the disk */

static int reserve = -1;

static int take(int listener, int flags)
{
	int fd = accept4(listener, NULL, NULL, flags | SOCK_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void turn_away(int listener, int error)
{
	static uint64_t n;
	int fd;

	reserve = close_keep_errno(reserve);
	fd = take(listener, SOCK_NONBLOCK);
	if (fd >= 0) {
		close_keep_errno(fd);
		if (n++ % LOGGED_EACH == 0)
			log_warning("a connection was turned away: %s", strerror(-error));
	}
	reserve = fcntl(listener, F_DUPFD_CLOEXEC, 0);
}

int acceptor_take(int listener, int flags)
{
	int r;

	if (reserve < 0)
		reserve = fcntl(listener, F_DUPFD_CLOEXEC, 0);
	r = take(listener, flags);
	if ((r == -EMFILE || r == -ENFILE) && reserve >= 0)
		turn_away(listener, r);
	return r;
}
