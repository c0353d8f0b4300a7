/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/stand.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/fuzz/must.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/memfile.h"
#include "vdpa/dirty_log.h"

static struct stand *of(struct fdstore_keeper *keeper)
{
	return (struct stand *)((char *)keeper - offsetof(struct stand, keeper));
}

/* The shim's limit is its own. */
static int keep_copy(int fd)
{
	struct rlimit before, more;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy >= 0 || errno != EMFILE)
		return copy;
	must(getrlimit(RLIMIT_NOFILE, &before) == 0, "no limit");
	more = (struct rlimit){ before.rlim_max, before.rlim_max };
	must(setrlimit(RLIMIT_NOFILE, &more) == 0, "the limit can't be raised");
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	must(setrlimit(RLIMIT_NOFILE, &before) == 0, "the limit can't be lowered");
	return copy;
}

static int keep_store(
	struct fdstore_keeper *keeper, const uint32_t *slots, const int *fds, size_t n)
{
	struct stand *s = of(keeper);

	if (s->driver.on_call)
		s->driver.on_call();
	for (size_t i = 0; i < n; i++) {
		must(slots[i] < FDSTORE_MAX_SLOTS, "slot %u is stored", slots[i]);
		must(s->kept[slots[i]] < 0, "slot %u is stored, and has something already",
			slots[i]);
		s->kept[slots[i]] = keep_copy(fds[i]);
		must(s->kept[slots[i]] >= 0, "what is stored in slot %u is no descriptor",
			slots[i]);
	}
	return 0;
}

static int keep_drop(struct fdstore_keeper *keeper, const uint32_t *slots, size_t n)
{
	struct stand *s = of(keeper);

	if (s->driver.on_call)
		s->driver.on_call();
	for (size_t i = 0; i < n; i++) {
		must(slots[i] >= SHIM_SLOT_FREE && slots[i] < FDSTORE_MAX_SLOTS,
			"slot %u is dropped", slots[i]);
		s->kept[slots[i]] = close_keep_errno(s->kept[slots[i]]);
	}
	return 0;
}

void stand_init(struct stand *s)
{
	s->keeper = (struct fdstore_keeper){ .store = keep_store, .drop = keep_drop };
	s->page_fd = memfile_create("page", SHIM_PAGE_SIZE);
	must(s->page_fd >= 0, "no page");
	for (size_t i = 0; i < FDSTORE_MAX_SLOTS; i++)
		s->kept[i] = -1;
}

void stand_wipe(struct stand *s)
{
	static const uint8_t zeros[64]; /* its first bytes say that there is something */

	must(pwrite(s->page_fd, zeros, sizeof(zeros), 0) == (ssize_t)sizeof(zeros), "page: %s",
		strerror(errno));
}

void stand_begin(struct stand *s, const struct driver_caps *caps, uint16_t max_pairs)
{
	stand_wipe(s);
	fuzz_driver_init(&s->driver, caps);
	s->max_pairs = max_pairs;
	s->works = s->has_standby = false;
}

void stand_add_standby(struct stand *s, const struct driver_caps *caps)
{
	fuzz_driver_init(&s->standby, caps);
	s->has_standby = true;
}

void stand_end(struct stand *s)
{
	if (s->works)
		stand_worker_end(s);
	for (size_t i = 0; i < FDSTORE_MAX_SLOTS; i++)
		s->kept[i] = close_keep_errno(s->kept[i]);
	fuzz_driver_free(&s->driver);
	if (s->has_standby)
		fuzz_driver_free(&s->standby);
	s->has_standby = false;
}

static bool names_shims_slots(const struct stand *s)
{
	uint8_t used[FDSTORE_MAX_SLOTS] = { 0 };

	device_section_slots(&s->device_section, used);
	session_section_slots(&s->session_section, used);
	return memchr(used, 1, SHIM_SLOT_FREE) != NULL;
}

static int load_page(struct stand *s)
{
	const struct page_section sections[] = {
		{ 1, DEVICE_SECTION_VERSION, &s->device_section, sizeof(s->device_section),
			device_section_spans },
		{ 2, SESSION_SECTION_VERSION, &s->session_section, sizeof(s->session_section),
			NULL },
	};
	bool fresh;
	int r;

	device_section_init(&s->device_section);
	session_section_init(&s->session_section);
	r = page_open(&s->page, s->page_fd, SHIM_PAGE_SIZE, sections, ARRAY_SIZE(sections), &fresh);
	if (r == 0 &&
		(device_section_check(&s->device_section) < 0 ||
			session_section_check(&s->session_section) < 0 || names_shims_slots(s))) {
		page_close(&s->page);
		r = -EBADMSG;
	}
	return r;
}

static int checkpoint(struct device *d)
{
	struct stand *s = (struct stand *)((char *)d - offsetof(struct stand, device));

	return transaction_commit(&s->session.transaction);
}

static void drop_unnamed_slots(struct stand *s)
{
	uint8_t used[FDSTORE_MAX_SLOTS] = { 0 };

	device_section_slots(&s->device_section, used);
	session_section_slots(&s->session_section, used);
	fdstore_retain(&s->fds, used);
}

static void say_miss(struct device *d, const struct driver_miss *miss)
{
	struct stand *s = (struct stand *)((char *)d - offsetof(struct stand, device));

	session_say_miss(&s->session, miss);
}

static void open_standby(struct stand *s)
{
	const int errors[DEVICE_N_SIDES] = { s->driver.gone ? -ENODEV : 0, s->standby.gone ? -ENODEV : 0 };

	s->standby.is_open = true;
	device_add_standby(&s->device, &s->standby.device, errors, UINT64_MAX, s->max_pairs);
}

int stand_worker_begin(struct stand *s)
{
	int r;

	fdstore_init(&s->fds, &s->keeper, SHIM_SLOT_FREE);
	for (uint32_t i = 0; i < FDSTORE_MAX_SLOTS; i++) {
		if (s->kept[i] >= 0)
			fdstore_put(&s->fds, i, fcntl(s->kept[i], F_DUPFD_CLOEXEC, 0));
	}
	r = load_page(s);
	if (r < 0) {
		fdstore_close_all(&s->fds);
		return r;
	}
	s->works = true;
	s->driver.is_open = true;
	memset(&s->device, 0, sizeof(s->device));
	device_init(&s->device, &s->device_section, &s->driver.device, &s->fds, UINT64_MAX,
		s->max_pairs);
	s->device.lost = s->driver.gone; /* else open() would not have succeeded */
	if (s->has_standby)
		open_standby(s);
	s->device.doorbell_allowed = s->doorbell_allowed;
	session_init(&s->session, &s->session_section, &s->device, &s->page, &s->fds);
	s->session.transfer = (struct transfer){ .fd = -1 };
	s->device.checkpoint = checkpoint;
	s->device.say_miss = say_miss;
	(void)device_log_open(&s->device);
	(void)device_inflight_open(&s->device);
	device_relays_resume(&s->device);
	device_resume_failover(&s->device);
	device_iotlb_look_at_all(&s->device);
	device_resume_return(&s->device);
	stand_commit(s);
	drop_unnamed_slots(s);
	return 0;
}

void stand_worker_end(struct stand *s)
{
	device_relays_close(&s->device);
	device_iotlb_close(&s->device);
	dirty_log_close(s->device.log);
	device_forget_inflight(&s->device); /* in a copy that nobody commits */
	message_close_fds(&s->session.stream.message);
	close_keep_errno(s->session.transfer.fd);
	s->session.inband.fd = close_keep_errno(s->session.inband.fd);
	free(s->session.transfer.data);
	fdstore_close_all(&s->fds);
	page_close(&s->page);
	s->driver.device.ops->close(&s->driver.device);
	if (s->has_standby)
		s->standby.device.ops->close(&s->standby.device);
	s->works = false;
}

void stand_commit(struct stand *s)
{
	must(transaction_commit(&s->session.transaction) == 0, "the keeper never refuses");
}

void stand_check_sections(const struct stand *s)
{
	must(device_section_check(&s->device_section) == 0,
		"the device's section is one that no worker takes");
	must(session_section_check(&s->session_section) == 0,
		"the session's section is one that no worker takes");
}

void stand_check(const struct stand *s)
{
	uint8_t named[FDSTORE_MAX_SLOTS] = { 0 };

	must(page_is_clean(&s->page),
		"something was changed, and neither committed nor rolled back");
	device_section_slots(&s->device_section, named);
	session_section_slots(&s->session_section, named);
	for (size_t i = SHIM_SLOT_FREE; i < FDSTORE_MAX_SLOTS; i++) {
		bool has = s->fds.fds[i] >= 0;

		if (has == named[i] && has == (s->kept[i] >= 0))
			continue;
		must((s->kept[i] >= 0) == has, "slot %zu: worker and keeper disagree", i);
		must(named[i] || !has, "slot %zu: kept, and nothing names it", i);
		must(!named[i] || has, "slot %zu: named, and nothing is in it", i);
	}
	fuzz_driver_matches(device_active_side(&s->device) == DEVICE_STANDBY ? &s->standby : &s->driver, &s->device);
}

size_t stand_count_fds(const struct stand *s)
{
	size_t n = s->driver.n_maps + (s->has_standby ? s->standby.n_maps : 0);

	for (size_t i = 0; i < FDSTORE_MAX_SLOTS; i++)
		n += (size_t)(s->kept[i] >= 0) + (size_t)(s->works && s->fds.fds[i] >= 0);
	if (!s->works)
		return n;
	for (size_t i = 0; i < s->session.stream.message.n_fds; i++)
		n += s->session.stream.message.fds[i] >= 0;
	return n + (size_t)(s->session.transfer.fd >= 0) + (size_t)(s->session.inband.fd >= 0) +
	       (size_t)(s->device.relays != NULL);
}
