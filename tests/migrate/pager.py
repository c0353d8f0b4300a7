# SPDX-License-Identifier: BSD-2-Clause
"""The front-end's fault thread at a postcopy destination, as a process: who waits for a page in Python
holds the interpreter's lock, so nothing in the same process could provide it.

Started with its control socket as argument. It provides pages in the front-end's mapping
(UFFDIO_COPY), from the source's file: those that either of two userfaultfds asks for, and the others
one by one. Whoever waits in the back-end's process is woken then. A page that is there already was made
by somebody who ought to have waited; that is a defect, and reported.

Source: userfaultfd(2), <linux/userfaultfd.h>.
"""
import errno
import fcntl
import json
import mmap
import os
import random
import select
import socket
import struct
import sys
import time
from pathlib import Path

PAGE = 4096
UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00
UFFDIO_WAKE, UFFDIO_COPY = 0x8010AA02, 0xC028AA03
MISSING, UFFD_API = 1, 0xAA
FAULT = struct.Struct("=B7xQQ8x")
EVENT_PAGEFAULT = 0x12
SYS_USERFAULTFD = 323
MESSAGE_SIZE = 1 << 17


# ---- for the front-end

def open_userfaultfd(libc):
    fd = libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
    assert fd >= 0, "there is no userfaultfd for us"
    fcntl.ioctl(fd, UFFDIO_API, bytearray(struct.pack("=QQQ", UFFD_API, 0, 0)))
    return fd


def register(uffd, address, size):
    fcntl.ioctl(uffd, UFFDIO_REGISTER, bytearray(struct.pack("=QQQQ", address, size, MISSING, 0)))


class Pager:
    """The process, as the front-end has it.

    address: of the front-end's mapping; missing: pages of it that have to come
    """

    def __init__(self, uffd, backend_uffd, source_fd, address, missing, seed):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (self.sock, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_SIZE)
        import subprocess
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self.tell({"address": address, "missing": sorted(missing), "seed": seed},
                  [uffd, backend_uffd, source_fd])
        self.ask({"ready": True})

    def tell(self, what, fds=()):
        socket.send_fds(self.sock, [json.dumps(what).encode()], list(fds))

    def ask(self, what):
        self.tell(what)
        data = self.sock.recv(MESSAGE_SIZE)
        assert data, "the pager ended"
        return json.loads(data)

    def add_regions(self, regions):
        """(the back-end's address, offset in the file, size) of each."""
        self.ask({"regions": regions})

    def finish(self):
        """Provide all that is missing. Return: what happened, by name."""
        report = self.ask({"finish": True})
        self.end()
        return report

    def end(self):
        self.sock.close()
        self.process.wait(20)


# ---- the process

class Server:
    def __init__(self, sock):
        self.sock = sock
        data, fds, _, _ = socket.recv_fds(sock, MESSAGE_SIZE, 3)
        start = json.loads(data)
        self.uffd, self.backend_uffd, source_fd = fds
        self.base = start["address"]
        self.missing = set(start["missing"])
        self.rng = random.Random(start["seed"])
        self.source = mmap.mmap(source_fd, 0)  # writable: for its address
        self.source_base = self.address_of(self.source)
        self.regions = []
        self.late = []  # [when, page] of what the back-end asked for and gets later
        self.report = {"guest asked": 0, "device asked": 0, "came by themselves": 0,
                       "were there already": 0, "unknown": 0}

    @staticmethod
    def address_of(buffer):
        import ctypes
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))

    def wake_backend(self, page):
        for address, offset, size in self.regions:
            if offset <= page * PAGE < offset + size:
                at = address + page * PAGE - offset
                fcntl.ioctl(self.backend_uffd, UFFDIO_WAKE, struct.pack("=QQ", at, PAGE))

    def place(self, page, why):
        if page in self.missing:
            copy = bytearray(struct.pack("=QQQQq", self.base + page * PAGE,
                                         self.source_base + page * PAGE, PAGE, 0, 0))
            try:
                fcntl.ioctl(self.uffd, UFFDIO_COPY, copy)
                self.report[why] += 1
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
                self.report["were there already"] += 1
            self.missing.discard(page)
        else:
            fcntl.ioctl(self.uffd, UFFDIO_WAKE, struct.pack("=QQ", self.base + page * PAGE, PAGE))
        self.wake_backend(page)

    @staticmethod
    def faults(uffd):
        while True:
            try:
                event, _, address = FAULT.unpack(os.read(uffd, FAULT.size))
            except BlockingIOError:
                return
            assert event == EVENT_PAGEFAULT
            yield address

    def serve_guest(self):
        for address in self.faults(self.uffd):
            self.place((address - self.base) // PAGE, "guest asked")

    def serve_backend(self):
        for address in self.faults(self.backend_uffd):
            for start, offset, size in self.regions:
                if start <= address < start + size:
                    page = (address - start + offset) // PAGE
                    self.late.append([time.monotonic() + self.rng.random() ** 4 / 20, page])
                    break
            else:
                self.report["unknown"] += 1

    def place_late(self):
        now = time.monotonic()
        for item in [item for item in self.late if item[0] <= now]:
            self.late.remove(item)
            self.place(item[1], "device asked")

    def serve_control(self):
        data = self.sock.recv(MESSAGE_SIZE)
        if not data:
            return False
        order = json.loads(data)
        self.regions = order.get("regions", self.regions)
        if "finish" in order:
            for page in sorted(self.missing):
                self.place(page, "came by themselves")
            for _, page in self.late:
                self.place(page, "device asked")
        self.sock.send(json.dumps(self.report).encode())
        return True

    def run(self):
        while True:
            ready, _, _ = select.select([self.uffd, self.backend_uffd, self.sock], [], [], 0.001)
            if self.uffd in ready:
                self.serve_guest()
            if self.backend_uffd in ready:
                self.serve_backend()
            self.place_late()
            if self.sock in ready and not self.serve_control():
                return
            if self.missing and self.rng.random() < 0.3:
                self.place(self.rng.choice(sorted(self.missing)), "came by themselves")


if __name__ == "__main__":
    Server(socket.socket(fileno=int(sys.argv[1]))).run()
