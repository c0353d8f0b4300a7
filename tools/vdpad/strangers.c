/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * STATE says which devices there are. A shim, function or user id beyond that was left by a vdpad
 * that died between two steps. A device whose file in STATE can't be read is no stranger: it may
 * serve a virtual machine, so all that is its own is left alone.
 */
#include "tools/vdpad/strangers.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tools/vdpad/device.h"
#include "tools/vdpad/listener.h"
#include "tools/vdpad/nic.h"
#include "tools/vdpad/uids.h"
#include "vdpa/base/cleanup.h"

#define STOP_MS	      10000
#define FIRST_WAIT_MS 100
#define LAST_WAIT_MS  12800 /* each wait is twice as long as the one before: 25 s in all */

static bool is_known(struct vdpad *v, const char *name)
{
	return device_is_skipped(v, name) || device_find(v, name);
}

/* A shim that is asked who it is, then told to end. */
struct stranger {
	struct vdpad *vdpad;
	struct channel *channel;
	char name[NAME_MAX + 1];
	char path[VDPAD_PATH_SIZE + NAME_MAX];
};

static void stranger_lost(void *arg)
{
	struct stranger *s = arg;

	log_info("shim of %s, which is no device any more: ended", s->name);
	listener_remove(s->path);
	channel_free(s->channel);
	free(s);
}

static void on_stopping(void *arg, struct channel_answer *answer)
{
	struct stranger *s = arg;

	if (answer->status == -ETIMEDOUT)
		log_error("shim of %s, which is no device any more, does not end", s->name);
}

/* Its front-end socket goes too, unless some device has that path by now. */
static void on_hello(void *arg, struct channel_answer *answer)
{
	struct stranger *s = arg;
	struct shim_status status;

	if (answer->status < 0)
		return;
	memcpy(&status, answer->payload, sizeof(status));
	status.spec.socket_path[sizeof(status.spec.socket_path) - 1] = '\0';
	if (status.version == SHIM_WIRE_VERSION && status.state != SHIM_WAITING &&
		!(status.spec.flags & SHIM_SPEC_CLIENT) && status.spec.socket_path[0] == '/' &&
		!device_with_socket(s->vdpad, status.spec.socket_path))
		listener_remove(status.spec.socket_path);
}

static int ask(struct stranger *s, enum shim_kind kind, size_t answer_size, channel_done done)
{
	return channel_call(s->channel, &(struct channel_request){
		.kind = kind, .answer_size = answer_size, .deadline_ms = STOP_MS, .done = done,
		.arg = s });
}

static void end_shim(struct vdpad *v, const char *name, const char *path)
{
	struct stranger *s = calloc(1, sizeof(*s));
	const struct channel_owner owner = { .on_lost = stranger_lost, .arg = s };
	int r;

	if (!s)
		return;
	s->vdpad = v;
	snprintf(s->name, sizeof(s->name), "%s", name);
	snprintf(s->path, sizeof(s->path), "%s", path);
	r = channel_open(v->event, path, &owner, &s->channel);
	if (r == 0)
		r = ask(s, SHIM_HELLO, sizeof(struct shim_status), on_hello);
	if (r == 0)
		r = ask(s, SHIM_STOP, 0, on_stopping);
	if (r == 0)
		return;
	if (r == -ECONNREFUSED)
		listener_remove(path);
	else
		log_error("%s: %s", path, strerror(-r));
	channel_free(s->channel);
	free(s);
}

/* Calls @remove for each NAME.sock in RUN/@folder whose name no device has. */
static void each_stranger(struct vdpad *v, const char *folder,
	void (*remove)(struct vdpad *v, const char *name, const char *path))
{
	char path[VDPAD_PATH_SIZE], file[VDPAD_PATH_SIZE + NAME_MAX], name[NAME_MAX + 1];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", v->run_dir, folder);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		size_t n = strlen(entry->d_name);

		if (n <= 5 || strcmp(entry->d_name + n - 5, ".sock") != 0)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(n - 5), entry->d_name);
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (name_ok(name) && !is_known(v, name))
			remove(v, name, file);
	}
	closedir(dir);
}

void strangers_remove_shims(struct vdpad *v)
{
	each_stranger(v, "shim", end_shim);
}

static int on_socket_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct vdpad *v = arg;

	v->socket_timer = sd_event_source_disable_unref(v->socket_timer);
	strangers_remove_sockets(v);
	return 0;
}

/* Sockets that are served now are looked at once more, and again, but not for ever. */
static void look_again(struct vdpad *v)
{
	if (v->socket_timer || v->socket_wait_ms >= LAST_WAIT_MS)
		return;
	v->socket_wait_ms = v->socket_wait_ms ? 2 * v->socket_wait_ms : FIRST_WAIT_MS;
	if (sd_event_add_time_relative(v->event, &v->socket_timer, CLOCK_MONOTONIC,
		    v->socket_wait_ms * 1000, 1000, on_socket_timer, v) < 0)
		log_error("no timer can be made: sockets that nobody needs may be left in %s/vhost",
			v->run_dir);
}

/*
 * Most are removed with their shims, whose listening sockets they are; these were not handed over, or a shim
 * or worker that is about to end still has them: a shim that was never configured can't say what it was given.
 */
static void remove_socket(struct vdpad *v, const char *name, const char *path)
{
	if (device_with_socket(v, path))
		return;
	if (listener_is_served(path, SOCK_STREAM))
		look_again(v);
	else
		listener_remove(path);
}

void strangers_remove_sockets(struct vdpad *v)
{
	each_stranger(v, "vhost", remove_socket);
}

void strangers_remove_functions(struct nic *nic)
{
	for (size_t i = 0; i < nic->n_functions; i++) {
		const struct sim_function *function = &nic->functions[i];

		if (is_known(nic->vdpad, function->name))
			continue;
		log_info("%s: function %s is no device any more: removed", nic->handle,
			function->name);
		nic_call(nic, SIM_ADMIN_DEL, function, NULL, NULL);
	}
}

static bool uid_is_strange(void *arg, const char *owner)
{
	return strncmp(owner, "device:", 7) == 0 && !is_known(arg, owner + 7);
}

void strangers_remove_uids(struct vdpad *v)
{
	if (v->uids)
		uids_put_where(v->uids, uid_is_strange, v);
}
