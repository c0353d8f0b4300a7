# SPDX-License-Identifier: BSD-2-Clause
"""Guest memory: what one process maps of it, and what the guest itself knows of it.

A guest has two regions, one at address 0 and one above 4 GiB, in one file. Pages are numbered by
their place in the file. The guest writes through GuestRam only, which remembers each page that it
wrote and, in `shadow`, each byte: what differs from the shadow was written by somebody else.
"""
import bisect
import ctypes
import mmap
import os
import struct

PAGE = 4096
REGION_SIZE = 8 << 20
HIGH = 1 << 32
SIZE = 2 * REGION_SIZE
N_PAGES = SIZE // PAGE
END = HIGH + REGION_SIZE  # the first address that no guest has

libc = ctypes.CDLL(None)


def offset_of(gpa):
    """Place of a guest-physical address in the file."""
    return gpa if gpa < HIGH else gpa - HIGH + REGION_SIZE


def gpa_of(offset):
    return offset if offset < REGION_SIZE else offset - REGION_SIZE + HIGH


def page_of(gpa):
    """Number of the page in the file; None for an address that is no guest memory."""
    if gpa < REGION_SIZE or HIGH <= gpa < END:
        return offset_of(gpa) // PAGE
    return None


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

    def table(self):
        """The payload of SET_MEM_TABLE; each region comes with `fd`."""
        regions = ((0, 0), (HIGH, REGION_SIZE))
        return struct.pack("=II", len(regions), 0) + b"".join(
            struct.pack("=QQQQ", gpa, REGION_SIZE, self.uva_of(gpa), offset)
            for gpa, offset in regions)

    def uva_of(self, gpa):
        """The front-end's address of a guest-physical one: with a hole between the regions."""
        return self.uva + offset_of(gpa) + (REGION_SIZE if gpa >= HIGH else 0)

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
    """The guest's view: it moves from one Memory to the next, and its contents stay."""

    def __init__(self, memory, rng):
        self.memory = memory
        self.shadow = bytearray(rng.randbytes(SIZE))
        memory.map[:] = self.shadow
        self.written = set()  # pages that the guest wrote and nobody copied since
        self.areas = []       # by address
        self.next = [0, HIGH]

    def take(self, size, kind, queue, align=64, high=False):
        """Memory for something, in the low region or the high one."""
        gpa = -(-self.next[high] // align) * align
        assert page_of(gpa + size - 1) is not None, "the guest's memory is used up"
        self.next[high] = gpa + size
        self.areas.append(Area(gpa, size, kind, queue))
        self.areas.sort(key=lambda area: area.gpa)
        return gpa

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
            byte = first_difference(self.memory.map[at:at + PAGE], self.shadow[at:at + PAGE])
            gpa = gpa_of(at + byte)
            raise AssertionError(
                f"byte {gpa:#x} ({self.what_lies_at(gpa)}) was changed: it is "
                f"{self.memory.map[at + byte]:#x} and was {self.shadow[at + byte]:#x}")


def first_difference(one, other):
    return next(i for i, (a, b) in enumerate(zip(one, other)) if a != b)
