/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a worker begins. There is one way, whether it is the first, or follows one that crashed or
 * was replaced by another version: descriptors and page come from the shim, and the page says where
 * the conversation stands. A page that makes no sense costs the connection, not the device: all is
 * forgotten and the front-end has to come again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "drivers/drivers.h"
#include "tools/worker/worker.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

enum section_id { SECTION_DEVICE = 1, SECTION_SESSION = 2 };

/* What belongs to the shim is in no state; a predecessor that says so wants it closed. */
static bool names_shims_slots(const struct worker *w)
{
	static uint8_t used[FDSTORE_MAX_SLOTS];

	memset(used, 0, sizeof(used));
	device_section_slots(&w->device_section, used);
	session_section_slots(&w->session_section, used);
	return memchr(used, 1, SHIM_SLOT_FREE) != NULL;
}

static int load_page(struct worker *w)
{
	const struct page_section sections[] = {
		{ SECTION_DEVICE, DEVICE_SECTION_VERSION, &w->device_section,
			sizeof(w->device_section), device_section_spans },
		{ SECTION_SESSION, SESSION_SECTION_VERSION, &w->session_section,
			sizeof(w->session_section), NULL },
	};
	bool fresh;
	int r;

	device_section_init(&w->device_section);
	session_section_init(&w->session_section);
	r = page_open(&w->page, fdstore_get(&w->fds, SHIM_SLOT_PAGE), SHIM_PAGE_SIZE, sections,
		ARRAY_SIZE(sections), &fresh);
	if (r == 0 && (device_section_check(&w->device_section) < 0 ||
			      session_section_check(&w->session_section) < 0 || names_shims_slots(w))) {
		page_close(&w->page);
		r = -EBADMSG;
	}
	return r;
}

static int wipe_page(struct worker *w)
{
	static const uint8_t zeros[4096];
	int fd = fdstore_get(&w->fds, SHIM_SLOT_PAGE);

	for (off_t at = 0; at < SHIM_PAGE_SIZE; at += (off_t)sizeof(zeros)) {
		if (pwrite(fd, zeros, sizeof(zeros), at) != (ssize_t)sizeof(zeros))
			return -EIO;
	}
	return 0;
}

/* Return: 0 with *ret_wiped saying that nothing of before is known; a negative errno. */
static int open_page(struct worker *w, bool *ret_wiped)
{
	int r = load_page(w);

	*ret_wiped = false;
	if (r != -EBADMSG && r != -EPROTO)
		return r;
	log_error("state page: %s; beginning anew, the front-end has to connect again",
		r == -EPROTO ? "written by a version that this one can't read" : "damaged");
	if (fdstore_get(&w->fds, SHIM_SLOT_CONN) >= 0)
		shutdown(fdstore_get(&w->fds, SHIM_SLOT_CONN), SHUT_RDWR);
	*ret_wiped = true;
	r = wipe_page(w);
	return r < 0 ? r : load_page(w);
}

static int map_health(struct worker *w)
{
	void *block = mmap(NULL, HEALTH_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		fdstore_get(&w->fds, SHIM_SLOT_HEALTH), 0);

	if (block == MAP_FAILED)
		return -errno;
	w->health = block;
	report_migration_begin(w);
	return 0;
}

static struct worker *worker_of(struct driver_keeper *keeper)
{
	return (struct worker *)((char *)keeper - offsetof(struct worker, driver_keeper));
}

static int driver_keep_fd(struct driver_keeper *keeper, int fd)
{
	struct worker *w = worker_of(keeper);
	int32_t *slots = w->device_section.driver_slots;
	int copy, slot;

	for (int i = 0; i < DEVICE_DRIVER_SLOTS; i++) {
		if (slots[i] != FDSTORE_NONE)
			continue;
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (copy < 0)
			return -errno;
		slot = fdstore_add(&w->fds, copy);
		if (slot < 0)
			return slot;
		slots[i] = slot;
		return i;
	}
	return -ENOSPC;
}

static int driver_get_fd(struct driver_keeper *keeper, int number)
{
	struct worker *w = worker_of(keeper);

	if (number < 0 || number >= DEVICE_DRIVER_SLOTS)
		return -1;
	return fdstore_get(&w->fds, w->device_section.driver_slots[number]);
}

static void driver_drop_fd(struct driver_keeper *keeper, int number)
{
	struct worker *w = worker_of(keeper);

	if (number < 0 || number >= DEVICE_DRIVER_SLOTS)
		return;
	fdstore_remove(&w->fds, w->device_section.driver_slots[number]);
	w->device_section.driver_slots[number] = FDSTORE_NONE;
}

/* Waits for a device as long as there is none. */
static int open_driver(struct worker *w)
{
	const struct driver_ops *ops = driver_find(w->spec.driver);
	int fds[DRIVER_MAX_DEVICE_FDS];
	int r;

	if (!ops) {
		log_error("there is no driver called '%s'", w->spec.driver);
		return -ENOENT;
	}
	w->driver_keeper = (struct driver_keeper){
		.state = w->device_section.driver,
		.state_size = sizeof(w->device_section.driver),
		.keep_fd = driver_keep_fd,
		.get_fd = driver_get_fd,
		.drop_fd = driver_drop_fd,
	};
	for (;;) {
		size_t n = driver_link_fds(w, fds);

		r = n == 0 ? -ENODEV : ops->open(fds, n, &w->driver_keeper, &w->driver);
		if (r != -ENODEV)
			break;
		r = shim_link_wait_for_device(w);
		if (r < 0)
			break;
	}
	if (r < 0)
		log_error("device of driver '%s': %s", ops->name, strerror(-r));
	return r;
}

static void drop_unnamed_slots(struct worker *w)
{
	static uint8_t used[FDSTORE_MAX_SLOTS];

	memset(used, 0, sizeof(used));
	device_section_slots(&w->device_section, used);
	session_section_slots(&w->session_section, used);
	fdstore_retain(&w->fds, used);
}

static int checkpoint(struct device *d)
{
	struct worker *w = (struct worker *)((char *)d - offsetof(struct worker, device));

	return transaction_commit(&w->session.transaction);
}

static void say_miss(struct device *d, const struct driver_miss *miss)
{
	struct worker *w = (struct worker *)((char *)d - offsetof(struct worker, device));

	session_say_miss(&w->session, miss);
}

/* What of the device is this process's own: the log, the inflight area, and relays. */
static void resume_device(struct worker *w)
{
	w->device.checkpoint = checkpoint;
	w->device.say_miss = say_miss;
	if (device_log_open(&w->device) < 0)
		log_error("the log of dirty pages is gone; nothing runs until there is another one");
	if (device_inflight_open(&w->device) < 0)
		log_error("the inflight area is gone; chains in flight are not noted any more");
	device_relays_resume(&w->device);
	device_eventfds_resume(&w->device);
	device_iotlb_look_at_all(&w->device);
}

int worker_start(struct worker *w)
{
	bool wiped = false;
	int r;

	w->started_ns = clock_now_ns();
	shim_link_init(w);
	r = shim_link_begin(w);
	if (r < 0)
		return r;
	r = map_health(w);
	if (r == 0)
		r = open_page(w, &wiped);
	if (r < 0) {
		log_error("page and health block: %s", strerror(-r));
		return r;
	}
	r = open_driver(w);
	if (r < 0)
		return r;

	device_init(&w->device, &w->device_section, w->driver, &w->fds, w->spec.features,
		w->spec.max_pairs);
	w->device.doorbell_allowed = w->spec.flags & SHIM_SPEC_NOTIFIER;
	session_init(&w->session, &w->session_section, &w->device, &w->page, &w->fds);
	if (wiped)
		device_release(&w->device);
	resume_device(w);
	r = transaction_commit(&w->session.transaction);
	if (r < 0)
		return r;
	drop_unnamed_slots(w);
	driver_link_watch(w);
	return connection_watch(w);
}
