# SPDX-License-Identifier: BSD-2-Clause
"""What vdpad opens of a function that belongs to vfio-pci, for tests that are in its place."""
import ctypes
import os

from shimside import Shim

GROUP_SET_CONTAINER, SET_IOMMU, GROUP_GET_DEVICE_FD = 0x3b68, 0x3b66, 0x3b6a
TYPE1V2 = 3
libc = ctypes.CDLL(None, use_errno=True)


class VirtioShim(Shim):
    driver = b"virtio"


def ioctl(fd, request, arg):
    result = libc.ioctl(fd, request, arg)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def open_function(function):
    """[container, device]"""
    container = os.open("/dev/vfio/vfio", os.O_RDWR | os.O_CLOEXEC)
    group = os.open(f"/dev/vfio/{os.path.basename(os.readlink(function.folder / 'iommu_group'))}",
                    os.O_RDWR | os.O_CLOEXEC)
    ioctl(group, GROUP_SET_CONTAINER, ctypes.byref(ctypes.c_int(container)))
    ioctl(container, SET_IOMMU, TYPE1V2)
    device = ioctl(group, GROUP_GET_DEVICE_FD, function.name.encode())
    os.close(group)
    return [container, device]
