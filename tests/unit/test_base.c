/* SPDX-License-Identifier: BSD-2-Clause */
/* Small pieces of vdpa/base: atomic files, Ethernet addresses, features, texts, log lines. */
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
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/folder.h"
#include "vdpa/base/atomicfile.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/etheraddr.h"
#include "vdpa/base/features.h"
#include "vdpa/base/log.h"
#include "vdpa/base/printable.h"

/* ---------------------------------------------------------------------------- files */

static char path[64], beside[80];

static int name_files(void **state)
{
	int r = make_folder(state);

	snprintf(path, sizeof(path), "%s/file", folder);
	snprintf(beside, sizeof(beside), "%s.new", path);
	return r;
}

static void assert_contents(const char *wanted)
{
	char text[64] = "";
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_int_equal(fread(text, 1, sizeof(text), f), strlen(wanted));
	fclose(f);
	assert_string_equal(text, wanted);
}

static void a_file_is_made_and_replaced_as_a_whole(void **state)
{
	struct stat first, second;

	assert_int_equal(atomicfile_write(path, "one", 3, 0640), 0);
	assert_contents("one");
	assert_int_equal(stat(path, &first), 0);
	assert_int_equal(first.st_mode & 0777, 0640);
	assert_int_equal(atomicfile_write(path, "", 0, 0600), 0);
	assert_contents("");
	assert_int_equal(stat(path, &second), 0);
	assert_int_equal(second.st_mode & 0777, 0600);
	assert_int_not_equal(first.st_ino, second.st_ino);
	assert_int_equal(access(beside, F_OK), -1);
}

static void a_leftover_beside_it_is_replaced_and_no_link_is_followed(void **state)
{
	assert_int_equal(symlink(path, beside), 0);
	assert_int_equal(atomicfile_write(path, "two", 3, 0600), 0);
	assert_contents("two");
	assert_int_equal(access(beside, F_OK), -1);
}

static void after_a_failure_the_old_file_is_as_it_was(void **state)
{
	char longest[5000];

	assert_int_equal(atomicfile_write(path, "old", 3, 0600), 0);
	assert_int_equal(mkdir(beside, 0700), 0);
	assert_true(atomicfile_write(path, "new", 3, 0600) < 0);
	assert_contents("old");
	assert_int_equal(rmdir(beside), 0);
	assert_int_equal(atomicfile_write("/nowhere/at/all", "x", 1, 0600), -ENOENT);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(atomicfile_write(longest, "x", 1, 0600), -ENAMETOOLONG);
}

static void a_file_is_removed_twice(void **state)
{
	assert_int_equal(atomicfile_write(path, "x", 1, 0600), 0);
	assert_int_equal(atomicfile_remove(path), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(atomicfile_remove(path), 0);
	assert_true(atomicfile_remove(folder) < 0);
}

/* ------------------------------------------------------------------------ addresses */

static void addresses_are_read_in_every_usual_form(void **state)
{
	static const char *const texts[] = { "52:54:00:0a:bc:0f", "52:54:00:0A:BC:0F",
		"52:54:0:a:bc:f" };
	static const uint8_t wanted[6] = { 0x52, 0x54, 0, 0x0a, 0xbc, 0x0f };
	char text[ETHERADDR_TEXT_SIZE];
	uint8_t mac[6];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		memset(mac, 0xee, sizeof(mac));
		assert_int_equal(etheraddr_parse(texts[i], mac), 0);
		assert_memory_equal(mac, wanted, 6);
	}
	etheraddr_format(mac, text);
	assert_string_equal(text, "52:54:00:0a:bc:0f");
}

static void what_is_no_address_is_refused_and_nothing_is_written(void **state)
{
	static const char *const texts[] = { "", ":", "52", "52:54:00:12:34", "52:54:00:12:34:",
		"52:54:00:12:34:5g", "52:54:00:12:34:567", "52:54:00:12:34:56:78",
		"52:54:00:12:34:56 ", " 52:54:00:12:34:56", "52-54-00-12-34-56", "525400123456",
		"52::00:12:34:56", "0x52:54:00:12:34:56", "52:54:00:12:34:-1" };
	uint8_t mac[6] = { 1, 2, 3, 4, 5, 6 }, before[6] = { 1, 2, 3, 4, 5, 6 };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (etheraddr_parse(texts[i], mac) != -EINVAL)
			fail_msg("taken: \"%s\"", texts[i]);
		assert_memory_equal(mac, before, 6);
	}
}

static void a_device_has_an_address_of_its_own(void **state)
{
	static const uint8_t zero[6], group[6] = { 0x01, 0, 0x5e, 0, 0, 1 },
		all[6] = { 255, 255, 255, 255, 255, 255 }, good[6] = { 0x52, 0x54, 0, 0, 0, 1 };
	uint8_t a[6], b[6];

	assert_true(etheraddr_is_zero(zero));
	assert_false(etheraddr_is_zero(good));
	assert_false(etheraddr_ok_for_device(zero));
	assert_false(etheraddr_ok_for_device(group));
	assert_false(etheraddr_ok_for_device(all));
	assert_true(etheraddr_ok_for_device(good));
	for (int i = 0; i < 100; i++) {
		assert_int_equal(etheraddr_random(a), 0);
		assert_int_equal(a[0] & 3, 2); /* local, and of one device */
	}
	assert_int_equal(etheraddr_random(b), 0);
	assert_memory_not_equal(a, b, 6);
}

/* ------------------------------------------------------------------------- features */

static void features_have_the_names_that_iproute2_prints(void **state)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} cases[] = {
		{ 0, "CSUM" }, { 3, "MTU" }, { 5, "MAC" }, { 15, "MRG_RXBUF" }, { 17, "CTRL_VQ" },
		{ 22, "MQ" }, { 28, "RING_INDIRECT_DESC" }, { 32, "VERSION_1" },
		{ 33, "ACCESS_PLATFORM" }, { 34, "RING_PACKED" }, { 63, "SPEED_DUPLEX" },
	};
	char room[FEATURE_TEXT_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_string_equal(feature_name(cases[i].bit), cases[i].name);
		assert_string_equal(feature_text(cases[i].bit, room), cases[i].name);
	}
	assert_null(feature_name(4));
	assert_null(feature_name(64));
	assert_null(feature_name(UINT32_MAX));
	assert_string_equal(feature_text(4, room), "bit_4");
	assert_string_equal(feature_text(UINT32_MAX, room), "bit_4294967295");
}

static void features_of_vhost_user_have_its_names(void **state)
{
	assert_string_equal(protocol_feature_name(0), "MQ");
	assert_string_equal(protocol_feature_name(16), "STATUS");
	assert_null(protocol_feature_name(64));
	assert_null(protocol_feature_name(UINT32_MAX));
}

static void sets_of_features_are_hexadecimal(void **state)
{
	static const char *const wrong[] = { "", "0x", "1", "0x1g", "0x-1", "0x 1", "-0x1", " 0x1",
		"0x10000000000000000" };
	uint64_t set = 7;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(features_parse(wrong[i], &set), -EINVAL);
	assert_int_equal(set, 7);
	assert_int_equal(features_parse("0x0", &set), 0);
	assert_int_equal(set, 0);
	assert_int_equal(features_parse("0xFfffffffffffffff", &set), 0);
	assert_true(set == UINT64_MAX);
}

/* ---------------------------------------------------------------------------- texts */

static void texts_are_ended_and_printable(void **state)
{
	char text[8] = "a\n~\x7f\xe9 xy";

	make_printable(text, sizeof(text));
	assert_string_equal(text, "a?~?? x");
}

/* ------------------------------------------------------------------------------ log */

static void levels_have_names(void **state)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };
	enum log_level level = LOG_LEVEL_ERROR;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(log_level_parse(names[i], &level), 0);
		assert_string_equal(log_level_name(level), names[i]);
	}
	assert_int_equal(log_level_parse("", &level), -EINVAL);
	assert_int_equal(log_level_parse("INFO", &level), -EINVAL);
	assert_int_equal(log_level_parse("info ", &level), -EINVAL);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_string_equal(log_level_name((enum log_level)99), "unknown");
}

struct kept {
	unsigned int n, n_whole;
	char last[600];
};

static void keep(void *arg, const char *line)
{
	struct kept *k = arg;

	k->n++;
	k->n_whole += strlen(line) > 20 && line[2] == ':' && strncmp(line + 12, " test[x]: ", 10) == 0;
	snprintf(k->last, sizeof(k->last), "%s", line);
}

static struct kept recent(void)
{
	struct kept k = { 0 };

	log_recent(keep, &k);
	return k;
}

/* Runs with stderr elsewhere; what the lines look like is seen in those that are kept. */
static void lines_below_the_level_are_dropped(void **state)
{
	unsigned int before = recent().n;

	log_set_level(LOG_LEVEL_WARNING);
	assert_int_equal(log_get_level(), LOG_LEVEL_WARNING);
	log_info("not this");
	log_debug("nor this");
	assert_int_equal(recent().n, before);
	log_warning("but %s", "this");
	assert_int_equal(recent().n, before + 1);
	assert_non_null(strstr(recent().last, "test[x]: warning: but this"));
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("and this");
	assert_non_null(strstr(recent().last, "debug: and this"));
}

static void a_peer_can_not_forge_a_line(void **state)
{
	unsigned int before = recent().n;

	log_error("name \"%s\"", "a\nb\tc\x1b[31m\x7f");
	assert_int_equal(recent().n, before + 1);
	assert_non_null(strstr(recent().last, "name \"a?b?c?[31m?\""));
}

static void a_line_that_is_too_long_is_cut(void **state)
{
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_error("%s", text);
	assert_true(strlen(recent().last) > 400 && strlen(recent().last) < 512);
}

static void the_last_lines_are_kept_whole(void **state)
{
	struct kept k;

	for (int i = 0; i < 500; i++)
		log_info("line %d", i);
	k = recent();
	assert_true(k.n > 100 && k.n < 400);
	assert_int_equal(k.n_whole, k.n);
	assert_non_null(strstr(k.last, "info: line 499"));
}

static int quiet(void **state)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	log_open("test[x]");
	log_set_level(LOG_LEVEL_INFO);
	*state = (void *)(intptr_t)dup(STDERR_FILENO);
	return dup2(fd, STDERR_FILENO) < 0 ? -1 : close(fd);
}

static int loud(void **state)
{
	int fd = (int)(intptr_t)*state;

	return dup2(fd, STDERR_FILENO) < 0 ? -1 : close(fd);
}

#define QUIET(name) cmocka_unit_test_setup_teardown(name, quiet, loud)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_made_and_replaced_as_a_whole),
		cmocka_unit_test(a_leftover_beside_it_is_replaced_and_no_link_is_followed),
		cmocka_unit_test(after_a_failure_the_old_file_is_as_it_was),
		cmocka_unit_test(a_file_is_removed_twice),
		cmocka_unit_test(addresses_are_read_in_every_usual_form),
		cmocka_unit_test(what_is_no_address_is_refused_and_nothing_is_written),
		cmocka_unit_test(a_device_has_an_address_of_its_own),
		cmocka_unit_test(features_have_the_names_that_iproute2_prints),
		cmocka_unit_test(features_of_vhost_user_have_its_names),
		cmocka_unit_test(sets_of_features_are_hexadecimal),
		cmocka_unit_test(texts_are_ended_and_printable),
		cmocka_unit_test(levels_have_names),
		QUIET(lines_below_the_level_are_dropped),
		QUIET(a_peer_can_not_forge_a_line),
		QUIET(a_line_that_is_too_long_is_cut),
		QUIET(the_last_lines_are_kept_whole),
	};

	return cmocka_run_group_tests(tests, name_files, remove_folder);
}
