/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend that is vdpad. Facts and answers are vdpad's parameters and results as they are; what
 * an answer has to be like is a table, and one that is not like it gets no further than here.
 * Source: docs/control-socket.md.
 */
#include "tools/vdpa/daemon.h"

#include <errno.h>
#include <stdlib.h>

#include "tools/vdpa/client.h"
#include "tools/vdpa/shape.h"
#include "vdpa/base/cleanup.h"

/* Seconds. Showing takes vdpad no time; a change waits for processes and drivers. */
#define SHOW_TIMEOUT   10
#define CHANGE_TIMEOUT 60

static const struct shape_key mgmtdev_keys[] = {
	{ "handle", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "classes", SHAPE_WORDS, SHAPE_OPTIONAL, NULL },
	{ "max_vqs", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "features", SHAPE_BITS, SHAPE_OPTIONAL, NULL },
	{ "state", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "reason", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "devices", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "uplink", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "uplink_state", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "pid", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "restarts", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "kind", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "driver", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "iommu_group", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "pf", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
};

static const struct shape_key dev_keys[] = {
	{ "name", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "type", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "mgmtdev", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "vendor_id", SHAPE_NUMBER, SHAPE_REQUIRED, NULL },
	{ "max_vqs", SHAPE_NUMBER, SHAPE_REQUIRED, NULL },
	{ "max_vq_size", SHAPE_NUMBER, SHAPE_REQUIRED, NULL },
};

static const struct shape_key config_keys[] = {
	{ "name", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "mac", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "link_up", SHAPE_SWITCH, SHAPE_OPTIONAL, NULL },
	{ "link_announce", SHAPE_SWITCH, SHAPE_OPTIONAL, NULL },
	{ "max_vqp", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "mtu", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "negotiated_features", SHAPE_BITS, SHAPE_OPTIONAL, NULL },
};

static const struct shape_key queue_keys[] = {
	{ "qidx", SHAPE_NUMBER, SHAPE_REQUIRED, NULL },
	{ "queue_type", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "size", SHAPE_NUMBER, SHAPE_REQUIRED, NULL },
	{ "enabled", SHAPE_SWITCH, SHAPE_REQUIRED, NULL },
	{ "running", SHAPE_SWITCH, SHAPE_REQUIRED, NULL },
	{ "failed", SHAPE_SWITCH, SHAPE_REQUIRED, NULL },
	{ "avail", SHAPE_NUMBER, SHAPE_REQUIRED, NULL },
	{ "used", SHAPE_NUMBER, SHAPE_REQUIRED, NULL },
};
static const struct shape queue_shape = SHAPE(queue_keys);

static const struct shape_key status_keys[] = {
	{ "name", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "state", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "mgmtdev", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "features", SHAPE_BITS, SHAPE_OPTIONAL, NULL },
	{ "protocol_features", SHAPE_BITS, SHAPE_OPTIONAL, NULL },
	{ "counters", SHAPE_COUNTERS, SHAPE_OPTIONAL, NULL },
	{ "queues", SHAPE_LIST, SHAPE_OPTIONAL, &queue_shape },
};

static const struct shape_key migration_keys[] = {
	{ "name", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "number", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "phase", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "method", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "outcome", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "age_s", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "switch_us", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "logging_us", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "stop_us", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
	{ "leave_us", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
};

static const struct shape_key vstats_keys[] = {
	{ "qidx", SHAPE_NUMBER, SHAPE_REQUIRED, NULL },
	{ "queue_type", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "stats", SHAPE_COUNTERS, SHAPE_REQUIRED, NULL },
};

static const struct shape mgmtdev_shape = SHAPE(mgmtdev_keys), dev_shape = SHAPE(dev_keys),
			  config_shape = SHAPE(config_keys), status_shape = SHAPE(status_keys),
			  migration_shape = SHAPE(migration_keys),
			  vstats_shape = SHAPE(vstats_keys);

static const struct {
	const char *method;
	unsigned int timeout_s;
	struct shape_key answer; /* the part of the result that is the answer; no name: all of it */
} methods[OP_COUNT] = {
	[OP_MGMTDEV_SHOW] = { "mgmtdev.show", SHOW_TIMEOUT,
		{ "mgmtdevs", SHAPE_LIST, SHAPE_REQUIRED, &mgmtdev_shape } },
	[OP_DEV_SHOW] = { "dev.show", SHOW_TIMEOUT,
		{ "devs", SHAPE_LIST, SHAPE_REQUIRED, &dev_shape } },
	[OP_DEV_CONFIG] = { "dev.config", SHOW_TIMEOUT,
		{ "devs", SHAPE_LIST, SHAPE_REQUIRED, &config_shape } },
	[OP_DEV_MIGRATION] = { "dev.migration", SHOW_TIMEOUT,
		{ "devs", SHAPE_LIST, SHAPE_REQUIRED, &migration_shape } },
	[OP_DEV_STATUS] = { "dev.status", SHOW_TIMEOUT,
		{ "devs", SHAPE_LIST, SHAPE_REQUIRED, &status_shape } },
	[OP_DEV_VSTATS] = { "dev.vstats", SHOW_TIMEOUT,
		{ "queues", SHAPE_LIST, SHAPE_REQUIRED, &vstats_shape } },
	[OP_DEV_ADD] = { .method = "dev.add", .timeout_s = CHANGE_TIMEOUT },
	[OP_DEV_DEL] = { .method = "dev.del", .timeout_s = CHANGE_TIMEOUT },
	[OP_DEV_SET] = { .method = "dev.set", .timeout_s = CHANGE_TIMEOUT },
	[OP_DEV_UPGRADE] = { .method = "dev.upgrade", .timeout_s = CHANGE_TIMEOUT },
	[OP_DEV_DUMP] = { "dev.dump", CHANGE_TIMEOUT,
		{ "dump", SHAPE_OBJECT, SHAPE_REQUIRED, NULL } },
};

static const struct shape_key event_keys[] = {
	{ "event", SHAPE_TEXT, SHAPE_REQUIRED, NULL },
	{ "time_ms", SHAPE_NUMBER, SHAPE_REQUIRED, NULL },
	{ "dev", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "mgmtdev", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "text", SHAPE_TEXT, SHAPE_OPTIONAL, NULL },
	{ "count", SHAPE_NUMBER, SHAPE_OPTIONAL, NULL },
};
static const struct shape event_shape = SHAPE(event_keys);

struct watch {
	struct client *client;
	const char *socket;
};

static void cleanup_client(struct client **c)
{
	client_free(*c);
}
#define _cleanup_client_ __attribute__((cleanup(cleanup_client)))

static int check(const json_t *value, const struct shape *shape, const char *socket,
	const char *what, struct fault *why)
{
	char where[160];

	if (shape_fits(value, shape, where, sizeof(where)))
		return 0;
	return fault_set(why, -EBADMSG, "vdpad at %s answers %s with nonsense: %s is missing or of "
		"the wrong kind (are vdpa and vdpad of the same version?)", socket, what,
		*where ? where : "it");
}

static int daemon_ask(const struct backend_options *options, enum operation op, json_t *facts,
	json_t **ret, struct fault *why)
{
	const struct shape_key *answer = &methods[op].answer;
	const struct shape shape = { .keys = answer, .n_keys = answer->name ? 1 : 0 };
	_cleanup_client_ struct client *client = NULL;
	json_auto_t *result = NULL;
	int r = client_open(options->socket, methods[op].timeout_s, &client, why);

	if (r == 0)
		r = client_call(client, methods[op].method, facts, &result, why);
	if (r == 0)
		r = check(result, &shape, options->socket, methods[op].method, why);
	if (r < 0)
		return r;
	*ret = json_incref(answer->name ? json_object_get(result, answer->name) : result);
	return 0;
}

static int daemon_watch_open(const struct backend_options *options, const char *name,
	struct watch **ret, struct fault *why)
{
	_cleanup_client_ struct client *client = NULL;
	json_auto_t *params = json_pack("{s:s*}", "name", name), *result = NULL;
	_cleanup_free_ struct watch *watch = malloc(sizeof(*watch));
	int r;

	if (!params || !watch)
		return fault_set(why, -ENOMEM, "there is not enough memory");
	r = client_open(options->socket, SHOW_TIMEOUT, &client, why);
	if (r == 0)
		r = client_call(client, "monitor", params, &result, why);
	if (r < 0)
		return r;
	*watch = (struct watch){ .client = TAKE_PTR(client), .socket = options->socket };
	*ret = TAKE_PTR(watch);
	return 0;
}

static int daemon_watch_fd(const struct watch *watch)
{
	return client_fd(watch->client);
}

static int daemon_watch_next(struct watch *watch, json_t **ret, struct fault *why)
{
	json_auto_t *event = NULL;
	int r = client_event(watch->client, &event, why);

	if (r == -ECONNRESET)
		return fault_set(why, r, "vdpad at %s is gone: it ended or was restarted (begin "
			"again when it runs)", watch->socket);
	if (r == 0)
		r = check(event, &event_shape, watch->socket, "monitor", why);
	if (r < 0)
		return r;
	*ret = json_incref(event);
	return 0;
}

static void daemon_watch_close(struct watch *watch)
{
	client_free(watch->client);
	free(watch);
}

const struct backend daemon_backend = {
	.ask = daemon_ask,
	.watch_open = daemon_watch_open,
	.watch_fd = daemon_watch_fd,
	.watch_next = daemon_watch_next,
	.watch_close = daemon_watch_close,
};
