/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making a device, step by step. Each step either is done at once or goes on when an answer comes;
 * if one fails, those before it are undone in reverse order. The facts are written to STATE as the
 * last step: a vdpad that dies before leaves strangers, which the next one removes.
 */
#include "tools/vdpad/device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tools/vdpad/listener.h"
#include "tools/vdpad/standby.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

#define WAIT BACKING_WAIT /* a step goes on later */

struct step {
	const char *what;
	int (*run)(struct device *dev); /* 0, WAIT, or negative with dev->why */
	void (*undo)(struct device *dev);
};

/* What backs it */

static int obtain(struct device *dev)
{
	return dev->backing->obtain(dev);
}

static void undo_obtain(struct device *dev)
{
	dev->backing->undo(dev);
}

static int verify(struct device *dev)
{
	return dev->backing->verify ? dev->backing->verify(dev) : 0;
}

/* The front-end's socket */

static int make_listener(struct device *dev)
{
	gid_t group = dev->vdpad->config.socket_group;
	int fd;

	if (dev->spec.client)
		return 0;
	fd = listener_make(dev->spec.socket, SOCK_STREAM, 0660, geteuid() == 0 ? group : (gid_t)-1,
		&dev->why);
	if (fd < 0)
		return fd;
	dev->listener = fd;
	return 0;
}

static void remove_listener(struct device *dev)
{
	if (dev->spec.client)
		return;
	dev->listener = close_keep_errno(dev->listener);
	listener_remove(dev->spec.socket);
}

/* The shim */

static int on_child(sd_event_source *source, const siginfo_t *info, void *arg)
{
	if (info->si_code != CLD_EXITED || info->si_status != 0)
		log_warning("shim %d ended: %s %d", info->si_pid,
			info->si_code == CLD_EXITED ? "status" : "signal", info->si_status);
	sd_event_source_set_floating(source, false); /* nobody else has it: it goes */
	return 0;
}

static void end_shim(struct device *dev)
{
	char path[VDPAD_PATH_SIZE];

	device_kill_shim(dev);
	device_forget_shim(dev);
	device_shim_path(dev, path);
	listener_remove(path);
}

/* Of the shim, from which its workers have it: they give up all by which they could raise it. */
static int raise_locked(struct device *dev)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	if (!dev->backing->pins_memory || prlimit(dev->shim_pid, RLIMIT_MEMLOCK, &all, NULL) == 0)
		return 0;
	return failure_set(&dev->why, FAILURE_UNAVAILABLE,
		"%s: the worker could not lock the guest's memory for %s: its limit can't be raised: %s; "
		"run vdpad as root, or with LimitMEMLOCK=infinity", dev->spec.name,
		dev->spec.mgmtdev, strerror(errno));
}

static int start_shim(struct device *dev)
{
	const char *argv[] = { dev->vdpad->programs[PROGRAM_SHIM], "--name", dev->spec.name,
		"--listen-fd", "3", "--log-level", log_level_name(dev->spec.log_level), NULL };
	char path[VDPAD_PATH_SIZE];
	pid_t pid;
	int r;

	device_shim_path(dev, path);
	_cleanup_close_ int listener =
		listener_make(path, SOCK_SEQPACKET, 0600, (gid_t)-1, &dev->why);

	if (listener < 0)
		return listener;
	pid = process_start((char *const *)(uintptr_t)argv, listener);
	if (pid < 0) {
		listener_remove(path);
		return device_fail(dev, argv[0], pid);
	}
	dev->shim_pid = pid;
	dev->shim_pidfd = pidfd_open(pid, 0); /* not reaped yet, whatever became of it */
	r = raise_locked(dev);
	if (r < 0) {
		end_shim(dev);
		return r;
	}
	r = sd_event_add_child(dev->vdpad->event, NULL, pid, WEXITED, on_child, NULL);
	if (r < 0)
		log_warning("%s: process %d can't be watched: %s", dev->spec.name, pid,
			strerror(-r));
	return 0;
}

static void on_hello(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	if (r == 0)
		r = device_take_status(dev, answer);
	device_start_go_on(dev, r < 0 ? device_fail(dev, "its shim", r) : 0);
}

static int greet_shim(struct device *dev)
{
	int r = device_connect_shim(dev);

	if (r == 0)
		r = device_call(dev, SHIM_HELLO, NULL, 0, -1, sizeof(struct shim_status), 10000,
			on_hello);
	return r < 0 ? device_fail(dev, "its shim", r) : WAIT;
}

static void on_configured(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;
	int r = answer->status;

	device_start_go_on(dev, r < 0 ? device_fail(dev, "its shim refuses the device", r) : 0);
}

static int configure_shim(struct device *dev)
{
	size_t n_listeners = dev->spec.client ? 0 : 1;
	int fds[1 + JOB_MAX_FDS] = { dev->listener };
	struct shim_spec spec;
	int r;

	memcpy(fds + n_listeners, dev->fds, dev->n_fds * sizeof(fds[0]));
	r = device_shim_spec(dev, &spec, &dev->why);
	if (r < 0)
		return r;
	r = channel_call(dev->shim, &(struct channel_request){
		.kind = SHIM_CONFIGURE, .payload = &spec, .size = sizeof(spec), .fds = fds,
		.n_fds = n_listeners + dev->n_fds, .deadline_ms = 10000, .done = on_configured,
		.arg = dev });
	return r < 0 ? device_fail(dev, "its shim", r) : WAIT;
}

static int store(struct device *dev)
{
	return dev->stored ? 0 : device_store(dev, &dev->why);
}

static const struct step steps[] = {
	{ .what = "socket", .run = make_listener, .undo = remove_listener },
	{ .what = "function", .run = obtain, .undo = undo_obtain },
	{ .what = "standby", .run = standby_obtain, .undo = standby_undo },
	{ .what = "shim", .run = start_shim, .undo = end_shim },
	{ .what = "greeting", .run = greet_shim },
	{ .what = "standby of the shim", .run = standby_give },
	{ .what = "configuration", .run = configure_shim },
	{ .what = "facts", .run = verify },
	{ .what = "state", .run = store },
};

static void finish(struct device *dev, int r)
{
	struct vdpad *v = dev->vdpad;
	device_done done = dev->done;

	dev->listener = close_keep_errno(dev->listener);
	device_close_fds(dev);
	dev->phase = r < 0 ? DEVICE_DOWN : DEVICE_UP;
	dev->vdpad->n_starting--;
	if (r == 0)
		dev->reason[0] = '\0';
	if (r == 0 && !dev->function_ok)
		dev->backing->check(dev); /* its NIC began anew meanwhile */
	if (r == 0 && !dev->standby_ok)
		standby_check(dev);
	done(dev->done_arg, dev, r, &dev->why);
	devices_start_more(v);
}

static void undo_steps(struct device *dev)
{
	while (dev->step > 0) {
		dev->step--;
		if (steps[dev->step].undo)
			steps[dev->step].undo(dev);
	}
}

/* Goes on after @r, what came of the step before. */
static void go_on(struct device *dev, int r)
{
	while (r == 0 && dev->step < ARRAY_SIZE(steps)) {
		log_debug("%s: %s", dev->spec.name, steps[dev->step].what);
		r = steps[dev->step].run(dev);
		dev->step += r == 0;
	}
	if (r == WAIT)
		return;
	if (r < 0)
		undo_steps(dev);
	finish(dev, r);
}

void device_start_go_on(struct device *dev, int status)
{
	dev->step += status == 0;
	go_on(dev, status);
}

void device_start(struct device *dev, device_done done, void *arg)
{
	dev->phase = DEVICE_STARTING;
	dev->vdpad->n_starting++;
	dev->done = done;
	dev->done_arg = arg;
	dev->step = 0;
	dev->let_go = false;
	go_on(dev, 0);
}
