/* SPDX-License-Identifier: BSD-2-Clause */
/* A table of codes. */
#include "tools/vdpad/failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "vdpa/base/printable.h"

static const struct {
	const char *name;
	int error;
} codes[FAILURE_N_CODES] = {
	[FAILURE_INTERNAL] = { "internal", -EIO },
	[FAILURE_EXISTS] = { "exists", -EEXIST },
	[FAILURE_NOT_FOUND] = { "not-found", -ENOENT },
	[FAILURE_INVALID] = { "invalid", -EINVAL },
	[FAILURE_BUSY] = { "busy", -EBUSY },
	[FAILURE_DENIED] = { "denied", -EPERM },
	[FAILURE_UNAVAILABLE] = { "unavailable", -EHOSTDOWN },
};

int failure_set(struct failure *why, enum failure_code code, const char *format, ...)
{
	va_list args;

	why->code = code;
	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	/* It may repeat what somebody sent, cut anywhere. */
	make_printable(why->text, sizeof(why->text));
	return codes[code].error;
}

const char *failure_code_name(enum failure_code code)
{
	return codes[code].name;
}
