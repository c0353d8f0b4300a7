/* SPDX-License-Identifier: BSD-2-Clause */
/* Work that a child of vdpad does: its result, its descriptors, and each way in which it may not come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/vdpad/job.h"
#include "vdpa/base/bits.h"
#include "vdpa/base/cleanup.h"

static sd_event *event;

struct outcome {
	bool done;
	int status;
	char why[400];
	size_t n_fds;
	char text[16]; /* what could be read from the first descriptor */
};

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = -1; /* the folder's own */

	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void on_done(void *arg, struct job_result *result)
{
	struct outcome *o = arg;

	assert_false(o->done);
	o->done = true;
	o->status = result->status;
	o->n_fds = result->n_fds;
	if (result->status < 0)
		snprintf(o->why, sizeof(o->why), "%s", result->why.text);
	if (result->n_fds > 0)
		assert_true(pread(result->fds[0], o->text, sizeof(o->text) - 1, 0) >= 0);
}

static struct job *start(int (*run)(const void *task, struct job_result *ret), const void *task,
	uint64_t deadline_ms, struct outcome *ret)
{
	struct job *job;

	memset(ret, 0, sizeof(*ret));
	assert_int_equal(job_start(event, &(struct job_request){ .what = "doing it", .run = run,
		.task = task, .deadline_ms = deadline_ms, .done = on_done, .arg = ret }, &job), 0);
	return job;
}

static void finish(const struct outcome *o)
{
	while (!o->done)
		assert_true(sd_event_run(event, UINT64_MAX) >= 0);
}

/* What is open when all children were reaped. */
static int settled_fds(void)
{
	siginfo_t info;

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		assert_true(sd_event_run(event, 10000) >= 0);
	while (sd_event_run(event, 0) > 0)
		;
	return count_fds();
}

static int two_files(const void *task, struct job_result *ret)
{
	for (ret->n_fds = 0; ret->n_fds < 2; ret->n_fds++) {
		ret->fds[ret->n_fds] = memfd_create("x", MFD_CLOEXEC);
		dprintf(ret->fds[ret->n_fds], "%s", (const char *)task);
	}
	return 0;
}

static int refuse(const void *task, struct job_result *ret)
{
	ret->fds[0] = dup(STDIN_FILENO);
	ret->n_fds = 1;
	return failure_set(&ret->why, FAILURE_BUSY, "%s is busy", (const char *)task);
}

static int die(const void *task, struct job_result *ret)
{
	_exit(0);
}

static int hang(const void *task, struct job_result *ret)
{
	pause();
	return 0;
}

static int count(const void *task, struct job_result *ret)
{
	return failure_set(&ret->why, FAILURE_BUSY, "%d", count_fds());
}

/* sd-event opens descriptors for each kind of source once, and keeps them. */
static void warm_up(void)
{
	struct outcome o;

	start(die, NULL, 60000, &o);
	finish(&o);
	settled_fds();
}

static int open_event(void **state)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || sd_event_new(&event) < 0)
		return -1;
	warm_up();
	return 0;
}

static int close_event(void **state)
{
	sd_event_unref(event);
	return 0;
}

static void what_it_opened_comes_with_the_result_and_stays_nobody_s(void **state)
{
	struct outcome o;
	int before = settled_fds();

	start(two_files, "hello", 60000, &o);
	finish(&o);
	assert_int_equal(o.status, 0);
	assert_int_equal(o.n_fds, 2);
	assert_string_equal(o.text, "hello");
	assert_int_equal(settled_fds(), before);
}

static void a_failure_comes_with_its_reason_and_without_descriptors(void **state)
{
	struct outcome o;

	start(refuse, "it", 60000, &o);
	finish(&o);
	assert_int_equal(o.status, -EBUSY);
	assert_string_equal(o.why, "it is busy");
	assert_int_equal(o.n_fds, 0);
}

static void a_child_that_dies_or_hangs_is_told(void **state)
{
	struct outcome o;

	start(die, NULL, 60000, &o);
	finish(&o);
	assert_true(o.status < 0);
	assert_non_null(strstr(o.why, "doing it: the process that did it died"));
	start(hang, NULL, 50, &o);
	finish(&o);
	assert_true(o.status < 0);
	assert_non_null(strstr(o.why, "doing it takes too long"));
}

static void a_child_has_no_descriptor_of_its_parent_s(void **state)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char expected[8];
	struct outcome o;

	assert_true(fd > 3);
	snprintf(expected, sizeof(expected), "%d", 4);
	start(count, NULL, 60000, &o);
	finish(&o);
	assert_string_equal(o.why, expected);
}

static void one_that_is_cancelled_says_nothing_and_leaves_nothing(void **state)
{
	struct outcome o, other;
	int before = settled_fds();
	struct job *job = start(hang, NULL, 60000, &o);

	job_cancel(job);
	job_cancel(NULL);
	start(die, NULL, 60000, &other);
	finish(&other);
	assert_false(o.done);
	assert_int_equal(settled_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_opened_comes_with_the_result_and_stays_nobody_s),
		cmocka_unit_test(a_failure_comes_with_its_reason_and_without_descriptors),
		cmocka_unit_test(a_child_that_dies_or_hangs_is_told),
		cmocka_unit_test(a_child_has_no_descriptor_of_its_parent_s),
		cmocka_unit_test(one_that_is_cancelled_says_nothing_and_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, open_event, close_event);
}
