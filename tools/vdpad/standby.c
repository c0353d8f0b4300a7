/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device's standby is a function of a simnic, of the device's name, with its address. It is another NIC
 * than the device's own, so that one death is not the death of both. The shim gets its mailbox before
 * it is configured, and anew whenever the function had to be made again.
 *
 * A standby that fails, or whose NIC is away, costs the device nothing: its worker knows. So nothing here
 * fails a device that runs. What goes on with its NIC is nobody's request: no answer is awaited but where
 * the next step needs it.
 */
#include "tools/vdpad/standby.h"

#include <errno.h>
#include <string.h>

#include "tools/vdpad/control.h"
#include "tools/vdpad/device.h"
#include "tools/vdpad/nic.h"
#include "vdpa/base/cleanup.h"

#define DEFAULT_MTU 1500 /* where the device's own function decides, and nobody knows yet */

static const struct {
	const char *name;
	uint32_t flags; /* of shim_spec */
} datapaths[] = {
	{ "direct", 0 },
	{ "relay", SHIM_SPEC_RELAY },
	{ "sim", SHIM_SPEC_SIM },
};

const char *standby_datapath_name(uint32_t datapath)
{
	for (size_t i = 0; i < ARRAY_SIZE(datapaths); i++) {
		if (datapaths[i].flags == datapath)
			return datapaths[i].name;
	}
	return datapaths[0].name;
}

int standby_datapath_parse(const char *text, uint32_t *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(datapaths); i++) {
		if (strcmp(datapaths[i].name, text) == 0) {
			*ret = datapaths[i].flags;
			return 0;
		}
	}
	return -EINVAL;
}

/* ----------------------------------------------------------------------------- requests */

static int read_standby(struct vdpad *v, const char *text, struct device_spec *spec, struct failure *why)
{
	struct nic *nic;
	int r = nic_get(v, text, &nic, why);

	if (r < 0)
		return r;
	if (strcmp(nic->handle, spec->mgmtdev) == 0)
		return failure_set(why, FAILURE_INVALID,
			"standby %s: that is the device's own, which would fail with it; choose another simnic",
			nic->handle);
	if (etheraddr_is_zero(spec->mac))
		return failure_set(why, FAILURE_INVALID,
			"standby %s: it needs the address that %s has, which is known only when it is open; "
			"say it: mac ADDRESS", nic->handle, spec->mgmtdev);
	if (spec->host_notifier)
		return failure_set(why, FAILURE_INVALID,
			"standby %s: host_notifier on is not possible with a standby; leave one of the two away",
			nic->handle);
	r = nic_require(nic, why);
	if (r == 0)
		strcpy(spec->standby, nic->handle);
	return r;
}

int standby_read(struct vdpad *v, json_t *params, struct device_spec *spec, bool *ret_now,
	struct failure *why)
{
	const char *standby = param_text(params, "standby"), *datapath = param_text(params, "datapath");

	if (standby && read_standby(v, standby, spec, why) < 0)
		return -1;
	if (!datapath)
		return 0;
	if (standby_datapath_parse(datapath, &spec->datapath) < 0)
		return failure_set(why, FAILURE_INVALID,
			"datapath %.40s is not possible; direct, relay and sim are", datapath);
	if (spec->datapath == SHIM_SPEC_SIM && spec->standby[0] == '\0')
		return failure_set(why, FAILURE_INVALID,
			"datapath sim: %s has no standby; one is given when a device is added: "
			"vdpa dev add ... standby sim/NIC", spec->name);
	if (ret_now)
		*ret_now = true;
	return 0;
}

/* ------------------------------------------------------------------------------- its NIC */

/* The device's facts, as far as this NIC has them; what the device's function decides is the NIC's most. */
static struct sim_function describe(const struct device *dev)
{
	const struct device_spec *spec = &dev->spec;
	struct sim_function function = device_as_function(spec);
	const struct sim_nic_info *info = &dev->standby_nic->info;
	uint16_t most = device_wants_control(spec) && info->max_pairs > SIM_MAX_CONTROL_PAIRS ?
				SIM_MAX_CONTROL_PAIRS : (uint16_t)info->max_pairs;

	function.features &= info->features;
	if (!device_wants_control(spec))
		function.features &= ~(uint64_t)DEVICE_CONTROL_FEATURES;
	if (function.mtu == 0)
		function.mtu = DEFAULT_MTU;
	if (function.max_pairs == 0 || function.max_pairs > most)
		function.max_pairs = most;
	return function;
}

static int call(struct device *dev, enum sim_command command, channel_done done)
{
	const struct sim_function function = describe(dev);

	return nic_call(dev->standby_nic, command, &function, done, dev);
}

bool standby_is_ready(const struct device *dev)
{
	return dev->spec.standby[0] == '\0' || !dev->standby_nic || dev->standby_nic->state == NIC_UP;
}

/* One that can't be told is told when it is up again: devices_nic_up(). */
static void tell(struct device *dev, enum sim_command command)
{
	if (dev->standby_nic && dev->standby_nic->state == NIC_UP)
		call(dev, command, NULL);
}

void standby_change(struct device *dev)
{
	tell(dev, SIM_ADMIN_SET);
}

void standby_release(struct device *dev)
{
	tell(dev, SIM_ADMIN_DEL); /* one that comes back has forgotten it, or has it as a stranger */
}

void standby_forget(struct device *dev)
{
	dev->standby_fd = close_keep_errno(dev->standby_fd);
	if (dev->standby_nic)
		channel_forget(dev->standby_nic->channel, dev);
}

/* --------------------------------------------------------------------------------- start */

static void on_added(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;

	if (answer->status == 0 && answer->fd < 0)
		answer->status = -EBADMSG;
	if (answer->status == 0)
		dev->standby_fd = TAKE_FD(answer->fd);
	dev->standby_ok = answer->status == 0;
	device_start_go_on(dev, answer->status < 0 ? device_fail(dev, dev->spec.standby, answer->status) : 0);
}

int standby_obtain(struct device *dev)
{
	int r;

	if (!dev->standby_nic)
		return 0;
	r = nic_require(dev->standby_nic, &dev->why);
	if (r < 0)
		return r;
	tell(dev, SIM_ADMIN_DEL); /* of an earlier time */
	r = call(dev, SIM_ADMIN_ADD, on_added);
	return r < 0 ? device_fail(dev, dev->spec.standby, r) : BACKING_WAIT;
}

void standby_undo(struct device *dev)
{
	dev->standby_fd = close_keep_errno(dev->standby_fd);
	tell(dev, SIM_ADMIN_DEL);
}

static void on_given(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;

	device_start_go_on(dev, answer->status == 0 ? 0 :
		device_fail(dev, "its shim takes no standby", answer->status));
}

int standby_give(struct device *dev)
{
	int fd = dev->standby_fd, r;

	if (!dev->standby_nic)
		return 0;
	r = device_call(dev, SHIM_STANDBY_FDS, NULL, 0, fd, 0, DEVICE_CALL_MS, on_given);
	dev->standby_fd = close_keep_errno(fd);
	return r < 0 ? device_fail(dev, "its shim", r) : BACKING_WAIT;
}

/* --------------------------------------------------------------------------------- check */

static void done(struct device *dev, int r)
{
	dev->standby_checking = false;
	if (r < 0 && r != -ECANCELED && r != -ECONNRESET)
		log_warning("%s: its standby can't be had of %s: %s", dev->spec.name, dev->spec.standby,
			strerror(-r));
}

static void on_told(void *arg, struct channel_answer *answer)
{
	done(arg, answer->status);
}

static void on_mailbox(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (r == 0 && (answer->fd < 0 || dev->phase != DEVICE_UP))
		r = dev->phase == DEVICE_UP ? -EBADMSG : -ECANCELED;
	if (r == 0)
		r = device_call(dev, SHIM_STANDBY_FDS, NULL, 0, answer->fd, 0, DEVICE_CALL_MS, on_told);
	if (r < 0)
		done(dev, r);
}

/* Does the worker say that one of the two is not there: the one that serves, or the other? */
static bool is_missed(const struct device *dev, bool standby)
{
	static struct health health; /* large, and there is one thread */

	if (!dev->health || health_read(dev->health, &health, NULL) < 0)
		return false;
	if (!health.has_standby)
		return !standby && health.lost;
	return (health.on_standby == 1) == standby ? health.lost : !health.other_well;
}

bool standby_other_is_missed(const struct device *dev)
{
	return is_missed(dev, false);
}

static void on_compared(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (dev->phase != DEVICE_UP)
		r = -ECANCELED;
	if (r == -EINVAL) { /* one of the same name that is another device */
		tell(dev, SIM_ADMIN_DEL);
		r = -ENOENT;
	}
	if (r == -ENOENT)
		r = call(dev, SIM_ADMIN_ADD, on_mailbox);
	else if (r == 0 && is_missed(dev, true))
		r = call(dev, SIM_ADMIN_ATTACH, on_mailbox);
	else
		done(dev, r);
	if (r < 0 && r != -ECANCELED)
		done(dev, r);
}

void standby_check(struct device *dev)
{
	int r;

	if (!dev->standby_nic || dev->standby_nic->state != NIC_UP || dev->phase != DEVICE_UP ||
		dev->standby_checking)
		return;
	dev->standby_checking = true;
	r = call(dev, SIM_ADMIN_SET, on_compared);
	if (r < 0)
		done(dev, r);
}
