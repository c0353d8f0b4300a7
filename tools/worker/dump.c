/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The report for support: everything this process knows of the device, but no byte of the guest's
 * packets. JSON is written by hand here, since a library would cost every idle worker its memory;
 * only text needs care, and there is one function for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "protocol/progress.h"
#include "protocol/table.h"
#include "tools/worker/worker.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/saved.h"

static void put_text(FILE *f, const char *text)
{
	fputc('"', f);
	for (const char *c = text; *c; c++) {
		unsigned char byte = (unsigned char)*c;

		if (byte == '"' || byte == '\\')
			fprintf(f, "\\%c", byte);
		else if (byte < 0x20 || byte >= 0x7f)
			fprintf(f, "\\u%04x", byte);
		else
			fputc(byte, f);
	}
	fputc('"', f);
}

static void put_position(FILE *f, const struct queue_position *at)
{
	fprintf(f, "\"avail\":%u,\"avail_wrap\":%d,\"used\":%u,\"used_wrap\":%d", at->avail,
		at->avail_wrap, at->used, at->used_wrap);
}

/* What the device says, of the ring that it has: of a relayed one that is the shadow. */
static void put_device_ring(FILE *f, const struct driver_queue_stats *stats)
{
	fprintf(f, ",\"device\":{\"running\":%d,\"failed\":%d,", stats->running, stats->failed);
	put_position(f, &stats->position);
	fprintf(f,
		",\"received\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"bytes\":%" PRIu64
		",\"drops\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"calls\":%" PRIu64 "}",
		stats->received_desc, stats->completed_desc, stats->bytes, stats->drops,
		stats->errors, stats->calls);
}

static void put_ring(struct worker *w, FILE *f, uint32_t index)
{
	const struct ring_state *ring = &w->device_section.rings[index];
	struct driver_queue_stats stats;
	struct queue_position position;

	device_queue_stats(&w->device, index, &stats);
	position = report_position(w, index, &stats);
	fprintf(f,
		"{\"index\":%" PRIu32 ",\"size\":%" PRIu32 ",\"desc\":%" PRIu64 ",\"avail\":%" PRIu64
		",\"used\":%" PRIu64 ",\"log\":%" PRIu64 ",\"flags\":%" PRIu32 ",\"base\":%" PRIu32
		",\"has_addr\":%u,\"started\":%u,\"enabled\":%u,\"running\":%u,\"failed\":%u",
		index, ring->size, ring->desc_uva, ring->avail_uva, ring->used_uva, ring->log_addr,
		ring->addr_flags, ring->base, ring->has_addr, ring->started, ring->enabled,
		ring->running, ring->failed);
	fprintf(f, ",\"kick\":%s,\"call\":%s,\"err\":%s,\"position\":{",
		ring->kick_slot >= 0 ? "true" : "false", ring->call_slot >= 0 ? "true" : "false",
		ring->err_slot >= 0 ? "true" : "false");
	put_position(f, &position);
	fputs("}", f);
	put_device_ring(f, &stats);
	fputs("}", f);
}

static void put_memory(struct worker *w, FILE *f)
{
	const struct memory_table *table = &w->device_section.memory;

	fputs(",\"memory\":[", f);
	for (uint32_t i = 0; i < table->n_regions; i++) {
		const struct memory_region *m = &table->regions[i];

		fprintf(f,
			"%s{\"gpa\":%" PRIu64 ",\"size\":%" PRIu64 ",\"uva\":%" PRIu64
			",\"offset\":%" PRIu64 ",\"dev\":%" PRIu64 ",\"ino\":%" PRIu64 "}",
			i ? "," : "", m->gpa, m->size, m->uva, m->offset, m->dev, m->ino);
	}
	fputs("]", f);
}

static void put_device(struct worker *w, FILE *f)
{
	static const char *const datapaths[DATAPATH_N] = {
		[DATAPATH_NONE] = "none",
		[DATAPATH_DIRECT] = "direct",
		[DATAPATH_RELAY] = "relay",
	};
	const struct device_section *d = &w->device_section;

	fprintf(f,
		"\"device\":{\"offered\":%" PRIu64 ",\"features\":%" PRIu64
		",\"status\":%u,\"failed\":%u,\"lost\":%d,\"postcopy\":%u,\"blind\":%u"
		",\"datapath\":\"%s\",\"reason\":",
		w->device.offered, d->features, d->status, d->failed, w->device.lost, d->postcopy,
		d->postcopy_blind, datapaths[device_datapath(&w->device)]);
	put_text(f, d->reason);
	put_memory(w, f);
	fputs(",\"rings\":[", f);
	for (uint32_t i = 0; i < w->device.n_queues; i++) {
		fputs(i ? ",\n" : "\n", f);
		put_ring(w, f, i);
	}
	fputs("]}", f);
}

static void put_trace(const struct session_section *s, FILE *f)
{
	uint32_t n = s->trace_next < SESSION_TRACE_SIZE ? s->trace_next : SESSION_TRACE_SIZE;

	fputs(",\"messages\":[", f);
	for (uint32_t i = 0; i < n; i++) {
		const struct session_trace *t =
			&s->trace[(s->trace_next - n + i) % SESSION_TRACE_SIZE];

		fprintf(f, "%s\n{\"when_ns\":%" PRIu64 ",\"name\":", i ? "," : "", t->when_ns);
		put_text(f, message_name(t->request));
		fprintf(f,
			",\"request\":%" PRIu32 ",\"flags\":%" PRIu32 ",\"size\":%" PRIu32
			",\"fds\":%" PRIu32 ",\"payload\":[%" PRIu64 ",%" PRIu64 "],\"result\":",
			t->request, t->flags, t->size, t->n_fds, t->payload[0], t->payload[1]);
		put_text(f, t->result < 0 ? strerror(-t->result) : "ok");
		fputs("}", f);
	}
	fputs("]", f);
}

static void put_session(const struct session_section *s, FILE *f)
{
	fprintf(f,
		",\"session\":{\"connected\":%u,\"pid\":%d,\"uid\":%u,\"protocol_features\":%" PRIu64
		",\"phase\":%d,\"attempts\":%u,\"handled\":%" PRIu64 ",\"refused\":%" PRIu64
		",\"connections\":%" PRIu64 ",\"last_refusal\":",
		s->connected, s->frontend_pid, s->frontend_uid, s->protocol_features,
		(int)progress_phase(s->progress), progress_attempts(s->progress), s->messages,
		s->refused, s->connections);
	put_text(f, s->refusal);
	put_trace(s, f);
	fputs("}", f);
}

struct log_writer {
	FILE *file;
	bool any;
};

static void put_log_line(void *arg, const char *line)
{
	struct log_writer *writer = arg;

	fputs(writer->any ? ",\n" : "\n", writer->file);
	put_text(writer->file, line);
	writer->any = true;
}

int dump_write(struct worker *w, int fd)
{
	_cleanup_fclose_ FILE *f = NULL;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct log_writer writer;

	f = copy < 0 ? NULL : fdopen(copy, "w");
	if (!f) {
		close_keep_errno(copy);
		return -errno;
	}
	writer = (struct log_writer){ .file = f };
	fprintf(f, "{\"version\":\"%s\",\"pid\":%d,\"now_ns\":%" PRIu64 ",\"started_ns\":%" PRIu64
		",\"driver\":", VDPAD_VERSION, (int)getpid(), clock_now_ns(), w->started_ns);
	put_text(f, w->spec.driver);
	fputs(",\n", f);
	put_device(w, f);
	put_session(&w->session_section, f);
	fputs(",\"log\":[", f);
	log_recent(put_log_line, &writer);
	fputs("]}\n", f);
	return fflush(f) != 0 || ferror(f) ? -EIO : 0;
}
