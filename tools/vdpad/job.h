/* SPDX-License-Identifier: BSD-2-Clause */
/* What would make vdpad wait, done by a child of it: it may take its time, hang, or die. */
#ifndef VDPAD_JOB_H
#define VDPAD_JOB_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "tools/vdpad/failure.h"

#define JOB_MAX_FDS 4

struct job;

/* What came of it. @fds: taken with TAKE_FD(), or closed afterwards; none after a failure. */
struct job_result {
	int status; /* 0, or negative with @why */
	struct failure why;
	int fds[JOB_MAX_FDS];
	size_t n_fds;
};

/**
 * struct job_request - what to do.
 * @what: for messages: "opening pci/0000:00:05.0"
 * @run: in the child, with all that vdpad knew, and none of its descriptors but the standard ones.
 *	 Return: 0 with @ret; negative with @ret->why
 * @task: for @run; the caller may change it as soon as job_start() returned
 * @deadline_ms: the child is killed then; what it hangs in may keep it
 * @done: called once, later; not after job_cancel()
 */
struct job_request {
	const char *what;
	int (*run)(const void *task, struct job_result *ret);
	const void *task;
	uint64_t deadline_ms;
	void (*done)(void *arg, struct job_result *result);
	void *arg;
};

/** job_start() - Return: 0 with @ret, which is freed before @done is called; a negative errno. */
int job_start(sd_event *event, const struct job_request *request, struct job **ret);

/** job_cancel() - kill the child and forget it. NULL is fine. */
void job_cancel(struct job *job);

#endif
