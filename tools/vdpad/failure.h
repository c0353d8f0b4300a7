/* SPDX-License-Identifier: BSD-2-Clause */
/* Why something that a user asked for did not happen: a code for programs, a sentence for people. */
#ifndef VDPAD_FAILURE_H
#define VDPAD_FAILURE_H

enum failure_code {
	FAILURE_INTERNAL,
	FAILURE_EXISTS,
	FAILURE_NOT_FOUND,
	FAILURE_INVALID,
	FAILURE_BUSY,
	FAILURE_DENIED,
	FAILURE_UNAVAILABLE,
	FAILURE_N_CODES,
};

struct failure {
	enum failure_code code;
	char text[400]; /* object, reason, remedy */
};

/**
 * failure_set() - fill @why, replacing what was there.
 * Return: the negative errno of @code, so that `return failure_set(...)` reads well.
 */
int failure_set(struct failure *why, enum failure_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/** failure_code_name() - as on the control socket. */
const char *failure_code_name(enum failure_code code);

#endif
