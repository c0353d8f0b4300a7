# SPDX-License-Identifier: BSD-2-Clause
"""A guest whose driver is behind an IOMMU, and the front-end that translates for it: one page at a time,
when asked. What the driver calls consecutive pages lies scattered in the guest's memory."""
import random
import select
import socket
import struct
import time

from frontend import DEADLINE, F_ACCESS_PLATFORM, Guest, Ring, table, u64

PAGE = 4096
MISS, UPDATE, INVALIDATE, ACCESS_FAIL = 1, 2, 3, 4
READ, WRITE = 1, 2
REQUEST = struct.Struct("=IIIQQQBB2x4x")  # header and body of what the device asks
BASE = 0xfff0_0000_0000  # of the driver's addresses


def iotlb(kind, iova, size=PAGE, uva=0, perm=READ | WRITE, tail=b"\xa5" * 6):
    return struct.pack("=QQQBB", iova, size, uva, perm, kind) + tail


class Scattered:
    """Guest memory as the driver sees it; to be used like a map."""

    def __init__(self, memory, seed):
        self.memory = memory
        self.pages = list(range(memory.size // PAGE))
        random.Random(seed).shuffle(self.pages)

    def _parts(self, at, length):
        while length > 0:
            size = min(length, PAGE - at % PAGE)
            start = self.pages[at // PAGE] * PAGE + at % PAGE
            yield start, size
            at, length = at + size, length - size

    def __setitem__(self, where, data):
        done = 0
        for start, size in self._parts(where.start, len(data)):
            self.memory.map[start:start + size] = data[done:done + size]
            done += size

    def __getitem__(self, where):
        return b"".join(bytes(self.memory.map[start:start + size])
                        for start, size in self._parts(where.start, where.stop - where.start))


class DriverView:
    """In the place of the memory that rings are made from."""

    def __init__(self, memory, seed):
        self.map = Scattered(memory, seed)
        self.gpa = self.uva = BASE


class ScatteredRing(Ring):
    def _get(self, form, at):
        return struct.unpack(form, self.memory.map[at:at + struct.calcsize(form)])


class IommuGuest(Guest):
    def __init__(self, stand, pairs=1, packed=False, size=64, seed=1, extra=0):
        super().__init__(stand.path, pairs, packed, size, extra=extra | F_ACCESS_PLATFORM,
                         offered=stand.offered)
        stand.opened.append(self)
        self.view = DriverView(self.memory, seed)
        for ring in self.rings:
            ring.close()
        self.rings = [ScatteredRing(self.view, i, (1 << 20) * i, size, packed)
                      for i in range(2 * pairs)]
        self.channel, self.theirs = socket.socketpair()
        self.asked = []  # (kind, address, perm) of all that came on the channel
        self.hasty = []  # what was asked for again before it could be given up
        self._asked_at = {}
        self.perm = READ | WRITE  # of what is answered
        self.silent = False

    def close(self):
        super().close()
        self.channel.close()
        self.theirs.close()

    def uva(self, iova):
        return self.memory.uva + self.view.map.pages[(iova - BASE) // PAGE] * PAGE + iova % PAGE

    def update(self, iova, size=PAGE, perm=None):
        return iotlb(UPDATE, iova, size, self.uva(iova), self.perm if perm is None else perm)

    def tell(self, payload):
        """Answered always, asked for or not."""
        self.fe.send("IOTLB_MSG", payload)
        return struct.unpack("=Q", self.fe.reply("IOTLB_MSG"))[0] == 0

    def serve(self, seconds=0.0):
        """Answer what was asked. Return: whether anything was."""
        any_came = False
        while select.select([self.channel], [], [], 0 if any_came else seconds)[0]:
            data = self.channel.recv(REQUEST.size, socket.MSG_WAITALL)
            assert len(data) == REQUEST.size, data
            request, flags, size, iova, length, uva, perm, kind = REQUEST.unpack(data)
            assert (request, flags, size, length, uva) == (1, 1, 32, 0, 0), data
            assert kind in (MISS, ACCESS_FAIL) and perm in (READ, WRITE, READ | WRITE)
            self.asked.append((kind, iova, perm))
            now = time.monotonic()
            if now - self._asked_at.get(self.asked[-1], -1000) < 0.9:
                self.hasty.append(self.asked[-1])
            self._asked_at[self.asked[-1]] = now
            any_came = True
            if kind == MISS and not self.silent:
                assert self.tell(self.update(iova - iova % PAGE))
        return any_came

    def serve_until(self, condition, what):
        end = time.monotonic() + DEADLINE
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, f"waited for {what}; asked: {self.asked[-5:]}"
            self.serve(0.002)

    def setup_steps(self):
        for name, payload, fds in super().setup_steps():
            if name == "SET_MEM_TABLE":
                payload = table(self.memory)
            yield name, payload, fds

    def configure(self):
        self.fe.negotiate(self.pf)
        self.fe.accepted("SET_BACKEND_REQ_FD", fds=[self.theirs.fileno()])
        for step in self.setup_steps():
            self.fe.accepted(*step)
        return self


    def setup(self):
        return self.configure()

    def exchange(self, n=1, tx=1, rx=0, payload=b"", frame_size=100):
        for i in range(n):
            body = ((payload or bytes([i & 0xff])) * frame_size)[:frame_size]
            frame = b"\2\0\0\0\0\x99" + b"\x52\x54\0\0\0\1" + b"\x88\xb5" + body
            self.rings[rx].offer(writable=2048)
            self.rings[rx].notify()
            self.rings[tx].offer(bytes(12) + frame)
            self.rings[tx].notify()
            self.serve_until(self.rings[tx].take, "the frame to be sent")
            number, length = self.serve_until(self.rings[rx].take, "the frame to come back")
            got = self.rings[rx].data(number, length)[12:]
            assert got[12:] == frame[12:], (got, frame)

    def log_all(self, on=True):
        self.fe.accepted("SET_FEATURES", u64(self.features | (1 << 26 if on else 0)))
