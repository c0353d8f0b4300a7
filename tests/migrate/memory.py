# SPDX-License-Identifier: BSD-2-Clause
"""Guest memory: what one process maps of it, and what the guest itself knows of it.

A guest has a region at address 0 and one above 4 GiB, and more of them may be plugged in while it
runs. All are in one file, and pages are numbered by their place in it. The guest writes through
GuestRam only, which remembers each page that it wrote and, in `shadow`, each byte: what differs
from the shadow was written by somebody else.
"""
import bisect
import ctypes
import mmap
import os
import struct

PAGE = 4096
HIGH = 1 << 32
IOVA_BASE = 0xffe0_0000_0000


class Region:
    def __init__(self, gpa, size, offset):
        self.gpa, self.size, self.offset = gpa, size, offset
        self.end = gpa + size


LOW_REGION = Region(0, 8 << 20, 0)
HIGH_REGION = Region(HIGH, 8 << 20, LOW_REGION.size)
PLUGGED_SIZE = 256 << 10
PLUGGED = [Region(HIGH + (i + 1 << 26), PLUGGED_SIZE, 2 * HIGH_REGION.offset + i * PLUGGED_SIZE)
           for i in range(6)]  # a table of memory has 8 regions
REGIONS = [LOW_REGION, HIGH_REGION, *PLUGGED]
SIZE = sum(region.size for region in REGIONS)
N_PAGES = SIZE // PAGE
GPA_OF_PAGE = [gpa for region in REGIONS for gpa in range(region.gpa, region.end, PAGE)]
PAGE_OF_GPA = {gpa: page for page, gpa in enumerate(GPA_OF_PAGE)}

libc = ctypes.CDLL(None)


def offset_of(gpa):
    """Place of a guest-physical address in the file."""
    if gpa < HIGH:
        return gpa
    if gpa < HIGH_REGION.end:
        return gpa - HIGH + HIGH_REGION.offset
    return next(gpa - region.gpa + region.offset for region in PLUGGED if gpa < region.end)


def gpa_of(offset):
    return GPA_OF_PAGE[offset // PAGE] + offset % PAGE


def page_of(gpa):
    """Number of the page in the file; None for an address that is no guest memory."""
    return PAGE_OF_GPA.get(gpa & -PAGE)


def address_of(buffer):
    """Where a writable buffer is mapped."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Memory:
    """One process's mapping of a guest's memory; `uva` is where its front-end says that it is."""

    def __init__(self, uva):
        self.uva = uva
        self.fd = os.memfd_create("guest", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, SIZE)
        self.map = mmap.mmap(self.fd, SIZE)
        self.u16 = memoryview(self.map).cast("H")

    def close(self):
        self.u16.release()
        self.map.close()
        os.close(self.fd)

    def uva_of(self, gpa):
        """The front-end's address of a guest-physical one: what is above 4 GiB comes lower."""
        return self.uva + (gpa + (8 << 30) if gpa < HIGH else gpa)

    def copy_page_to(self, other, page):
        at = page * PAGE
        other.map[at:at + PAGE] = self.map[at:at + PAGE]

    def differing_pages(self, other):
        """Numbers of the pages that are not as in `other`, a Memory's map or a bytearray."""
        if libc.memcmp(ctypes.c_void_p(address_of(self.map)), ctypes.c_void_p(address_of(other)),
                       ctypes.c_size_t(SIZE)) == 0:
            return []
        return [page for page in range(N_PAGES)
                if self.map[page * PAGE:(page + 1) * PAGE] != other[page * PAGE:(page + 1) * PAGE]]


class Area:
    """Some bytes of guest memory, and what they are for."""

    def __init__(self, gpa, size, kind, queue):
        self.gpa, self.size, self.kind, self.queue = gpa, size, kind, queue

    def __str__(self):
        return self.kind + (f" of queue {self.queue}" if self.queue is not None else "")


class GuestRam:
    """The guest's view: it moves from one Memory to the next, and its contents stay.

    iova_base: what a guest behind an IOMMU adds to each address that it tells a device
    """

    def __init__(self, memory, rng, iova_base=0):
        self.memory = memory
        self.iova_base = iova_base
        self.shadow = bytearray(rng.randbytes(SIZE))
        memory.map[:] = self.shadow
        self.written = set()  # pages that the guest wrote and nobody copied since
        self.areas = []       # by address
        self.n_plugged = 0
        self.next = {region: region.gpa for region in REGIONS}

    def take(self, size, kind, queue, align=64, region=LOW_REGION):
        gpa = -(-self.next[region] // align) * align
        assert gpa + size <= region.end, "the guest's memory is used up"
        self.next[region] = gpa + size
        self.areas.append(Area(gpa, size, kind, queue))
        self.areas.sort(key=lambda area: area.gpa)
        return gpa

    def regions(self):
        """What a device may know of."""
        return REGIONS[:2 + self.n_plugged]

    def table(self):
        """The payload of SET_MEM_TABLE; each region comes with the memory's descriptor."""
        regions = self.regions()
        return struct.pack("=II", len(regions), 0) + b"".join(
            struct.pack("=QQQQ", region.gpa, region.size, self.memory.uva_of(region.gpa),
                        region.offset) for region in regions)

    def what_lies_at(self, gpa):
        at = bisect.bisect_right([area.gpa for area in self.areas], gpa) - 1
        area = self.areas[at] if at >= 0 else None
        if area and gpa < area.gpa + area.size:
            return str(area)
        return "nothing" + (f", behind the {area}" if area else "")

    def pages_with(self, *kinds):
        """Numbers of the pages in which something of these kinds lies."""
        return {page for area in self.areas if area.kind in kinds
                for page in range(page_of(area.gpa), page_of(area.gpa + area.size - 1) + 1)}

    def iova_of(self, gpa):
        """What a driver calls an address."""
        return gpa + self.iova_base

    # ---- the guest's own reads and writes

    def write(self, gpa, data):
        at = offset_of(gpa)
        end = at + len(data)
        self.memory.map[at:end] = data
        self.shadow[at:end] = data
        self.written.update(range(at // PAGE, (end - 1) // PAGE + 1))

    def put(self, form, gpa, *values):
        """`form` is a struct.Struct; it stores zeros first, so nobody may look meanwhile."""
        at = offset_of(gpa)
        form.pack_into(self.memory.map, at, *values)
        form.pack_into(self.shadow, at, *values)
        self.written.add(at // PAGE)
        self.written.add((at + form.size - 1) // PAGE)

    def put_u16(self, gpa, value):
        """One store of an aligned number: for what a device looks at whenever it likes."""
        at = offset_of(gpa)
        self.memory.u16[at >> 1] = value
        self.shadow[at:at + 2] = value.to_bytes(2, "little")
        self.written.add(at // PAGE)

    def get(self, form, gpa):
        return form.unpack_from(self.memory.map, offset_of(gpa))

    def read(self, gpa, size):
        at = offset_of(gpa)
        return self.memory.map[at:at + size]

    # ---- what a device may have written

    def accept(self, gpa, size):
        """Whatever stands there is right."""
        at = offset_of(gpa)
        self.shadow[at:at + size] = self.memory.map[at:at + size]

    def check_canaries(self, devices_own):
        """Fails when a byte was changed that neither the guest nor a device may have written.

        devices_own: (address, size) of what a device may write now
        """
        for gpa, size in devices_own:
            self.accept(gpa, size)
        for page in self.memory.differing_pages(self.shadow):
            at = page * PAGE
            for byte in differences(self.memory.map[at:at + PAGE], self.shadow[at:at + PAGE]):
                gpa = gpa_of(at + byte)
                if any(own <= gpa < own + size for own, size in devices_own):
                    continue  # it was written since it was accepted
                raise AssertionError(
                    f"byte {gpa:#x} ({self.what_lies_at(gpa)}) was changed: it is "
                    f"{self.memory.map[at + byte]:#x} and was {self.shadow[at + byte]:#x}")


def differences(one, other):
    return (i for i, (a, b) in enumerate(zip(one, other)) if a != b)


def first_difference(one, other):
    return next(differences(one, other))
