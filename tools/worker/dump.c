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
#include "tools/worker/dump.h"
#include "vdpa/base/cleanup.h"
#include "vdpa/base/clock.h"
#include "vdpa/base/log.h"
#include "vdpa/saved.h"

void dump_text(FILE *f, const char *text)
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

static void put_trace(const struct session_section *s, FILE *f)
{
	uint32_t n = s->trace_next < SESSION_TRACE_SIZE ? s->trace_next : SESSION_TRACE_SIZE;

	fputs(",\"messages\":[", f);
	for (uint32_t i = 0; i < n; i++) {
		const struct session_trace *t =
			&s->trace[(s->trace_next - n + i) % SESSION_TRACE_SIZE];

		fprintf(f, "%s\n{\"when_ns\":%" PRIu64 ",\"name\":", i ? "," : "", t->when_ns);
		dump_text(f, message_name(t->request));
		fprintf(f,
			",\"request\":%" PRIu32 ",\"flags\":%" PRIu32 ",\"size\":%" PRIu32
			",\"fds\":%" PRIu32 ",\"payload\":[%" PRIu64 ",%" PRIu64 "],\"result\":",
			t->request, t->flags, t->size, t->n_fds, t->payload[0], t->payload[1]);
		dump_text(f, t->result < 0 ? strerror(-t->result) : "ok");
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
	dump_text(f, s->refusal);
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
	dump_text(writer->file, line);
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
	dump_text(f, w->spec.driver);
	fputs(",\n", f);
	dump_device(w, f);
	put_session(&w->session_section, f);
	fputs(",\"log\":[", f);
	log_recent(put_log_line, &writer);
	fputs("]}\n", f);
	return fflush(f) != 0 || ferror(f) ? -EIO : 0;
}
