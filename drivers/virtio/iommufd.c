/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/iommufd.h"

#include <errno.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include "drivers/virtio/vfio.h"

/* The requests, which Debian 12's headers are too old for. */
#define IOMMUFD_IOAS_ALLOC _IO(';', 0x81)
#define IOMMUFD_VFIO_IOAS  _IO(';', 0x88)
#define VFIO_BIND_IOMMUFD  _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_ATTACH_SPACE  _IO(VFIO_TYPE, VFIO_BASE + 19)

struct ioas_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t space;
};

enum { VFIO_IOAS_SET = 1 };

struct vfio_ioas {
	uint32_t size;
	uint32_t space;
	uint16_t op;
	uint16_t reserved;
};

struct bind_iommufd {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t device; /* the kernel's name for it */
};

struct attach_space {
	uint32_t argsz;
	uint32_t flags;
	uint32_t space;
};

static int call(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

int iommufd_begin(int iommufd, uint32_t *ret)
{
	struct ioas_alloc alloc = { .size = sizeof(alloc) };
	struct vfio_ioas set = { .size = sizeof(set), .op = VFIO_IOAS_SET };
	int r = call(iommufd, IOMMUFD_IOAS_ALLOC, &alloc);

	if (r < 0)
		return r;
	set.space = alloc.space;
	r = call(iommufd, IOMMUFD_VFIO_IOAS, &set);
	if (r == 0)
		r = vfio_container_check(iommufd);
	if (r == -EOPNOTSUPP)
		return -EPROTO;
	if (r == 0)
		*ret = alloc.space;
	return r;
}

int iommufd_bind(int device, int iommufd)
{
	struct bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };

	return call(device, VFIO_BIND_IOMMUFD, &bind);
}

int iommufd_attach(int device, uint32_t space)
{
	struct attach_space attach = { .argsz = sizeof(attach), .space = space };

	return call(device, VFIO_ATTACH_SPACE, &attach);
}
