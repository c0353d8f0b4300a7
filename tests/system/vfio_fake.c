/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VFIO where there is none, for programs that preload it: its requests are answered as by a kernel that
 * has the function, for files of a folder that stands for /dev/vfio. Opening function F opens
 * VFIO_FAKE/F; one that is not there can't be opened. A function that has a device file of its own is somebody
 * else's as long as there is VFIO_FAKE/taken, and its interrupts can't be kept apart while there is
 * VFIO_FAKE/unsafe. All other requests go to the kernel. So does what concerns limits, but for that of locked
 * memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool there_is(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", getenv("VFIO_FAKE"), name);
	return access(path, F_OK) == 0;
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

static int open_function(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", getenv("VFIO_FAKE"), name);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* What the kernel wants: sizes, nothing in what is reserved, and its own names for things. */
#define SPACE 77

static int make_space(uint32_t *words)
{
	if (words[0] != 12 || words[1] != 0)
		return refuse(EINVAL);
	words[2] = SPACE;
	return 0;
}

static int speak_as_container(const uint32_t *words)
{
	return words[0] == 12 && words[1] == SPACE && words[2] == 1 ? 0 : refuse(EINVAL);
}

static int bind_device(const uint32_t *words)
{
	if (words[0] != 16 || words[1] != 0 || fcntl((int)words[2], F_GETFD) < 0)
		return refuse(EBADF);
	return there_is("taken") ? refuse(EINVAL) : 0;
}

static int attach_device(const uint32_t *words)
{
	if (words[0] != 12 || words[1] != 0 || words[2] != SPACE)
		return refuse(ENOENT);
	return there_is("unsafe") ? refuse(EPERM) : 0;
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
	if (fd < 0)
		return refuse(EPERM);
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
		return refuse(ENODEV);
	case VFIO_GROUP_GET_DEVICE_FD:
		return open_function(arg);
	case _IO(';', 0x81): /* IOMMU_IOAS_ALLOC */
		return make_space(arg);
	case _IO(';', 0x88): /* IOMMU_VFIO_IOAS */
		return speak_as_container(arg);
	case _IO(';', 118): /* VFIO_DEVICE_BIND_IOMMUFD */
		return bind_device(arg);
	case _IO(';', 119): /* VFIO_DEVICE_ATTACH_IOMMUFD_PT */
		return attach_device(arg);
	default:
		return (int)syscall(SYS_ioctl, fd, request, arg);
	}
}
