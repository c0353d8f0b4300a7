/* SPDX-License-Identifier: BSD-2-Clause */
/* How the answers of shows look, as text and as JSON. Fetches nothing. */
#ifndef VDPA_COMMAND_VIEW_H
#define VDPA_COMMAND_VIEW_H

#include <jansson.h>
#include <stdio.h>

#include "tools/vdpa/backend.h"

struct view_field;

struct view {
	enum operation op;   /* whose answer it shows */
	const char *section; /* key of the JSON object that all is in */
	const char *name;    /* key of an item's name, which is also that of the fact to ask with */

	/* iproute2's forms are tables; one of our own is a function, and its JSON is the item. */
	const struct view_field *fields;
	size_t n_fields;
	void (*text)(const json_t *item, FILE *file);
};

extern const struct view view_mgmtdev, view_mgmtdev_status, view_dev, view_config, view_status,
	view_migration;

/** view_text() - print one item of the list that OP_x_SHOW and its like answer with. */
void view_text(const struct view *view, const json_t *item, FILE *file);

/** view_json() - one item, without its name. Return: the caller's; NULL without memory. */
json_t *view_json(const struct view *view, const json_t *item);

/* iproute2 shows one queue, and has no place for its index. */
enum vstats_form {
	VSTATS_ONE, /* as iproute2 */
	VSTATS_ALL, /* each with its index */
};

/** vstats_text() - print what OP_DEV_VSTATS answers with. */
void vstats_text(const char *name, const json_t *queues, enum vstats_form form, FILE *file);

/** vstats_json() - the same; VSTATS_ALL is a list "queues". Return: the caller's. */
json_t *vstats_json(const json_t *queues, enum vstats_form form);

#endif
