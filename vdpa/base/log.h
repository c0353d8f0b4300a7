/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Log lines on stderr, one write(2) each, with the priority prefix that journald understands when
 * stderr is not a terminal (sd-daemon(3)). Who ends an error logs it, once. The level may change
 * at run time. Every line is also kept in a small ring in memory, for `vdpa dev dump`.
 */
#ifndef VDPA_BASE_LOG_H
#define VDPA_BASE_LOG_H

enum log_level {
	LOG_LEVEL_ERROR = 3,	/* numbers as in syslog(3), which sd-daemon(3) uses */
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/** log_open() - name this process in its lines ("vdpa-worker[vm1]"); copies at most 63 bytes. */
void log_open(const char *ident);

/** log_set_level() - drop lines less urgent than @level from now on. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/**
 * log_level_parse() - "error", "warning", "info" or "debug" to a level.
 * Return: 0, or -EINVAL and @ret is untouched.
 */
int log_level_parse(const char *text, enum log_level *ret);
const char *log_level_name(enum log_level level);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)	 log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/**
 * log_recent() - call @each for the kept lines, oldest first.
 * @each: gets a line without its line feed; the text is valid during the call only
 */
void log_recent(void (*each)(void *arg, const char *line), void *arg);

#endif
