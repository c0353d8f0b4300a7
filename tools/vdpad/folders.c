/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RUN and STATE. Each is locked, so that there is one vdpad for it: the lock belongs to a descriptor
 * that stays open until the process ends and that no program of its own gets.
 */
#include "tools/vdpad/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/vdpad/vdpad.h"
#include "vdpa/base/log.h"

#define NAP_NS 20000000 /* 20 ms */
#define N_NAPS 250

static int make_folder(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) < 0 && errno != EEXIST) {
		log_error("%s can't be made: %s", path, strerror(errno));
		return -errno;
	}
	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		log_error("%s is no folder", path);
		return -ENOTDIR;
	}
	return 0;
}

static int make_subfolder(const char *parent, const char *name, mode_t mode)
{
	char path[VDPAD_PATH_SIZE];

	snprintf(path, sizeof(path), "%s/%s", parent, name);
	return make_folder(path, mode);
}

/* The process that a lock names, as text; "" if it names none. */
static void read_holder(int fd, char *pid, size_t size)
{
	ssize_t n = pread(fd, pid, size - 1, 0);

	pid[n > 0 ? (size_t)n : 0] = '\0';
	pid[strcspn(pid, "\n")] = '\0';
}

/*
 * A vdpad that was killed while it started a program leaves a child that has its lock until it is that
 * program: that is waited for.
 */
static bool lock_or_wait(int fd, char *pid, size_t size)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };

	for (int i = 0; i < N_NAPS; i++) {
		int holder;

		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		read_holder(fd, pid, size);
		holder = atoi(pid);
		if (holder <= 0 || kill(holder, 0) == 0 || errno != ESRCH)
			return false;
		nanosleep(&nap, NULL);
	}
	return false;
}

static int lock_folder(const char *folder)
{
	char path[VDPAD_PATH_SIZE], pid[16] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/vdpad.lock", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0) {
		log_error("%s can't be opened: %s", path, strerror(errno));
		return -errno;
	}
	if (!lock_or_wait(fd, pid, sizeof(pid))) {
		log_error("%s belongs to another vdpad that runs, process %s; end that one, or choose "
			"other folders with --run-dir and --state-dir", folder, pid);
		close(fd);
		return -EBUSY;
	}
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		log_warning("%s can't be written", path);
	return 0;
}

int folders_prepare(struct vdpad *v, const char *run_dir, const char *state_dir)
{
	int r;

	r = make_folder(run_dir, 0755);
	if (r == 0)
		r = make_folder(state_dir, 0700);
	if (r < 0)
		return r;
	if (!realpath(run_dir, v->run_dir) || !realpath(state_dir, v->state_dir)) {
		log_error("%s, %s: %s", run_dir, state_dir, strerror(errno));
		return -errno;
	}
	r = lock_folder(v->run_dir);
	if (r == 0 && strcmp(v->run_dir, v->state_dir) != 0)
		r = lock_folder(v->state_dir);
	if (r == 0)
		r = make_subfolder(v->run_dir, "vhost", 0755);
	if (r == 0)
		r = make_subfolder(v->run_dir, "shim", 0700);
	if (r == 0)
		r = make_subfolder(v->run_dir, "sim", 0700);
	if (r == 0)
		r = make_subfolder(v->state_dir, "devices", 0700);
	if (r == 0)
		r = make_subfolder(v->state_dir, "pci", 0700);
	return r;
}
