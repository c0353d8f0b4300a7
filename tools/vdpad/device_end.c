/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a device. First STATE forgets it: from then on it is gone, and if vdpad dies here the
 * next one removes what is left as strangers. Then its shim ends, with its worker and the front-end's
 * connection; a shim that does not is killed. Then what backed it goes, and last the names in the file
 * system and the user id, so that nobody gets them while they are in use.
 */
#include "tools/vdpad/device.h"

#include <errno.h>
#include <string.h>

#include "tools/vdpad/listener.h"
#include "tools/vdpad/standby.h"
#include "vdpa/base/cleanup.h"

#define STOP_MS 5000
#define KILL_MS 2000

void device_end_go_on(struct device *dev)
{
	struct vdpad *v = dev->vdpad;
	device_done done = dev->done;
	void *arg = dev->done_arg;
	const struct failure nothing = { .text = "" };
	char path[VDPAD_PATH_SIZE];

	device_shim_path(dev, path);
	listener_remove(path);
	if (!dev->spec.client)
		listener_remove(dev->spec.socket);
	device_put_uid(dev);
	event_send(v, "removed", "dev", dev->spec.name, "");
	device_free(dev);
	done(arg, NULL, 0, &nothing);
}

void device_end_shim_gone(struct device *dev)
{
	dev->timer = sd_event_source_disable_unref(dev->timer);
	device_forget_shim(dev);
	standby_release(dev);
	dev->backing->release(dev);
}

static int on_kill_deadline(sd_event_source *source, uint64_t usec, void *arg)
{
	struct device *dev = arg;

	log_error("%s: shim %d does not end; it is left behind", dev->spec.name, dev->shim_pid);
	device_end_shim_gone(dev);
	return 0;
}

static int on_stop_deadline(sd_event_source *source, uint64_t usec, void *arg)
{
	struct device *dev = arg;

	log_warning("%s: shim %d does not end and is killed", dev->spec.name, dev->shim_pid);
	device_kill_shim(dev);
	device_set_timer(dev, KILL_MS, on_kill_deadline);
	return 0;
}

void device_end(struct device *dev, device_done done, void *arg)
{
	int r = -ENOTCONN;

	dev->phase = DEVICE_ENDING;
	dev->done = done;
	dev->done_arg = arg;
	device_unstore(dev);
	/* One that was never looked for, since there was nothing to do with it, may run all the same. */
	if (dev->shim || device_connect_shim(dev) == 0)
		r = device_call(dev, SHIM_STOP, NULL, 0, -1, 0, STOP_MS, NULL);
	if (r < 0)
		device_end_shim_gone(dev);
	else /* the end of the connection tells that it is over */
		device_set_timer(dev, STOP_MS, on_stop_deadline);
}
