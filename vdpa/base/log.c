/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging. One line is one write, so lines of several processes on one stderr never mix. Text that
 * came from a peer may hold control characters; they are shown as '?', so that no peer can forge a
 * line. Not async-signal-safe.
 */
#include "vdpa/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vdpa/base/bits.h"

#define LINE_SIZE   512
#define RECENT_SIZE 8192

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char log_ident[64] = "vdpad";
static volatile enum log_level max_level = LOG_LEVEL_INFO;

/* Guarded by lock: the last lines, each ended by a line feed, as a ring of bytes. */
static char recent[RECENT_SIZE];
static size_t recent_end;
static bool recent_wrapped;

static const struct {
	const char *name;
	enum log_level level;
} levels[] = {
	{ "error", LOG_LEVEL_ERROR },
	{ "warning", LOG_LEVEL_WARNING },
	{ "info", LOG_LEVEL_INFO },
	{ "debug", LOG_LEVEL_DEBUG },
};

void log_open(const char *ident)
{
	snprintf(log_ident, sizeof(log_ident), "%s", ident);
}

void log_set_level(enum log_level level)
{
	max_level = level;
}

enum log_level log_get_level(void)
{
	return max_level;
}

int log_level_parse(const char *text, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(text, levels[i].name) == 0) {
			*ret = levels[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (levels[i].level == level)
			return levels[i].name;
	}
	return "unknown";
}

static void keep_recent(const char *line, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		recent[recent_end++] = line[i];
		if (recent_end == RECENT_SIZE) {
			recent_end = 0;
			recent_wrapped = true;
		}
	}
}

void log_line(enum log_level level, const char *format, ...)
{
	static int is_terminal = -1;
	char line[LINE_SIZE];
	size_t used = 0, start;
	struct timespec now;
	struct tm tm;
	va_list args;
	int n;

	if (level > max_level)
		return;

	pthread_mutex_lock(&lock);
	if (is_terminal < 0)
		is_terminal = isatty(STDERR_FILENO);
	if (!is_terminal)
		used += (size_t)snprintf(line, sizeof(line), "<%d>", (int)level);

	start = used;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	used += strftime(line + used, sizeof(line) - used, "%H:%M:%S", &tm);
	used += (size_t)snprintf(line + used, sizeof(line) - used, ".%03ld %s: %s: ",
		now.tv_nsec / 1000000, log_ident, log_level_name(level));

	va_start(args, format);
	n = vsnprintf(line + used, sizeof(line) - used - 1, format, args);
	va_end(args);
	if (n > 0)
		used += (size_t)n < sizeof(line) - used - 2 ? (size_t)n : sizeof(line) - used - 2;

	for (size_t i = start; i < used; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[used++] = '\n';
	keep_recent(line + start, used - start);
	pthread_mutex_unlock(&lock);

	if (write(STDERR_FILENO, line, used) < 0)
		return; /* nowhere left to say so */
}

void log_recent(void (*each)(void *arg, const char *line), void *arg)
{
	char copy[RECENT_SIZE + 1];
	size_t size = 0;
	char *line, *end;

	pthread_mutex_lock(&lock);
	if (recent_wrapped) {
		size = RECENT_SIZE - recent_end;
		memcpy(copy, recent + recent_end, size);
	}
	memcpy(copy + size, recent, recent_end);
	size += recent_end;
	pthread_mutex_unlock(&lock);

	copy[size] = '\0';
	line = copy;
	if (recent_wrapped) /* the oldest line may have lost its head */
		line = memchr(copy, '\n', size) ? (char *)memchr(copy, '\n', size) + 1 : copy + size;
	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		each(arg, line);
	}
}
