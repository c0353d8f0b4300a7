/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scripts compare this output byte by byte, so it has iproute2's blanks and line feeds, which
 * jansson can't be told to print: lists of plain values in one line, `[ 1,2 ]`, and objects over
 * several. Characters that steer a terminal are escaped; JSON means the same by it.
 */
#include "tools/vdpa/json.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "tools/vdpa/text.h"

struct writer {
	FILE *file;
	bool pretty;
	unsigned int level;
};

static void put_value(struct writer *w, const json_t *value);

static void put_character(FILE *file, uint32_t character, const char *bytes, size_t size)
{
	static const char plain[] = "\"\\\b\f\n\r\t", escaped[] = "\"\\bfnrt";
	const char *found = character && character < 0x80 ? strchr(plain, (int)character) : NULL;

	if (found)
		fprintf(file, "\\%c", escaped[found - plain]);
	else if (text_steers(character))
		fprintf(file, "\\u%04" PRIx32, character);
	else
		fwrite(bytes, 1, size, file);
}

static void put_string(struct writer *w, const char *text)
{
	putc('"', w->file);
	while (*text) {
		uint32_t character;
		size_t size = text_next(text, &character);

		put_character(w->file, character, text, size);
		text += size;
	}
	putc('"', w->file);
}

static void new_line(struct writer *w)
{
	if (w->pretty)
		fprintf(w->file, "\n%*s", (int)(4 * w->level), "");
}

static void put_object(struct writer *w, const json_t *object)
{
	const char *key, *separator = "";
	json_t *value;

	putc('{', w->file);
	w->level++;
	json_object_foreach((json_t *)object, key, value) {
		fputs(separator, w->file);
		separator = ",";
		new_line(w);
		put_string(w, key);
		fputs(w->pretty ? ": " : ":", w->file);
		put_value(w, value);
	}
	w->level--;
	if (json_object_size(object) > 0)
		new_line(w);
	putc('}', w->file);
}

static bool is_plain(const json_t *list)
{
	json_t *value;
	size_t i;

	json_array_foreach(list, i, value) {
		if (json_is_object(value) || json_is_array(value))
			return false;
	}
	return true;
}

static void put_list(struct writer *w, const json_t *list)
{
	bool plain = is_plain(list);
	json_t *value;
	size_t i;

	fputs(w->pretty && plain ? "[ " : "[", w->file);
	w->level++;
	json_array_foreach(list, i, value) {
		if (i > 0)
			putc(',', w->file);
		if (!plain)
			new_line(w);
		put_value(w, value);
	}
	w->level--;
	if (!plain)
		new_line(w);
	else if (w->pretty && json_array_size(list) > 0)
		putc(' ', w->file);
	putc(']', w->file);
}

static void put_value(struct writer *w, const json_t *value)
{
	if (json_is_object(value))
		put_object(w, value);
	else if (json_is_array(value))
		put_list(w, value);
	else if (json_is_string(value))
		put_string(w, json_string_value(value));
	else
		json_dumpf(value, w->file, JSON_ENCODE_ANY);
}

void json_print(const json_t *value, enum json_form form, FILE *file)
{
	struct writer w = { .file = file, .pretty = form == JSON_FORM_PRETTY };

	put_value(&w, value);
	putc('\n', file);
}

void json_put(const json_t *value, FILE *file)
{
	if (json_is_string(value))
		text_put(json_string_value(value), file);
	else
		json_dumpf(value, file, JSON_ENCODE_ANY);
}

void json_put_features(const json_t *list, FILE *file)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		fputs(json_is_string(item) ? " " : " bit_", file);
		json_put(item, file);
	}
}

const char *json_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

json_int_t json_number(const json_t *object, const char *key, json_int_t otherwise)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? json_integer_value(value) : otherwise;
}
