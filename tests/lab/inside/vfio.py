# SPDX-License-Identifier: BSD-2-Clause
"""What vdpad opens of a function that belongs to vfio-pci, for tests that are in its place."""
import ctypes
import os

from shimside import Shim

GROUP_SET_CONTAINER, SET_IOMMU, GROUP_GET_DEVICE_FD = 0x3b68, 0x3b66, 0x3b6a
IOAS_ALLOC, VFIO_IOAS, BIND_IOMMUFD, ATTACH_SPACE = 0x3b81, 0x3b88, 0x3b76, 0x3b77
TYPE1V2 = 3
IOMMUFD = "/dev/iommu"
libc = ctypes.CDLL(None, use_errno=True)


class VirtioShim(Shim):
    driver = b"virtio"


def ioctl(fd, request, arg):
    result = libc.ioctl(fd, request, arg)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def open_by_iommufd(cdev):
    """[iommufd, device]"""
    iommufd = os.open(IOMMUFD, os.O_RDWR | os.O_CLOEXEC)
    device = os.open(f"/dev/vfio/devices/{cdev}", os.O_RDWR | os.O_CLOEXEC)
    made = (ctypes.c_uint32 * 3)(12)
    ioctl(iommufd, IOAS_ALLOC, made)
    ioctl(iommufd, VFIO_IOAS, (ctypes.c_uint32 * 3)(12, made[2], 1))
    ioctl(device, BIND_IOMMUFD, (ctypes.c_uint32 * 4)(16, 0, iommufd))
    ioctl(device, ATTACH_SPACE, (ctypes.c_uint32 * 3)(12, 0, made[2]))
    return [iommufd, device]


def cdev_of(function):
    """The device file of its own that the function has, which vfio-pci has; None: it is opened by its group."""
    names = list(function.folder.glob("vfio-dev/vfio*"))
    return names[0].name if names and os.path.exists(IOMMUFD) else None


def open_function(function):
    """[container, device], or as open_by_iommufd(): the way that vdpad takes on this kernel."""
    if cdev_of(function):
        return open_by_iommufd(cdev_of(function))
    container = os.open("/dev/vfio/vfio", os.O_RDWR | os.O_CLOEXEC)
    group = os.open(f"/dev/vfio/{os.path.basename(os.readlink(function.folder / 'iommu_group'))}",
                    os.O_RDWR | os.O_CLOEXEC)
    ioctl(group, GROUP_SET_CONTAINER, ctypes.byref(ctypes.c_int(container)))
    ioctl(container, SET_IOMMU, TYPE1V2)
    device = ioctl(group, GROUP_GET_DEVICE_FD, function.name.encode())
    os.close(group)
    return [container, device]
