/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A new worker process: its socket as descriptor 3, nothing else but the standard three, its own
 * identity, no way to gain privileges, and an end when the shim ends. Whatever fails before the
 * program runs comes back as an errno through a pipe that execve(2) closes, so a program that
 * can't start is told from one that started and died.
 */
#include "tools/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vdpa/base/cleanup.h"

#define WORKER_FD     3
#define WORKER_NOFILE 4096

struct child {
	const char *path, *name;
	uid_t uid;
	gid_t gid;
	pid_t parent;
	int sock, report;
};

static int child_limits(void)
{
	struct rlimit files, none = { 0, 0 };

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return -errno;
	if (files.rlim_max > WORKER_NOFILE)
		files.rlim_max = WORKER_NOFILE;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
	return 0;
}

static int child_identity(const struct child *child)
{
	if (child->uid == 0 && child->gid == 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(child->gid, child->gid, child->gid) < 0 ||
		setresuid(child->uid, child->uid, child->uid) < 0)
		return -errno;
	return 0;
}

/* The socket becomes descriptor 3; the pipe goes out of its way first. */
static int child_fds(struct child *child)
{
	child->report = fcntl(child->report, F_DUPFD_CLOEXEC, WORKER_FD + 1);
	if (child->report < 0)
		return -errno;
	if (child->sock == WORKER_FD) {
		if (fcntl(child->sock, F_SETFD, 0) < 0)
			return -errno;
	} else if (dup2(child->sock, WORKER_FD) < 0) {
		return -errno;
	}
	if (close_range(WORKER_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return -errno;
	return 0;
}

static int child_exec(struct child *child)
{
	char *const argv[] = { (char *)"vdpa-worker", (char *)"--fd", (char *)"3",
		(char *)"--name", (char *)(uintptr_t)child->name, NULL };
	int r;

	r = child_fds(child);
	if (r == 0)
		r = child_limits();
	if (r == 0)
		r = child_identity(child);
	if (r < 0)
		return r;

	/* After the identity: its change clears the signal. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	if (getppid() != child->parent)
		return -ESRCH;
	if (signal(SIGPIPE, SIG_DFL) == SIG_ERR)
		return -errno;
	execve(child->path, argv, environ);
	return -errno;
}

__attribute__((noreturn)) static void child_main(struct child *child)
{
	int error = child_exec(child);

	if (write(child->report, &error, sizeof(error)) < 0)
		_exit(126);
	_exit(127);
}

/* 0 when the program runs: the pipe was closed and nothing came. */
static int read_report(int fd)
{
	int error = 0;
	ssize_t n;

	do
		n = read(fd, &error, sizeof(error));
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(error))
		return error < 0 ? error : -EIO;
	return 0;
}

pid_t spawn_worker(const char *path, const char *name, uid_t uid, gid_t gid, int *ret_sock,
	int *ret_pidfd)
{
	const struct timeval patience = { .tv_sec = 2 };
	int pair[2], report[2], pidfd, error;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	_cleanup_close_ int ours = pair[0], theirs = pair[1];

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	_cleanup_close_ int report_read = report[0], report_write = report[1];

	if (setsockopt(ours, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;

	struct child child = { .path = path, .name = name, .uid = uid, .gid = gid,
		.parent = getpid(), .sock = theirs, .report = report_write };
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_main(&child);

	report_write = close_keep_errno(report_write);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	error = pidfd < 0 ? -errno : read_report(report_read);
	if (error < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close_keep_errno(pidfd);
		return error;
	}
	*ret_sock = TAKE_FD(ours);
	*ret_pidfd = pidfd;
	return pid;
}
