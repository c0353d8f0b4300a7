/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What people are told of a migration. Told is what the health block says next: the block outlives
 * the process, so a successor finds there what was told, and tells the rest. What was told at the
 * instant of a death is told twice, never not at all.
 */
#include <stdio.h>
#include <string.h>

#include "tools/worker/worker.h"
#include "vdpa/base/bits.h"

void report_migration_begin(struct worker *w)
{
	static struct health before;

	if (health_read(w->health, &before, NULL) == 0)
		w->told = before.migration;
}

static const struct {
	enum shim_event_kind event;
	const char *text;
} news[MIGRATION_N_NEWS] = {
	[MIGRATION_NEWS_LOGGING] = { SHIM_EVENT_MIGRATION_LOGGING, "pages are logged" },
	[MIGRATION_NEWS_STOPPED] = { SHIM_EVENT_MIGRATION_STOPPED, "all queues were taken back" },
	[MIGRATION_NEWS_RESUMED] = { SHIM_EVENT_MIGRATION_RESUMED, "queues run here again" },
	[MIGRATION_NEWS_HANDED_OVER] = { SHIM_EVENT_MIGRATION_HANDED_OVER, "the front-end left" },
	[MIGRATION_NEWS_CANCELLED] = { SHIM_EVENT_MIGRATION_CANCELLED,
		"pages are not logged any more" },
	[MIGRATION_NEWS_BROKEN_OFF] = { SHIM_EVENT_MIGRATION_BROKEN_OFF,
		"the front-end left in the middle" },
};

/* "relay, switch 0.120 ms, logging 2103.004 ms": as far as it came. */
static void describe(const struct migration_record *m, char *text, size_t size)
{
	static const char *const labels[MIGRATION_N_SPANS] = {
		[MIGRATION_SPAN_SWITCH] = "switch",
		[MIGRATION_SPAN_LOGGING] = "logging",
		[MIGRATION_SPAN_STOP] = "stop",
		[MIGRATION_SPAN_LEAVE] = "leave",
	};
	const char *method = migration_method_name((enum migration_method)m->method);
	size_t n = (size_t)snprintf(text, size, "%s", method);
	uint64_t us;

	for (int i = 0; i < MIGRATION_N_SPANS && n < size; i++) {
		if (migration_span_us(m, (enum migration_span)i, &us))
			n += (size_t)snprintf(
				text + n, size - n, ", %s %.3f ms", labels[i], (double)us / 1000);
	}
}

bool report_migration_due(const struct worker *w)
{
	return memcmp(&w->told, &w->device_section.migration, sizeof(w->told)) != 0;
}

void report_migration(struct worker *w)
{
	const struct migration_record *now = &w->device_section.migration;
	enum migration_news list[MIGRATION_N_NEWS];
	size_t n = migration_news(&w->told, now, list);
	char times[SHIM_REASON_SIZE] = "";

	describe(now, times, sizeof(times));
	for (size_t i = 0; i < n; i++)
		shim_link_event(w, news[list[i]].event, "%s (%s)", news[list[i]].text, times);
	w->told = *now;
}
