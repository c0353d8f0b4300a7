/* SPDX-License-Identifier: BSD-2-Clause */
/* One function per kind of value, and a walk that remembers where it is. */
#include "tools/vdpa/shape.h"

#include <stdio.h>
#include <string.h>

static bool is_text(const json_t *value)
{
	return json_is_string(value);
}

static bool is_number(const json_t *value)
{
	return json_is_integer(value) && json_integer_value(value) >= 0;
}

static bool is_switch(const json_t *value)
{
	return json_is_boolean(value);
}

static bool is_words(const json_t *value)
{
	json_t *item;
	size_t i;

	json_array_foreach(value, i, item) {
		if (!is_text(item))
			return false;
	}
	return json_is_array(value);
}

static bool is_bits(const json_t *value)
{
	json_t *item;
	size_t i;

	json_array_foreach(value, i, item) {
		if (!is_text(item) && !is_number(item))
			return false;
	}
	return json_is_array(value);
}

static bool is_object(const json_t *value)
{
	return json_is_object(value);
}

static bool is_counters(const json_t *value)
{
	const char *key;
	json_t *item;

	json_object_foreach((json_t *)value, key, item) {
		if (!is_number(item))
			return false;
	}
	return json_is_object(value);
}

static bool is_list(const json_t *value)
{
	return json_is_array(value);
}

static bool (*const tests[])(const json_t *value) = {
	[SHAPE_TEXT] = is_text,
	[SHAPE_NUMBER] = is_number,
	[SHAPE_SWITCH] = is_switch,
	[SHAPE_WORDS] = is_words,
	[SHAPE_BITS] = is_bits,
	[SHAPE_OBJECT] = is_object,
	[SHAPE_COUNTERS] = is_counters,
	[SHAPE_LIST] = is_list,
};

static bool items_fit(const json_t *list, const struct shape_key *key, char *ret_where, size_t size)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		char where[128];

		if (!shape_fits(item, key->items, where, sizeof(where))) {
			snprintf(ret_where, size, "%s[%zu]%s%s", key->name, i, *where ? "." : "",
				where);
			return false;
		}
	}
	return true;
}

static bool key_fits(const json_t *object, const struct shape_key *key, char *ret_where,
	size_t size)
{
	const json_t *value = json_object_get(object, key->name);

	if (!value && key->presence == SHAPE_OPTIONAL)
		return true;
	if (!value || !tests[key->kind](value)) {
		snprintf(ret_where, size, "%s", key->name);
		return false;
	}
	return !key->items || items_fit(value, key, ret_where, size);
}

bool shape_fits(const json_t *value, const struct shape *shape, char *ret_where, size_t size)
{
	*ret_where = '\0';
	if (!json_is_object(value))
		return false;
	for (size_t i = 0; i < shape->n_keys; i++) {
		if (!key_fits(value, &shape->keys[i], ret_where, size))
			return false;
	}
	return true;
}
