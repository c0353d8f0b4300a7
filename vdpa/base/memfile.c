/* SPDX-License-Identifier: BSD-2-Clause */
#include "vdpa/base/memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vdpa/base/cleanup.h"

int memfile_create(const char *name, uint64_t size)
{
	_cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return TAKE_FD(fd);
}

uint64_t memfile_page_size(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return 0;
	if (fs.f_type == TMPFS_MAGIC)
		return (uint64_t)sysconf(_SC_PAGESIZE);
	return fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
}
