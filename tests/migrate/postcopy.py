# SPDX-License-Identifier: BSD-2-Clause
"""Migrations by postcopy: the guest is stopped at the source while much of its memory was not copied, and
runs at the destination, which gets each page when somebody there asks for it.

    log on -> some pages are copied -> rounds -> source stopped -> what is not up to date is taken out of
    the destination's file -> destination starts -> guest and device run, pages come -> all are there

No page may be made at the destination but by the pager: it finds each one missing when it provides it.
In the end every byte is what the guest knows it to be, and what neither guest nor device wrote is as
at the source.
"""
import ctypes
import os
import socket
import struct
import zlib

from frontend import PF, REPLY, u64
from memory import N_PAGES, PAGE, SIZE, address_of, libc
from migration import Migration
from pager import Pager, open_userfaultfd, register

PUNCH_HOLE, KEEP_SIZE = 2, 1

libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
libc.syscall.restype = ctypes.c_long


def punch_hole(fd, page):
    assert libc.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, page * PAGE, PAGE) == 0


def has_page(fd, page):
    try:
        return os.lseek(fd, page * PAGE, os.SEEK_DATA) == page * PAGE
    except OSError:
        return False


class Destination:
    """A Device, with what a front-end says of postcopy. Messages in QEMU's order."""

    def __init__(self, device):
        self.device = device
        self.pager = None
        device.wanted_pf |= 1 << PF["PAGEFAULT"]

    def advise(self):
        fe = self.device.fe
        with fe.together():
            fe.send("POSTCOPY_ADVISE")
            head, fds, _, _ = socket.recv_fds(fe.sock, 12, 1)
        assert struct.unpack("=III", head)[1:] == (1 | REPLY, 0) and len(fds) == 1
        return fds[0]

    def listen(self, pager):
        assert self.device.fe.ask("POSTCOPY_LISTEN") == u64(0)
        self.pager = pager
        self.device.set_memory = self.set_memory

    def set_memory(self, ram):
        """The back-end's addresses go to the pager; then it is told so."""
        fe, regions = self.device.fe, ram.regions()
        with fe.together():
            fe.send("SET_MEM_TABLE", ram.table(), [ram.memory.fd] * len(regions))
            body = fe.reply("SET_MEM_TABLE")
            assert struct.unpack_from("=II", body) == (len(regions), 0)
            told = []
            for i, region in enumerate(regions):
                gpa, size, address, offset = struct.unpack_from("=QQQQ", body, 8 + 32 * i)
                assert (gpa, size, offset) == (region.gpa, region.size, region.offset)
                told.append((address, offset, size))
            self.pager.add_regions(told)
            fe.send("SET_MEM_TABLE", u64(0))

    def end(self):
        assert self.device.fe.ask("POSTCOPY_END") == u64(0)
        self.forget()

    def forget(self):
        self.device.__dict__.pop("set_memory", None)


class Postcopy(Migration):
    """events: functions of the migration, each called once while pages are missing."""

    def __init__(self, guest, destination, memory, log_offsets=(0,), events=()):
        super().__init__(guest, destination, memory, log_offsets)
        self.resting = 0  # there is no round after which all is copied
        self.hurried = guest.flows[0].hurried
        self.arriving = Destination(destination)
        self.events = events
        self.report = None
        self.backend_uffd = self.uffd = self.pager = None
        self.current = set()  # pages that were copied and not written since

    def run(self):
        self.destination.connect()
        self.backend_uffd = self.arriving.advise()
        self.turn_log_on()
        self.copy_all()
        self.rounds()
        self.stop_source()
        self.copy_named()
        try:
            self.switch()
        finally:
            self.release()
        self.finish()

    # ---- precopy

    def copy_all(self):
        """A part of it, anywhere."""
        self.step = "the first copy"
        self.guest.ram.written.clear()
        part = self.rng.choice((0, 0.1, 0.5, 0.9))
        for page in range(N_PAGES):
            if self.rng.random() < part:
                self.guest.ram.memory.copy_page_to(self.target, page)
                self.current.add(page)
        self.guest.run(self.rng.randrange(48))

    def copy_named(self):
        """What was written is not up to date any more. A round copies some of it again."""
        named = self.logs[-1].take() | self.carried
        self.carried = set()
        written, self.guest.ram.written = self.guest.ram.written, set()
        self.current -= named | written
        if self.guest.device:
            for page in named | written:
                if self.rng.random() < 0.3:
                    self.guest.ram.memory.copy_page_to(self.target, page)
                    self.current.add(page)

    # ---- the switch

    def discard(self):
        missing = set(range(N_PAGES)) - self.current
        for page in missing:
            punch_hole(self.target.fd, page)
        assert not any(has_page(self.target.fd, page) for page in missing)
        return missing

    def switch(self):
        self.step = "the switch"
        source = self.guest.ram.memory
        checksum = zlib.crc32(source.map)
        missing = self.discard()
        address = address_of(self.target.map)
        self.uffd = open_userfaultfd(libc)
        register(self.uffd, address, SIZE)
        self.pager = Pager(self.uffd, self.backend_uffd, source.fd, address, missing,
                           self.rng.randrange(1 << 30))
        self.arriving.listen(self.pager)
        self.guest.ram.memory = self.target
        for flow in self.guest.flows:  # a buffer whose page is missing takes no frame
            flow.hurried = True
        self.check_positions()
        self.destination.start(self.guest, self.bases)
        self.live(missing)
        self.land(source)
        assert zlib.crc32(source.map) == checksum, (
            "the source's memory was written after the source was stopped")
        self.source.check_no_errors()
        self.source.close()

    def live(self, missing):
        self.step = "life without all pages"
        for event in (None, *self.events):
            if event:
                event(self)
            self.guest.run(self.rng.randrange(4, 16))
            self.guest.write_elsewhere()

    def restart(self):
        """The guest's driver stops the device, and starts it again: there is a table once more."""
        self.guest.settle()
        self.guest.stopped()
        bases = self.destination.stop(self.guest, self.rng.randrange(len(self.guest.rings) + 1))
        self.guest.collect()
        assert bases == [ring.base() for ring in self.guest.rings]
        self.destination.start(self.guest, bases)

    def land(self, source):
        self.step = "the landing"
        self.report = self.pager.finish()
        assert self.report["were there already"] == 0, (
            f"somebody made pages instead of waiting for them: {self.report}")
        assert self.report["unknown"] == 0, self.report
        self.arriving.end()
        self.guest.run(self.rng.randrange(4, 16))
        self.guest.settle()
        for flow in self.guest.flows:
            flow.hurried = self.hurried
        self.guest.check_canaries()
        may_differ = self.guest.ram.written | self.guest.pages_of_devices()
        strange = set(self.target.differing_pages(source.map)) - may_differ
        assert not strange, f"pages {sorted(strange)[:8]} are not as at the source"

    def release(self):
        self.arriving.forget()
        if self.pager:
            self.pager.end()
        for fd in (self.uffd, self.backend_uffd):
            if fd is not None:
                os.close(fd)
