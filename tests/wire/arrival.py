# SPDX-License-Identifier: BSD-2-Clause
"""A guest that arrives by postcopy. Its memory is complete in one file, the source's; the back-end has
another file, into which pages come when it asks for them. Source: userfaultfd(2), <linux/userfaultfd.h>."""
import fcntl
import os
import select
import socket
import struct
import threading

from frontend import REPLY, Guest, Memory, table, u64
from open_files import open_files

PAGE = 4096
UFFDIO_WAKE = 0x8010AA02
FAULT = struct.Struct("=B7xQQ8x")  # struct uffd_msg of a page fault: event, flags, address
EVENT_PAGEFAULT = 0x12


def reply_with_fd(fe, name):
    """(body, descriptors) of a reply that may come with some."""
    head, fds, _, _ = socket.recv_fds(fe.sock, 12, 4)
    request, flags, size = struct.unpack("=III", head)
    assert flags == 1 | REPLY and name
    return fe.receive(size), fds


def advise(fe):
    """The userfaultfd; None when the back-end has none."""
    fe.send("POSTCOPY_ADVISE")
    body, fds = reply_with_fd(fe, "POSTCOPY_ADVISE")
    assert body == b""
    return fds[0] if fds else None


def footprint(nic):
    """What simnic has of postcopy: userfaultfds, threads, mappings of guests' memory."""
    proc = f"/proc/{nic.process.pid}"
    kinds = list(open_files(nic.process.pid).values())
    with open(f"{proc}/maps", encoding="ascii") as maps:
        return (kinds.count("anon_inode:[userfaultfd]"), len(os.listdir(f"{proc}/task")),
                sum("memfd:guest" in line for line in maps))


class Arrival:
    """`guest` runs on memory that comes page by page; it must be still itself until land().

    deaf: no page is provided until serve()
    """

    def __init__(self, guest, deaf=False):
        self.guest, self.deaf = guest, deaf
        self.memory = Memory(guest.memory.size, guest.memory.gpa)
        self.memory.map.close()  # nobody may touch it but who can wait
        self.uffd = None
        self.address = None
        self.asked = []  # offsets, in order
        self.waiting = []
        self.thread = None
        self.lock = threading.Lock()
        self.stop = False

    def close(self):
        self.stop = True
        if self.thread:
            self.thread.join()
        for fd in (self.memory.fd, self.uffd):
            if fd is not None:
                os.close(fd)
        self.uffd = None

    # ---- messages

    def listen(self):
        self.guest.fe.negotiate()
        self.uffd = advise(self.guest.fe)
        assert self.uffd is not None
        assert self.guest.fe.ask("POSTCOPY_LISTEN") == u64(0)

    def tell_memory(self):
        """SET_MEM_TABLE; what the back-end says to it. The acknowledgement is to come."""
        self.guest.fe.send("SET_MEM_TABLE", table(self.memory), [self.memory.fd])
        body = self.guest.fe.reply("SET_MEM_TABLE")
        head, gpa, size, address, offset = struct.unpack("=QQQQQ", body)
        assert (head, gpa, size, offset) == (1, self.memory.gpa, self.memory.size, 0)
        self.address = address
        return address

    def acknowledge(self):
        self.guest.fe.send("SET_MEM_TABLE", u64(0))

    def start(self):
        """All messages from ADVISE to running rings."""
        self.listen()
        for name, payload, fds in self.guest.setup_steps():
            if name == "SET_MEM_TABLE":
                self.tell_memory()
                self.acknowledge()
            else:
                self.guest.fe.accepted(name, payload, fds)
        self.serve()

    def end(self):
        assert self.guest.fe.ask("POSTCOPY_END") == u64(0)

    # ---- pages

    def serve(self):
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while not self.stop:
            if not select.select([self.uffd], [], [], 0.01)[0]:
                continue
            try:
                event, _, address = FAULT.unpack(os.read(self.uffd, FAULT.size))
            except BlockingIOError:
                continue
            except OSError:
                return
            assert event == EVENT_PAGEFAULT
            offset = (address - self.address) // PAGE * PAGE
            assert 0 <= offset < self.memory.size
            self.asked.append(offset)
            if not self.deaf:
                self.give(offset)

    def has(self, offset):
        try:
            return os.lseek(self.memory.fd, offset, os.SEEK_DATA) // PAGE == offset // PAGE
        except OSError:
            return False  # nothing but holes behind it

    def n_pages(self):
        return sum(self.has(offset) for offset in range(0, self.memory.size, PAGE))

    def give(self, offset):
        with self.lock:  # two that find it missing would write it twice, the second time over the device's words
            if not self.has(offset):
                page = self.guest.memory.map[offset:offset + PAGE]
                assert os.pwrite(self.memory.fd, page, offset) == PAGE
        fcntl.ioctl(self.uffd, UFFDIO_WAKE, struct.pack("=QQ", self.address + offset, PAGE))

    def give_all(self):
        for offset in range(0, self.memory.size, PAGE):
            self.give(offset)

    def land(self):
        """All pages are there, and the guest goes on in them."""
        self.give_all()
        self.end()
        self.move_guest()

    def move_guest(self):
        import mmap
        old = self.guest.memory
        new = Memory.__new__(Memory)
        new.size, new.gpa, new.uva = old.size, old.gpa, old.uva
        new.fd = os.dup(self.memory.fd)
        new.map = mmap.mmap(new.fd, new.size)
        self.guest.memory = new
        for ring in self.guest.rings:
            ring.memory = new
        old.close()


def frame(number):
    return bytes(12) + b"\2\0\0\0\0\x99" + b"\x52\x54\0\0\0\1" + b"\x88\xb5" + bytes([number]) * 86


def offer_frame(guest, number=7):
    """A frame that waits in the transmit ring, and room for it to come back; nothing is signalled."""
    for _ in range(4):
        guest.rings[0].offer(writable=2048)
    guest.rings[1].offer(frame(number))
