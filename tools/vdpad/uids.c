/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file of owners and their ids, {"version":1,"next":800001,"uids":{"device:vm1":800000}}. Ids are
 * handed out in a circle, so that one that was freed is not used again at once: whatever its last
 * owner left behind stays foreign to the next one for long. The state folder's lock makes us the only
 * writer.
 */
#include "tools/vdpad/uids.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "vdpa/base/atomicfile.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/log.h"

#define UIDS_VERSION 1
#define UID_LEAST    1000 /* of the configuration's worker_uids */

struct uids {
	char *path;
	uid_t first, last, next;
	json_t *by_owner;
};

static unsigned int count_owners(const struct uids *u, json_int_t id)
{
	unsigned int n = 0;
	const char *owner;
	json_t *value;

	json_object_foreach(u->by_owner, owner, value)
		n += json_integer_value(value) == id;
	return n;
}

/* An id that nobody would have been given: root's would be worst; or one for two owners. */
static bool entry_ok(const struct uids *u, const json_t *uid)
{
	json_int_t id = json_integer_value(uid);

	return json_is_integer(uid) && id >= UID_LEAST && id <= INT32_MAX &&
	       count_owners(u, id) == 1;
}

static int load(struct uids *u, struct failure *why)
{
	json_error_t error;
	json_t *file = json_load_file(u->path, JSON_REJECT_DUPLICATES, &error);
	int version = 0;
	const char *owner;
	json_t *uid;

	if (!file) {
		if (access(u->path, F_OK) < 0 && errno == ENOENT)
			return 0;
		return failure_set(why, FAILURE_INVALID, "%s is damaged: %s; remove it when no device is left",
			u->path, error.text);
	}
	if (json_unpack(file, "{s:i,s:i,s:o}", "version", &version, "next", &u->next, "uids", &uid) < 0 ||
		version != UIDS_VERSION || !json_is_object(uid)) {
		json_decref(file);
		return failure_set(why, FAILURE_INVALID,
			"%s is not of a form that this vdpad knows; was it written by a newer one?", u->path);
	}
	json_decref(u->by_owner);
	u->by_owner = json_incref(uid);
	json_decref(file);
	json_object_foreach(u->by_owner, owner, uid) {
		if (!entry_ok(u, uid))
			return failure_set(why, FAILURE_INVALID, "%s is damaged at %s", u->path, owner);
	}
	return 0;
}

static int save(struct uids *u)
{
	json_t *file = json_pack("{s:i,s:I,s:O}", "version", UIDS_VERSION, "next",
		(json_int_t)u->next, "uids", u->by_owner);
	_cleanup_free_ char *text = file ? json_dumps(file, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;

	json_decref(file);
	return text ? atomicfile_write(u->path, text, strlen(text), 0600) : -ENOMEM;
}

int uids_open(const char *path, uid_t first, uid_t last, struct uids **ret, struct failure *why)
{
	struct uids *u = calloc(1, sizeof(*u));
	int r = 0;

	if (u) {
		u->first = u->next = first;
		u->last = last;
		u->path = strdup(path);
		u->by_owner = json_object();
	}
	if (!u || !u->path || !u->by_owner)
		r = failure_set(why, FAILURE_INTERNAL, "there is not enough memory");
	else
		r = load(u, why);
	if (r < 0) {
		uids_free(u);
		return r;
	}
	*ret = u;
	return 0;
}

void uids_free(struct uids *u)
{
	if (!u)
		return;
	json_decref(u->by_owner);
	free(u->path);
	free(u);
}

static bool taken(const struct uids *u, uid_t id)
{
	return count_owners(u, (json_int_t)id) > 0;
}

static uid_t after(const struct uids *u, uid_t id)
{
	return id < u->first || id >= u->last ? u->first : id + 1;
}

int uids_get(struct uids *u, const char *owner, uid_t *ret, struct failure *why)
{
	json_t *known = json_object_get(u->by_owner, owner);
	uid_t id = u->next < u->first || u->next > u->last ? u->first : u->next, begin = id;
	int r;

	if (known) {
		*ret = (uid_t)json_integer_value(known);
		return 0;
	}
	while (taken(u, id)) {
		id = after(u, id);
		if (id == begin)
			return failure_set(why, FAILURE_UNAVAILABLE,
				"all user ids from %u to %u are in use; widen worker_uids",
				(unsigned int)u->first, (unsigned int)u->last);
	}
	if (json_object_set_new(u->by_owner, owner, json_integer((json_int_t)id)) < 0)
		return failure_set(why, FAILURE_INTERNAL, "there is not enough memory");
	u->next = after(u, id);
	r = save(u);
	if (r < 0) {
		json_object_del(u->by_owner, owner);
		return failure_set(why, FAILURE_INTERNAL, "%s can't be written: %s", u->path,
			strerror(-r));
	}
	*ret = id;
	return 0;
}

static void save_or_warn(struct uids *u)
{
	int r = save(u);

	if (r < 0)
		log_warning("%s can't be written: %s", u->path, strerror(-r));
}

void uids_put(struct uids *u, const char *owner)
{
	if (json_object_del(u->by_owner, owner) == 0)
		save_or_warn(u);
}

void uids_put_where(struct uids *u, bool (*gone)(void *arg, const char *owner), void *arg)
{
	const char *owner;
	json_t *value;
	bool any = false;
	void *next;

	json_object_foreach_safe(u->by_owner, next, owner, value) {
		if (!gone(arg, owner))
			continue;
		json_object_del(u->by_owner, owner);
		any = true;
	}
	if (any)
		save_or_warn(u);
}
