/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of methods: who may call them, which parameters they have. A handler sees only parameters
 * of its table and of the right type; it answers by itself, now or later, or returns an error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vdpad/control.h"
#include "tools/vdpad/device.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

enum param_type {
	PARAM_TEXT,
	PARAM_NUMBER,
	PARAM_SWITCH,
};

#define MAX_PARAMS 15

struct param {
	const char *name;
	enum param_type type;
	bool required;
};

static int on_monitor(struct request *q, json_t *params, struct failure *why);

static const struct method {
	const char *name;
	enum role role; /* at least */
	int (*handle)(struct request *q, json_t *params, struct failure *why);
	struct param params[MAX_PARAMS];
} methods[] = {
	{ "hello", ROLE_READER, method_hello, {} },
	{ "mgmtdev.show", ROLE_READER, method_mgmtdev_show, { { "handle", PARAM_TEXT, false } } },
	{ "dev.show", ROLE_READER, method_dev_show, { { "name", PARAM_TEXT, false } } },
	{ "dev.config", ROLE_READER, method_dev_config, { { "name", PARAM_TEXT, false } } },
	{ "dev.vstats", ROLE_READER, method_dev_vstats,
		{ { "name", PARAM_TEXT, true }, { "qidx", PARAM_NUMBER, false } } },
	{ "dev.status", ROLE_READER, method_dev_status, { { "name", PARAM_TEXT, false } } },
	{ "dev.migration", ROLE_READER, method_dev_migration, { { "name", PARAM_TEXT, false } } },
	{ "monitor", ROLE_READER, on_monitor, { { "name", PARAM_TEXT, false } } },
	{ "dev.add", ROLE_ADMIN, method_dev_add,
		{ { "name", PARAM_TEXT, true }, { "mgmtdev", PARAM_TEXT, true },
			{ "mac", PARAM_TEXT, false }, { "mtu", PARAM_NUMBER, false },
			{ "max_vqp", PARAM_NUMBER, false }, { "features", PARAM_TEXT, false },
			{ "socket", PARAM_TEXT, false }, { "mode", PARAM_TEXT, false },
			{ "vm", PARAM_TEXT, false }, { "spoof_check", PARAM_SWITCH, false },
			{ "ctrl_vq", PARAM_SWITCH, false }, { "host_notifier", PARAM_SWITCH, false },
			{ "bind", PARAM_SWITCH, false }, { "standby", PARAM_TEXT, false },
			{ "datapath", PARAM_TEXT, false } } },
	{ "dev.del", ROLE_ADMIN, method_dev_del, { { "name", PARAM_TEXT, true } } },
	{ "dev.set", ROLE_ADMIN, method_dev_set,
		{ { "name", PARAM_TEXT, true }, { "mac", PARAM_TEXT, false },
			{ "mtu", PARAM_NUMBER, false }, { "spoof_check", PARAM_SWITCH, false },
			{ "log_level", PARAM_TEXT, false }, { "link", PARAM_TEXT, false },
			{ "datapath", PARAM_TEXT, false } } },
	{ "dev.upgrade", ROLE_ADMIN, method_dev_upgrade,
		{ { "name", PARAM_TEXT, true }, { "worker", PARAM_TEXT, false } } },
	{ "dev.dump", ROLE_ADMIN, method_dev_dump, { { "name", PARAM_TEXT, true } } },
};

static int on_monitor(struct request *q, json_t *params, struct failure *why)
{
	const char *name = param_text(params, "name");
	struct client *client = q->client;

	if (name && !param_device(q, params, why))
		return -1;
	request_answer(q, json_object());
	client_monitor(client, name);
	return 0;
}

const char *param_text(json_t *params, const char *name)
{
	return json_string_value(json_object_get(params, name));
}

struct device *param_device(struct request *q, json_t *params, struct failure *why)
{
	const char *name = param_text(params, "name");
	struct device *dev = device_find(q->vdpad, name);

	if (!dev)
		failure_set(why, FAILURE_NOT_FOUND,
			"there is no device %s; vdpa dev show lists those that there are", name);
	return dev;
}

static bool type_ok(const json_t *value, enum param_type type)
{
	switch (type) {
	case PARAM_TEXT:
		return json_is_string(value);
	case PARAM_NUMBER:
		return json_is_integer(value);
	case PARAM_SWITCH:
		return json_is_boolean(value);
	}
	return false;
}

static const struct param *find_param(const struct method *method, const char *name)
{
	for (size_t i = 0; i < MAX_PARAMS && method->params[i].name; i++) {
		if (strcmp(method->params[i].name, name) == 0)
			return &method->params[i];
	}
	return NULL;
}

static int check_params(const struct method *method, json_t *params, struct failure *why)
{
	static const char *const types[] = { [PARAM_TEXT] = "a string",
		[PARAM_NUMBER] = "an integer", [PARAM_SWITCH] = "true or false" };
	const struct param *param;
	const char *name;
	json_t *value;

	json_object_foreach(params, name, value) {
		param = find_param(method, name);
		if (!param)
			return failure_set(why, FAILURE_INVALID, "%s: there is no parameter %s",
				method->name, name);
		if (!type_ok(value, param->type))
			return failure_set(why, FAILURE_INVALID, "%s: %s has to be %s", method->name,
				name, types[param->type]);
	}
	for (param = method->params; param < method->params + MAX_PARAMS && param->name; param++) {
		if (param->required && !json_object_get(params, param->name))
			return failure_set(why, FAILURE_INVALID, "%s: %s is missing", method->name,
				param->name);
	}
	return 0;
}

static void log_call(const struct request *q, const struct method *method, json_t *params)
{
	_cleanup_free_ char *text =
		json_dumps(params, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_PRESERVE_ORDER);

	log_info("%s: %s %.300s", client_who(q->client), method->name, text ? text : "");
}

static int call(struct request *q, const char *name, json_t *params, struct failure *why)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		const struct method *method = &methods[i];

		if (strcmp(method->name, name) != 0)
			continue;
		if (q->role < method->role)
			return failure_set(why, FAILURE_DENIED,
				"%s is for admins; root, or a member of admin_group, may do that", name);
		if (check_params(method, params, why) < 0)
			return -1;
		if (method->role == ROLE_ADMIN)
			log_call(q, method, params);
		return method->handle(q, params, why);
	}
	return failure_set(why, FAILURE_NOT_FOUND, "there is no method %.64s", name);
}

void method_call(struct request *q, const char *name, json_t *params)
{
	json_t *none = params ? NULL : json_object();
	struct failure why;

	if (call(q, name, params ? params : none, &why) < 0)
		request_fail(q, &why);
	json_decref(none);
}
