# SPDX-License-Identifier: BSD-2-Clause
"""A guest that rewrites descriptors, tables and indices while the worker relays its rings, and a front-end
that does so with the inflight area. The worker goes on, and each page that a device wrote is in the log."""
import os
import random
import struct
import threading
import time

import pytest
from frontend import F_INDIRECT, F_LOG_ALL, FrontEnd, u64
from hostile import hostile
from inflight_area import Area, begin, get_area, go_on
from test_set_log_base import Log, answer

PAGE = 4096
EPISODES, SECONDS = 16, 0.15
SIZE = 64
TABLES = 0xe0000  # behind the descriptors and all else of a ring; each has four entries
NEXT, WRITE, INDIRECT = 1, 2, 4
VRING_LOG = 1
FRAME = b"\2\0\0\0\0\x99" + b"\x52\x54\0\0\0\1" + b"\x88\xb5"


class Scribbler(threading.Thread):
    """Most of what it writes are chains that can be followed, else nothing would be; some are not."""

    def __init__(self, guest, area, rng):
        super().__init__(daemon=True)
        self.guest, self.area, self.rng = guest, area, rng
        self.map = guest.memory.map
        self.ended = False

    def run(self):
        while not self.ended:
            for ring in self.guest.rings:
                for _ in range(32):
                    self.scribble(ring)
                ring.notify()
            if self.area:
                for _ in range(16):
                    self.scribble_area()

    def end(self):
        self.ended = True
        self.join()

    def put(self, form, at, *values):
        data = struct.pack(form, *values)
        self.map[at:at + len(data)] = data

    def odd(self):
        return self.rng.random() < 0.0005

    def buffer(self):
        """(address, size): mostly of one of the buffers, from its beginning."""
        rng, memory = self.rng, self.guest.memory
        if self.odd():
            return rng.choice((rng.getrandbits(64), memory.gpa + memory.size - rng.randrange(64),
                               1 << 31, 2 << 30 | rng.randrange(1 << 20))), rng.getrandbits(32)
        ring = rng.choice(self.guest.rings)
        return memory.gpa + ring.slot(rng.randrange(SIZE)), rng.randrange(100, 2048)

    def flags(self, ring):
        if self.odd():
            return self.rng.randrange(8)
        return WRITE if ring.index % 2 == 0 else 0

    def entry(self, ring, at, i, last, flags=0):
        gpa, size = self.buffer()
        flags |= self.flags(ring)
        if ring.packed:
            self.put("=QIHH", at, gpa, size, i, flags)
        else:
            self.put("=QIHH", at, gpa, size, flags | (0 if last else NEXT), i + 1)

    def scribble(self, ring):
        rng = self.rng
        what = rng.randrange(8)
        if what < 2:
            i = rng.randrange(4 * SIZE)
            self.entry(ring, ring.desc + TABLES + 16 * i, i % 4, i % 4 == 3)
        elif what == 2 and not ring.packed:
            self.put("=H", ring.avail + 4 + 2 * rng.randrange(SIZE),
                     rng.getrandbits(16) if self.odd() else rng.randrange(SIZE))
        elif what == 3 and not ring.packed:
            avail, used = ring._get("=H", ring.avail + 2)[0], ring._get("=H", ring.used + 2)[0]
            step = rng.getrandbits(16) if rng.random() < 0.0001 else (avail - used) & 0xffff < SIZE
            self.put("=H", ring.avail + 2, (avail + step) & 0xffff)
        elif what == 4 and rng.random() < 0.1:
            self.put("=H", ring.avail + (2 if ring.packed else 0), rng.randrange(3))
        else:
            self.scribble_desc(ring, rng.randrange(SIZE))

    def scribble_desc(self, ring, i):
        rng, at = self.rng, ring.desc + 16 * i
        own = rng.choice((0x80, 0x8000)) if ring.packed else 0
        if rng.random() < 0.3:
            table = self.guest.memory.gpa + ring.desc + TABLES + 64 * rng.randrange(SIZE)
            size = rng.randrange(100) if self.odd() else 64
            self.put("=QIHH", at, table, size, *((i, INDIRECT | own) if ring.packed else (INDIRECT, 0)))
        else:
            last = ring.packed or i + 1 == SIZE or rng.random() < 0.8
            self.entry(ring, at, i, last, own)

    def scribble_area(self):
        rng, area = self.rng, self.area
        at = area.offset + rng.randrange(area.size // 2) * 2
        value = rng.randrange(SIZE + 1) if rng.random() < 0.8 else rng.getrandbits(16)
        area.map[at:at + 2] = struct.pack("=H", value)


def fill_buffers(guest, rng):
    """Whatever a device takes from there is a frame that comes back."""
    for ring in guest.rings:
        for i in range(SIZE):
            at = ring.slot(i)
            guest.memory.map[at:at + 2048] = (bytes(12) + FRAME + rng.randbytes(2048))[:2048]


def start(guest, log):
    """With a log from the first moment on."""
    guest.features |= F_LOG_ALL
    assert answer(guest.fe, log) == 0
    for name, payload, fds in guest.setup_steps():
        if name == "SET_VRING_ADDR":
            ring = guest.rings[struct.unpack_from("=I", payload)[0]]
            payload = ring.addr(VRING_LOG, guest.memory.gpa + ring.used)
        guest.fe.accepted(name, payload, fds)


def written_and_unnamed(guest, log, before):
    """Pages of the buffers, which the guest does not write: (how many changed, those not in the log)."""
    memory, marked = guest.memory, log.marked()
    changed = [at for ring in guest.rings for at in range(ring.buffers, ring.buffers + 2048 * SIZE, PAGE)
               if memory.map[at:at + PAGE] != before[at:at + PAGE]]
    return len(changed), [hex(memory.gpa + at) for at in changed
                          if (memory.gpa + at) // PAGE not in marked]


def episode(guest, area, rng):
    log = Log(guest)
    fill_buffers(guest, rng)
    for ring in guest.rings if not guest.packed else ():  # else one odd index is the end of all
        ring._put("=H", ring.avail + 2, ring._get("=H", ring.used + 2)[0])
    before = bytes(guest.memory.map)
    start(guest, log)
    scribbler = Scribbler(guest, area, rng)
    scribbler.start()
    time.sleep(SECONDS)
    for ring in guest.rings:
        ring.base = guest.fe.vring_base(ring.index)
    scribbler.end()
    n, unnamed = written_and_unnamed(guest, log, before)
    os.close(log.fd)
    assert not unnamed, f"of {n} pages that were written these were not named: {unnamed}"
    return n


def struggle(stand, packed, with_area):
    rng = random.Random(5)
    area, n, pid = None, 0, stand.shim.process.pid
    guest = stand.guest(packed=packed, extra=F_INDIRECT)
    for done in range(10 * EPISODES):
        if done >= EPISODES and n > 2 * EPISODES:
            break
        guest.features &= ~F_LOG_ALL
        begin(guest)
        if area:  # what it says of chains in flight was rewritten, too
            guest.fe.accepted("SET_INFLIGHT_FD", area.payload(), [area.fd])
        elif with_area:
            size, offset, (fd,), rings, _ = get_area(guest.fe)
            guest.fe.ask_u64("GET_FEATURES")
            area = Area(fd, size, offset, rings, packed)
        n += episode(guest, area, rng)
        guest.fe.close()
        guest.fe = FrontEnd(stand.path, stand.offered)
    if area:
        area.close()
    assert stand.shim.process.poll() is None and stand.shim.process.pid == pid
    assert n > 2 * EPISODES, f"only {n} pages were written: this tests nothing"


@hostile(173)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_nothing_that_a_guest_rewrites_harms_anyone(make_stand, packed):
    struggle(make_stand(), packed, False)


@hostile(131)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_nothing_that_a_front_end_rewrites_in_the_inflight_area_harms_anyone(make_shuffled_stand, packed):
    struggle(make_shuffled_stand(), packed, True)
