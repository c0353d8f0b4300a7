/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iproute2's forms, blank by blank: what stands before and after each value is in tables, so that a
 * line of output can be read off them. A blank at the end of a line and in the names of two JSON
 * keys is what iproute2 prints, and scripts rely on it; the keys are there without it, too, last.
 */
#include "tools/vdpa/view.h"

#include <stdbool.h>

#include "tools/vdpa/json.h"
#include "tools/vdpa/status.h"
#include "tools/vdpa/text.h"
#include "vdpa/base/bits.h"

enum value_kind {
	VALUE_PLAIN,   /* as it is: a text, a number, true or false */
	VALUE_UP_DOWN, /* a boolean, shown as a text */
	VALUE_LIST,    /* of texts, and of numbers of bits */
};

struct view_field {
	const char *key;    /* of the item; a field that is absent there is not shown */
	const char *before; /* in text; NULL: in JSON only */
	const char *after;
	const char *json;   /* key in JSON */
	enum value_kind kind;
};

static const struct view_field mgmtdev_fields[] = {
	{ "classes", "\n  supported_classes", "", "supported_classes", VALUE_LIST },
	{ "max_vqs", "\n  max_supported_vqs ", "", "max_supported_vqs", VALUE_PLAIN },
	{ "features", "\n  dev_features", "", "dev_features", VALUE_LIST },
};

static const struct view_field dev_fields[] = {
	{ "type", "type ", "", "type", VALUE_PLAIN },
	{ "mgmtdev", " mgmtdev ", "", "mgmtdev", VALUE_PLAIN },
	{ "vendor_id", " vendor_id ", "", "vendor_id", VALUE_PLAIN },
	{ "max_vqs", " max_vqs ", "", "max_vqs", VALUE_PLAIN },
	{ "max_vq_size", " max_vq_size ", "", "max_vq_size", VALUE_PLAIN },
};

static const struct view_field config_fields[] = {
	{ "mac", "mac ", " ", "mac", VALUE_PLAIN },
	{ "link_up", "link ", " ", "link ", VALUE_UP_DOWN },
	{ "link_announce", "link_announce ", " ", "link_announce ", VALUE_PLAIN },
	{ "max_vqp", "max_vq_pairs ", " ", "max_vq_pairs", VALUE_PLAIN },
	{ "mtu", "mtu ", " ", "mtu", VALUE_PLAIN },
	{ "negotiated_features", "\n  negotiated_features", "", "negotiated_features", VALUE_LIST },
	{ "link_up", NULL, NULL, "link", VALUE_UP_DOWN },
	{ "link_announce", NULL, NULL, "link_announce", VALUE_PLAIN },
};

const struct view view_mgmtdev = {
	.op = OP_MGMTDEV_SHOW,
	.section = "mgmtdev",
	.name = "handle",
	.fields = mgmtdev_fields,
	.n_fields = ARRAY_SIZE(mgmtdev_fields),
};

const struct view view_mgmtdev_status = {
	.op = OP_MGMTDEV_SHOW,
	.section = "mgmtdev_status",
	.name = "handle",
	.text = status_mgmtdev_text,
};

const struct view view_dev = {
	.op = OP_DEV_SHOW,
	.section = "dev",
	.name = "name",
	.fields = dev_fields,
	.n_fields = ARRAY_SIZE(dev_fields),
};

const struct view view_config = {
	.op = OP_DEV_CONFIG,
	.section = "config",
	.name = "name",
	.fields = config_fields,
	.n_fields = ARRAY_SIZE(config_fields),
};

const struct view view_status = {
	.op = OP_DEV_STATUS,
	.section = "status",
	.name = "name",
	.text = status_text,
};

const struct view view_migration = {
	.op = OP_DEV_MIGRATION,
	.section = "migration",
	.name = "name",
	.text = status_migration_text,
};

static const char *up_or_down(const json_t *value)
{
	return json_is_true(value) ? "up" : "down";
}

static void put_field(const struct view_field *field, const json_t *value, FILE *file)
{
	fputs(field->before, file);
	switch (field->kind) {
	case VALUE_PLAIN:
		json_put(value, file);
		break;
	case VALUE_UP_DOWN:
		fputs(up_or_down(value), file);
		break;
	case VALUE_LIST:
		json_put_features(value, file);
		break;
	}
	fputs(field->after, file);
}

void view_text(const struct view *view, const json_t *item, FILE *file)
{
	if (view->text) {
		view->text(item, file);
		return;
	}
	text_put(json_text(item, view->name), file);
	fputs(": ", file);
	for (size_t i = 0; i < view->n_fields; i++) {
		const json_t *value = json_object_get(item, view->fields[i].key);

		if (value && view->fields[i].before)
			put_field(&view->fields[i], value, file);
	}
	putc('\n', file);
}

json_t *view_json(const struct view *view, const json_t *item)
{
	json_t *object = json_object();

	if (view->text) {
		json_object_update(object, (json_t *)item);
		json_object_del(object, view->name);
	}
	for (size_t i = 0; i < view->n_fields; i++) {
		const struct view_field *field = &view->fields[i];
		json_t *value = json_object_get(item, field->key);

		if (!value)
			continue;
		if (field->kind == VALUE_UP_DOWN)
			json_object_set_new(object, field->json, json_string(up_or_down(value)));
		else
			json_object_set(object, field->json, value);
	}
	return object;
}

void vstats_text(const char *name, const json_t *queues, enum vstats_form form, FILE *file)
{
	json_t *queue, *value;
	const char *key;
	size_t i;

	json_array_foreach(queues, i, queue) {
		text_put(name, file);
		fputs(": ", file);
		if (form == VSTATS_ALL)
			fprintf(file, "qidx %" JSON_INTEGER_FORMAT " ",
				json_number(queue, "qidx", 0));
		fputs("queue_type ", file);
		text_put(json_text(queue, "queue_type"), file);
		putc(' ', file);
		json_object_foreach(json_object_get(queue, "stats"), key, value) {
			text_put(key, file);
			fprintf(file, " %" JSON_INTEGER_FORMAT " ", json_integer_value(value));
		}
		putc('\n', file);
	}
}

static json_t *queue_json(const json_t *queue)
{
	json_t *object = json_object();

	json_object_set(object, "queue_type", json_object_get(queue, "queue_type"));
	json_object_update(object, json_object_get(queue, "stats"));
	return object;
}

json_t *vstats_json(const json_t *queues, enum vstats_form form)
{
	json_t *list, *queue;
	size_t i;

	if (form == VSTATS_ONE)
		return queue_json(json_array_get(queues, 0));
	list = json_array();
	json_array_foreach(queues, i, queue) {
		json_t *object = json_object();
		json_auto_t *rest = queue_json(queue);

		json_object_set(object, "qidx", json_object_get(queue, "qidx"));
		json_object_update(object, rest);
		json_array_append_new(list, object);
	}
	return json_pack("{s:o}", "queues", list);
}
