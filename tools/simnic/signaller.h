/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals to eventfds that somebody hostile has, too. */
#ifndef SIMNIC_SIGNALLER_H
#define SIMNIC_SIGNALLER_H

#include <linux/aio_abi.h>
#include <stdint.h>

struct signaller {
	aio_context_t context;
	int nothing_fd; /* an empty file */
};

/**
 * signaller_open() - for any thread, before the filter of system calls.
 *
 * Return: 0; -ENOMEM, -EAGAIN (fs.aio-max-nr), -ENOSYS (a kernel without aio), -EMFILE.
 */
int signaller_open(struct signaller *s);
void signaller_close(struct signaller *s);

/**
 * signaller_send() - add 1 to an eventfd's count, unless that is at its end. Any thread.
 *
 * It never waits, whatever the descriptor's flags are and whoever changes them.
 *
 * Return: 0; -EINVAL it is no eventfd; -ENOMEM.
 */
int signaller_send(struct signaller *s, int eventfd);

#endif
