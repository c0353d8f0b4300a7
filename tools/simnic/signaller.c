/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * write(2) waits while an eventfd's count is at its end, unless O_NONBLOCK is set. That flag is shared
 * with everybody who has the descriptor: a front-end that clears it at the right moment, with the count
 * at its end, would stop the thread that writes, with all tenants whom that thread serves. To poll(2)
 * before only makes the moment shorter, and pwritev2(2) with RWF_NOWAIT knows no eventfds.
 *
 * The kernel itself signals an eventfd without ever waiting, when an asynchronous request is done: so a
 * signal is such a request, to read nothing from an empty file, which is done at once.
 *
 * Source: io_submit(2), aio_flags; Linux, fs/eventfd.c (eventfd_signal).
 */
#include "tools/simnic/signaller.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vdpa/base/cleanup.h"

#define N_DONE 128 /* requests whose ends are kept before they are taken, all at once */

int signaller_open(struct signaller *s)
{
	*s = (struct signaller){ .nothing_fd = memfd_create("nothing", MFD_CLOEXEC) };
	if (s->nothing_fd < 0)
		return -errno;
	if (syscall(SYS_io_setup, N_DONE, &s->context) < 0) {
		int error = errno;

		s->nothing_fd = close_keep_errno(s->nothing_fd);
		return -error;
	}
	return 0;
}

void signaller_close(struct signaller *s)
{
	if (s->context)
		syscall(SYS_io_destroy, s->context);
	s->context = 0;
	s->nothing_fd = close_keep_errno(s->nothing_fd);
}

static void take_ends(struct signaller *s)
{
	struct io_event done[N_DONE];
	struct timespec now = { 0 };

	syscall(SYS_io_getevents, s->context, 0L, (long)N_DONE, done, &now);
}

int signaller_send(struct signaller *s, int eventfd)
{
	struct iocb nothing = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)s->nothing_fd,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)eventfd,
	};
	struct iocb *one[] = { &nothing };

	while (syscall(SYS_io_submit, s->context, 1L, one) != 1) {
		if (errno != EAGAIN) /* which says that no room is left for ends */
			return -errno;
		take_ends(s);
	}
	return 0;
}
