/* SPDX-License-Identifier: BSD-2-Clause */
/* Texts of others that go into logs and JSON. */
#ifndef VDPA_BASE_PRINTABLE_H
#define VDPA_BASE_PRINTABLE_H

#include <stddef.h>

/**
 * make_printable() - end a text, and replace what is not printable ASCII by '?'.
 * @text: may come without its zero
 * @size: of the array, bytes; not 0
 */
static inline void make_printable(char *text, size_t size)
{
	text[size - 1] = '\0';
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

#endif
