/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdpa/filemap.c answers a SIGBUS that is none of its maps' by the default action, which would end
 * a fuzzer without a word about its input. The linker puts this in the place of signal() (--wrap).
 */
#include <signal.h>

#include "tests/fuzz/must.h"

typedef void (*signal_handler)(int number);

signal_handler __real_signal(int number, signal_handler handler);
signal_handler __wrap_signal(int number, signal_handler handler);

signal_handler __wrap_signal(int number, signal_handler handler)
{
	must(number != SIGBUS || handler != SIG_DFL,
		"memory beyond a file's end was touched, and nobody minds");
	return __real_signal(number, handler);
}
