/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What fails between fork(2) and execve(2) comes back as an errno through a pipe that execve closes,
 * so that a program that can't be run is told from one that ran and ended.
 */
#include "tools/vdpad/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vdpa/base/cleanup.h"

static int child_fds(int fd, int *report)
{
	int null;

	*report = fcntl(*report, F_DUPFD_CLOEXEC, PROCESS_FD + 1);
	if (*report < 0)
		return -errno;
	if (fd == PROCESS_FD) {
		if (fcntl(fd, F_SETFD, 0) < 0)
			return -errno;
	} else if (dup2(fd, PROCESS_FD) < 0) {
		return -errno;
	}
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		return -errno;
	if (close_range(PROCESS_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return -errno;
	return 0;
}

static int child_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || signal(SIGPIPE, SIG_DFL) == SIG_ERR)
		return -errno;
	return 0;
}

__attribute__((noreturn)) static void child_main(char *const argv[], int fd, int report)
{
	int error = child_fds(fd, &report);

	if (error == 0)
		error = child_signals();
	if (error == 0) {
		setsid();
		if (chdir("/") == 0)
			execv(argv[0], argv);
		error = -errno;
	}
	if (write(report, &error, sizeof(error)) < 0)
		_exit(126);
	_exit(127);
}

static int read_report(int fd)
{
	int error = 0;
	ssize_t n;

	do
		n = read(fd, &error, sizeof(error));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(error) ? error : 0;
}

pid_t process_start(char *const argv[], int fd)
{
	int report[2], error;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	_cleanup_close_ int report_read = report[0], report_write = report[1];

	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_main(argv, fd, report_write);
	report_write = close_keep_errno(report_write);
	error = read_report(report_read);
	if (error != 0) {
		waitpid(pid, NULL, 0);
		return error < 0 ? error : -EIO;
	}
	return pid;
}

static const struct {
	const char *name, *build_folder;
} programs[N_PROGRAMS] = {
	[PROGRAM_SHIM] = { "vdpa-shim", "shim" },
	[PROGRAM_WORKER] = { "vdpa-worker", "worker" },
	[PROGRAM_SIMNIC] = { "simnic", "simnic" },
};

/* In a build tree this program is BUILD/tools/vdpad/vdpad and the others are BUILD/tools/X/Y. */
static int find_in_build(enum program which, char ret[PROGRAM_PATH_SIZE])
{
	char self[PROGRAM_PATH_SIZE];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return -errno;
	self[n] = '\0';
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(self, '/');

		if (!slash)
			return -ENOENT;
		*slash = '\0';
	}
	n = snprintf(ret, PROGRAM_PATH_SIZE, "%s/%s/%s", self, programs[which].build_folder,
		programs[which].name);
	if (n >= PROGRAM_PATH_SIZE)
		return -ENAMETOOLONG;
	return access(ret, X_OK) < 0 ? -errno : 0;
}

int program_find(enum program which, const char *folder, char ret[PROGRAM_PATH_SIZE])
{
	int n;

	if (!folder) {
		if (find_in_build(which, ret) == 0)
			return 0;
		folder = VDPAD_LIBEXECDIR;
	}
	n = snprintf(ret, PROGRAM_PATH_SIZE, "%s/%s", folder, programs[which].name);
	if (n >= PROGRAM_PATH_SIZE)
		return -ENAMETOOLONG;
	return access(ret, X_OK) < 0 ? -ENOENT : 0;
}
