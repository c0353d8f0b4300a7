/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names, reasons and log lines come from programs that guests and other users talk to. What a
 * terminal would take for an order is a table of ranges; it is replaced, never passed on. Line
 * feeds are in it, too: a line of ours is one line.
 */
#include "tools/vdpa/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

#define NO_CHARACTER 0xfffd

/* Source: RFC 3629, 3. By the number of bytes that follow. */
static const struct {
	uint8_t mask, lead;
	uint32_t min;
} forms[] = {
	{ 0x80, 0x00, 0 },
	{ 0xe0, 0xc0, 0x80 },
	{ 0xf0, 0xe0, 0x800 },
	{ 0xf8, 0xf0, 0x10000 },
};

static const struct {
	uint32_t first, last;
} steering[] = {
	{ 0x00, 0x1f },
	{ 0x7f, 0x9f },	    /* delete, C1 */
	{ 0x200e, 0x200f }, /* marks of direction */
	{ 0x2028, 0x202e }, /* line and paragraph ends, directions */
	{ 0x2066, 0x2069 }, /* directions */
};

size_t text_next(const char *text, uint32_t *ret)
{
	const uint8_t *bytes = (const uint8_t *)text;
	uint32_t character;
	size_t n, i;

	*ret = NO_CHARACTER;
	for (n = 0; n < ARRAY_SIZE(forms); n++) {
		if ((bytes[0] & forms[n].mask) == forms[n].lead)
			break;
	}
	if (n == ARRAY_SIZE(forms))
		return 1;
	character = bytes[0] & (uint8_t)~forms[n].mask;
	for (i = 1; i <= n; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 1;
		character = character << 6 | (bytes[i] & 0x3f);
	}
	if (character < forms[n].min || character > 0x10ffff)
		return 1;
	if (character >= 0xd800 && character <= 0xdfff) /* halves of UTF-16 */
		return 1;
	*ret = character;
	return n + 1;
}

bool text_steers(uint32_t character)
{
	for (size_t i = 0; i < ARRAY_SIZE(steering); i++) {
		if (character >= steering[i].first && character <= steering[i].last)
			return true;
	}
	return false;
}

void text_put(const char *text, FILE *file)
{
	while (*text) {
		uint32_t character;
		size_t size = text_next(text, &character);

		if (character == NO_CHARACTER || text_steers(character))
			putc('?', file);
		else
			fwrite(text, 1, size, file);
		text += size;
	}
}

void complain(const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	text_put(text ? text : "there is not enough memory", stderr);
	putc('\n', stderr);
}
