/* SPDX-License-Identifier: BSD-2-Clause */
/* Command line: one table of options; each names how its value is read. */
#include "tools/simnic/options.h"

#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/sim/mailbox.h"
#include "tools/simnic/nic.h"
#include "vdpa/base/bits.h"

struct option_desc {
	const char *name;
	const char *value; /* its name in --help; NULL: a switch */
	int (*read)(struct options *o, const char *value);
	const char *help;
};

static int read_number(const char *text, unsigned long min, unsigned long max, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, 10);
	return errno || end == text || *end || *text == '-' || *ret < min || *ret > max ? -EINVAL
											: 0;
}

static int read_name(struct options *o, const char *value)
{
	o->name = value;
	return *value && strlen(value) < SIM_NAME_SIZE ? 0 : -EINVAL;
}

static int read_listen_fd(struct options *o, const char *value)
{
	unsigned long n;
	int r = read_number(value, 0, 1U << 20, &n);

	o->listen_fd = (int)n;
	return r;
}

static int read_listen(struct options *o, const char *value)
{
	o->listen_path = value;
	return *value ? 0 : -EINVAL;
}

static int read_test_socket(struct options *o, const char *value)
{
	o->test_socket = value;
	return *value ? 0 : -EINVAL;
}

static bool is_nothing(const char *arg)
{
	return !*arg;
}

/* It becomes part of DPDK's arguments, where a comma begins the next one. */
static bool is_interface(const char *arg)
{
	return *arg && strlen(arg) < IF_NAMESIZE && !strpbrk(arg, ",/=: ");
}

static bool is_devargs(const char *arg)
{
	return *arg && strlen(arg) < SIM_NAME_SIZE * 4;
}

static int read_uplink(struct options *o, const char *value)
{
	static const struct {
		const char *prefix;
		enum uplink_kind kind;
		bool (*arg_ok)(const char *arg);
	} kinds[] = {
		{ "none", UPLINK_NONE, is_nothing },
		{ "loop", UPLINK_LOOP, is_nothing },
		{ "tap:", UPLINK_TAP, is_interface },
		{ "af_packet:", UPLINK_AF_PACKET, is_interface },
		{ "dev:", UPLINK_DEV, is_devargs },
	};

	o->uplink_text = value;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i].prefix);

		o->uplink = kinds[i].kind;
		o->uplink_arg = value + n;
		if (strncmp(value, kinds[i].prefix, n) == 0)
			return kinds[i].arg_ok(value + n) ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static int read_threads(struct options *o, const char *value)
{
	unsigned long n;
	int r = read_number(value, 1, NIC_MAX_THREADS, &n);

	o->threads = (unsigned int)n;
	return r;
}

static int read_poll(struct options *o, const char *value)
{
	o->poll = true;
	return 0;
}

static int read_hugepages(struct options *o, const char *value)
{
	o->hugepages = true;
	return 0;
}

/* One of two words. */
static int read_choice(const char *value, const char *off, const char *on, bool *ret)
{
	*ret = strcmp(value, on) == 0;
	return *ret || strcmp(value, off) == 0 ? 0 : -EINVAL;
}

static int read_dirty_log(struct options *o, const char *value)
{
	static const char *const kinds[] = {
		[LOG_NONE] = "no",
		[LOG_BUFFERS] = "buffers",
		[LOG_ALL] = "yes",
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(value, kinds[i]) == 0) {
			o->dirty_log = (enum log_kind)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int read_completion(struct options *o, const char *value)
{
	return read_choice(value, "in-order", "shuffled", &o->shuffled);
}

static int read_start_position(struct options *o, const char *value)
{
	return read_choice(value, "any", "initial", &o->start_initial);
}

static int read_positions(struct options *o, const char *value)
{
	return read_choice(value, "device", "ring", &o->silent_stop);
}

static int read_queues(struct options *o, const char *value)
{
	return read_choice(value, "alone", "together", &o->together);
}

static int read_memory(struct options *o, const char *value)
{
	unsigned long n;
	int r = read_number(value, 16, 1U << 20, &n);

	o->memory_mb = (unsigned int)n;
	return r;
}

static int read_flood_limit(struct options *o, const char *value)
{
	unsigned long n;
	int r = read_number(value, 0, 100000000, &n);

	o->flood_limit = n;
	return r;
}

static int read_uid(struct options *o, const char *value)
{
	unsigned long n;
	int r = read_number(value, 1, INT32_MAX, &n);

	o->uid = (uid_t)n;
	return r;
}

static int read_gid(struct options *o, const char *value)
{
	unsigned long n;
	int r = read_number(value, 1, INT32_MAX, &n);

	o->gid = (gid_t)n;
	return r;
}

static int read_log_level(struct options *o, const char *value)
{
	return log_level_parse(value, &o->log_level);
}

static const struct option_desc descs[] = {
	{ "name", "NIC", read_name, "name in log lines; needed" },
	{ "listen-fd", "N", read_listen_fd, "listening admin socket that was passed" },
	{ "listen", "PATH", read_listen, "make the admin socket at this path" },
	{ "uplink", "UPLINK", read_uplink,
		"none (default), tap:IFNAME, af_packet:IFNAME, dev:DEVARGS (any port of DPDK), or\n"
		"                         loop: unicast frames to no function's address come back to\n"
		"                         their sender with the MAC addresses swapped" },
	{ "threads", "N", read_threads, "data threads, 1 (default) to 16" },
	{ "poll", NULL, read_poll, "data threads never sleep" },
	{ "hugepages", NULL, read_hugepages, "take packet memory from huge pages" },
	{ "memory", "MB", read_memory, "memory for packets (default 32, more threads need more)" },
	{ "dirty-log", "KIND", read_dirty_log,
		"no (default); yes: functions can mark the pages they write, for migration; or\n"
		"                         buffers: they can mark buffers, and nothing of rings, for tests" },
	{ "completion", "ORDER", read_completion,
		"in-order (default), or shuffled: chains come back in any order, for tests" },
	{ "start-position", "WHERE", read_start_position,
		"any (default), or initial: queues begin in fresh rings only, for tests" },
	{ "positions", "WHERE", read_positions,
		"device (default), or ring: a stop does not say where queues stand, for tests" },
	{ "queues", "HOW", read_queues,
		"alone (default), or together: all start and stop at once, for tests" },
	{ "flood-limit", "N", read_flood_limit,
		"frames a second that one function may send to all (default 5000; 0: any)" },
	{ "uid", "UID", read_uid, "user to become after the start" },
	{ "gid", "GID", read_gid, "group to become after the start (default: UID)" },
	{ "log-level", "LEVEL", read_log_level, "error, warning, info (default) or debug" },
	{ "test-socket", "PATH", read_test_socket, "misbehaviours on demand, see docs/simnic.md" },
};

static void print_help(void)
{
	printf("Usage: simnic --name NIC (--listen-fd N | --listen PATH) [OPTION]...\n"
	       "A SmartNIC in software: virtio-net functions behind a switch.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(descs); i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s %s", descs[i].name,
			descs[i].value ? descs[i].value : "");
		printf("  %-22s %s\n", left, descs[i].help);
	}
	printf("  %-22s %s\n  %-22s %s\n", "--help", "this text", "--version", "the version");
}

static enum options_result check(struct options *o)
{
	if (!o->name) {
		fprintf(stderr, "simnic: --name is missing\n");
		return OPTIONS_WRONG;
	}
	if ((o->listen_fd < 0) == (o->listen_path == NULL)) {
		fprintf(stderr, "simnic: give either --listen-fd or --listen\n");
		return OPTIONS_WRONG;
	}
	if (o->gid == (gid_t)-1)
		o->gid = (gid_t)o->uid;
	return OPTIONS_RUN;
}

enum options_result options_parse(int argc, char **argv, struct options *ret)
{
	struct option longs[ARRAY_SIZE(descs) + 3] = { 0 };
	int which, help = ARRAY_SIZE(descs), version = help + 1;

	*ret = (struct options){
		.listen_fd = -1,
		.uplink_text = "none",
		.threads = 1,
		.memory_mb = 32,
		.flood_limit = 5000,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
		.log_level = LOG_LEVEL_INFO,
	};
	for (size_t i = 0; i < ARRAY_SIZE(descs); i++)
		longs[i] = (struct option){ descs[i].name, descs[i].value != NULL, NULL, 0 };
	longs[help].name = "help";
	longs[version].name = "version";

	for (;;) {
		int c = getopt_long(argc, argv, "", longs, &which);

		if (c == -1)
			break;
		if (c != 0)
			return OPTIONS_WRONG; /* getopt said why */
		if (which == help) {
			print_help();
			return OPTIONS_DONE;
		}
		if (which == version) {
			printf("simnic %s\n", VDPAD_VERSION);
			return OPTIONS_DONE;
		}
		if (descs[which].read(ret, optarg) < 0) {
			fprintf(stderr, "simnic: --%s: \"%s\" is not valid; see --help\n",
				descs[which].name, optarg);
			return OPTIONS_WRONG;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "simnic: \"%s\" is not understood; see --help\n", argv[optind]);
		return OPTIONS_WRONG;
	}
	return check(ret);
}
