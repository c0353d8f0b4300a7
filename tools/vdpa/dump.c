/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `vdpa dev dump`: all that is known of a device in one file, to be sent to whoever helps. It may
 * hold what not everybody should read, so only its owner may, and it is always a new file: a dump
 * never replaces another, nor anything else. A file that can't be finished is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/vdpa/command.h"
#include "tools/vdpa/text.h"
#include "vdpa/base/cleanup.h"

/* Of the worker's own JSON, where it is some: it is easier to read as a part of ours. */
static void unfold_report(json_t *dump)
{
	const char *report = json_text(dump, "worker_report");
	json_t *value = report ? json_loads(report, 0, NULL) : NULL;

	if (value)
		json_object_set_new(dump, "worker_report", value);
}

static int default_path(const char *name, char *ret, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;
	char when[32];
	int n;

	localtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y%m%d-%H%M%S", &tm);
	n = snprintf(ret, size, "./vdpa-dump-%s-%s.json", name, when);
	if (n < 0 || (size_t)n >= size)
		return -ENAMETOOLONG;
	for (char *c = ret + 2; *c; c++) {
		if (*c == '/')
			*c = '_';
	}
	return 0;
}

static int write_file(const char *path, const json_t *dump)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FILE *file;
	int r;

	if (fd < 0)
		return -errno;
	file = fdopen(fd, "w");
	if (!file) {
		r = -errno;
		close_keep_errno(fd);
		unlink(path);
		return r;
	}
	json_print(dump, JSON_FORM_PRETTY, file);
	errno = 0;
	r = fflush(file) != 0 || ferror(file) || fsync(fd) < 0 ? -(errno ? errno : EIO) : 0;
	if (fclose(file) != 0 && r == 0)
		r = -errno;
	if (r < 0)
		unlink(path);
	return r;
}

static int save(struct context *ctx, const char *name, const char *path, const json_t *dump)
{
	char made_up[PATH_MAX];
	int r = path ? 0 : default_path(name, made_up, sizeof(made_up));

	if (!path)
		path = made_up;
	if (r == 0)
		r = write_file(path, dump);
	if (r < 0) {
		complain("%s: %s; nothing is written (choose another with: file PATH)",
			r == -ENAMETOOLONG ? name : path, strerror(-r));
		return r;
	}
	if (ctx->json) {
		print_section(ctx, "dump", json_pack("{s:{s:s}}", name, "file", path));
	} else {
		text_put(path, stdout);
		putchar('\n');
	}
	return 0;
}

int run_dump(struct context *ctx, const struct command *command, struct words *words)
{
	json_auto_t *facts = json_object(), *given = json_object(), *dump = NULL;
	const char *name, *path;
	struct fault why;
	int r = take_device(command, words, facts);

	if (r == 0)
		r = keywords_read(command->keywords, words, given);
	if (r < 0)
		return r;
	name = json_text(facts, "name");
	path = json_text(given, "file");
	r = backends_ask(&ctx->options, OP_DEV_DUMP, facts, &dump, &why);
	if (r < 0)
		return report(r, &why);
	unfold_report(dump);
	if (path && strcmp(path, "-") == 0) {
		json_print(dump, JSON_FORM_PRETTY, stdout);
		ctx->printed = true;
		return 0;
	}
	return save(ctx, name, path, dump);
}
