/* SPDX-License-Identifier: BSD-2-Clause */
/* JSON in the form in which iproute2 prints it, and its values as text. */
#ifndef VDPA_COMMAND_JSON_H
#define VDPA_COMMAND_JSON_H

#include <jansson.h>
#include <stdio.h>

enum json_form {
	JSON_FORM_COMPACT, /* one line without blanks */
	JSON_FORM_PRETTY,  /* four blanks a level; lists of plain values stay in their line */
};

/** json_print() - print a value, its members in their order, and a line feed. */
void json_print(const json_t *value, enum json_form form, FILE *file);

/** json_put() - a value as people read it: a text as it is, anything else as in JSON. */
void json_put(const json_t *value, FILE *file);

/** json_put_features() - each item of a list after a blank; a number is that of a bit without a name. */
void json_put_features(const json_t *list, FILE *file);

/** json_text() - a member that is a string, else NULL; belongs to @object. */
const char *json_text(const json_t *object, const char *key);

/** json_number() - a member that is a number, else @otherwise. */
json_int_t json_number(const json_t *object, const char *key, json_int_t otherwise);

#endif
