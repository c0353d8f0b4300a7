/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Other facts for a device that runs, in three steps: the NIC, the shim, STATE. STATE is last: a
 * vdpad that dies before leaves it as it was, and the next one tells the NIC and the shim again. When
 * a step fails, those before it are told the old facts.
 */
#include "tools/vdpad/device.h"

#include <errno.h>
#include <string.h>

#include "tools/vdpad/standby.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/printable.h"

#define UPGRADE_MS   30000 /* the shim's own deadline for it is shorter */
#define SHIM_REFUSES "its shim does not take the change"

static void finish(struct device *dev, int r)
{
	struct vdpad *v = dev->vdpad;
	device_done done = dev->done;

	dev->busy = false;
	dev->datapath_now = false; /* what failed before the shim was told is not wanted any more */
	done(dev->done_arg, dev, r, &dev->why);
	devices_start_more(v); /* its shim may have ended meanwhile */
}

int device_tell_shim(struct device *dev, channel_done done)
{
	struct shim_spec spec;
	int r = device_shim_spec(dev, &spec, &dev->why);

	if (dev->datapath_now)
		spec.flags |= SHIM_SPEC_NOW;
	dev->datapath_now = false;
	return r < 0 ? r : device_call(dev, SHIM_SET_SPEC, &spec, sizeof(spec), -1, 0,
				   DEVICE_CALL_MS, done);
}

static void go_back(struct device *dev)
{
	dev->spec = dev->old_spec;
	dev->datapath_now = false;
	if (dev->backing->change)
		dev->backing->change(dev, NULL, NULL);
	standby_change(dev);
	device_tell_shim(dev, NULL);
}

static void on_shim_told(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = 0;

	if (answer->status < 0)
		r = device_fail(dev, SHIM_REFUSES, answer->status);
	if (r == 0)
		r = device_store(dev, &dev->why);
	if (r < 0)
		go_back(dev);
	else
		event_send(dev->vdpad, "changed", "dev", dev->spec.name, "");
	finish(dev, r);
}

static void on_nic_told(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r;

	standby_change(dev);
	if (answer->status < 0) {
		r = device_fail(dev, "the NIC does not take the change", answer->status);
	} else {
		r = device_tell_shim(dev, on_shim_told);
		if (r < 0)
			r = device_fail(dev, SHIM_REFUSES, r);
	}
	if (r < 0) {
		go_back(dev);
		finish(dev, r);
	}
}

/* Return: 0, or negative with dev->why when it can't be changed now. */
static int begin(struct device *dev, device_done done, void *arg)
{
	dev->busy = true;
	dev->done = done;
	dev->done_arg = arg;
	dev->old_spec = dev->spec;
	if (dev->phase != DEVICE_UP)
		return failure_set(&dev->why, FAILURE_UNAVAILABLE, "%s does not run: %s",
			dev->spec.name, dev->reason[0] ? dev->reason : "it is being started");
	return 0;
}

/* Who serves is the worker's business alone, above all while the device's own NIC is away. */
static bool concerns_nic(const struct device *dev, const struct device_spec *spec)
{
	struct device_spec same = *spec;

	same.datapath = dev->spec.datapath;
	return !dev->datapath_now || memcmp(&same, &dev->spec, sizeof(same)) != 0;
}

void device_change(struct device *dev, const struct device_spec *spec, device_done done, void *arg)
{
	bool nic = concerns_nic(dev, spec);
	int r = begin(dev, done, arg);

	if (r == 0 && nic)
		r = dev->backing->require(dev, &dev->why);
	if (r == 0) {
		dev->spec = *spec;
		if (!nic || !dev->backing->change) {
			on_nic_told(dev, &(struct channel_answer){ .status = 0 });
			return;
		}
		r = dev->backing->change(dev, on_nic_told, dev);
		if (r < 0) {
			dev->spec = dev->old_spec;
			r = device_fail(dev, "the NIC does not take the change", r);
		}
	}
	if (r < 0)
		finish(dev, r);
}

/* What became of the new program: in the words of the shim, if it sent some. */
static void upgrade_reason(const struct channel_answer *answer, struct shim_reason *ret)
{
	if (answer->size == sizeof(*ret)) {
		memcpy(ret, answer->payload, sizeof(*ret));
		make_printable(ret->text, sizeof(ret->text));
	} else {
		snprintf(ret->text, sizeof(ret->text), "%s", answer->status == -ETIMEDOUT ?
			"its shim does not answer" : strerror(-answer->status));
	}
}

static void on_upgraded(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	struct shim_reason reason;
	int r = 0;

	if (answer->status < 0) {
		upgrade_reason(answer, &reason);
		r = failure_set(&dev->why, FAILURE_UNAVAILABLE,
			answer->status == -EHOSTDOWN ?
				"%s: neither the new worker nor the old one serves: %s" :
				"%s: the new worker does not serve: %s; the old one takes its place",
			dev->spec.name, reason.text);
	}
	if (r == 0)
		r = device_store(dev, &dev->why);
	if (r < 0) {
		dev->spec = dev->old_spec;
		device_tell_shim(dev, NULL);
	} else {
		event_send(dev->vdpad, "changed", "dev", dev->spec.name, "a new worker serves it");
	}
	finish(dev, r);
}

static void on_path_told(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (r == 0)
		r = device_call(dev, SHIM_UPGRADE, NULL, 0, -1, 0, UPGRADE_MS, on_upgraded);
	if (r < 0) {
		r = device_fail(dev, "its shim does not take the new worker", r);
		dev->spec = dev->old_spec;
		device_tell_shim(dev, NULL); /* it may take it later, or has taken it */
		finish(dev, r);
	}
}

void device_upgrade(struct device *dev, const char *worker, device_done done, void *arg)
{
	int r = begin(dev, done, arg);

	if (r == 0)
		r = dev->backing->require(dev, &dev->why);
	if (r == 0) {
		snprintf(dev->spec.worker, sizeof(dev->spec.worker), "%s", worker);
		r = device_tell_shim(dev, on_path_told);
		if (r < 0) {
			dev->spec = dev->old_spec;
			r = device_fail(dev, "its shim does not take the new worker", r);
		}
	}
	if (r < 0)
		finish(dev, r);
}
