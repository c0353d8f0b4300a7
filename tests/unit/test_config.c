/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration file: every key, and every mistake with its line and what would be possible. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/vdpad/config.h"
#include "vdpa/base/bits.h"

static char path[] = "/tmp/vdpad-config-XXXXXX";
static char why[CONFIG_WHY_SIZE];

static int make_file(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	return unlink(path);
}

static int read_config(const char *text, struct config *ret)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	why[0] = '\0';
	return config_read(path, ret, why);
}

static struct config read_good(const char *text)
{
	struct config c;

	if (read_config(text, &c) != 0)
		fail_msg("refused: %s", why);
	return c;
}

static void an_empty_file_says_nothing_but_the_defaults(void **state)
{
	static const char *const texts[] = { "", "\n\n", "# comment\n; another\n", "[vdpad]\n",
		"\xef\xbb\xbf", "\xef\xbb\xbf[vdpad]\n" };
	struct config defaults;

	config_default(&defaults);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct config c = read_good(texts[i]);

		assert_int_equal(c.socket_group, defaults.socket_group);
		assert_int_equal(c.admin_group, CONFIG_NO_GROUP);
		assert_int_equal(c.readonly_group, CONFIG_NO_GROUP);
		assert_false(c.readonly_all);
		assert_int_equal(c.log_level, LOG_LEVEL_INFO);
		assert_false(c.log_level_given);
		assert_int_equal(c.uid_first, 800000);
		assert_int_equal(c.uid_last, 865535);
		assert_int_equal(c.n_nics, 1);
		assert_string_equal(c.nics[0].name, "nic0");
		assert_string_equal(c.nics[0].uplink, "none");
		assert_string_equal(c.nics[0].test_socket, "");
		assert_int_equal(c.nics[0].threads, 1);
		assert_int_equal(c.nics[0].memory_mb, 32);
		assert_int_equal(c.nics[0].flood_limit, 5000);
		assert_false(c.nics[0].poll || c.nics[0].hugepages);
	}
}

static void every_key_of_vdpad_is_read(void **state)
{
	struct config c = read_good("[vdpad]\n"
				    "socket_group = root\n"
				    "admin_group = 4321\n"
				    "readonly_group=all\n"
				    "log_level = debug\n"
				    "worker_uids = 1000-2147483647\n");

	assert_int_equal(c.socket_group, 0);
	assert_int_equal(c.admin_group, 4321);
	assert_true(c.readonly_all);
	assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
	assert_true(c.log_level_given);
	assert_int_equal(c.uid_first, 1000);
	assert_int_equal(c.uid_last, 2147483647);
	c = read_good("[vdpad]\nreadonly_group = root\nworker_uids = 5000-5000\n");
	assert_int_equal(c.readonly_group, 0);
	assert_false(c.readonly_all);
	assert_int_equal(c.uid_first, c.uid_last);
}

static void every_key_of_pci_is_read(void **state)
{
	struct config c = read_good("[pci]\nsysfs = /a\nvfio = /b\niommu = /c\n[vdpad]\nlog_level = debug\n");

	assert_string_equal(c.pci_sysfs, "/a");
	assert_string_equal(c.pci_vfio, "/b");
	assert_string_equal(c.pci_iommu, "/c");
	assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
	c = read_good("");
	assert_string_equal(c.pci_sysfs, "/sys");
	assert_string_equal(c.pci_vfio, "/dev/vfio");
	assert_string_equal(c.pci_iommu, "/dev/iommu");
}

static void every_key_of_a_simnic_is_read(void **state)
{
	struct config c = read_good("[simnic east]\n"
				    "uplink = dev:net_ring0,nodeaction=x:0:CREATE\n"
				    "threads = 16\nmemory = 1048576\nflood_limit = 0\n"
				    "poll = yes\nhugepages = yes\ndirty_log = buffers\ntest_socket = /run/t\n"
				    "[simnic   west]\n"
				    "poll = no\n"
				    "[simnic north]\n");

	assert_int_equal(c.n_nics, 3);
	assert_string_equal(c.nics[0].name, "east");
	assert_string_equal(c.nics[0].uplink, "dev:net_ring0,nodeaction=x:0:CREATE");
	assert_int_equal(c.nics[0].threads, 16);
	assert_int_equal(c.nics[0].memory_mb, 1048576);
	assert_int_equal(c.nics[0].flood_limit, 0);
	assert_true(c.nics[0].poll && c.nics[0].hugepages);
	assert_int_equal(c.nics[0].dirty_log, CONFIG_LOG_BUFFERS);
	assert_string_equal(c.nics[0].test_socket, "/run/t");
	assert_string_equal(c.nics[1].name, "west");
	assert_int_equal(c.nics[1].threads, 1);
	assert_false(c.nics[1].poll);
	assert_string_equal(c.nics[2].name, "north");
}

static void a_byte_order_mark_is_passed_over(void **state)
{
	struct config c = read_good("\xef\xbb\xbf[vdpad]\nlog_level = error\n");

	assert_int_equal(c.log_level, LOG_LEVEL_ERROR);
	assert_int_equal(read_config("\n\xef\xbb\xbf[vdpad]\nlog_level = error\n", &c), -EINVAL);
}

static void every_kind_of_uplink_is_read(void **state)
{
	static const char *const uplinks[] = { "none", "loop", "tap:tap0", "af_packet:eth0",
		"dev:0000:03:00.0" };

	for (size_t i = 0; i < ARRAY_SIZE(uplinks); i++) {
		char text[100];
		struct config c;

		snprintf(text, sizeof(text), "[simnic a]\nuplink = %s\n", uplinks[i]);
		c = read_good(text);
		assert_string_equal(c.nics[0].uplink, uplinks[i]);
	}
}

static const struct {
	const char *text;
	unsigned int line;
	const char *says;
} mistakes[] = {
	{ "log_level = info\n", 1, "before any section" },
	{ "[vdpad]\n\nloglevel = info\n", 3, "unknown key loglevel" },
	{ "[vdpad]\nlog_level = loud\n", 2, "error, warning, info or debug" },
	{ "[vdpad]\nlog_level =\n", 2, "\"\" is not possible" },
	{ "[vdpad]\nlog_level = info\n# x\nlog_level = info\n", 4, "given twice" },
	{ "[vdpad]\nlog_level = info\n[vdpad]\n", 3, "[vdpad] is there twice" },
	{ "[vdpad]\nsocket_group = no_such_group_here\n", 2, "a group that exists" },
	{ "[vdpad]\nadmin_group = -1\n", 2, "a group that exists" },
	{ "[vdpad]\nadmin_group = all\n", 2, "a group that exists" },
	{ "[vdpad]\nreadonly_group = 4294967295\n", 2, "a number, or all" },
	{ "[vdpad]\nworker_uids = 999-2000\n", 2, "FIRST-LAST" },
	{ "[vdpad]\nworker_uids = 3000-2000\n", 2, "FIRST-LAST" },
	{ "[vdpad]\nworker_uids = 3000\n", 2, "FIRST-LAST" },
	{ "[vdpad]\nworker_uids = 3000-\n", 2, "FIRST-LAST" },
	{ "[vdpad]\nworker_uids = -3000\n", 2, "FIRST-LAST" },
	{ "[vdpad]\nworker_uids = 3000-2147483648\n", 2, "FIRST-LAST" },
	{ "[vdpad]\nworker_uids = 3000-99999999999999999999\n", 2, "FIRST-LAST" },
	{ "[vdpad]\nworker_uids = 00000000000000003000-4000\n", 2, "FIRST-LAST" },
	{ "[vdpad]\nthreads = 1\n", 2, "unknown key threads in [vdpad]" },
	{ "[simnic a]\nlog_level = info\n", 2, "possible are uplink, threads" },
	{ "[simnic a]\nthreads = 0\n", 2, "1 to 16" },
	{ "[simnic a]\nthreads = 17\n", 2, "1 to 16" },
	{ "[simnic a]\nthreads = 1x\n", 2, "1 to 16" },
	{ "[simnic a]\nthreads = +1\n", 2, "1 to 16" },
	{ "[simnic a]\nmemory = 15\n", 2, "16 to 1048576" },
	{ "[simnic a]\nmemory = 1048577\n", 2, "16 to 1048576" },
	{ "[simnic a]\nflood_limit = 100000001\n", 2, "0 for no limit" },
	{ "[simnic a]\npoll = true\n", 2, "yes or no" },
	{ "[simnic a]\nhugepages = 1\n", 2, "yes or no" },
	{ "[simnic a]\ndirty_log = rings\n", 2, "yes, no or buffers" },
	{ "[simnic a]\ntest_socket = run/t\n", 2, "an absolute path" },
	{ "[simnic a]\nuplink = wire\n", 2, "none, loop" },
	{ "[simnic a]\nuplink = tap:\n", 2, "tap:IFNAME" },
	{ "[simnic a]\nuplink = tap:sixteen_letters_\n", 2, "tap:IFNAME" },
	{ "[simnic a]\nuplink = af_packet:eth0,qpairs=2\n", 2, "af_packet:IFNAME" },
	{ "[simnic a]\nuplink = dev:\n", 2, "dev:DEVARGS" },
	{ "[simnic a]\nuplink = loops\n", 2, "none, loop" },
	{ "[simnic a]\n[simnic b]\n[simnic a]\n", 3, "[simnic a] is there twice" },
	{ "[simnic ]\n", 1, "not a name" },
	{ "[pci]\nsysfs = sys\n", 2, "an absolute path" },
	{ "[pci]\nuplink = none\n", 2, "possible are sysfs, vfio, iommu" },
	{ "[pci]\n[pci]\n", 2, "[pci] is there twice" },
	{ "[simnic .a]\n", 1, "not a name" },
	{ "[simnic a/b]\n", 1, "not a name" },
	{ "[simnic a b]\n", 1, "not a name" },
	{ "[simnic abcdefghijklmnopqrstuvwxyz0123456]\n", 1, "not a name" },
	{ "[simnic]\n", 1, "unknown section [simnic]" },
	{ "[other]\n", 1, "possible are [vdpad], [pci] and [simnic NAME]" },
	{ "[]\n", 1, "unknown section" },
	{ "[vdpad\n", 1, "ends with ]" },
	{ "[vdpad]\nsomething\n", 2, "KEY = VALUE" },
	{ "[vdpad]\n[simnic a]\nthreads = 0\nthreads = 1\nfoo\n", 3, "threads" }, /* the first */
};

static void every_mistake_is_told_with_its_line_and_what_is_possible(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		char start[64];
		struct config c;

		snprintf(start, sizeof(start), "%s:%u: ", path, mistakes[i].line);
		if (read_config(mistakes[i].text, &c) != -EINVAL)
			fail_msg("taken: %s", mistakes[i].text);
		if (strncmp(why, start, strlen(start)) != 0 || !strstr(why, mistakes[i].says))
			fail_msg("\"%s\" for %s", why, mistakes[i].text);
	}
}

static void a_line_is_as_long_as_the_parser_takes_and_no_longer(void **state)
{
	char text[600] = "[vdpad]\n#";
	struct config c;
	size_t n;

	memset(text + 9, 'x', 197);
	strcpy(text + 9 + 197, "\n");
	read_good(text);
	for (n = 199; n < 500; n += 100) {
		memset(text + 9, 'x', n);
		strcpy(text + 9 + n, "\n[vdpad]\n");
		assert_int_equal(read_config(text, &c), -EINVAL);
		assert_non_null(strstr(why, ":2: the line is too long"));
	}
}

static void a_last_line_without_an_end_is_read(void **state)
{
	struct config c = read_good("[vdpad]\nlog_level = error");

	assert_int_equal(c.log_level, LOG_LEVEL_ERROR);
}

static void sixteen_simnics_are_possible(void **state)
{
	char text[600] = "";
	struct config c;

	for (int i = 0; i < CONFIG_MAX_NICS; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "[simnic n%d]\n", i);
	assert_int_equal(read_good(text).n_nics, CONFIG_MAX_NICS);
	strcat(text, "[simnic more]\n");
	assert_int_equal(read_config(text, &c), -EINVAL);
	assert_non_null(strstr(why, ":17: [simnic more]: more than 16"));
}

static void a_file_that_is_not_there_is_told(void **state)
{
	struct config c;

	assert_int_equal(config_read("/nowhere/at/all", &c, why), -ENOENT);
	assert_string_equal(why, "/nowhere/at/all: No such file or directory");
	assert_int_equal(config_read("/tmp", &c, why), -EINVAL);
	assert_non_null(strstr(why, "can't be read"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_says_nothing_but_the_defaults),
		cmocka_unit_test(every_key_of_vdpad_is_read),
		cmocka_unit_test(every_key_of_pci_is_read),
		cmocka_unit_test(every_key_of_a_simnic_is_read),
		cmocka_unit_test(a_byte_order_mark_is_passed_over),
		cmocka_unit_test(every_kind_of_uplink_is_read),
		cmocka_unit_test(every_mistake_is_told_with_its_line_and_what_is_possible),
		cmocka_unit_test(a_line_is_as_long_as_the_parser_takes_and_no_longer),
		cmocka_unit_test(a_last_line_without_an_end_is_read),
		cmocka_unit_test(sixteen_simnics_are_possible),
		cmocka_unit_test(a_file_that_is_not_there_is_told),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
