/* SPDX-License-Identifier: BSD-2-Clause */
/* Eventfds that others have too, some of whom are hostile. */
#ifndef VDPA_BASE_EVENTFD_H
#define VDPA_BASE_EVENTFD_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

/**
 * eventfd_signal_lent() - signal a descriptor that the front-end gave.
 * @fd: whatever it is, in whatever mode; negative: nobody is signalled
 *
 * Does not block: one that has no room is left as it is, for its owner has yet to look.
 * Return: 0, also when it has no room; a negative errno of write(2).
 */
static inline int eventfd_signal_lent(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	const uint64_t one = 1;

	if (fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) && write(fd, &one, sizeof(one)) < 0)
		return -errno;
	return 0;
}

#endif
