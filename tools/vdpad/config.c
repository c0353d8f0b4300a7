/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration file is INI, read by inih. Every key is a row of a table that says how its value
 * is read and what is allowed; what has no row is an error, as is a key that is given twice: a typing
 * error in the file of a service has to be seen when the file is written, not a week later.
 *
 * inih tells a handler neither the line nor that a section begins, so lines pass through a reader of
 * ours, which counts them and begins sections itself: "[simnic x]" without a key is a simnic, too.
 */
#include "tools/vdpad/config.h"

#include <errno.h>
#include <grp.h>
#include <ini.h>
#include <net/if.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vdpad/name.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

struct parser {
	const char *path;
	FILE *file;
	unsigned int line;
	struct config *config;
	struct config_nic *nic;	 /* of the section we are in; NULL: one without a name, or none */
	const char *section;	 /* "vdpad", "pci", "simnic", or NULL before the first one */
	uint32_t seen;		 /* keys of this section, a bit per row */
	uint32_t sections_seen;	 /* of those without a name, a bit per row */
	bool failed;
	char *why;
};

struct key {
	const char *name;
	const char *allowed;
	int (*read)(struct parser *p, const struct key *key, const char *value);
	size_t offset;	    /* in struct config or struct config_nic */
	uint32_t min, max;  /* of numbers */
	const char *on;	    /* of switches: which of two words sets them; NULL: yes, not no */
	const char *off;
};

__attribute__((format(printf, 2, 3))) static void fail(struct parser *p, const char *format, ...)
{
	va_list args;
	int n;

	if (p->failed)
		return;
	p->failed = true;
	n = snprintf(p->why, CONFIG_WHY_SIZE, "%s:%u: ", p->path, p->line);
	if (n < 0 || n >= CONFIG_WHY_SIZE)
		return;
	va_start(args, format);
	vsnprintf(p->why + n, CONFIG_WHY_SIZE - (size_t)n, format, args);
	va_end(args);
}

static void *target_of(struct parser *p, const struct key *key)
{
	return (char *)(p->nic ? (void *)p->nic : (void *)p->config) + key->offset;
}

static int number(const char *text, uint32_t min, uint32_t max, uint32_t *ret)
{
	unsigned long value;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value < min || value > max)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

static int read_number(struct parser *p, const struct key *key, const char *value)
{
	return number(value, key->min, key->max, target_of(p, key));
}

static int read_text(struct parser *p, const struct key *key, const char *value)
{
	if (!*value || strlen(value) >= CONFIG_TEXT_SIZE)
		return -EINVAL;
	for (const char *c = value; *c; c++) {
		if (*c < ' ' || *c > '~')
			return -EINVAL;
	}
	strcpy(target_of(p, key), value);
	return 0;
}

static int read_switch(struct parser *p, const struct key *key, const char *value)
{
	bool on = strcmp(value, key->on ? key->on : "yes") == 0;

	if (!on && strcmp(value, key->on ? key->off : "no") != 0)
		return -EINVAL;
	*(bool *)target_of(p, key) = on;
	return 0;
}

const char *const config_dirty_logs[] = {
	[CONFIG_LOG_NO] = "no",
	[CONFIG_LOG_BUFFERS] = "buffers",
	[CONFIG_LOG_YES] = "yes",
};

static int read_dirty_log(struct parser *p, const struct key *key, const char *value)
{
	for (size_t i = 0; i < CONFIG_LOG_N_KINDS; i++) {
		if (strcmp(value, config_dirty_logs[i]) == 0) {
			*(enum config_dirty_log *)target_of(p, key) = (enum config_dirty_log)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* As simnic takes it: the name becomes part of DPDK's arguments. */
static bool is_interface(const char *name)
{
	return *name && strlen(name) < IF_NAMESIZE && !strpbrk(name, ",/=: ");
}

static bool is_devargs(const char *text)
{
	return *text;
}

static int read_uplink(struct parser *p, const struct key *key, const char *value)
{
	static const struct {
		const char *start;
		bool (*rest_ok)(const char *rest);
	} kinds[] = {
		{ "tap:", is_interface },
		{ "af_packet:", is_interface },
		{ "dev:", is_devargs },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i].start);

		if (strncmp(value, kinds[i].start, n) == 0)
			return kinds[i].rest_ok(value + n) ? read_text(p, key, value) : -EINVAL;
	}
	if (strcmp(value, "none") != 0 && strcmp(value, "loop") != 0)
		return -EINVAL;
	return read_text(p, key, value);
}

static int read_path(struct parser *p, const struct key *key, const char *value)
{
	return *value == '/' ? read_text(p, key, value) : -EINVAL;
}

static int read_group(struct parser *p, const struct key *key, const char *value)
{
	const struct group *group = getgrnam(value);
	uint32_t n;

	if (group)
		*(gid_t *)target_of(p, key) = group->gr_gid;
	else if (number(value, 0, INT32_MAX, &n) == 0)
		*(gid_t *)target_of(p, key) = n;
	else
		return -EINVAL;
	return 0;
}

static int read_readers(struct parser *p, const struct key *key, const char *value)
{
	p->config->readonly_all = strcmp(value, "all") == 0;
	return p->config->readonly_all ? 0 : read_group(p, key, value);
}

static int read_level(struct parser *p, const struct key *key, const char *value)
{
	p->config->log_level_given = true;
	return log_level_parse(value, &p->config->log_level);
}

static int read_uids(struct parser *p, const struct key *key, const char *value)
{
	char first[16];
	const char *dash = strchr(value, '-');
	uint32_t from, to;

	if (!dash || (size_t)(dash - value) >= sizeof(first))
		return -EINVAL;
	snprintf(first, sizeof(first), "%.*s", (int)(dash - value), value);
	if (number(first, key->min, key->max, &from) < 0 ||
		number(dash + 1, key->min, key->max, &to) < 0 || from > to)
		return -EINVAL;
	p->config->uid_first = from;
	p->config->uid_last = to;
	return 0;
}

#define OF_VDPAD(member) offsetof(struct config, member)
#define OF_NIC(member)	 offsetof(struct config_nic, member)

static const struct key vdpad_keys[] = {
	{ .name = "socket_group", .allowed = "a group that exists, or a number",
		.read = read_group, .offset = OF_VDPAD(socket_group) },
	{ .name = "admin_group", .allowed = "a group that exists, or a number",
		.read = read_group, .offset = OF_VDPAD(admin_group) },
	{ .name = "readonly_group", .allowed = "a group that exists, a number, or all",
		.read = read_readers, .offset = OF_VDPAD(readonly_group) },
	{ .name = "log_level", .allowed = "error, warning, info or debug", .read = read_level },
	{ .name = "worker_uids", .allowed = "FIRST-LAST, numbers from 1000 to 2147483647",
		.read = read_uids, .min = 1000, .max = INT32_MAX },
};

static const struct key pci_keys[] = {
	{ .name = "sysfs", .allowed = "an absolute path", .read = read_path,
		.offset = OF_VDPAD(pci_sysfs) },
	{ .name = "vfio", .allowed = "an absolute path", .read = read_path,
		.offset = OF_VDPAD(pci_vfio) },
	{ .name = "iommu", .allowed = "an absolute path", .read = read_path,
		.offset = OF_VDPAD(pci_iommu) },
};

static const struct key nic_keys[] = {
	{ .name = "uplink", .allowed = "none, loop, tap:IFNAME, af_packet:IFNAME or dev:DEVARGS",
		.read = read_uplink, .offset = OF_NIC(uplink) },
	{ .name = "threads", .allowed = "1 to 16", .read = read_number, .offset = OF_NIC(threads),
		.min = 1, .max = 16 },
	{ .name = "memory", .allowed = "16 to 1048576 MiB", .read = read_number,
		.offset = OF_NIC(memory_mb), .min = 16, .max = 1U << 20 },
	{ .name = "flood_limit", .allowed = "0 to 100000000 frames a second, 0 for no limit",
		.read = read_number, .offset = OF_NIC(flood_limit), .min = 0, .max = 100000000 },
	{ .name = "poll", .allowed = "yes or no", .read = read_switch, .offset = OF_NIC(poll) },
	{ .name = "hugepages", .allowed = "yes or no", .read = read_switch,
		.offset = OF_NIC(hugepages) },
	{ .name = "dirty_log", .allowed = "yes, no or buffers", .read = read_dirty_log,
		.offset = OF_NIC(dirty_log) },
	{ .name = "completion", .allowed = "in-order or shuffled", .read = read_switch,
		.offset = OF_NIC(shuffled), .on = "shuffled", .off = "in-order" },
	{ .name = "start_position", .allowed = "any or initial", .read = read_switch,
		.offset = OF_NIC(start_initial), .on = "initial", .off = "any" },
	{ .name = "test_socket", .allowed = "an absolute path", .read = read_path,
		.offset = OF_NIC(test_socket) },
};

static const struct section {
	const char *name;
	const struct key *keys;
	size_t n_keys;
} sections[] = {
	{ "vdpad", vdpad_keys, ARRAY_SIZE(vdpad_keys) },
	{ "pci", pci_keys, ARRAY_SIZE(pci_keys) },
	{ "simnic", nic_keys, ARRAY_SIZE(nic_keys) },
};

static void list_keys(const struct section *section, char *ret, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < section->n_keys && used < size; i++) {
		int n = snprintf(ret + used, size - used, "%s%s", i ? ", " : "",
			section->keys[i].name);

		used += n > 0 ? (size_t)n : 0;
	}
}

static void default_nic(struct config_nic *ret, const char *name)
{
	*ret = (struct config_nic){
		.uplink = "none",
		.threads = 1,
		.memory_mb = 32,
		.flood_limit = 5000,
	};
	snprintf(ret->name, sizeof(ret->name), "%s", name);
}

static void begin_nic(struct parser *p, const char *name)
{
	if (!name_ok(name)) {
		fail(p, "[simnic %s]: not a name; letters, digits, '.', '_' and '-', at most %d, and "
			"no '.' first", name, NAME_MAX_LENGTH);
		return;
	}
	for (unsigned int i = 0; i < p->config->n_nics; i++) {
		if (strcmp(p->config->nics[i].name, name) == 0) {
			fail(p, "[simnic %s] is there twice", name);
			return;
		}
	}
	if (p->config->n_nics == CONFIG_MAX_NICS) {
		fail(p, "[simnic %s]: more than %d are not possible", name, CONFIG_MAX_NICS);
		return;
	}
	p->section = "simnic";
	p->nic = &p->config->nics[p->config->n_nics++];
	default_nic(p->nic, name);
}

static void begin_section(struct parser *p, const char *name)
{
	p->seen = 0;
	p->nic = NULL;
	p->section = NULL;
	if (strncmp(name, "simnic ", 7) == 0) {
		begin_nic(p, name + 7 + strspn(name + 7, " \t"));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
		if (strcmp(name, sections[i].name) != 0 || sections[i].keys == nic_keys)
			continue;
		if (p->sections_seen & BIT(i))
			fail(p, "[%s] is there twice", name);
		p->sections_seen |= BIT(i);
		p->section = sections[i].name;
		return;
	}
	fail(p, "unknown section [%s]; possible are [vdpad], [pci] and [simnic NAME]", name);
}

static void look_at_line(struct parser *p, const char *line)
{
	const char *start = line + strspn(line, " \t");
	const char *end = strchr(start, ']');
	char name[INI_MAX_LINE + 1];

	if (p->line == 1 && strncmp(start, "\xef\xbb\xbf", 3) == 0)
		start += 3;
	if (*start != '[')
		return;
	if (!end) {
		fail(p, "a section's name ends with ]");
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(end - start - 1), start + 1);
	begin_section(p, name);
}

/* For inih: as fgets(3). After the first mistake the file is over. */
static char *read_line(char *line, int size, void *arg)
{
	struct parser *p = arg;

	if (p->failed || !fgets(line, size, p->file))
		return NULL;
	p->line++;
	if (!strchr(line, '\n') && !feof(p->file)) {
		fail(p, "the line is too long; at most %d bytes are possible", size - 2);
		return NULL;
	}
	look_at_line(p, line);
	return p->failed ? NULL : line;
}

static int on_key(void *arg, const char *section_name, const char *name, const char *value)
{
	struct parser *p = arg;
	char possible[200] = "";

	if (p->failed)
		return 1;
	if (!p->section) {
		fail(p, "%s stands before any section; begin with [vdpad] or [simnic NAME]", name);
		return 1;
	}
	for (size_t s = 0; s < ARRAY_SIZE(sections); s++) {
		const struct section *section = &sections[s];

		if (strcmp(section->name, p->section) != 0)
			continue;
		for (size_t i = 0; i < section->n_keys; i++) {
			const struct key *key = &section->keys[i];

			if (strcmp(key->name, name) != 0)
				continue;
			if (p->seen & BIT(i))
				fail(p, "%s is given twice", name);
			else if (key->read(p, key, value) < 0)
				fail(p, "%s: \"%s\" is not possible; possible: %s", name, value,
					key->allowed);
			p->seen |= BIT(i);
			return 1;
		}
		list_keys(section, possible, sizeof(possible));
	}
	fail(p, "unknown key %s in [%s]; possible are %s", name, section_name, possible);
	return 1;
}

void config_default(struct config *ret)
{
	const struct group *kvm = getgrnam("kvm");

	*ret = (struct config){
		.socket_group = kvm ? kvm->gr_gid : CONFIG_NO_GROUP,
		.admin_group = CONFIG_NO_GROUP,
		.readonly_group = CONFIG_NO_GROUP,
		.log_level = LOG_LEVEL_INFO,
		.uid_first = 800000,
		.uid_last = 865535,
		.n_nics = 1,
		.pci_sysfs = "/sys",
		.pci_vfio = "/dev/vfio",
		.pci_iommu = "/dev/iommu",
	};
	default_nic(&ret->nics[0], "nic0");
}

int config_read(const char *path, struct config *ret, char why[CONFIG_WHY_SIZE])
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	struct parser p = { .path = path, .file = file, .config = ret, .why = why };
	int r;

	if (!file) {
		r = -errno;
		snprintf(why, CONFIG_WHY_SIZE, "%s: %s", path, strerror(-r));
		return r;
	}
	config_default(ret);
	ret->n_nics = 0;
	r = ini_parse_stream(read_line, &p, on_key, &p);
	if (ferror(file) && !p.failed)
		fail(&p, "can't be read");
	if (r > 0 && !p.failed) {
		p.line = (unsigned int)r;
		fail(&p, "neither a section, nor a comment, nor KEY = VALUE");
	}
	if (r < 0 && !p.failed)
		fail(&p, "there is not enough memory");
	if (p.failed)
		return -EINVAL;
	if (ret->n_nics == 0)
		default_nic(&ret->nics[ret->n_nics++], "nic0");
	return 0;
}
