/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether JSON from elsewhere is what it has to be, before anybody relies on it. */
#ifndef VDPA_COMMAND_SHAPE_H
#define VDPA_COMMAND_SHAPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "vdpa/base/bits.h"

enum shape_kind {
	SHAPE_TEXT,
	SHAPE_NUMBER, /* an integer, not negative */
	SHAPE_SWITCH, /* true or false */
	SHAPE_WORDS,  /* list of texts */
	SHAPE_BITS,   /* list of texts and numbers */
	SHAPE_OBJECT,
	SHAPE_COUNTERS, /* object of numbers */
	SHAPE_LIST,	/* list of objects, each as @items says */
};

enum shape_presence {
	SHAPE_REQUIRED,
	SHAPE_OPTIONAL,
};

struct shape_key {
	const char *name;
	enum shape_kind kind;
	enum shape_presence presence;
	const struct shape *items;
};

/* Keys that are not in it are allowed. */
struct shape {
	const struct shape_key *keys;
	size_t n_keys;
};

#define SHAPE(rows) { .keys = (rows), .n_keys = ARRAY_SIZE(rows) }

/**
 * shape_fits() - compare a value with a shape.
 * @value:     anything, NULL too
 * @ret_where: the first key that does not fit, as "devs[3].mac"; @size bytes, cut when longer
 */
bool shape_fits(const json_t *value, const struct shape *shape, char *ret_where, size_t size);

#endif
