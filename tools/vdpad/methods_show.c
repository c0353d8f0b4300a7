/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What everybody may ask. Figures of a device come from its health block, which its worker writes when
 * it is asked to: so all devices that are shown are asked at once, and the answer is made when the
 * last one answered or its time was over. What did not answer is shown as it was, and said to be so.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/vdpad/backing.h"
#include "tools/vdpad/control.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/views.h"
#include "vdpa/base/clock.h"

#define REFRESH_MS 1000

/* One request that waits for workers. */
struct gathering {
	struct request *q;
	json_t *params;
	json_t *(*view)(struct device *dev, json_t *params);
	const char *key; /* of the list in the result; NULL: the one view is the result */
	size_t n_pending;
};

struct asked {
	struct gathering *gathering;
	struct device *dev;
};

static json_t *result_of(const struct gathering *g, json_t *list)
{
	json_t *only;

	if (g->key)
		return json_pack("{s:o}", g->key, list);
	only = json_incref(json_array_get(list, 0));
	json_decref(list);
	return only;
}

static void finish(struct gathering *g)
{
	const char *name = param_text(g->params, "name");
	json_t *list = json_array();
	struct device *dev;
	struct failure why;

	TAILQ_FOREACH(dev, &g->q->vdpad->devices, link) {
		json_t *view = NULL;

		if (!name || strcmp(dev->spec.name, name) == 0)
			view = g->view(dev, g->params);
		if (view)
			json_array_append_new(list, view);
	}
	if (name && !device_find(g->q->vdpad, name)) {
		json_decref(list);
		failure_set(&why, FAILURE_NOT_FOUND, "%s was deleted meanwhile", name);
		request_fail(g->q, &why);
	} else {
		request_answer(g->q, result_of(g, list));
	}
	json_decref(g->params);
	free(g);
}

static void one_less(struct gathering *g)
{
	if (--g->n_pending == 0)
		finish(g);
}

static void on_refreshed(void *arg, struct channel_answer *answer)
{
	struct asked *asked = arg;

	if (answer->status != -ECANCELED) /* else it is gone */
		asked->dev->stale = answer->status < 0;
	one_less(asked->gathering);
	free(asked);
}

static void on_status(void *arg, struct channel_answer *answer)
{
	struct asked *asked = arg;

	if (answer->status == 0)
		device_take_status(asked->dev, answer);
	one_less(asked->gathering);
	free(asked);
}

static void ask(struct gathering *g, struct device *dev, enum shim_kind kind, size_t answer_size,
	channel_done done)
{
	struct asked *asked = malloc(sizeof(*asked));

	if (!asked)
		return;
	*asked = (struct asked){ .gathering = g, .dev = dev };
	if (channel_call(dev->shim, &(struct channel_request){
		    .kind = kind, .answer_size = answer_size, .deadline_ms = REFRESH_MS,
		    .done = done, .arg = asked }) == 0)
		g->n_pending++;
	else
		free(asked);
}

/* Answers with @view of each device that is named, or of all, when they are up to date. */
static int gather(struct request *q, json_t *params, const char *key,
	json_t *(*view)(struct device *dev, json_t *params), struct failure *why)
{
	const char *name = param_text(params, "name");
	struct gathering *g;
	struct device *dev;

	if (name && !param_device(q, params, why))
		return -1;
	g = calloc(1, sizeof(*g));
	if (!g)
		return failure_set(why, FAILURE_INTERNAL, "there is not enough memory");
	*g = (struct gathering){ .q = q, .params = json_incref(params), .view = view, .key = key,
		.n_pending = 1 };
	TAILQ_FOREACH(dev, &q->vdpad->devices, link) {
		dev->stale = false;
		if ((name && strcmp(name, dev->spec.name) != 0) || !dev->shim)
			continue;
		ask(g, dev, SHIM_HELLO, sizeof(struct shim_status), on_status);
		ask(g, dev, SHIM_REFRESH, 0, on_refreshed);
	}
	one_less(g);
	return 0;
}

int method_dev_config(struct request *q, json_t *params, struct failure *why)
{
	return gather(q, params, "devs", view_config, why);
}

int method_dev_status(struct request *q, json_t *params, struct failure *why)
{
	return gather(q, params, "devs", view_status, why);
}

int method_dev_migration(struct request *q, json_t *params, struct failure *why)
{
	return gather(q, params, "devs", view_migration, why);
}

int method_dev_vstats(struct request *q, json_t *params, struct failure *why)
{
	const json_t *qidx = json_object_get(params, "qidx");
	struct device *dev = param_device(q, params, why);
	struct device_facts facts;

	if (!dev)
		return -1;
	device_facts(dev, &facts);
	if (qidx && (json_integer_value(qidx) < 0 ||
			    json_integer_value(qidx) >= facts.max_queues))
		return failure_set(why, FAILURE_INVALID, "%s: there is no queue %lld; it has 0 to %d",
			dev->spec.name, (long long)json_integer_value(qidx),
			(int)facts.max_queues - 1);
	return gather(q, params, NULL, view_vstats, why);
}

int method_dev_show(struct request *q, json_t *params, struct failure *why)
{
	const char *name = param_text(params, "name");
	json_t *list = json_array();
	struct device *dev;

	if (name && !param_device(q, params, why)) {
		json_decref(list);
		return -1;
	}
	TAILQ_FOREACH(dev, &q->vdpad->devices, link) {
		if (!name || strcmp(name, dev->spec.name) == 0)
			json_array_append_new(list, view_device(dev));
	}
	request_answer(q, json_pack("{s:o}", "devs", list));
	return 0;
}

int method_mgmtdev_show(struct request *q, json_t *params, struct failure *why)
{
	json_t *list = mgmtdevs_view(q->vdpad, param_text(params, "handle"), why);

	if (!list)
		return -1;
	request_answer(q, json_pack("{s:o}", "mgmtdevs", list));
	return 0;
}

int method_hello(struct request *q, json_t *params, struct failure *why)
{
	const struct vdpad *v = q->vdpad;

	request_answer(q, json_pack("{s:s,s:i,s:i,s:s,s:s,s:s,s:I,s:s}", "version", VDPAD_VERSION,
		"interface", 1, "pid", (int)getpid(), "role",
		q->role == ROLE_ADMIN ? "admin" : "read-only", "run_dir", v->run_dir, "state_dir",
		v->state_dir, "uptime_s", (json_int_t)((clock_now_ns() - v->started_ns) / NS_PER_S),
		"log_level", log_level_name(log_get_level())));
	return 0;
}
