/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a worker begins. There is one way, whether it is the first, or follows one that crashed or
 * was replaced by another version: descriptors and page come from the shim, and the page says where
 * the conversation stands. A page that makes no sense costs the connection, not the device: all is
 * forgotten and the front-end has to come again.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/worker/worker.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"

enum section_id { SECTION_DEVICE = 1, SECTION_SESSION = 2 };

static void named_slots(const struct worker *w, uint8_t used[FDSTORE_MAX_SLOTS])
{
	memset(used, 0, FDSTORE_MAX_SLOTS);
	device_section_slots(&w->device_section, used);
	session_section_slots(&w->session_section, used);
}

/*
 * What belongs to the shim is in no state; a predecessor that says so wants it closed. What was lost on its
 * way to the shim is not there, and without it nothing would ever run again.
 */
static bool names_wrong_slots(const struct worker *w)
{
	static uint8_t used[FDSTORE_MAX_SLOTS];

	named_slots(w, used);
	for (int32_t slot = 0; slot < FDSTORE_MAX_SLOTS; slot++) {
		if (used[slot] && (slot < SHIM_SLOT_FREE || fdstore_get(&w->fds, slot) < 0))
			return true;
	}
	return false;
}

/* A standby that serves, and the specification knows of none. */
static bool names_no_side(const struct worker *w)
{
	return w->device_section.failover.active != DEVICE_PRIMARY && w->spec.standby[0] == '\0';
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
			      session_section_check(&w->session_section) < 0 || names_wrong_slots(w) ||
			      names_no_side(w))) {
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
	w->view.switches = w->health->switches;
	return 0;
}

static void drop_unnamed_slots(struct worker *w)
{
	static uint8_t used[FDSTORE_MAX_SLOTS];

	named_slots(w, used);
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
	device_resume_failover(&w->device);
	device_eventfds_resume(&w->device);
	device_iotlb_look_at_all(&w->device);
}

int worker_start(struct worker *w)
{
	bool wiped = false;
	int r;

	w->started_ns = clock_now_ns();
	driver_link_init(w);
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
	r = driver_link_open(w);
	if (r < 0)
		return r;

	device_init(&w->device, &w->device_section, w->sides[DEVICE_PRIMARY].driver, &w->fds,
		w->spec.features, w->spec.max_pairs);
	driver_link_add_standby(w);
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
	w->switches = w->device_section.failover.switches;
	w->serves = true;
	driver_link_hear(w);
	r = connection_watch(w);
	driver_link_resume(w); /* after the message that a predecessor was in the middle of */
	return r;
}
