/* SPDX-License-Identifier: BSD-2-Clause */
/* ioctl(2) answered by the test; link with -Wl,--wrap=ioctl. One source file of a program includes it. */
#ifndef TESTS_IOCTL_WRAP_H
#define TESTS_IOCTL_WRAP_H

#include <errno.h>
#include <stdarg.h>

/** kernel_answers() - the test's. Return: as a system call inside the kernel, a negative errno among that. */
static int kernel_answers(int fd, unsigned long request, void *arg);

int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;
	int r;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	r = kernel_answers(fd, request, arg);
	if (r >= 0)
		return r;
	errno = -r;
	return -1;
}

#endif
