/* SPDX-License-Identifier: BSD-2-Clause */
/* What @set_log takes and refuses, and where marks go and where not. Pages: driver_log_pages.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/conformance/driver_marks.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

/* Frames for @g must be marked in @m: the page that the first used entry lies in is, or some buffer. */
static void assert_marks(struct guest *from, struct guest *g, struct marks *m)
{
	const struct guest_ring *r = &g->rings[0];

	marks_clear(m);
	guest_exchange(from, g, 3);
	if (g->device && g->ops->caps(g->device)->dirty_log == DRIVER_LOG_ALL)
		marks_wait_for(m, g->packed ? r->desc : r->device);
	else
		assert_true(marks_any(m));
}

static void a_log_is_set_twice_and_ended_twice(void **state)
{
	struct guest *a = marks_guest(state, 1, 32), *b = suite_peer(state);
	struct marks m = marks_new(0);

	marks_set(a, NULL);
	marks_set(a, &m);
	guest_run(a);
	marks_set(a, &m);
	assert_marks(b, a, &m);
	marks_set(a, NULL);
	marks_set(a, NULL);
	guest_exchange(a, b, 3);
	marks_free(&m);
}

static void without_a_log_nothing_is_marked_any_more(void **state)
{
	struct guest *a = marks_guest(state, 1, 32), *b = suite_peer(state);
	struct marks m = marks_new(0);
	uint8_t *before;

	marks_set(a, &m);
	guest_run(a);
	for (int reset = 0; reset < 2; reset++) {
		assert_marks(b, a, &m);
		if (reset) {
			assert_int_equal(a->ops->reset(a->device), 0);
			guest_ring_init(a, 0, 0);
			guest_ring_init(a, 1, 0);
			assert_int_equal(guest_setup(a), 0);
			guest_run(a);
		} else {
			marks_set(a, NULL);
		}
		before = marks_copy(&m);
		guest_exchange(a, b, 3);
		guest_exchange(b, a, 3);
		assert_memory_equal(m.file, before, m.file_size);
		free(before);
		marks_set(a, &m);
	}
	marks_free(&m);
}

static void marks_are_set_and_nothing_else_in_the_file_changes(void **state)
{
	const uint64_t offsets[] = { 0, 1, 4096, 4097, 70001 };
	struct guest *a = marks_guest(state, 1, 32), *b = suite_peer(state);

	guest_run(a);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		struct marks m = marks_new(offsets[i]);
		uint64_t first = offsets[i] + GUEST_BASE / DRIVER_LOG_PAGE / 8;

		memset(m.file, 0xa5, m.file_size);
		marks_set(a, &m);
		guest_exchange(b, a, 5);
		guest_exchange(a, b, 5);
		marks_set(a, NULL);
		for (uint64_t at = 0; at < m.file_size; at++) {
			bool guests = at >= first && at < offsets[i] + MARKS_SIZE;

			assert_int_equal(guests ? m.file[at] & 0xa5 : m.file[at], 0xa5);
		}
		memset(m.file, 0, m.file_size);
		marks_set(a, &m);
		assert_marks(b, a, &m);
		marks_free(&m);
	}
}

static void logs_that_make_no_sense_are_refused_and_the_one_before_stays(void **state)
{
	struct guest *a = marks_guest(state, 1, 32), *b = suite_peer(state);
	struct marks m = marks_new(0);
	_cleanup_close_ int event = eventfd(0, EFD_CLOEXEC), root = open("/", O_RDONLY | O_CLOEXEC);
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", m.fd);
	_cleanup_close_ int readable = open(path, O_RDONLY | O_CLOEXEC);
	const struct driver_log bad[] = {
		{ .fd = event, .size = MARKS_SIZE },
		{ .fd = root, .size = MARKS_SIZE },
		{ .fd = readable, .size = MARKS_SIZE },
		{ .fd = m.fd, .size = 0 },
		{ .fd = m.fd, .size = MARKS_SIZE - 1 },
		{ .fd = m.fd, .offset = 101, .size = MARKS_SIZE },
		{ .fd = m.fd, .offset = UINT64_MAX - 10, .size = MARKS_SIZE },
		{ .fd = m.fd, .offset = UINT64_MAX - MARKS_SIZE + 1, .size = MARKS_SIZE },
		{ .fd = m.fd, .offset = 1ULL << 63, .size = MARKS_SIZE },
		{ .fd = m.fd, .size = UINT64_MAX },
	};

	guest_run(a);
	marks_set(a, &m);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(a->ops->set_log(a->device, &bad[i]), -EINVAL);
		assert_marks(b, a, &m);
	}
	marks_free(&m);
}

static void a_logs_file_stays_the_callers(void **state)
{
	struct guest *a = marks_guest(state, 1, 32), *b = suite_peer(state);
	struct marks m = marks_new(0);

	guest_run(a);
	marks_set(a, &m);
	m.fd = close_keep_errno(m.fd);
	assert_marks(b, a, &m);
	marks_free(&m);
}

static void the_next_instance_logs_on(void **state)
{
	struct guest *a = marks_guest(state, 1, 32), *b = suite_peer(state);
	struct marks m = marks_new(0);

	guest_run(a);
	marks_set(a, &m);
	guest_close(a);
	assert_marks(b, a, &m);
	assert_int_equal(guest_open(a), 0);
	assert_marks(b, a, &m);
	marks_set(a, &m);
	assert_marks(b, a, &m);
	marks_free(&m);
}

static void memory_that_is_mapped_meanwhile_must_be_covered_and_is(void **state)
{
	struct guest *a = marks_guest(state, 1, 32), *b = suite_peer(state);
	struct marks m = marks_new(0);
	_cleanup_close_ int fd = memfd_create("more", MFD_CLOEXEC);
	struct driver_map more = { .iova = GUEST_BASE - 0x10000, .size = 0x2000, .fd = fd,
		.perm = DRIVER_PERM_READ | DRIVER_PERM_WRITE };

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 0x2000), 0);
	assert_int_equal(guest_prepare(a), 0);
	assert_int_equal(guest_start(a), 0);
	marks_set(a, &m);
	assert_int_equal(a->ops->map(a->device, &more), 0);
	guest_add_at(a, 0, more.iova + 0xfff, 1600);
	guest_send(b, 0, a->nic_device->mac, 1);
	guest_wait(a, 0, NULL);
	assert_true(marks_has(&m, more.iova) && marks_has(&m, more.iova + 0x1000));

	/* The log ends at a multiple of eight pages, and just behind the guest's memory. */
	more.size = 0x1000;
	more.iova = MARKS_SIZE * 8 * DRIVER_LOG_PAGE - 0x1000;
	assert_int_equal(a->ops->map(a->device, &more), -EEXIST);
	more.iova += 0x1000;
	assert_int_equal(a->ops->map(a->device, &more), -EINVAL);
	more.perm = DRIVER_PERM_READ;
	assert_int_equal(a->ops->map(a->device, &more), 0);
	marks_set(a, &m);
	assert_int_equal(a->ops->unmap(a->device, more.iova, more.size), 0);

	more.perm = DRIVER_PERM_WRITE;
	marks_set(a, NULL);
	assert_int_equal(a->ops->map(a->device, &more), 0);
	const struct driver_log log = marks_log(&m);

	assert_int_equal(a->ops->set_log(a->device, &log), -EINVAL);
	marks_free(&m);
}

/* hostile(106) */
static void a_log_that_is_truncated_fails_that_device_only(void **state)
{
	struct guest *a = marks_guest(state, 1, 32), *b = suite_peer(state), *c = suite_peer(state);
	struct marks m = marks_new(0);
	struct queue_position at[QUEUE_MAX];

	suite_need(state, RIG_FILES);
	guest_run(a);
	marks_set(a, &m);
	assert_marks(b, a, &m);
	assert_int_equal(ftruncate(m.fd, 0), 0);
	guest_send(b, 0, a->nic_device->mac, 1);
	assert_int_equal(guest_wait_event(a).kind, DRIVER_EVENT_FAILED);
	guest_exchange(b, c, 5);
	guest_exchange(c, b, 5);
	assert_int_equal(guest_stop(a, at), 0);
	assert_true(guest_start(a) < 0);

	assert_int_equal(a->ops->reset(a->device), 0);
	guest_ring_init(a, 0, 0);
	guest_ring_init(a, 1, 0);
	assert_int_equal(guest_setup(a), 0);
	guest_run(a);
	guest_exchange(a, b, 3);
	guest_exchange(b, a, 3);
	marks_free(&m);
}

const struct suite_test driver_log_tests[] = {
	BOTH(a_log_is_set_twice_and_ended_twice),
	BOTH(without_a_log_nothing_is_marked_any_more),
	BOTH(marks_are_set_and_nothing_else_in_the_file_changes),
	ONCE(logs_that_make_no_sense_are_refused_and_the_one_before_stays),
	ONCE(a_logs_file_stays_the_callers),
	BOTH(the_next_instance_logs_on),
	BOTH(memory_that_is_mapped_meanwhile_must_be_covered_and_is),
	BOTH(a_log_that_is_truncated_fails_that_device_only),
	{ 0 },
};
