/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What admins do with devices. Everything that a user can get wrong is checked here, before anything
 * is made; each message names the object, the reason and the remedy.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <unistd.h>

#include "tools/vdpad/backing.h"
#include "tools/vdpad/control.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/standby.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/features.h"

static int read_name(json_t *params, const char *key, char ret[NAME_SIZE], struct failure *why)
{
	const char *text = param_text(params, key);

	if (!name_ok(text))
		return failure_set(why, FAILURE_INVALID,
			"%s \"%.80s\" is not possible; a name has 1 to %d letters, digits, '.', '_' "
			"and '-', and begins with neither '.' nor '-'", key, text, NAME_MAX_LENGTH);
	strcpy(ret, text);
	return 0;
}

static int read_mac(const char *text, uint8_t ret[ETHERADDR_SIZE], struct failure *why)
{
	if (etheraddr_parse(text, ret) < 0)
		return failure_set(why, FAILURE_INVALID,
			"mac %.40s is not an Ethernet address; it has six groups, as 52:54:00:12:34:56",
			text);
	if (!etheraddr_ok_for_device(ret))
		return failure_set(why, FAILURE_INVALID,
			"mac %s can't be a device's: it is zero or a group's; the first byte is even "
			"in a device's address", text);
	return 0;
}

static int read_number(json_t *params, const char *key, json_int_t least, json_int_t most,
	uint16_t *ret, struct failure *why)
{
	const json_t *value = json_object_get(params, key);

	if (!value)
		return 0;
	if (json_integer_value(value) < least || json_integer_value(value) > most)
		return failure_set(why, FAILURE_INVALID, "%s %lld is not possible; %lld to %lld are",
			key, (long long)json_integer_value(value), (long long)least,
			(long long)most);
	*ret = (uint16_t)json_integer_value(value);
	return 0;
}

static int read_features(const char *text, const struct mgmtdev *m, uint64_t *ret, struct failure *why)
{
	uint64_t value;

	if (!text)
		return 0;
	if (features_parse(text, &value) < 0)
		return failure_set(why, FAILURE_INVALID,
			"features %.40s are no hexadecimal number of 64 bits", text);
	if (value & ~m->features)
		return failure_set(why, FAILURE_INVALID,
			"features 0x%llx: %s does not have 0x%llx of them; it has 0x%llx",
			(unsigned long long)value, m->handle,
			(unsigned long long)(value & ~m->features), (unsigned long long)m->features);
	*ret = value;
	return 0;
}

/*
 * Whether the device serves the control queue is the feature bit. Most front-ends serve it themselves;
 * so none of the bits that belong to it is offered unless somebody asked for it.
 */
static int read_control(json_t *params, const struct mgmtdev *m, struct device_spec *ret,
	struct failure *why)
{
	bool wanted = json_is_true(json_object_get(params, "ctrl_vq"));
	bool all = param_text(params, "features") == NULL;

	if (wanted && !(m->features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ)))
		return failure_set(why, FAILURE_INVALID,
			"ctrl_vq on: %s does not serve control queues; leave it away", m->handle);
	if (wanted && ret->max_pairs > m->max_control_pairs)
		return failure_set(why, FAILURE_INVALID,
			"ctrl_vq on: with it max_vqp %u is not possible; 1 to %d are", ret->max_pairs,
			m->max_control_pairs);
	if (!wanted && all)
		ret->features &= ~(uint64_t)DEVICE_CONTROL_FEATURES;
	if (!wanted && ret->features & DEVICE_CONTROL_FEATURES)
		return failure_set(why, FAILURE_INVALID,
			"features 0x%llx: 0x%llx of them belong to a control queue of the device; "
			"leave them away, or say ctrl_vq on",
			(unsigned long long)ret->features,
			(unsigned long long)(ret->features & DEVICE_CONTROL_FEATURES));
	if (wanted && !device_wants_control(ret))
		return failure_set(why, FAILURE_INVALID,
			"features 0x%llx: ctrl_vq on needs 0x%llx too",
			(unsigned long long)ret->features, BIT_ULL(VIRTIO_NET_F_CTRL_VQ));
	return 0;
}

static int read_mode(const char *text, bool *ret, struct failure *why)
{
	if (!text)
		return 0;
	if (strcmp(text, "server") != 0 && strcmp(text, "client") != 0)
		return failure_set(why, FAILURE_INVALID, "mode %.40s is not possible; server or client is",
			text);
	*ret = *text == 'c';
	return 0;
}

static int read_socket(struct vdpad *v, const char *text, const char *name,
	char ret[SHIM_PATH_SIZE], struct failure *why)
{
	char path[VDPAD_PATH_SIZE];
	const struct device *dev;

	if (!text) {
		snprintf(path, sizeof(path), "%s/vhost/%s.sock", v->run_dir, name);
		text = path;
	}
	if (*text != '/')
		return failure_set(why, FAILURE_INVALID, "socket %.80s is no absolute path", text);
	if (strlen(text) >= SHIM_PATH_SIZE)
		return failure_set(why, FAILURE_INVALID,
			"socket %.120s is too long: %zu bytes, %d are possible; choose a shorter path",
			text, strlen(text), SHIM_PATH_SIZE - 1);
	dev = device_with_socket(v, text);
	if (dev)
		return failure_set(why, FAILURE_EXISTS,
			"socket %s is that of device %s; choose another path", text, dev->spec.name);
	strcpy(ret, text);
	return 0;
}

static int check_new_name(struct vdpad *v, const char *name, struct failure *why)
{
	if (device_find(v, name))
		return failure_set(why, FAILURE_EXISTS,
			"there is a device %s already; choose another name, or delete it first", name);
	if (device_is_skipped(v, name))
		return failure_set(why, FAILURE_EXISTS,
			"%s is a device whose file in %s/devices can't be read; restart vdpad when that "
			"is mended or removed", name, v->state_dir);
	return 0;
}

/* Who it is, and on which NIC. */
static int read_identity(struct vdpad *v, json_t *params, struct device_spec *ret,
	struct mgmtdev *ret_mgmtdev, struct failure *why)
{
	int r = read_name(params, "name", ret->name, why);

	if (r == 0)
		r = check_new_name(v, ret->name, why);
	if (r == 0)
		r = mgmtdev_get(v, param_text(params, "mgmtdev"), ret->bind, ret_mgmtdev, why);
	if (r < 0)
		return r;
	strcpy(ret->mgmtdev, ret_mgmtdev->handle);
	strcpy(ret->driver, ret_mgmtdev->worker_driver);
	strcpy(ret->vm, ret->name);
	return param_text(params, "vm") ? read_name(params, "vm", ret->vm, why) : 0;
}

/* What the guest sees. */
static int read_facts(json_t *params, const struct mgmtdev *m, struct device_spec *ret, struct failure *why)
{
	const char *mac = param_text(params, "mac");
	int r = 0;

	ret->features = m->backing->own_facts ? UINT64_MAX : m->features;
	ret->mtu = m->default_mtu;
	ret->max_pairs = m->default_pairs;
	if (mac)
		r = read_mac(mac, ret->mac, why);
	else if (!m->backing->own_facts && etheraddr_random(ret->mac) < 0)
		r = failure_set(why, FAILURE_INTERNAL, "no random address can be made");
	if (r == 0)
		r = read_number(params, "mtu", 68, UINT16_MAX, &ret->mtu, why);
	if (r == 0)
		r = read_number(params, "max_vqp", 1, m->max_pairs, &ret->max_pairs, why);
	if (r == 0)
		r = read_features(param_text(params, "features"), m, &ret->features, why);
	return r < 0 ? r : read_control(params, m, ret, why);
}

/* A check of source addresses is simnic's, or that of a function's PF. */
static int read_spoof_check(json_t *params, const struct mgmtdev *m, struct device_spec *ret,
	struct failure *why)
{
	const json_t *value = json_object_get(params, "spoof_check");

	ret->spoof_check = value ? json_is_true(value)
				 : !m->backing->own_facts && param_text(params, "mac") != NULL;
	if (ret->spoof_check && m->backing->own_facts)
		return failure_set(why, FAILURE_INVALID,
			"spoof_check on: %s can't be told from here; leave it away, and say it to a VF's PF "
			"with ip link set PF vf N spoofchk on", m->handle);
	return 0;
}

static int read_spec(struct vdpad *v, json_t *params, struct device_spec *ret, struct failure *why)
{
	struct mgmtdev m;
	int r;

	*ret = (struct device_spec){
		.link_up = true,
		.bind = json_is_true(json_object_get(params, "bind")),
		.host_notifier = json_is_true(json_object_get(params, "host_notifier")),
		.log_level = v->config.log_level,
	};
	r = read_identity(v, params, ret, &m, why);
	if (r == 0)
		r = read_facts(params, &m, ret, why);
	if (r == 0)
		r = read_spoof_check(params, &m, ret, why);
	if (r == 0)
		r = read_mode(param_text(params, "mode"), &ret->client, why);
	if (r == 0)
		r = standby_read(v, params, ret, NULL, why);
	if (r == 0)
		r = read_socket(v, param_text(params, "socket"), ret->name, ret->socket, why);
	return r;
}

static void on_added(void *arg, struct device *dev, int status, const struct failure *why)
{
	struct request *q = arg;
	struct failure reason = *why; /* it is the device's, which goes before the answer is there */

	if (status == 0) {
		event_send(q->vdpad, "added", "dev", dev->spec.name, "");
		request_answer(q, json_object());
		return;
	}
	device_put_uid(dev);
	device_free(dev);
	request_fail(q, &reason);
}

int method_dev_add(struct request *q, json_t *params, struct failure *why)
{
	struct device_spec spec;
	struct device *dev;
	int r = read_spec(q->vdpad, params, &spec, why);

	if (r < 0)
		return r;
	if (device_new(q->vdpad, &spec, &dev) < 0)
		return failure_set(why, FAILURE_INTERNAL, "there is not enough memory");
	device_start(dev, on_added, q);
	return 0;
}

/* Return: the device named, when nothing else is done with it; NULL with @why. */
static struct device *claim(struct request *q, json_t *params, struct failure *why)
{
	struct device *dev = param_device(q, params, why);

	if (dev && (dev->busy || dev->phase == DEVICE_STARTING || dev->phase == DEVICE_ENDING)) {
		failure_set(why, FAILURE_BUSY, "%s: something else is done with it; try again",
			dev->spec.name);
		return NULL;
	}
	return dev;
}

static void on_done(void *arg, struct device *dev, int status, const struct failure *why)
{
	if (status < 0)
		request_fail(arg, why);
	else
		request_answer(arg, json_object());
}

int method_dev_del(struct request *q, json_t *params, struct failure *why)
{
	struct device *dev = claim(q, params, why);

	if (!dev)
		return -1;
	if (dev->phase == DEVICE_FINDING)
		return failure_set(why, FAILURE_UNAVAILABLE,
			"%s: %s; end the process \"vdpa-shim --name %s\", then try again",
			dev->spec.name, dev->reason, dev->spec.name);
	device_end(dev, on_done, q);
	return 0;
}

static int read_link(const char *text, bool *ret, struct failure *why)
{
	if (!text)
		return 0;
	if (strcmp(text, "up") != 0 && strcmp(text, "down") != 0)
		return failure_set(why, FAILURE_INVALID, "link %.40s is not possible; up or down is",
			text);
	*ret = *text == 'u';
	return 0;
}

static int read_changes(json_t *params, struct device_spec *spec, struct failure *why)
{
	const json_t *spoof_check = json_object_get(params, "spoof_check");
	const char *mac = param_text(params, "mac"), *level = param_text(params, "log_level");

	if (json_object_size(params) < 2)
		return failure_set(why, FAILURE_INVALID,
			"%s: nothing to set; possible are mac, mtu, spoof_check, log_level, link and "
			"datapath",
			spec->name);
	if (spoof_check)
		spec->spoof_check = json_is_true(spoof_check);
	if (level && log_level_parse(level, &spec->log_level) < 0)
		return failure_set(why, FAILURE_INVALID,
			"log_level %.40s is not possible; error, warning, info and debug are", level);
	if (mac && read_mac(mac, spec->mac, why) < 0)
		return -1;
	if (read_number(params, "mtu", 68, UINT16_MAX, &spec->mtu, why) < 0)
		return -1;
	return read_link(param_text(params, "link"), &spec->link_up, why);
}

int method_dev_set(struct request *q, json_t *params, struct failure *why)
{
	struct device *dev = claim(q, params, why);
	struct device_spec spec;
	bool now = false;

	if (!dev)
		return -1;
	spec = dev->spec;
	if (read_changes(params, &spec, why) < 0 || standby_read(q->vdpad, params, &spec, &now, why) < 0 || dev->backing->may_change(dev, &spec, why) < 0)
		return -1;
	dev->datapath_now = now;
	device_change(dev, &spec, on_done, q);
	return 0;
}

int method_dev_upgrade(struct request *q, json_t *params, struct failure *why)
{
	struct device *dev = claim(q, params, why);
	const char *worker = param_text(params, "worker");

	if (!dev)
		return -1;
	if (!worker)
		worker = "";
	if (*worker && (*worker != '/' || strlen(worker) >= sizeof(dev->spec.worker)))
		return failure_set(why, FAILURE_INVALID,
			"worker %.80s is no absolute path of less than %zu bytes", worker,
			sizeof(dev->spec.worker));
	if (*worker && access(worker, X_OK) < 0)
		return failure_set(why, FAILURE_INVALID, "worker %.200s can't be run: %s", worker,
			strerror(errno));
	device_upgrade(dev, worker, on_done, q);
	return 0;
}
