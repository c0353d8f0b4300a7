/* SPDX-License-Identifier: BSD-2-Clause */
/* The state page: every commit is all or nothing, whatever instruction the writer dies at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vdpa/base/bits.h"
#include "vdpa/page.h"

#define FILE_SIZE (64 * 1024)
#define WORDS	  800

static uint64_t first[WORDS], second[16];

static const struct page_section sections[] = {
	{ .id = 1, .version = 1, .working = first, .size = sizeof(first) },
	{ .id = 2, .version = 1, .working = second, .size = sizeof(second) },
};

/* Same sequence in every run. */
static uint32_t next_random(unsigned int *seed)
{
	*seed = *seed * 1664525U + 1013904223U;
	return *seed >> 8;
}

static int make_file(void)
{
	int fd = memfd_create("page", MFD_CLOEXEC);

	assert_int_not_equal(fd, -1);
	assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
	return fd;
}

static void open_page(struct page *p, int fd, bool want_fresh)
{
	bool fresh = !want_fresh;

	assert_int_equal(page_open(p, fd, FILE_SIZE, sections, ARRAY_SIZE(sections), &fresh), 0);
	assert_int_equal(fresh, want_fresh);
}

static void only_committed_changes_are_found_again(void **state)
{
	int fd = make_file();
	struct page p;

	memset(first, 0, sizeof(first));
	memset(second, 0, sizeof(second));
	open_page(&p, fd, true);
	first[0] = 1;
	first[WORDS - 1] = 2;
	second[3] = 3;
	assert_false(page_is_clean(&p));
	page_commit(&p);
	assert_true(page_is_clean(&p));
	first[5] = 4;
	page_close(&p);

	memset(first, 0xff, sizeof(first));
	memset(second, 0xff, sizeof(second));
	open_page(&p, fd, false);
	assert_int_equal(first[0], 1);
	assert_int_equal(first[WORDS - 1], 2);
	assert_int_equal(second[3], 3);
	assert_int_equal(first[5], 0);
	page_close(&p);
	close(fd);
}

static void a_poke_is_valid_alone(void **state)
{
	int fd = make_file();
	struct page p;

	memset(second, 0, sizeof(second));
	open_page(&p, fd, true);
	second[1] = 1;
	page_poke(&p, &second[2], 2);
	page_close(&p);
	open_page(&p, fd, false);
	assert_int_equal(second[1], 0);
	assert_int_equal(second[2], 2);
	page_close(&p);
	close(fd);
}

static void rollback_brings_the_last_commit_back(void **state)
{
	int fd = make_file();
	struct page p;

	memset(first, 7, sizeof(first));
	open_page(&p, fd, true);
	memset(first, 8, sizeof(first));
	page_rollback(&p);
	assert_int_equal(first[100], 0x0707070707070707ULL);
	page_close(&p);
	close(fd);
}

/* The child changes everything from n to n + 1 for ever; wherever it is killed, all is equal. */
static void a_writer_killed_anywhere_leaves_one_whole_commit(void **state)
{
	for (int round = 0; round < 200; round++) {
		int fd = make_file();
		struct page p;
		pid_t child;

		memset(first, 0, sizeof(first));
		memset(second, 0, sizeof(second));
		open_page(&p, fd, true);
		child = fork();
		if (child == 0) {
			for (;;) {
				for (int i = 0; i < WORDS; i++)
					first[i]++;
				second[0]++;
				page_commit(&p);
			}
		}
		usleep((useconds_t)(round * 37 % 1000) + 200);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		page_close(&p);

		open_page(&p, fd, false);
		for (int i = 0; i < WORDS; i++)
			assert_int_equal(first[i], second[0]);
		page_close(&p);
		close(fd);
	}
}

static void a_larger_section_of_the_same_version_finds_its_old_part(void **state)
{
	static uint64_t larger[WORDS + 64];
	struct page_section grown[2] = { sections[0], sections[1] };
	int fd = make_file();
	struct page p;
	bool fresh;

	memset(first, 5, sizeof(first));
	open_page(&p, fd, true);
	page_close(&p);

	memset(larger, 0xff, sizeof(larger));
	grown[0].working = larger;
	grown[0].size = sizeof(larger);
	assert_int_equal(page_open(&p, fd, FILE_SIZE, grown, 2, &fresh), 0);
	assert_false(fresh);
	assert_int_equal(larger[WORDS - 1], 0x0505050505050505ULL);
	assert_int_equal(larger[WORDS], 0);
	larger[WORDS + 63] = 9;
	page_commit(&p);
	page_close(&p);

	memset(first, 0, sizeof(first));
	open_page(&p, fd, false); /* and back to the smaller one */
	assert_int_equal(first[WORDS - 1], 0x0505050505050505ULL);
	page_close(&p);
	close(fd);
}

static void another_version_is_refused(void **state)
{
	struct page_section other[2] = { sections[0], sections[1] };
	int fd = make_file();
	struct page p;
	bool fresh;

	open_page(&p, fd, true);
	page_close(&p);
	other[1].version = 2;
	assert_int_equal(page_open(&p, fd, FILE_SIZE, other, 2, &fresh), -EPROTO);
	close(fd);
}

/* Any content may come from a hostile worker: refused or read, never a crash. */
static void a_damaged_page_is_refused_or_harmless(void **state)
{
	unsigned int seed = 1;

	for (int round = 0; round < 3000; round++) {
		int fd = make_file();
		struct page p;
		bool fresh;

		open_page(&p, fd, true);
		for (int i = 0; i < 4; i++) {
			size_t where = (size_t)(int)next_random(&seed) % (i % 2 ? 256 : 65536 - 8);

			memset(p.base + where, (int)next_random(&seed) % 3 ? 0xff : 1, 1 + (size_t)i * 2);
		}
		page_close(&p);
		if (page_open(&p, fd, FILE_SIZE, sections, 2, &fresh) == 0) {
			first[0]++;
			page_commit(&p);
			page_close(&p);
		}
		close(fd);
	}
}

/* The first word says how many of those that follow mean something; the last 16 always do. */
static size_t spans_of_first(const void *working, struct page_span *ret)
{
	const uint64_t *words = working;

	ret[0] = (struct page_span){ .size = 8 + words[0] * 8 };
	ret[1] = (struct page_span){ .start = (WORDS - 16) * 8, .size = 16 * 8 };
	return 2;
}

static void what_means_something_is_committed_whatever_the_spans_are(void **state)
{
	struct page_section spanned[2] = { sections[0], sections[1] };
	static uint64_t expected[WORDS];
	unsigned int seed = 7;
	int fd = make_file();
	struct page p;
	bool fresh;

	spanned[0].spans = spans_of_first;
	memset(first, 0, sizeof(first));
	assert_int_equal(page_open(&p, fd, FILE_SIZE, spanned, 2, &fresh), 0);
	for (int round = 0; round < 300; round++) {
		first[0] = next_random(&seed) % (WORDS - 17);
		for (int i = 0; i < 20; i++)
			first[1 + next_random(&seed) % (WORDS - 1)] = next_random(&seed);
		memcpy(expected, first, sizeof(first));
		page_commit(&p);
		assert_true(page_is_clean(&p));
		page_close(&p);
		memset(first, 0xee, sizeof(first));
		assert_int_equal(page_open(&p, fd, FILE_SIZE, spanned, 2, &fresh), 0);
		assert_memory_equal(first, expected, 8 + expected[0] * 8);
		assert_memory_equal(first + WORDS - 16, expected + WORDS - 16, 16 * 8);
	}
	page_close(&p);
	close(fd);
}

static void sections_that_do_not_fit_are_refused(void **state)
{
	int fd = make_file();
	struct page p;
	bool fresh;

	assert_int_equal(page_open(&p, fd, 8192, sections, 2, &fresh), -ENOSPC);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(page_open(&p, fd, FILE_SIZE, sections, 2, &fresh), -EBADMSG);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_committed_changes_are_found_again),
		cmocka_unit_test(a_poke_is_valid_alone),
		cmocka_unit_test(rollback_brings_the_last_commit_back),
		cmocka_unit_test(a_writer_killed_anywhere_leaves_one_whole_commit),
		cmocka_unit_test(a_larger_section_of_the_same_version_finds_its_old_part),
		cmocka_unit_test(another_version_is_refused),
		cmocka_unit_test(a_damaged_page_is_refused_or_harmless),
		cmocka_unit_test(what_means_something_is_committed_whatever_the_spans_are),
		cmocka_unit_test(sections_that_do_not_fit_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
