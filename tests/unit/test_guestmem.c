/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vdpa/guestmem.h"

#define PAGE 4096ULL

static struct memory_table table;
static struct fdstore fds;
static struct guestmem memory;

/* Adds a region that begins @offset bytes into a file of its own. Return: the file. */
static int add_region(uint64_t gpa, uint64_t size, uint64_t uva, uint64_t offset)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct memory_region *region = &table.regions[table.n_regions++];

	assert_int_equal(ftruncate(fd, (off_t)(offset + size)), 0);
	*region = (struct memory_region){
		.gpa = gpa,
		.size = size,
		.uva = uva,
		.offset = offset,
		.slot = fdstore_add(&fds, fd),
	};
	assert_true(region->slot >= 0);
	assert_int_equal(memory_file_check(fd, region), 0);
	return fd;
}

static int begin(void **state)
{
	memset(&table, 0, sizeof(table));
	fdstore_init(&fds, NULL, 0);
	return guestmem_init(&memory);
}

static int end(void **state)
{
	guestmem_free(&memory);
	fdstore_close_all(&fds);
	return 0;
}

static void ranges_are_found_over_their_full_length(void **state)
{
	static const struct {
		uint64_t gpa, size;
		bool has, at;
	} cases[] = {
		{ 0, 1, true, true }, { 0, 2 * PAGE, true, true }, { 2 * PAGE - 1, 1, true, true },
		{ 2 * PAGE - 1, 2, true, false }, /* into the region that adjoins */
		{ 0, 3 * PAGE, true, false }, { 0, 3 * PAGE + 1, false, false },
		{ 3 * PAGE, 1, false, false }, /* a hole */
		{ 8 * PAGE - 1, 2, false, false }, { 8 * PAGE, PAGE, true, true },
		{ 8 * PAGE, PAGE + 1, false, false }, { 5ULL << 40, PAGE, true, true },
		{ (5ULL << 40) - 1, 2, false, false }, { UINT64_MAX, 1, false, false },
		{ 8 * PAGE, UINT64_MAX, false, false },
		{ 8 * PAGE, 0 - 8 * PAGE, false, false }, /* ends where addresses do */
		{ 8 * PAGE, 0 - 7 * PAGE, false, false }, /* and beyond */
	};

	add_region(8 * PAGE, PAGE, 0x70000, 0);
	add_region(0, 2 * PAGE, 0x50000, PAGE);
	add_region(5ULL << 40, PAGE, 0x90000, 0);
	add_region(2 * PAGE, PAGE, 0x20000, 0);
	assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
	for (int round = 0; round < 2; round++) { /* the second one finds them in the cache */
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			if (guestmem_has(&memory, cases[i].gpa, cases[i].size) != cases[i].has ||
				(guestmem_at(&memory, cases[i].gpa, cases[i].size) != NULL) !=
					cases[i].at)
				fail_msg("case %zu, round %d", i, round);
		}
	}
}

static void pointers_lead_to_the_file_at_its_offset(void **state)
{
	char text[8] = "nothing", copy[16] = "";
	int low = add_region(0, PAGE, 0x50000, 2 * PAGE), high = add_region(PAGE, PAGE, 0x80000, 0);

	assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
	memcpy(guestmem_at(&memory, PAGE - 4, 4), "left", 4);
	assert_int_equal(pread(low, text, 4, 3 * PAGE - 4), 4);
	assert_memory_equal(text, "left", 4);
	assert_int_equal(pwrite(high, "right", 5, 0), 5);
	assert_true(guestmem_read(&memory, PAGE - 4, copy, 9));
	assert_string_equal(copy, "leftright");
	assert_false(guestmem_read(&memory, 2 * PAGE - 4, copy, 9));
	assert_ptr_equal(guestmem_at_uva(&memory, 0x80000, PAGE), guestmem_at(&memory, PAGE, PAGE));
	assert_null(guestmem_at_uva(&memory, 0x80001, PAGE));
	assert_null(guestmem_at_uva(&memory, 0x7ffff, 1));
	assert_null(guestmem_at_uva(&memory, 0x80000, 0));
}

static void overlaps_are_seen_from_both_sides(void **state)
{
	add_region(4 * PAGE, 2 * PAGE, 0x50000, 0);
	assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
	assert_false(guestmem_overlaps(&memory, 0, 4 * PAGE));
	assert_true(guestmem_overlaps(&memory, 0, 4 * PAGE + 1));
	assert_true(guestmem_overlaps(&memory, 6 * PAGE - 1, PAGE));
	assert_false(guestmem_overlaps(&memory, 6 * PAGE, PAGE));
	assert_true(guestmem_overlaps(&memory, 0, UINT64_MAX));
}

static void what_stays_keeps_its_pointer_and_a_failure_changes_nothing(void **state)
{
	uint64_t generation;
	void *before;

	add_region(0, PAGE, 0x50000, 0);
	add_region(4 * PAGE, PAGE, 0x60000, 0);
	assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
	before = guestmem_at(&memory, 4 * PAGE, PAGE);
	generation = memory.generation;

	table.regions[0].ino++; /* another file than the one in the slot */
	assert_int_equal(guestmem_set(&memory, &table, &fds), -EBADMSG);
	assert_int_equal(memory.generation, generation);
	assert_true(guestmem_has(&memory, 0, PAGE));
	assert_ptr_equal(guestmem_at(&memory, 4 * PAGE, PAGE), before);
	memset(before, 1, PAGE);

	table.regions[0] = table.regions[1];
	table.n_regions = 1;
	assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
	assert_false(guestmem_has(&memory, 0, 1));
	assert_ptr_equal(guestmem_at(&memory, 4 * PAGE, PAGE), before);
	memset(before, 2, PAGE);
}

/* hostile(86) */
static void a_file_that_was_cut_short_reads_as_zeros_and_is_noted(void **state)
{
	int fd = add_region(0, 4 * PAGE, 0x50000, 0);
	uint8_t *at;

	add_region(8 * PAGE, PAGE, 0x60000, 0);
	assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
	at = guestmem_at(&memory, 0, 4 * PAGE);
	memset(at, 7, 4 * PAGE);
	assert_false(guestmem_lost(&memory));
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(__atomic_load_n(&at[2 * PAGE], __ATOMIC_RELAXED), 0);
	assert_true(guestmem_lost(&memory));
	memset(at, 8, 4 * PAGE);
	memset(guestmem_at(&memory, 8 * PAGE, PAGE), 9, PAGE);

	/* A table that is right again is all new. */
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
	assert_false(guestmem_lost(&memory));
	at = guestmem_at(&memory, 0, 4 * PAGE);
	assert_int_equal(at[2 * PAGE], 0);
	at[3 * PAGE] = 1;
	assert_false(guestmem_lost(&memory));
}

static void a_bus_error_elsewhere_still_ends_the_process(void **state)
{
	int status, fd = memfd_create("other", MFD_CLOEXEC);
	pid_t pid;

	add_region(0, PAGE, 0x50000, 0);
	assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
	pid = fork();
	if (pid == 0) {
		volatile uint8_t *at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

		_exit(at[0]);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
	close(fd);
}

static void no_page_is_touched_by_mapping(void **state)
{
	int fd = add_region(0, 64 << 20, 0x50000, 0);
	struct stat st;

	assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
}

static void as_many_regions_as_a_table_has_are_replaced(void **state)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct memory_region region = { .size = PAGE };

	assert_int_equal(ftruncate(fd, 2 * PAGE * MEMORY_MAX_REGIONS), 0);
	assert_int_equal(memory_file_check(fd, &region), 0);
	region.slot = fdstore_add(&fds, fd);
	for (int round = 0; round < 5; round++) {
		table.n_regions = MEMORY_MAX_REGIONS;
		for (uint64_t i = 0; i < MEMORY_MAX_REGIONS; i++) {
			region.gpa = region.uva = region.offset =
				(2 * i + (uint64_t)round % 2) * PAGE;
			table.regions[MEMORY_MAX_REGIONS - 1 - i] = region;
		}
		assert_int_equal(guestmem_set(&memory, &table, &fds), 0);
		for (uint64_t i = 0; i < 2 * MEMORY_MAX_REGIONS; i++)
			assert_int_equal(guestmem_has(&memory, i * PAGE, PAGE),
				i % 2 == (uint64_t)round % 2);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ranges_are_found_over_their_full_length),
		TEST(pointers_lead_to_the_file_at_its_offset),
		TEST(overlaps_are_seen_from_both_sides),
		TEST(what_stays_keeps_its_pointer_and_a_failure_changes_nothing),
		TEST(a_file_that_was_cut_short_reads_as_zeros_and_is_noted),
		TEST(a_bus_error_elsewhere_still_ends_the_process),
		TEST(no_page_is_touched_by_mapping),
		TEST(as_many_regions_as_a_table_has_are_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
