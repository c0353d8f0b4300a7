/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A read that may raise SIGBUS, and a way back from its handler (memory.c). The signal is the
 * thread's own and comes from the very instruction, so nothing is left half done. No signal mask is
 * saved, as that is a system call for each probe: the one signal that the handler keeps away is let
 * through again on the way back.
 */
#include "tools/simnic/probe.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

/* volatile: the compiler does not know that a read may look at it. */
static __thread sigjmp_buf *volatile probing;

bool probe_page(const uint8_t *at)
{
	sigjmp_buf back;

	if (sigsetjmp(back, 0) != 0) {
		probing = NULL;
		return false;
	}
	probing = &back;
	(void)*(const volatile uint8_t *)at;
	probing = NULL;
	return true;
}

void probe_caught(void)
{
	sigset_t bus;

	if (!probing)
		return;
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
	siglongjmp(*probing, 1);
}
