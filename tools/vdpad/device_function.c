/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device's function of its NIC, when either of the two was found or began anew. A function that is
 * there is left alone but for its facts: its queues may run. One that is missing is added, and the
 * shim gets its mailbox: the worker prepares again from where the queues stood. So it goes, too, when
 * the function is there and the worker waits for it: somebody died between adding and telling.
 */
#include "tools/vdpad/device.h"

#include <errno.h>
#include <string.h>

#include "tools/vdpad/nic.h"
#include "vdpa/base/cleanup.h"

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
	struct sim_function function;
	int r;

	device_function(dev, &function);
	r = nic_call(dev->nic, command, &function, on_mailbox, dev);
	if (r < 0)
		give_up(dev, "the NIC takes no command", r);
}

static bool worker_waits(const struct device *dev)
{
	struct health health;

	return dev->health && health_read(dev->health, &health, NULL) == 0 && health.lost;
}

static void on_refreshed(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (is_over(dev))
		return;
	if (r == -EHOSTDOWN || (r == 0 && worker_waits(dev)))
		get_mailbox(dev, SIM_ADMIN_ATTACH);
	else if (r == 0 || r == -ETIMEDOUT) /* a worker that hangs has its mailbox all the same */
		all_right(dev);
	else
		give_up(dev, "its shim does not answer", r);
}

static void on_compared(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	struct sim_function function;
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
		device_function(dev, &function);
		nic_call(dev->nic, SIM_ADMIN_DEL, &function, NULL, NULL);
		r = -ENOENT;
	}
	if (r == -ENOENT)
		get_mailbox(dev, SIM_ADMIN_ADD);
	else
		give_up(dev, "the NIC takes no command", r);
}

void device_check_function(struct device *dev)
{
	struct sim_function function;
	int r;

	if (dev->phase != DEVICE_UP || dev->checking || !dev->nic || dev->nic->state != NIC_UP)
		return;
	dev->checking = true;
	device_function(dev, &function);
	r = nic_call(dev->nic, SIM_ADMIN_SET, &function, on_compared, dev);
	if (r < 0)
		give_up(dev, "the NIC takes no command", r);
}
