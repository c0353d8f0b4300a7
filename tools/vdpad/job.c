/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdpad has one thread and never waits; what waits in the kernel is done by a fork of it, which needs
 * no program of its own, shares nothing, and may be left behind when the kernel does not let go of it.
 * Its result comes as one message, with descriptors; its death as the end of the socket. It dies with
 * vdpad: whoever comes next looks at how far it came.
 */
#include "tools/vdpad/job.h"

#include <errno.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vdpa/base/cleanup.h"
#include "vdpa/base/fdmsg.h"
#include "vdpa/base/log.h"

#define CHILD_FD 3

struct job {
	char what[80];
	pid_t pid;
	int pidfd; /* -1 */
	int sock;
	sd_event_source *io, *timer;
	void (*done)(void *arg, struct job_result *result);
	void *arg;
};

/* What the child says, before its descriptors. */
struct words {
	int32_t status;
	struct failure why;
};

static int child_alone(int sock, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ||
		(sock != CHILD_FD && dup2(sock, CHILD_FD) < 0) ||
		close_range(CHILD_FD + 1, ~0U, 0) < 0 || signal(SIGTERM, SIG_DFL) == SIG_ERR ||
		sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return -errno;
	return 0;
}

__attribute__((noreturn)) static void child_main(const struct job_request *request, int sock,
	pid_t parent)
{
	struct job_result result = { .n_fds = 0 };
	struct words words;

	if (child_alone(sock, parent) < 0)
		_exit(1);
	memset(&words, 0, sizeof(words));
	words.status = request->run(request->task, &result);
	words.why = result.why;
	_exit(fdmsg_send(CHILD_FD, &words, sizeof(words), result.fds,
		      words.status < 0 ? 0 : result.n_fds) < 0);
}

/* Only so that it is reaped; what came of it came by the socket. */
static int on_child(sd_event_source *source, const siginfo_t *info, void *arg)
{
	sd_event_source_set_floating(source, false);
	return 0;
}

void job_cancel(struct job *job)
{
	if (!job)
		return;
	if (job->pidfd >= 0)
		pidfd_send_signal(job->pidfd, SIGKILL, NULL, 0);
	close_keep_errno(job->pidfd);
	sd_event_source_disable_unref(job->io);
	sd_event_source_disable_unref(job->timer);
	close_keep_errno(job->sock);
	free(job);
}

static void finish(struct job *job, struct job_result *result)
{
	void (*done)(void *arg, struct job_result *result) = job->done;
	void *arg = job->arg;

	job_cancel(job);
	done(arg, result);
	for (size_t i = 0; i < result->n_fds; i++)
		close_keep_errno(result->fds[i]);
}

static int on_words(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct job_result result = { .n_fds = 0 };
	struct job *job = arg;
	struct words words;
	ssize_t n;

	n = fdmsg_recv(fd, &words, sizeof(words), result.fds, JOB_MAX_FDS, &result.n_fds,
		MSG_DONTWAIT);
	if (n == -EAGAIN)
		return 0;
	result.status = words.status;
	result.why = words.why;
	if (n != (ssize_t)sizeof(words))
		result.status = failure_set(&result.why, FAILURE_INTERNAL,
			"%s: the process that did it died", job->what);
	finish(job, &result);
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *arg)
{
	struct job_result result = { .n_fds = 0 };
	struct job *job = arg;

	result.status = failure_set(&result.why, FAILURE_UNAVAILABLE,
		"%s takes too long and was given up; the kernel's log may say why", job->what);
	finish(job, &result);
	return 0;
}

static int watch(sd_event *event, struct job *job, uint64_t deadline_ms)
{
	int r = sd_event_add_child(event, NULL, job->pid, WEXITED, on_child, NULL);

	if (r >= 0)
		r = sd_event_add_io(event, &job->io, job->sock, EPOLLIN, on_words, job);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &job->timer, CLOCK_MONOTONIC,
			deadline_ms * 1000, 1000, on_deadline, job);
	return r < 0 ? r : 0;
}

int job_start(sd_event *event, const struct job_request *request, struct job **ret)
{
	struct job *job = calloc(1, sizeof(*job));
	pid_t self = getpid();
	int pair[2], r;

	if (!job)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		free(job);
		return -errno;
	}
	snprintf(job->what, sizeof(job->what), "%s", request->what);
	job->sock = pair[0];
	job->done = request->done;
	job->arg = request->arg;
	job->pid = fork();
	if (job->pid == 0)
		child_main(request, pair[1], self);
	r = job->pid < 0 ? -errno : 0;
	close_keep_errno(pair[1]);
	if (r < 0) {
		close_keep_errno(pair[0]);
		free(job);
		return r;
	}
	job->pidfd = pidfd_open(job->pid, 0); /* not reaped yet, whatever became of it */
	r = watch(event, job, request->deadline_ms);
	if (r < 0) {
		job_cancel(job);
		return r;
	}
	*ret = job;
	return 0;
}
