/* SPDX-License-Identifier: BSD-2-Clause */
/* The linker puts these in the place of the C library's (--wrap). */
#include "tests/fuzz/clock.h"

#include <poll.h>
#include <stdbool.h>
#include <time.h>

#include "vdpa/base/clock.h"

#define BEGINNING (1000 * NS_PER_S)
#define MOMENT    (60 * NS_PER_US) /* longer than anyone looks for the next message */

int __real_clock_gettime(clockid_t which, struct timespec *ret);
int __wrap_clock_gettime(clockid_t which, struct timespec *ret);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);

static bool made;
static uint64_t now_ns;

void fuzz_clock_begin(void)
{
	made = true;
	now_ns = BEGINNING;
}

void fuzz_clock_end(void)
{
	made = false;
}

void fuzz_clock_advance(uint64_t ns)
{
	now_ns += ns;
}

int __wrap_clock_gettime(clockid_t which, struct timespec *ret)
{
	if (!made)
		return __real_clock_gettime(which, ret);
	now_ns += MOMENT;
	ret->tv_sec = (time_t)(now_ns / NS_PER_S);
	ret->tv_nsec = (long)(now_ns % NS_PER_S);
	return 0;
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	int r = __real_poll(fds, n, made ? 0 : timeout_ms);

	if (made && r == 0 && timeout_ms > 0)
		now_ns += NS_PER_MS * (unsigned int)timeout_ms;
	return r;
}
