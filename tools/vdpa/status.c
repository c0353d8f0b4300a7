/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The status of a device as text: what it does, what is wrong, what it is, its queues, its
 * processes; and in the same way that of a management device. What is wrong is said in words, with what to do about it; what is zero or unknown is
 * left out. Programs should read the JSON form: this one may change.
 */
#include "tools/vdpa/status.h"

#include <stdbool.h>
#include <string.h>

#include "tools/vdpa/json.h"
#include "tools/vdpa/text.h"
#include "vdpa/base/bits.h"

static bool is_true(const json_t *item, const char *key)
{
	return json_is_true(json_object_get(item, key));
}

/* "3m12s": the two greatest units. */
static void put_duration(json_int_t seconds, FILE *file)
{
	static const struct {
		json_int_t seconds, rest;
		char unit, rest_unit;
	} units[] = {
		{ 86400, 3600, 'd', 'h' },
		{ 3600, 60, 'h', 'm' },
		{ 60, 1, 'm', 's' },
	};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		json_int_t n = seconds / units[i].seconds;

		if (n == 0)
			continue;
		fprintf(file, "%" JSON_INTEGER_FORMAT "%c%02" JSON_INTEGER_FORMAT "%c", n,
			units[i].unit, seconds % units[i].seconds / units[i].rest,
			units[i].rest_unit);
		return;
	}
	fprintf(file, "%" JSON_INTEGER_FORMAT "s", seconds);
}

static void put_size(json_int_t bytes, FILE *file)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB" };
	size_t i = 0;

	for (; i + 1 < ARRAY_SIZE(units) && bytes > 0 && bytes % 1024 == 0; i++)
		bytes /= 1024;
	fprintf(file, "%" JSON_INTEGER_FORMAT " %s", bytes, units[i]);
}

static void put_count(json_int_t n, const char *of, FILE *file)
{
	fprintf(file, "%" JSON_INTEGER_FORMAT " %s%s", n, of, n == 1 ? "" : "s");
}

enum value_form {
	FORM_PLAIN,
	FORM_ON_OFF,
	FORM_UP_DOWN,
	FORM_PROCESS, /* 0 is none */
};

struct line_key {
	const char *key, *label;
	enum value_form form;
};

static void put_value(const json_t *value, enum value_form form, FILE *file)
{
	if (form == FORM_ON_OFF)
		fputs(json_is_true(value) ? "on" : "off", file);
	else if (form == FORM_UP_DOWN)
		fputs(json_is_true(value) ? "up" : "down", file);
	else if (form == FORM_PROCESS && json_integer_value(value) == 0)
		fputs("none", file);
	else
		json_put(value, file);
}

/* A line "label value label value ..." of what is there; none when nothing is. */
static void put_line(const json_t *item, const struct line_key *keys, FILE *file)
{
	bool empty = true;

	for (; keys->key; keys++) {
		const json_t *value = json_object_get(item, keys->key);

		if (!value)
			continue;
		fprintf(file, "%s%s ", empty ? "  " : " ", keys->label);
		put_value(value, keys->form, file);
		empty = false;
	}
	if (!empty)
		putc('\n', file);
}

static void put_front_end(const json_t *item, FILE *file)
{
	json_int_t pid = json_number(item, "frontend_pid", -1);
	json_int_t uid = json_number(item, "frontend_uid", -1);
	json_int_t since = json_number(item, "connected_s", -1);

	if (!is_true(item, "connected")) {
		fputs(", no front-end", file);
		return;
	}
	fputs(", front-end connected", file);
	if (since >= 0) {
		fputs(" for ", file);
		put_duration(since, file);
	}
	if (pid >= 0)
		fprintf(file, " (process %" JSON_INTEGER_FORMAT, pid);
	if (pid >= 0 && uid >= 0)
		fprintf(file, " of user %" JSON_INTEGER_FORMAT, uid);
	if (pid >= 0)
		putc(')', file);
}

static void put_state(const json_t *item, FILE *file)
{
	const char *datapath = json_text(item, "datapath");
	json_int_t uptime = json_number(item, "uptime_s", 0);

	text_put(json_text(item, "name"), file);
	fputs(": ", file);
	text_put(json_text(item, "state"), file);
	if (datapath && strcmp(datapath, "none") != 0) {
		putc(' ', file);
		text_put(datapath, file);
	}
	put_front_end(item, file);
	if (uptime > 0) {
		fputs(", up ", file);
		put_duration(uptime, file);
	}
	putc('\n', file);
}

static void put_spoof_drops(const json_t *item, json_int_t n, FILE *file)
{
	const char *name = json_text(item, "name"), *mac = json_text(item, "mac");
	const char *last = json_text(item, "last_spoof_mac");

	fputs("  dropped ", file);
	put_count(n, "frame", file);
	fputs(" from the guest: source address ", file);
	if (last)
		text_put(last, file);
	fputs(last ? " is not the device's" : "was not the device's", file);
	if (mac) {
		fputs(" (", file);
		text_put(mac, file);
		putc(')', file);
	}
	fputs("; give the guest the device's MAC, or: vdpa dev set name ", file);
	text_put(name, file);
	fputs(" spoof_check off\n", file);
}

static void put_drops(json_int_t n, const char *why, FILE *file)
{
	if (n == 0)
		return;
	fputs("  dropped ", file);
	put_count(n, "frame", file);
	fprintf(file, " %s\n", why);
}

static void put_reason(const json_t *item, const char *key, const char *label, FILE *file)
{
	const char *reason = json_text(item, key);

	if (!reason)
		return;
	fprintf(file, "  %s: ", label);
	text_put(reason, file);
	putc('\n', file);
}

static void put_troubles(const json_t *item, FILE *file)
{
	const json_t *counters = json_object_get(item, "counters");
	json_int_t spoof = json_number(counters, "spoof_drops", 0);
	json_int_t flood = json_number(counters, "flood_drops", 0);
	json_int_t no_queue = json_number(counters, "no_queue_drops", 0);

	put_reason(item, "reason", "reason", file);
	put_reason(item, "datapath_reason", "relayed", file);
	put_reason(item, "standby_reason", "standby", file);
	if (is_true(item, "stale"))
		fputs("  stale: the device's worker does not answer; addresses, features, counters "
		      "and queues are those of before\n", file);
	if (spoof > 0)
		put_spoof_drops(item, spoof, file);
	put_drops(flood, "from the guest to many or unknown receivers: more than its management "
		"device's flood_limit", file);
	put_drops(no_queue, "to the guest: it has no running receive queue, or had none when they "
		"came", file);
}

static void put_features(const json_t *item, const char *key, FILE *file)
{
	const json_t *list = json_object_get(item, key);

	if (json_array_size(list) == 0)
		return;
	fprintf(file, "  %s", key);
	json_put_features(list, file);
	putc('\n', file);
}

static void put_traffic(const json_t *item, FILE *file)
{
	static const char *const directions[][3] = {
		{ "  rx ", "rx_frames", "rx_bytes" },
		{ ", tx ", "tx_frames", "tx_bytes" },
	};
	const json_t *counters = json_object_get(item, "counters");

	if (!counters)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(directions); i++) {
		fputs(directions[i][0], file);
		put_count(json_number(counters, directions[i][1], 0), "frame", file);
		putc(' ', file);
		put_count(json_number(counters, directions[i][2], 0), "byte", file);
	}
	putc('\n', file);
}

static void put_memory(const json_t *item, FILE *file)
{
	json_int_t regions = json_number(item, "memory_regions", 0);

	if (regions == 0)
		return;
	fputs("  memory ", file);
	put_count(regions, "region", file);
	putc(' ', file);
	put_size(json_number(item, "memory_bytes", 0), file);
	putc('\n', file);
}

static const char *queue_state(const json_t *queue)
{
	if (is_true(queue, "failed"))
		return "failed";
	if (is_true(queue, "running"))
		return is_true(queue, "enabled") ? "running" : "running, disabled";
	return is_true(queue, "enabled") ? "enabled, not running" : "stopped";
}

/* A position and, with packed rings, its wrap counter. */
static void put_position(const json_t *queue, const char *key, const char *wrap_key, FILE *file)
{
	const json_t *wrap = json_object_get(queue, wrap_key);

	fprintf(file, "%s %-5" JSON_INTEGER_FORMAT " ", key, json_number(queue, key, 0));
	if (wrap)
		fprintf(file, "wrap %d ",
			json_is_true(wrap) || json_number(queue, wrap_key, 0) != 0);
}

static void put_queues(const json_t *item, FILE *file)
{
	json_t *queue;
	size_t i;

	json_array_foreach(json_object_get(item, "queues"), i, queue) {
		fprintf(file, "  queue %-3" JSON_INTEGER_FORMAT " ", json_number(queue, "qidx", 0));
		text_put(json_text(queue, "queue_type"), file);
		fprintf(file, " size %-5" JSON_INTEGER_FORMAT " ", json_number(queue, "size", 0));
		put_position(queue, "avail", "avail_wrap", file);
		put_position(queue, "used", "used_wrap", file);
		fprintf(file, "%s\n", queue_state(queue));
	}
}

static const struct line_key place_line[] = {
	{ "mgmtdev", "mgmtdev", FORM_PLAIN },
	{ "vm", "vm", FORM_PLAIN },
	{ "socket", "socket", FORM_PLAIN },
	{ "mode", "mode", FORM_PLAIN },
	{ 0 },
};

static const struct line_key failover_line[] = {
	{ "standby", "standby", FORM_PLAIN },
	{ "datapath_wanted", "datapath", FORM_PLAIN },
	{ "failovers", "failovers", FORM_PLAIN },
	{ 0 },
};

static const struct line_key net_line[] = {
	{ "mac", "mac", FORM_PLAIN },
	{ "mtu", "mtu", FORM_PLAIN },
	{ "link_up", "link", FORM_UP_DOWN },
	{ "max_vqp", "max_vqp", FORM_PLAIN },
	{ "spoof_check", "spoof_check", FORM_ON_OFF },
	{ "ctrl_vq", "ctrl_vq", FORM_ON_OFF },
	{ 0 },
};

static const struct line_key history_line[] = {
	{ "messages", "messages", FORM_PLAIN },
	{ "refused", "refused", FORM_PLAIN },
	{ "connections", "connections", FORM_PLAIN },
	{ 0 },
};

static const struct line_key process_line[] = {
	{ "shim_pid", "shim", FORM_PROCESS },
	{ "worker_pid", "worker", FORM_PROCESS },
	{ "worker", "program", FORM_PLAIN },
	{ "worker_restarts", "restarts", FORM_PLAIN },
	{ "log_level", "log_level", FORM_PLAIN },
	{ 0 },
};

void status_text(const json_t *item, FILE *file)
{
	put_state(item, file);
	put_troubles(item, file);
	put_line(item, place_line, file);
	if (json_object_get(item, "standby"))
		put_line(item, failover_line, file);
	put_line(item, net_line, file);
	put_features(item, "features", file);
	put_features(item, "protocol_features", file);
	put_memory(item, file);
	put_traffic(item, file);
	put_queues(item, file);
	put_line(item, history_line, file);
	put_line(item, process_line, file);
}

/* Its state says more than its name only where there is an uplink. */
static void put_uplink(const json_t *item, FILE *file)
{
	const char *uplink = json_text(item, "uplink"), *state = json_text(item, "uplink_state");

	if (!uplink)
		return;
	fputs("  uplink ", file);
	text_put(uplink, file);
	if (state && strcmp(state, "none") != 0) {
		putc(' ', file);
		text_put(state, file);
	}
	putc('\n', file);
}

static const struct line_key nic_process_line[] = {
	{ "pid", "process", FORM_PROCESS },
	{ "restarts", "restarts", FORM_PLAIN },
	{ 0 },
};

/* Of a PCI function: what it is and whose. */
static const struct line_key function_line[] = {
	{ "kind", "kind", FORM_PLAIN },
	{ "driver", "driver", FORM_PLAIN },
	{ "iommu_group", "iommu_group", FORM_PLAIN },
	{ "pf", "pf", FORM_PLAIN },
	{ 0 },
};

void status_mgmtdev_text(const json_t *item, FILE *file)
{
	const char *state = json_text(item, "state");
	json_int_t devices = json_number(item, "devices", -1);

	text_put(json_text(item, "handle"), file);
	fputs(": ", file);
	text_put(state ? state : "unknown", file);
	if (devices >= 0) {
		fputs(", ", file);
		put_count(devices, "device", file);
	}
	putc('\n', file);
	put_reason(item, "reason", "reason", file);
	put_uplink(item, file);
	put_line(item, function_line, file);
	put_line(item, nic_process_line, file);
}

void status_migration_text(const json_t *item, FILE *file)
{
	static const struct {
		const char *key, *label;
	} phases[] = {
		{ "switch_us", "switch to logging" },
		{ "logging_us", "logging" },
		{ "stop_us", "stop of all queues" },
		{ "leave_us", "until the front-end left" },
	};

	text_put(json_text(item, "name"), file);
	if (!json_object_get(item, "number")) {
		fputs(": no migration yet\n", file);
		return;
	}
	fprintf(file, ": migration %" JSON_INTEGER_FORMAT ", ",
		json_integer_value(json_object_get(item, "number")));
	text_put(json_text(item, "outcome"), file);
	fputs(", phase ", file);
	text_put(json_text(item, "phase"), file);
	fputs(", logged by ", file);
	text_put(json_text(item, "method"), file);
	fputs(", begun ", file);
	put_duration(json_integer_value(json_object_get(item, "age_s")), file);
	fputs(" ago\n", file);
	for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
		const json_t *time = json_object_get(item, phases[i].key);

		if (time)
			fprintf(file, "  %-24s %.3f ms\n", phases[i].label,
				(double)json_integer_value(time) / 1000);
	}
}
