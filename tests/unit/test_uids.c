/* SPDX-License-Identifier: BSD-2-Clause */
/* User ids of workers: one each, kept over restarts, never one that another has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/folder.h"
#include "tools/vdpad/uids.h"
#include "vdpa/base/bits.h"

static char path[64];
static struct failure why;

static int name_file(void **state)
{
	int r = make_folder(state);

	snprintf(path, sizeof(path), "%s/uids.json", folder);
	return r;
}

static int remove_file(void **state)
{
	unlink(path);
	return 0;
}

static void write_file(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static struct uids *open_good(uid_t first, uid_t last)
{
	struct uids *u = NULL;

	if (uids_open(path, first, last, &u, &why) != 0)
		fail_msg("refused: %s", why.text);
	assert_non_null(u);
	return u;
}

static uid_t get(struct uids *u, const char *owner)
{
	uid_t id = 0;

	if (uids_get(u, owner, &id, &why) != 0)
		fail_msg("refused: %s", why.text);
	return id;
}

static void each_owner_has_one_and_keeps_it(void **state)
{
	struct uids *u = open_good(5000, 5009);
	uid_t a = get(u, "device:a"), b = get(u, "device:b");

	assert_int_equal(a, 5000);
	assert_int_equal(b, 5001);
	assert_int_equal(get(u, "device:a"), a);
	uids_free(u);

	u = open_good(5000, 5009);
	assert_int_equal(get(u, "device:b"), b);
	assert_int_equal(get(u, "device:c"), 5002);
	uids_free(u);
}

static void the_file_is_for_its_owner_only(void **state)
{
	struct uids *u = open_good(5000, 5009);
	struct stat st;

	get(u, "device:a");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	uids_free(u);
}

static void one_that_was_freed_is_not_the_next_one(void **state)
{
	struct uids *u = open_good(5000, 5003);

	get(u, "device:a");
	uids_put(u, "device:a");
	uids_put(u, "device:nobody");
	assert_int_equal(get(u, "device:b"), 5001);
	uids_free(u);
	u = open_good(5000, 5003); /* not even after a restart */
	assert_int_equal(get(u, "device:c"), 5002);
	assert_int_equal(get(u, "device:d"), 5003);
	assert_int_equal(get(u, "device:e"), 5000);
	uids_free(u);
}

static void when_all_are_in_use_it_says_so(void **state)
{
	struct uids *u = open_good(5000, 5001);
	uid_t id = 7;

	get(u, "device:a");
	get(u, "device:b");
	assert_int_equal(uids_get(u, "device:c", &id, &why), -EHOSTDOWN);
	assert_int_equal(why.code, FAILURE_UNAVAILABLE);
	assert_non_null(strstr(why.text, "from 5000 to 5001"));
	assert_int_equal(id, 7);
	uids_put(u, "device:a");
	assert_int_equal(get(u, "device:c"), 5000);
	uids_free(u);
}

static bool is_device(void *arg, const char *owner)
{
	(*(int *)arg)++;
	return strncmp(owner, "device:", 7) == 0;
}

static void all_owners_that_are_gone_are_put_at_once(void **state)
{
	struct uids *u = open_good(5000, 5003);
	int asked = 0;

	get(u, "device:a");
	get(u, "simnic:b");
	get(u, "device:c");
	uids_put_where(u, is_device, &asked);
	assert_int_equal(asked, 3);
	uids_free(u);
	u = open_good(5000, 5003);
	assert_int_equal(get(u, "simnic:b"), 5001);
	assert_int_equal(get(u, "device:x"), 5003);
	assert_int_equal(get(u, "device:y"), 5000);
	uids_free(u);
}

static void another_range_is_for_new_owners_only(void **state)
{
	struct uids *u = open_good(5000, 5009);

	assert_int_equal(get(u, "device:a"), 5000);
	uids_free(u);
	u = open_good(7000, 7001);
	assert_int_equal(get(u, "device:a"), 5000);
	assert_int_equal(get(u, "device:b"), 7000);
	assert_int_equal(get(u, "device:c"), 7001);
	uids_free(u);
	u = open_good(5000, 5001); /* the old one is in it again, and taken */
	assert_int_equal(get(u, "device:d"), 5001);
	uids_free(u);
}

static void what_is_no_file_of_ours_is_refused(void **state)
{
	static const char *const texts[] = {
		"", "{", "[]", "null", "{}", "{\"version\":1}",
		"{\"version\":2,\"next\":5000,\"uids\":{}}",
		"{\"version\":\"1\",\"next\":5000,\"uids\":{}}",
		"{\"version\":1,\"next\":5000,\"uids\":[]}",
		"{\"version\":1,\"next\":\"x\",\"uids\":{}}",
		"{\"version\":1,\"next\":5000,\"uids\":{\"device:a\":\"5000\"}}",
		"{\"version\":1,\"next\":5000,\"uids\":{\"device:a\":5000.5}}",
		"{\"version\":1,\"next\":5000,\"uids\":{\"device:a\":5000,\"device:a\":5001}}",
		/* ids that nobody would have been given */
		"{\"version\":1,\"next\":5000,\"uids\":{\"device:a\":0}}",
		"{\"version\":1,\"next\":5000,\"uids\":{\"device:a\":-1}}",
		"{\"version\":1,\"next\":5000,\"uids\":{\"device:a\":999}}",
		"{\"version\":1,\"next\":5000,\"uids\":{\"device:a\":4294967295}}",
		"{\"version\":1,\"next\":5000,\"uids\":{\"device:a\":4294967296}}",
		/* one for two */
		"{\"version\":1,\"next\":5000,\"uids\":{\"device:a\":5000,\"device:b\":5000}}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct uids *u = NULL;

		write_file(texts[i]);
		if (uids_open(path, 5000, 5009, &u, &why) != -EINVAL)
			fail_msg("taken: %s", texts[i]);
		assert_null(u);
		assert_non_null(strstr(why.text, path));
	}
}

static void a_newer_file_is_called_so(void **state)
{
	struct uids *u = NULL;

	write_file("{\"version\":2,\"next\":5000,\"uids\":{}}");
	assert_int_equal(uids_open(path, 5000, 5009, &u, &why), -EINVAL);
	assert_non_null(strstr(why.text, "newer"));
}

static void an_id_that_can_not_be_written_is_not_given(void **state)
{
	struct uids *u = open_good(5000, 5009);
	char beside[80];
	uid_t id = 7;

	snprintf(beside, sizeof(beside), "%s.new", path);
	assert_int_equal(mkdir(beside, 0700), 0); /* where the new file would be */
	assert_true(uids_get(u, "device:a", &id, &why) < 0);
	assert_int_equal(id, 7);
	assert_non_null(strstr(why.text, path));
	assert_int_equal(rmdir(beside), 0);
	assert_true(get(u, "device:a") >= 5000);
	uids_free(u);
}

#define TEST(name) cmocka_unit_test_teardown(name, remove_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_owner_has_one_and_keeps_it),
		TEST(the_file_is_for_its_owner_only),
		TEST(one_that_was_freed_is_not_the_next_one),
		TEST(when_all_are_in_use_it_says_so),
		TEST(all_owners_that_are_gone_are_put_at_once),
		TEST(another_range_is_for_new_owners_only),
		TEST(what_is_no_file_of_ours_is_refused),
		TEST(a_newer_file_is_called_so),
		TEST(an_id_that_can_not_be_written_is_not_given),
	};

	return cmocka_run_group_tests(tests, name_file, remove_folder);
}
