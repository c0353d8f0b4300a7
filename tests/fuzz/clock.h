/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time as an input has it. Programs that are linked with clock.c (see meson.build) get it from
 * clock_gettime() and poll(): each look at the clock takes a moment, and what poll() would wait for
 * is over at once. So an input does the same each time, and deadlines cost nothing.
 */
#ifndef TESTS_FUZZ_CLOCK_H
#define TESTS_FUZZ_CLOCK_H

#include <stdint.h>

/** fuzz_clock_begin() - from here on, until fuzz_clock_end(), time is made. */
void fuzz_clock_begin(void);
void fuzz_clock_end(void);

/** fuzz_clock_advance() - @ns pass. */
void fuzz_clock_advance(uint64_t ns);

#endif
