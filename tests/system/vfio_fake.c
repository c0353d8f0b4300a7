/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VFIO where there is none, for programs that preload it: its requests are answered as by a kernel that
 * has the function, for files of a folder that stands for /dev/vfio. Opening function F opens
 * VFIO_FAKE/F; one that is not there can't be opened. All other requests go to the kernel. So does
 * what concerns limits, but for that of locked memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_function(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", getenv("VFIO_FAKE"), name);
	return open(path, O_RDWR | O_CLOEXEC);
}

static int status(struct vfio_group_status *ret)
{
	ret->flags = VFIO_GROUP_FLAGS_VIABLE;
	return 0;
}

/*
 * Not each host lets its root raise a limit. VFIO_FAKE/limit, if it is there, says what was asked for;
 * without it nobody may.
 */
int prlimit64(pid_t pid, __rlimit_resource_t resource, const struct rlimit64 *limit,
	struct rlimit64 *old)
{
	char path[512], line[64];
	int fd, n;

	if (resource != RLIMIT_MEMLOCK || !limit)
		return (int)syscall(SYS_prlimit64, pid, resource, limit, old);
	snprintf(path, sizeof(path), "%s/limit", getenv("VFIO_FAKE"));
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0) {
		errno = EPERM;
		return -1;
	}
	n = snprintf(line, sizeof(line), "%d %lld %lld\n", pid, (long long)limit->rlim_cur,
		(long long)limit->rlim_max);
	n = write(fd, line, (size_t)n) != n;
	close(fd);
	return -n;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return 1;
	case VFIO_GROUP_GET_STATUS:
		return status(arg);
	case VFIO_GROUP_SET_CONTAINER:
	case VFIO_SET_IOMMU:
		return 0;
	case VFIO_IOMMU_GET_INFO: /* it has no IOMMU yet */
		errno = ENODEV;
		return -1;
	case VFIO_GROUP_GET_DEVICE_FD:
		return open_function(arg);
	default:
		return (int)syscall(SYS_ioctl, fd, request, arg);
	}
}
