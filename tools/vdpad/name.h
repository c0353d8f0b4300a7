/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of devices, machines and NICs; they become parts of paths. */
#ifndef VDPAD_NAME_H
#define VDPAD_NAME_H

#include <stdbool.h>

#define NAME_MAX_LENGTH 32
#define NAME_SIZE	(NAME_MAX_LENGTH + 1)

/** name_ok() - 1..NAME_MAX_LENGTH letters, digits, '.', '_', '-'; no '.' or '-' at the beginning. */
static inline bool name_ok(const char *name)
{
	unsigned int n = 0;

	if (*name == '.' || *name == '-')
		return false;
	for (; name[n] && n <= NAME_MAX_LENGTH; n++) {
		char c = name[n];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '.' || c == '_' || c == '-'))
			return false;
	}
	return n > 0 && n <= NAME_MAX_LENGTH;
}

#endif
