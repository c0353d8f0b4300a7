/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device and its shim. The shim outlives vdpad; so each device begins with a look for it:
 *
 *   FINDING --it answers and is ours--> UP --it hangs up--> DOWN --later--> FINDING
 *      `--nobody listens--> DOWN                             `--too often--> BROKEN
 *   DOWN --what backs it is ready--> STARTING --all steps--> UP
 *
 * What a shim says is checked: it is ours, but it carries texts of its worker.
 */
#include "tools/vdpad/device.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "tools/vdpad/nic.h"
#include "tools/vdpad/standby.h"
#include "tools/vdpad/strangers.h"
#include "tools/vdpad/uids.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/printable.h"

#define FIND_AGAIN_MS 5000
#define OWNER_SIZE    (NAME_SIZE + sizeof("device:"))

/* Devices that are started at a time: each needs its part of the processor within deadlines. */
#define MAX_STARTING 16

static void find_shim(struct device *dev);
static int on_timer(sd_event_source *source, uint64_t usec, void *arg);

static void insert_sorted(struct device_list *list, struct device *dev)
{
	struct device *other;

	TAILQ_FOREACH(other, list, link) {
		if (strcmp(dev->spec.name, other->spec.name) < 0) {
			TAILQ_INSERT_BEFORE(other, dev, link);
			return;
		}
	}
	TAILQ_INSERT_TAIL(list, dev, link);
}

int device_new(struct vdpad *v, const struct device_spec *spec, struct device **ret)
{
	struct device *dev = calloc(1, sizeof(*dev));

	if (!dev)
		return -ENOMEM;
	dev->vdpad = v;
	dev->spec = *spec;
	dev->backing = backing_of(spec->mgmtdev);
	if (dev->backing == &backing_sim)
		dev->nic = nic_find(v, spec->mgmtdev);
	if (spec->standby[0])
		dev->standby_nic = nic_find(v, spec->standby);
	dev->listener = dev->shim_pidfd = dev->standby_fd = -1;
	insert_sorted(&v->devices, dev);
	*ret = dev;
	return 0;
}

void device_forget_shim(struct device *dev)
{
	channel_free(TAKE_PTR(dev->shim));
	if (dev->health)
		munmap((void *)(uintptr_t)dev->health, HEALTH_SIZE);
	dev->health = NULL;
	dev->shim_pid = 0;
	dev->shim_pidfd = close_keep_errno(dev->shim_pidfd);
}

void device_kill_shim(const struct device *dev)
{
	if (dev->shim_pidfd >= 0)
		pidfd_send_signal(dev->shim_pidfd, SIGKILL, NULL, 0);
}

void device_free(struct device *dev)
{
	if (!dev)
		return;
	TAILQ_REMOVE(&dev->vdpad->devices, dev, link);
	device_forget_shim(dev);
	dev->backing->forget(dev);
	standby_forget(dev);
	sd_event_source_disable_unref(dev->timer);
	close_keep_errno(dev->listener);
	device_close_fds(dev);
	free(dev);
}

struct device *device_find(struct vdpad *v, const char *name)
{
	struct device *dev;

	TAILQ_FOREACH(dev, &v->devices, link) {
		if (strcmp(dev->spec.name, name) == 0)
			return dev;
	}
	return NULL;
}

void device_shim_path(const struct device *dev, char ret[VDPAD_PATH_SIZE])
{
	snprintf(ret, VDPAD_PATH_SIZE, "%s/shim/%s.sock", dev->vdpad->run_dir, dev->spec.name);
}

void device_take_fds(struct device *dev, int *fds, size_t n)
{
	device_close_fds(dev);
	memcpy(dev->fds, fds, n * sizeof(fds[0]));
	dev->n_fds = n;
}

void device_close_fds(struct device *dev)
{
	while (dev->n_fds > 0)
		close_keep_errno(dev->fds[--dev->n_fds]);
}

/* What nobody asked for is as the function has it. */
static void take_own_facts(const struct device *dev, struct device_facts *ret)
{
	static struct health health; /* large, and there is one thread */

	if (!dev->health || health_read(dev->health, &health, NULL) < 0 || health.worker_pid == 0)
		return;
	if (etheraddr_is_zero(ret->mac))
		memcpy(ret->mac, health.mac, sizeof(ret->mac));
	if (ret->mtu == 0)
		ret->mtu = health.mtu;
	if (ret->max_pairs == 0)
		ret->max_pairs = health.max_pairs;
	ret->link_up = ret->link_up && health.link_up;
	ret->has_control = ret->has_control &&
			   health.device_features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ);
	ret->max_queue_size = health.max_queue_size;
}

void device_facts(const struct device *dev, struct device_facts *ret)
{
	const struct device_spec *spec = &dev->spec;

	*ret = (struct device_facts){
		.mtu = spec->mtu,
		.max_pairs = spec->max_pairs,
		.link_up = spec->link_up,
		.max_queue_size = SIM_MAX_QUEUE_SIZE,
		.has_control = device_wants_control(spec),
	};
	memcpy(ret->mac, spec->mac, sizeof(ret->mac));
	if (dev->backing->own_facts)
		take_own_facts(dev, ret);
	else if (dev->nic && dev->nic->info.max_queue_size)
		ret->max_queue_size = dev->nic->info.max_queue_size;
	ret->max_queues = 2U * ret->max_pairs + ret->has_control;
}

static const char *owner_of(const struct device *dev, char ret[OWNER_SIZE])
{
	snprintf(ret, OWNER_SIZE, "device:%s", dev->spec.name);
	return ret;
}

void device_put_uid(const struct device *dev)
{
	char owner[OWNER_SIZE];

	if (dev->vdpad->uids)
		uids_put(dev->vdpad->uids, owner_of(dev, owner));
}

int device_fail(struct device *dev, const char *what, int error)
{
	return failure_set(&dev->why, FAILURE_UNAVAILABLE, "%s: %s: %s", dev->spec.name, what,
		error == -ETIMEDOUT ? "no answer in time" : strerror(-error));
}

int device_shim_spec(const struct device *dev, struct shim_spec *ret, struct failure *why)
{
	const struct device_spec *spec = &dev->spec;
	const char *worker = spec->worker[0] ? spec->worker : dev->vdpad->programs[PROGRAM_WORKER];
	char owner[OWNER_SIZE];
	uid_t uid = 0;
	int r;

	if (dev->vdpad->uids) {
		r = uids_get(dev->vdpad->uids, owner_of(dev, owner), &uid, why);
		if (r < 0)
			return r;
	}
	*ret = (struct shim_spec){
		.flags = (spec->client ? SHIM_SPEC_CLIENT : 0U) |
			 (spec->host_notifier ? SHIM_SPEC_NOTIFIER : 0U) | spec->datapath,
		.uid = uid,
		.gid = uid,
		.log_level = (uint32_t)spec->log_level,
		/* One without facts of its own offers what it was given. */
		.features = dev->backing->own_facts ? spec->features : UINT64_MAX,
		.max_pairs = spec->max_pairs,
	};
	memcpy(ret->name, spec->name, sizeof(spec->name));
	memcpy(ret->driver, spec->driver, sizeof(ret->driver));
	memcpy(ret->socket_path, spec->socket, sizeof(ret->socket_path));
	snprintf(ret->worker_path, sizeof(ret->worker_path), "%s", worker);
	if (spec->standby[0])
		strcpy(ret->standby, backing_sim.bus);
	return 0;
}

int device_call(struct device *dev, enum shim_kind kind, const void *payload, size_t size, int fd,
	size_t answer_size, uint64_t deadline_ms, channel_done done)
{
	return channel_call(dev->shim, &(struct channel_request){
		.kind = kind, .payload = payload, .size = size, .fds = &fd, .n_fds = fd >= 0,
		.answer_size = answer_size, .deadline_ms = deadline_ms, .done = done, .arg = dev });
}

/* A health block that can't shrink under us. */
static int map_health(struct device *dev, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *block;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 || st.st_size < HEALTH_SIZE)
		return -EBADMSG;
	block = mmap(NULL, HEALTH_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (block == MAP_FAILED)
		return -errno;
	dev->health = block;
	return 0;
}

int device_take_status(struct device *dev, struct channel_answer *answer)
{
	struct shim_status status;

	memcpy(&status, answer->payload, sizeof(status));
	if (status.version != SHIM_WIRE_VERSION || status.state > SHIM_GIVEN_UP || status.pid <= 0)
		return -EBADMSG;
	make_printable(status.reason, sizeof(status.reason));
	make_printable(status.spec.name, sizeof(status.spec.name));
	make_printable(status.spec.socket_path, sizeof(status.spec.socket_path));
	make_printable(status.spec.worker_path, sizeof(status.spec.worker_path));
	if (!dev->health && (answer->fd < 0 || map_health(dev, answer->fd) < 0))
		return -EBADMSG;
	dev->status = status;
	dev->shim_pid = status.pid;
	if (dev->shim_pidfd < 0) /* it just answered, so it is that process */
		dev->shim_pidfd = pidfd_open(status.pid, 0);
	return 0;
}

/* The words of the event stream. */
static const char *const event_kinds[] = {
	[SHIM_EVENT_CONNECTED] = "connected",
	[SHIM_EVENT_DISCONNECTED] = "disconnected",
	[SHIM_EVENT_RUNNING] = "running",
	[SHIM_EVENT_STOPPED] = "stopped",
	[SHIM_EVENT_FAILED] = "failed",
	[SHIM_EVENT_RECOVERED] = "recovered",
	[SHIM_EVENT_QUEUE_ERROR] = "queue-error",
	[SHIM_EVENT_MIGRATION_LOGGING] = "migration-logging",
	[SHIM_EVENT_MIGRATION_STOPPED] = "migration-stopped",
	[SHIM_EVENT_MIGRATION_RESUMED] = "migration-resumed",
	[SHIM_EVENT_MIGRATION_HANDED_OVER] = "migration-handed-over",
	[SHIM_EVENT_MIGRATION_CANCELLED] = "migration-cancelled",
	[SHIM_EVENT_MIGRATION_BROKEN_OFF] = "migration-broken-off",
	[SHIM_EVENT_FAILOVER] = "failover",
	[SHIM_EVENT_WORKER_DIED] = "worker-died",
	[SHIM_EVENT_WORKER_STARTED] = "worker-started",
	[SHIM_EVENT_GIVEN_UP] = "given-up",
};

static void on_event(void *arg, uint32_t kind, const void *payload, size_t size)
{
	struct device *dev = arg;
	struct shim_event event;

	if (kind != SHIM_EVENT || size != sizeof(event))
		return;
	memcpy(&event, payload, sizeof(event));
	make_printable(event.text, sizeof(event.text));
	if ((event.kind == SHIM_EVENT_FAILED || event.kind == SHIM_EVENT_FAILOVER ||
		    event.kind == SHIM_EVENT_WORKER_STARTED) &&
		dev->backing->on_trouble)
		dev->backing->on_trouble(dev);
	if (event.kind < ARRAY_SIZE(event_kinds) && event_kinds[event.kind])
		event_send(dev->vdpad, event_kinds[event.kind], "dev", dev->spec.name, event.text);
}

static void on_lost(void *arg)
{
	device_lost(arg, "its shim ended");
}

int device_connect_shim(struct device *dev)
{
	const struct channel_owner owner = { .on_event = on_event, .on_lost = on_lost, .arg = dev };
	char path[VDPAD_PATH_SIZE];

	device_shim_path(dev, path);
	return channel_open(dev->vdpad->event, path, &owner, &dev->shim);
}

static void on_started_again(void *arg, struct device *dev, int status, const struct failure *why)
{
	if (status < 0)
		device_lost(dev, why->text);
	else
		event_send(dev->vdpad, "recovered", "dev", dev->spec.name, "a new shim serves it");
	ready_check(dev->vdpad);
}

/* Only the number of others that start keeps it from starting, or a change that goes on. */
static bool waits_for_turn(const struct device *dev)
{
	return dev->phase == DEVICE_DOWN && !dev->timer && dev->backing->is_ready(dev) &&
	       standby_is_ready(dev);
}

static void start_when_possible(struct device *dev)
{
	if (waits_for_turn(dev) && !dev->busy && dev->vdpad->n_starting < MAX_STARTING)
		device_start(dev, on_started_again, NULL);
	else if (dev->phase == DEVICE_DOWN && !dev->timer && dev->backing->poll_ms > 0)
		device_set_timer(dev, dev->backing->poll_ms, on_timer);
}

void devices_start_more(struct vdpad *v)
{
	struct device *dev;

	TAILQ_FOREACH(dev, &v->devices, link) {
		if (dev->stored)
			start_when_possible(dev);
	}
}

struct device *device_with_socket(struct vdpad *v, const char *path)
{
	struct device *dev;

	TAILQ_FOREACH(dev, &v->devices, link) {
		if (strcmp(dev->spec.socket, path) == 0)
			return dev;
	}
	return NULL;
}

bool devices_loading(const struct vdpad *v)
{
	const struct device *dev;

	TAILQ_FOREACH(dev, &v->devices, link) {
		if (dev->phase == DEVICE_FINDING || dev->phase == DEVICE_STARTING ||
			waits_for_turn(dev))
			return true;
	}
	return false;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct device *dev = arg;

	dev->timer = sd_event_source_disable_unref(dev->timer);
	dev->phase = DEVICE_FINDING; /* it may have hung up only */
	find_shim(dev);
	return 0;
}

void device_set_timer(struct device *dev, uint64_t ms, sd_event_time_handler_t handler)
{
	dev->timer = sd_event_source_disable_unref(dev->timer);
	if (sd_event_add_time_relative(dev->vdpad->event, &dev->timer, CLOCK_MONOTONIC, ms * 1000,
		    1000, handler, dev) < 0)
		log_error("%s: no timer can be made", dev->spec.name);
}

static void broken(struct device *dev, const char *reason)
{
	dev->phase = DEVICE_BROKEN;
	snprintf(dev->reason, sizeof(dev->reason), "%s", reason);
	event_send(dev->vdpad, "failed", "dev", dev->spec.name, reason);
	ready_check(dev->vdpad);
}

void device_lost(struct device *dev, const char *reason)
{
	uint64_t wait_ms;
	char text[200];

	if (dev->phase == DEVICE_ENDING) {
		device_end_shim_gone(dev);
		return;
	}
	if (dev->phase == DEVICE_STARTING)
		return; /* its requests failed as well: it deals with it */
	device_forget_shim(dev);
	if (!restart_after(&dev->restart, &wait_ms)) {
		snprintf(text, sizeof(text), "given up after %d attempts within a minute: %.120s",
			RESTART_MAX, reason);
		broken(dev, text);
		return;
	}
	dev->phase = DEVICE_DOWN;
	snprintf(dev->reason, sizeof(dev->reason), "%s", reason);
	event_send(dev->vdpad, "failed", "dev", dev->spec.name, reason);
	device_set_timer(dev, wait_ms, on_timer);
}

/* What may have changed meanwhile, it is told. */
static uint32_t lasting_flags(uint32_t flags)
{
	return flags & ~(uint32_t)SHIM_SPEC_CHANGES;
}

static bool same_device(const struct device *dev, const struct shim_spec *theirs)
{
	struct shim_spec ours;
	struct failure why;

	return device_shim_spec(dev, &ours, &why) == 0 && strcmp(ours.name, theirs->name) == 0 &&
	       strcmp(ours.driver, theirs->driver) == 0 && strcmp(ours.standby, theirs->standby) == 0 &&
	       lasting_flags(ours.flags) == lasting_flags(theirs->flags) &&
	       strcmp(ours.socket_path, theirs->socket_path) == 0 && ours.uid == theirs->uid &&
	       ours.features == theirs->features && ours.max_pairs == theirs->max_pairs;
}

static void find_again(struct device *dev)
{
	snprintf(dev->reason, sizeof(dev->reason), "its shim does not answer; it is asked again");
	log_warning("%s: %s", dev->spec.name, dev->reason);
	device_forget_shim(dev);
	device_set_timer(dev, FIND_AGAIN_MS, on_timer);
}

static void on_found(void *arg, struct channel_answer *answer)
{
	struct device *dev = arg;

	if (answer->status == -ECANCELED || answer->status == -ECONNRESET)
		return;
	if (answer->status == -ETIMEDOUT) {
		find_again(dev);
		return;
	}
	if (answer->status < 0 || device_take_status(dev, answer) < 0) {
		broken(dev, "its shim speaks another language; delete the device and add it again");
		return;
	}
	if (dev->status.state == SHIM_WAITING || !same_device(dev, &dev->status.spec)) {
		log_warning("%s: the shim that runs was told something else; it is replaced",
			dev->spec.name);
		/* Until its end comes to on_lost(), and a new one is started. */
		dev->phase = DEVICE_UP;
		device_call(dev, SHIM_STOP, NULL, 0, -1, 0, DEVICE_CALL_MS, NULL);
		return;
	}
	dev->phase = DEVICE_UP;
	dev->reason[0] = '\0';
	log_info("%s: found again: shim %d, worker %d", dev->spec.name, dev->status.pid,
		dev->status.worker_pid);
	dev->backing->check(dev);
	standby_check(dev);
	device_tell_shim(dev, NULL);
	ready_check(dev->vdpad);
}

static void find_shim(struct device *dev)
{
	int r = device_connect_shim(dev);

	if (r == 0)
		r = device_call(dev, SHIM_HELLO, NULL, 0, -1, sizeof(struct shim_status),
			DEVICE_CALL_MS, on_found);
	if (r == 0)
		return;
	if (r == -EAGAIN) { /* it is there, and does not take connections */
		find_again(dev);
		return;
	}
	device_forget_shim(dev);
	dev->phase = DEVICE_DOWN;
	snprintf(dev->reason, sizeof(dev->reason), "it waits for %s", dev->spec.mgmtdev);
	start_when_possible(dev);
}

void device_begin(struct device *dev)
{
	char text[200];

	if (!dev->backing->is_configured(dev, text)) {
		broken(dev, text);
		return;
	}
	dev->phase = DEVICE_FINDING;
	find_shim(dev);
}

void devices_nic_up(struct nic *nic)
{
	struct device *dev;

	TAILQ_FOREACH(dev, &nic->vdpad->devices, link) {
		if (dev->nic != nic && dev->standby_nic != nic)
			continue;
		if (dev->phase != DEVICE_UP)
			start_when_possible(dev);
		else if (dev->nic == nic)
			dev->backing->check(dev);
		else
			standby_check(dev);
	}
	strangers_remove_functions(nic);
}

void devices_nic_down(struct nic *nic)
{
	struct device *dev;

	TAILQ_FOREACH(dev, &nic->vdpad->devices, link) {
		if (dev->nic == nic)
			dev->function_ok = false;
		if (dev->standby_nic == nic)
			dev->standby_ok = false;
	}
}

bool devices_use(const struct nic *nic)
{
	const struct device *dev;

	TAILQ_FOREACH(dev, &nic->vdpad->devices, link) {
		if (dev->nic == nic || dev->standby_nic == nic)
			return true;
	}
	return !SLIST_EMPTY(&nic->vdpad->skipped);
}

struct sim_function device_as_function(const struct device_spec *spec)
{
	struct sim_function function = {
		.mtu = spec->mtu,
		.max_pairs = spec->max_pairs,
		.flags = (spec->link_up ? SIM_FUNCTION_LINK_UP : 0) |
			 (spec->spoof_check ? SIM_FUNCTION_SPOOF_CHECK : 0),
		.features = spec->features,
	};

	memcpy(function.name, spec->name, sizeof(spec->name));
	memcpy(function.mac, spec->mac, sizeof(function.mac));
	return function;
}
