/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RUN and STATE. Each is locked, so that there is one vdpad for it: the lock belongs to a descriptor
 * that stays open until the process ends and that no child gets.
 */
#include "tools/vdpad/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/vdpad/vdpad.h"
#include "vdpa/base/log.h"

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
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		ssize_t n = read(fd, pid, sizeof(pid) - 1);

		pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
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
