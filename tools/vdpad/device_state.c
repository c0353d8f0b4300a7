/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * STATE/devices/NAME.json: the facts of one device, as they were asked for. Files are replaced whole
 * (vdpa/base/atomicfile.h). One that can't be understood is not guessed at: the device is skipped,
 * its processes and its file are left as they are, and the log says why.
 */
#include "tools/vdpad/device.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "tools/vdpad/nic.h"
#include "tools/vdpad/pci.h"
#include "tools/vdpad/standby.h"
#include "vdpa/base/atomicfile.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/features.h"

#define STATE_VERSION 1

static void path_of(const struct vdpad *v, const char *name, char ret[VDPAD_PATH_SIZE + NAME_MAX])
{
	snprintf(ret, VDPAD_PATH_SIZE + NAME_MAX, "%s/devices/%s.json", v->state_dir, name);
}

static json_t *to_json(const struct device_spec *spec)
{
	char mac[ETHERADDR_TEXT_SIZE], features[24];

	etheraddr_format(spec->mac, mac);
	snprintf(features, sizeof(features), "0x%llx", (unsigned long long)spec->features);
	return json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:i,s:i,s:s,s:s,s:b,s:s,s:b,s:s,s:s}", "version",
		STATE_VERSION, "name", spec->name, "mgmtdev", spec->mgmtdev, "vm", spec->vm, "socket",
		spec->socket, "worker", spec->worker, "mode", spec->client ? "client" : "server",
		"mac", mac, "spoof_check", spec->spoof_check, "link_up", spec->link_up, "mtu",
		spec->mtu, "max_vqp", spec->max_pairs, "features", features, "log_level",
		log_level_name(spec->log_level), "host_notifier", spec->host_notifier, "driver",
		spec->driver, "bind", spec->bind, "standby", spec->standby, "datapath",
		standby_datapath_name(spec->datapath));
}

int device_store(struct device *dev, struct failure *why)
{
	json_t *json = to_json(&dev->spec);
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
	char path[VDPAD_PATH_SIZE + NAME_MAX];
	int r;

	json_decref(json);
	path_of(dev->vdpad, dev->spec.name, path);
	r = text ? atomicfile_write(path, text, strlen(text), 0600) : -ENOMEM;
	if (r < 0)
		return failure_set(why, FAILURE_UNAVAILABLE,
			"%s: %s can't be written: %s; is the disk full?", dev->spec.name, path,
			strerror(-r));
	dev->stored = true;
	return 0;
}

void device_unstore(struct device *dev)
{
	char path[VDPAD_PATH_SIZE + NAME_MAX];
	int r;

	if (!dev->stored)
		return;
	path_of(dev->vdpad, dev->spec.name, path);
	r = atomicfile_remove(path);
	if (r < 0)
		log_error("%s can't be removed: %s; the device will be there again", path,
			strerror(-r));
	dev->stored = false;
}

static int take_text(const char *text, char *ret, size_t size)
{
	if (strlen(text) >= size)
		return -EINVAL;
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

/* A PCI function's own facts are 0. */
static bool facts_ok(const char *mgmtdev, int mtu, int pairs)
{
	if (backing_of(mgmtdev) == &backing_pci)
		return pci_name_ok(backing_function(mgmtdev)) && mtu >= 0 && mtu <= UINT16_MAX &&
		       pairs >= 0 && pairs <= QUEUE_MAX / 2;
	return mtu >= 68 && mtu <= UINT16_MAX && pairs >= 1 && pairs <= SIM_MAX_PAIRS;
}

/* Return: 0, or -EINVAL when it is not what to_json() writes. */
static int from_json(json_t *json, struct device_spec *ret)
{
	const char *name, *mgmtdev, *vm, *socket, *worker, *mode, *mac, *features, *level;
	const char *standby = "", *datapath = "direct";
	const char *driver = "sim"; /* in the place of all that was not there at first */
	int version, spoof_check, link_up, mtu, pairs, host_notifier = false, bind = false;

	if (json_unpack_ex(json, NULL, JSON_STRICT,
		    "{s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:i,s:i,s:s,s:s,s?b,s?s,s?b,s?s,s?s}", "version", &version,
		    "name", &name, "mgmtdev", &mgmtdev, "vm", &vm, "socket", &socket, "worker",
		    &worker, "mode", &mode, "mac", &mac, "spoof_check", &spoof_check, "link_up",
		    &link_up, "mtu", &mtu, "max_vqp", &pairs, "features", &features, "log_level",
		    &level, "host_notifier", &host_notifier, "driver", &driver, "bind", &bind, "standby",
		    &standby, "datapath", &datapath) < 0 ||
		version != STATE_VERSION)
		return -EINVAL;
	if (!name_ok(name) || !name_ok(vm) || *socket != '/' || (*worker && *worker != '/') ||
		!facts_ok(mgmtdev, mtu, pairs) || (strcmp(mode, "client") != 0 && strcmp(mode, "server") != 0))
		return -EINVAL;
	*ret = (struct device_spec){
		.client = *mode == 'c',
		.host_notifier = host_notifier,
		.bind = bind,
		.spoof_check = spoof_check,
		.link_up = link_up,
		.mtu = (uint16_t)mtu,
		.max_pairs = (uint16_t)pairs,
	};
	if (take_text(name, ret->name, sizeof(ret->name)) < 0 ||
		take_text(mgmtdev, ret->mgmtdev, sizeof(ret->mgmtdev)) < 0 ||
		take_text(driver, ret->driver, sizeof(ret->driver)) < 0 ||
		take_text(standby, ret->standby, sizeof(ret->standby)) < 0 ||
		standby_datapath_parse(datapath, &ret->datapath) < 0 ||
		take_text(vm, ret->vm, sizeof(ret->vm)) < 0 ||
		take_text(socket, ret->socket, sizeof(ret->socket)) < 0 ||
		take_text(worker, ret->worker, sizeof(ret->worker)) < 0 ||
		features_parse(features, &ret->features) < 0 ||
		log_level_parse(level, &ret->log_level) < 0)
		return -EINVAL;
	return etheraddr_parse(mac, ret->mac);
}

static int skip(struct vdpad *v, const char *name)
{
	struct skipped *skipped = calloc(1, sizeof(*skipped));

	if (!skipped)
		return -ENOMEM;
	snprintf(skipped->name, sizeof(skipped->name), "%s", name);
	SLIST_INSERT_HEAD(&v->skipped, skipped, link);
	return 0;
}

bool device_is_skipped(const struct vdpad *v, const char *name)
{
	const struct skipped *skipped;

	SLIST_FOREACH(skipped, &v->skipped, link) {
		if (strcmp(skipped->name, name) == 0)
			return true;
	}
	return false;
}

/* Return: 0 loaded or skipped; -ENOMEM. */
static int load_one(struct vdpad *v, const char *name)
{
	char path[VDPAD_PATH_SIZE + NAME_MAX];
	struct device_spec spec;
	struct device *dev;
	json_error_t error;
	json_t *json;
	int r;

	path_of(v, name, path);
	json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	r = json ? from_json(json, &spec) : -EINVAL;
	if (r == 0 && strcmp(spec.name, name) != 0)
		r = -EINVAL;
	if (r < 0) {
		log_error("%s: %s; the device is left alone", path,
			json ? "not of a form that this vdpad writes; was it written by a newer one?"
			     : error.text);
		json_decref(json);
		return skip(v, name);
	}
	json_decref(json);
	r = device_new(v, &spec, &dev);
	if (r == 0)
		dev->stored = true;
	return r;
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), n_end = strlen(end);

	return n > n_end && strcmp(text + n - n_end, end) == 0;
}

int devices_load(struct vdpad *v)
{
	char folder[VDPAD_PATH_SIZE];
	struct dirent *entry;
	DIR *dir;
	int r = 0;

	snprintf(folder, sizeof(folder), "%s/devices", v->state_dir);
	dir = opendir(folder);
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		char *name = entry->d_name;

		if (ends_with(name, ".json.new")) { /* its writer died */
			unlinkat(dirfd(dir), name, 0);
		} else if (ends_with(name, ".json")) {
			name[strlen(name) - 5] = '\0';
			if (name_ok(name))
				r = load_one(v, name);
		}
	}
	closedir(dir);
	return r;
}
