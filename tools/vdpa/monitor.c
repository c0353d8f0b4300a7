/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `vdpa monitor`: what happens, a line at a time, until somebody ends it. Signals come through a
 * descriptor, so that ending is an event as any other, and no line is cut in half. When one backend
 * is gone it is over, with the reason: a monitor that looks alive and says nothing is worse.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "tools/vdpa/command.h"
#include "tools/vdpa/text.h"
#include "vdpa/base/cleanup.h"

#define MAX_BACKENDS 4

struct monitor {
	struct context *ctx;
	const struct backend *backend[MAX_BACKENDS];
	struct watch *watch[MAX_BACKENDS];
	size_t n;
};

static void put_time(json_int_t time_ms)
{
	time_t seconds = (time_t)(time_ms / 1000);
	struct tm tm;
	char text[64] = "";

	if (localtime_r(&seconds, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	printf("%s.%03d", text, (int)(time_ms % 1000));
}

static void put_event(const struct context *ctx, const json_t *event)
{
	const char *dev = json_text(event, "dev"), *mgmtdev = json_text(event, "mgmtdev");
	const char *text = json_text(event, "text");
	json_int_t count = json_number(event, "count", -1);

	if (ctx->json) {
		json_print(event, JSON_FORM_COMPACT, stdout);
		return;
	}
	put_time(json_number(event, "time_ms", 0));
	if (dev || mgmtdev) {
		putchar(' ');
		text_put(dev ? dev : mgmtdev, stdout);
	}
	putchar(' ');
	text_put(json_text(event, "event"), stdout);
	if (count >= 0)
		printf(" %" JSON_INTEGER_FORMAT " events", count);
	if (text && *text) {
		fputs(": ", stdout);
		text_put(text, stdout);
	}
	putchar('\n');
}

/* Return: 0 nothing more for now, or a negative errno when the watch is over. */
static int take_events(const struct monitor *m, size_t i)
{
	struct fault why;
	int r;

	do {
		json_auto_t *event = NULL;

		r = m->backend[i]->watch_next(m->watch[i], &event, &why);
		if (r == 0)
			put_event(m->ctx, event);
		if (ferror(stdout))
			return -EIO;
	} while (r == 0);
	return r == -EAGAIN ? 0 : report(r, &why);
}

static int watch(const struct monitor *m, int signals)
{
	struct pollfd fds[MAX_BACKENDS + 1] = { { .fd = signals, .events = POLLIN } };

	for (size_t i = 0; i < m->n; i++)
		fds[i + 1] = (struct pollfd){ .fd = m->backend[i]->watch_fd(m->watch[i]),
			.events = POLLIN };
	/* What came together with the answer is in no descriptor any more. */
	for (size_t i = 0; i < m->n; i++) {
		int r = take_events(m, i);

		if (r < 0)
			return r;
	}
	for (;;) {
		if (poll(fds, m->n + 1, -1) < 0 && errno != EINTR)
			return -errno;
		if (fds[0].revents)
			return 0;
		for (size_t i = 0; i < m->n; i++) {
			int r = fds[i + 1].revents ? take_events(m, i) : 0;

			if (r < 0)
				return r;
		}
	}
}

static int open_all(struct monitor *m, const char *name)
{
	struct fault why, first;
	int error = 0;

	for (size_t i = 0; backends[i] && m->n < MAX_BACKENDS; i++) {
		int r = backends[i]->watch_open(&m->ctx->options, name, &m->watch[m->n], &why);

		if (r == 0) {
			m->backend[m->n++] = backends[i];
		} else if (error == 0) {
			error = r;
			first = why;
		}
	}
	return m->n == 0 ? report(error, &first) : 0;
}

static int block_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		complain("can't receive signals: %s", strerror(errno));
	return fd;
}

int run_monitor(struct context *ctx, const struct command *command, struct words *words)
{
	struct monitor m = { .ctx = ctx };
	_cleanup_close_ int signals = -1;
	json_auto_t *facts = json_object();
	int r;

	if (words->n > 0 && strcmp(words->word[0], "help") == 0) {
		fprintf(stderr, "Usage: vdpa %s\n", command->usage);
		return 0;
	}
	r = take_name(command, words, "name", facts);
	if (r == 0)
		r = words_end(words);
	if (r < 0)
		return r;
	ctx->printed = true;
	setvbuf(stdout, NULL, _IOLBF, 0);
	r = open_all(&m, json_text(facts, "name"));
	if (r < 0)
		return r;
	signals = block_signals();
	r = signals < 0 ? signals : watch(&m, signals);
	for (size_t i = 0; i < m.n; i++)
		m.backend[i]->watch_close(m.watch[i]);
	return r;
}
