/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ownership that the reader sees at the declaration: a variable marked _cleanup_x_ is released
 * when its scope ends, unless TAKE_FD() or TAKE_PTR() gave it away.
 */
#ifndef VDPA_BASE_CLEANUP_H
#define VDPA_BASE_CLEANUP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/**
 * close_keep_errno() - close a file descriptor without touching errno.
 * @fd: descriptor; negative values are ignored
 *
 * Return: -1, so that `fd = close_keep_errno(fd)` leaves no stale number behind.
 */
static inline int close_keep_errno(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

static inline void cleanup_close(int *fd)
{
	close_keep_errno(*fd);
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_close_	 __attribute__((cleanup(cleanup_close)))
#define _cleanup_free_	 __attribute__((cleanup(cleanup_free)))
#define _cleanup_fclose_ __attribute__((cleanup(cleanup_fclose)))

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define TAKE_FD(fd) take_fd(&(fd))
#define TAKE_PTR(ptr)                                                                              \
	({                                                                                         \
		__typeof__(ptr) _taken = (ptr);                                                    \
		(ptr) = NULL;                                                                      \
		_taken;                                                                            \
	})

#endif
