/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device's function of a simnic. It is added for a new device, and its mailbox is what the worker gets.
 *
 * When either of the two was found or began anew, a function that is there is left alone but for its
 * facts: its queues may run. One that is missing is added, and the shim gets its mailbox: the worker
 * prepares again from where the queues stood. So it goes, too, when the function is there and the worker
 * waits for it: somebody died between adding and telling.
 */
#include "tools/vdpad/backing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/vdpad/device.h"
#include "tools/vdpad/standby.h"
#include "tools/vdpad/nic.h"
#include "tools/vdpad/views.h"
#include "vdpa/base/cleanup.h"

static int call(struct device *dev, enum sim_command command, channel_done done, void *arg)
{
	const struct sim_function function = device_as_function(&dev->spec);

	return nic_call(dev->nic, command, &function, done, arg);
}

static bool is_configured(const struct device *dev, char ret_why[200])
{
	if (!dev->nic)
		snprintf(ret_why, 200, "the configuration has no %s any more", dev->spec.mgmtdev);
	return dev->nic;
}

static bool is_ready(const struct device *dev)
{
	return dev->nic && dev->nic->state == NIC_UP;
}

static int require(const struct device *dev, struct failure *why)
{
	return nic_require(dev->nic, why);
}

/* -------------------------------------------------------------------------- start */

static void on_added(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;

	if (answer->status == 0 && answer->fd < 0)
		answer->status = -EBADMSG;
	if (answer->status < 0) {
		device_start_go_on(dev, device_fail(dev, dev->spec.mgmtdev, answer->status));
		return;
	}
	device_take_fds(dev, &(int){ TAKE_FD(answer->fd) }, 1);
	dev->function_ok = true;
	device_start_go_on(dev, 0);
}

static int obtain(struct device *dev)
{
	int r = nic_require(dev->nic, &dev->why);

	if (r < 0)
		return r;
	/* One of an earlier time may be there; its owner is gone. */
	r = call(dev, SIM_ADMIN_DEL, NULL, NULL);
	if (r == 0)
		r = call(dev, SIM_ADMIN_ADD, on_added, dev);
	return r < 0 ? device_fail(dev, dev->spec.mgmtdev, r) : BACKING_WAIT;
}

static void undo(struct device *dev)
{
	device_close_fds(dev);
	dev->function_ok = false;
	call(dev, SIM_ADMIN_DEL, NULL, NULL);
}

/* -------------------------------------------------------------------------- check */

/* The device may have begun to end meanwhile: then nothing more is made for it. */
static bool is_over(struct device *dev)
{
	if (dev->phase == DEVICE_UP)
		return false;
	dev->checking = false;
	return true;
}

static void give_up(struct device *dev, const char *what, int status)
{
	dev->checking = false;
	if (status == -ECANCELED || status == -ECONNRESET)
		return; /* that end is dealt with elsewhere, and we are called again */
	snprintf(dev->reason, sizeof(dev->reason), "%s: %s", what, strerror(-status));
	log_error("%s: %s", dev->spec.name, dev->reason);
	event_send(dev->vdpad, "failed", "dev", dev->spec.name, dev->reason);
}

static void all_right(struct device *dev)
{
	dev->checking = false;
	dev->function_ok = true;
	dev->reason[0] = '\0';
}

static void on_told(void *arg, struct channel_answer *answer)
{
	if (answer->status < 0)
		give_up(arg, "its shim does not take the new device", answer->status);
	else
		all_right(arg);
}

static void on_mailbox(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (is_over(dev))
		return;
	if (r == 0 && answer->fd < 0)
		r = -EBADMSG;
	if (r == 0)
		r = device_call(dev, SHIM_DEVICE_FDS, NULL, 0, answer->fd, 0, DEVICE_CALL_MS, on_told);
	if (r < 0)
		give_up(dev, "the NIC does not give it a function", r);
}

static void get_mailbox(struct device *dev, enum sim_command command)
{
	int r = call(dev, command, on_mailbox, dev);

	if (r < 0)
		give_up(dev, "the NIC takes no command", r);
}

static void on_refreshed(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (is_over(dev))
		return;
	if (r == -EHOSTDOWN || (r == 0 && standby_other_is_missed(dev)))
		get_mailbox(dev, SIM_ADMIN_ATTACH);
	else if (r == 0 || r == -ETIMEDOUT) /* a worker that hangs has its mailbox all the same */
		all_right(dev);
	else
		give_up(dev, "its shim does not answer", r);
}

static void on_compared(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (is_over(dev))
		return;
	if (r == 0) {
		r = device_call(dev, SHIM_REFRESH, NULL, 0, -1, 0, DEVICE_CALL_MS, on_refreshed);
		if (r < 0)
			give_up(dev, "its shim does not answer", r);
		return;
	}
	if (r == -EINVAL) { /* one of the same name that is another device */
		call(dev, SIM_ADMIN_DEL, NULL, NULL);
		r = -ENOENT;
	}
	if (r == -ENOENT)
		get_mailbox(dev, SIM_ADMIN_ADD);
	else
		give_up(dev, "the NIC takes no command", r);
}

static void check(struct device *dev)
{
	int r;

	if (dev->phase != DEVICE_UP || dev->checking || !is_ready(dev))
		return;
	dev->checking = true;
	r = call(dev, SIM_ADMIN_SET, on_compared, dev);
	if (r < 0)
		give_up(dev, "the NIC takes no command", r);
}

/* ---------------------------------------------------------------- end, and changes */

static void on_function_gone(void *arg, struct channel_answer *answer)
{
	device_end_go_on(arg);
}

static void release(struct device *dev)
{
	if (!is_ready(dev) || call(dev, SIM_ADMIN_DEL, on_function_gone, dev) < 0)
		device_end_go_on(dev); /* one that comes back is a stranger then, or has forgotten it */
}

static int may_change(const struct device *dev, const struct device_spec *spec, struct failure *why)
{
	return 0;
}

static int change(struct device *dev, channel_done done, void *arg)
{
	return call(dev, SIM_ADMIN_SET, done, arg);
}

static void forget(struct device *dev)
{
	if (dev->nic)
		channel_forget(dev->nic->channel, dev);
}

static json_t *view(const struct device *dev)
{
	return dev->nic ? view_nic(dev->nic) : NULL;
}

const struct backing backing_sim = {
	.bus = "sim",
	.is_configured = is_configured,
	.is_ready = is_ready,
	.require = require,
	.obtain = obtain,
	.undo = undo,
	.check = check,
	.release = release,
	.may_change = may_change,
	.change = change,
	.forget = forget,
	.view = view,
};
