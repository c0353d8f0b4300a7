/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vdpa/dirty_log.h"

#define PAGE 4096ULL
#define SIZE (2 * PAGE) /* bytes of log: 65536 pages */

static int log_file(uint64_t size)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void logs_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		uint64_t offset, size, covers;
		int r;
	} cases[] = {
		{ 0, 2 * PAGE, 65536 * PAGE, 0 },
		{ 0, 2 * PAGE, 65536 * PAGE + 1, -EINVAL },
		{ 0, 2 * PAGE, UINT64_MAX, -EINVAL },
		{ 0, 1, 8 * PAGE, 0 },
		{ 0, 0, 0, -EINVAL },
		{ 0, 4 * PAGE + 1, 0, -EINVAL },
		{ 4 * PAGE - 1, 1, 0, 0 },
		{ 4 * PAGE - 1, 2, 0, -EINVAL },
		{ UINT64_MAX, 2, 0, -EINVAL },
		{ PAGE, UINT64_MAX - PAGE + 1, 0, -EINVAL },
		{ 0, UINT64_MAX, 0, -EINVAL },
		{ 1ULL << 63, PAGE, 0, -EINVAL },
	};
	int fd = log_file(4 * PAGE);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dirty_log *log = NULL;

		if (dirty_log_open(fd, cases[i].offset, cases[i].size, cases[i].covers, &log) !=
			cases[i].r)
			fail_msg("case %zu", i);
		assert_int_equal(log != NULL, cases[i].r == 0);
		dirty_log_close(log);
	}
	close(fd);
}

static void descriptors_that_are_no_memory_are_refused(void **state)
{
	struct dirty_log *log = NULL;
	int pipes[2], file = log_file(PAGE), readonly;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	readonly = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(readonly >= 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(dirty_log_open(pipes[1], 0, 8, 0, &log), -EINVAL);
	assert_int_equal(dirty_log_open(readonly, 0, 8, 0, &log), -EINVAL);
	assert_int_equal(dirty_log_open(-1, 0, 8, 0, &log), -EINVAL);
	assert_null(log);
	close(pipes[0]);
	close(pipes[1]);
	close(readonly);
	close(file);
}

/* Marks a range in a new log and compares all of its bits, and the bytes around it. */
static void check_range(uint64_t offset, uint64_t gpa, uint64_t size, uint64_t first, uint64_t n)
{
	static uint8_t bytes[SIZE + 3 * PAGE];
	int fd = log_file(sizeof(bytes));
	struct dirty_log *log;

	assert_int_equal(dirty_log_open(fd, offset, SIZE, 0, &log), 0);
	dirty_log_mark(log, gpa, size);
	assert_int_equal(log->n_outside, 0);
	dirty_log_close(log);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	for (uint64_t i = 0; i < 8 * sizeof(bytes); i++) {
		bool is = bytes[i / 8] >> i % 8 & 1;
		uint64_t page = i - 8 * offset;

		if (is != (page >= first && page < first + n))
			fail_msg("bit %lu after %lx + %lx", i, gpa, size);
	}
	close(fd);
}

static void each_page_of_a_range_is_marked_and_no_other(void **state)
{
	static const uint64_t offsets[] = { 0, 1, 8, PAGE, PAGE + 3 };

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		check_range(offsets[i], 0, 0, 0, 0);
		check_range(offsets[i], 0, 1, 0, 1);
		check_range(offsets[i], PAGE - 1, 1, 0, 1);
		check_range(offsets[i], PAGE - 1, 2, 0, 2);
		check_range(offsets[i], 7 * PAGE, PAGE, 7, 1);
		check_range(offsets[i], 7 * PAGE + 1, PAGE, 7, 2);
		check_range(offsets[i], 3 * PAGE, 300 * PAGE, 3, 300);
		check_range(offsets[i], 65535 * PAGE, PAGE, 65535, 1);
		check_range(offsets[i], 0, 65536 * PAGE, 0, 65536);
	}
}

static void marks_do_not_take_others_away(void **state)
{
	int fd = log_file(SIZE);
	struct dirty_log *log;
	uint8_t byte = 0x81;

	assert_int_equal(pwrite(fd, &byte, 1, 2), 1);
	assert_int_equal(dirty_log_open(fd, 0, SIZE, 0, &log), 0);
	dirty_log_mark(log, 18 * PAGE, 1);
	assert_int_equal(pread(fd, &byte, 1, 2), 1);
	assert_int_equal(byte, 0x85);
	dirty_log_close(log);
	close(fd);
}

static void what_is_beyond_the_log_is_counted_and_not_written(void **state)
{
	static const struct {
		uint64_t gpa, size;
	} cases[] = {
		{ 65536 * PAGE, 1 },
		{ 65536 * PAGE - 1, 2 },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX, 2 },
		{ PAGE, UINT64_MAX },
		{ 1ULL << 63, 1ULL << 63 },
		{ 65536 * PAGE, PAGE * PAGE },
		{ UINT64_MAX - 2, UINT64_MAX - 2 },
	};
	uint8_t after[PAGE] = { 0 };
	static const uint8_t zeros[PAGE];
	int fd = log_file(SIZE + PAGE);
	struct dirty_log *log;

	assert_int_equal(dirty_log_open(fd, 0, SIZE, 0, &log), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(log->n_outside, i);
		assert_false(dirty_log_reaches(log, cases[i].gpa, cases[i].size));
		dirty_log_mark(log, cases[i].gpa, cases[i].size);
		assert_true(dirty_log_failed(log));
	}
	assert_int_equal(log->n_outside, sizeof(cases) / sizeof(cases[0]));
	assert_int_equal(pread(fd, after, PAGE, SIZE), PAGE);
	assert_memory_equal(after, zeros, PAGE);
	assert_true(dirty_log_reaches(log, 0, 65536 * PAGE));
	dirty_log_close(log);
	close(fd);
}

/* hostile(106) */
static void a_log_that_was_cut_short_is_survived_and_said(void **state)
{
	int fd = log_file(SIZE);
	struct dirty_log *log;

	assert_int_equal(dirty_log_open(fd, 0, SIZE, 0, &log), 0);
	dirty_log_mark(log, 65535 * PAGE, PAGE);
	assert_false(dirty_log_failed(log));
	assert_int_equal(ftruncate(fd, 0), 0);
	dirty_log_mark(log, 65535 * PAGE, PAGE);
	assert_true(dirty_log_failed(log));
	dirty_log_mark(log, 0, 65536 * PAGE);
	assert_int_equal(log->n_outside, 0);
	dirty_log_close(log);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logs_that_make_no_sense_are_refused),
		cmocka_unit_test(descriptors_that_are_no_memory_are_refused),
		cmocka_unit_test(each_page_of_a_range_is_marked_and_no_other),
		cmocka_unit_test(marks_do_not_take_others_away),
		cmocka_unit_test(what_is_beyond_the_log_is_counted_and_not_written),
		cmocka_unit_test(a_log_that_was_cut_short_is_survived_and_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
