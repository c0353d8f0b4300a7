# SPDX-License-Identifier: BSD-2-Clause
"""A device of a guest behind an IOMMU: its front-end translates what it asks for, as a thread of its own.

Now and then the front-end takes back what it told before, and the device has to ask again. A buffer's page
goes at any time, and no frame is lost by that; a ring's own page when a log was set, and then the ring
stands still, and takes no frames until it is translated again.
"""
import random
import socket
import threading
from collections import Counter

from device import Device
from frontend import PF, Closed, FrontEnd
from iommu import INVALIDATE, MISS, READ, REQUEST, UPDATE, WRITE, iotlb
from memory import IOVA_BASE, PAGE, page_of
from waiting import wait_for

BLOCKS = (PAGE, PAGE, 16 * PAGE)  # of which a translation may be
TAKE_BACK = 0.05  # the part of the answers after which a buffer is taken back
PERMS = (READ, WRITE, READ | WRITE)


class SharedFrontEnd(FrontEnd):
    """Of two threads."""

    def __init__(self, path):
        super().__init__(path)
        self.lock = threading.RLock()

    def together(self):
        return self.lock


class IommuDevice(Device):
    """told: pages of translations in force, by the driver's addresses; broken: what was asked and makes no
    sense. Both belong to who has the front-end's lock."""

    front_end = SharedFrontEnd

    def __init__(self, path, shape):
        super().__init__(path, shape)
        self.wanted_pf |= 1 << PF["BACKEND_REQ"]
        self.rng = random.Random(path)
        self.channel = self.thread = self.memory = self.guest = None
        self.told, self.ring_pages, self.broken = set(), set(), []
        self.counts = Counter()  # what happened, by name

    # ---- the device

    def connect(self):
        super().connect()
        self.channel, theirs = socket.socketpair()
        with theirs:
            self.fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
        self.thread = threading.Thread(target=self._serve, args=(self.fe, self.channel), daemon=True)
        self.thread.start()
        return self

    def close(self):
        self.guest = None
        super().close()
        if self.channel:
            self.channel.shutdown(socket.SHUT_RDWR)
            self.thread.join()
            self.channel.close()
            self.channel = self.thread = None
        self._check_sense()

    def address(self, ram, gpa):
        return ram.iova_of(gpa)

    def start(self, guest, bases, logging=False):
        """A device that is started has no translations; while it runs, more memory takes none away."""
        with self.fe.together():
            self.memory = guest.ram.memory
            self.told.clear()
        self.ring_pages = {
            page for ring in guest.rings for at, size in ring.areas()
            for page in range(guest.ram.iova_of(at) // PAGE * PAGE, guest.ram.iova_of(at) + size, PAGE)}
        super().start(guest, bases, logging)
        self.guest = guest
        self._wait_for_rings()

    def stop(self, guest, status_after):
        self.guest = None
        return super().stop(guest, status_after)

    def set_log(self, log):
        super().set_log(log)
        if self.guest:
            with self.fe.together():
                self._take_back(self.ring_pages)
            self._wait_for_rings()

    def check_no_errors(self):
        super().check_no_errors()
        self._check_sense()

    def _check_sense(self):
        assert not self.broken, f"the device asked for {self.broken}"

    def _wait_for_rings(self):
        """A ring runs when its last page was acknowledged. Frames that come before are lost."""
        if self.guest:
            wait_for(lambda: self.ring_pages <= self.told, "the rings' pages to be asked for")
            self.guest.stopped()

    # ---- the IOMMU

    def _serve(self, fe, channel):
        try:
            while data := channel.recv(REQUEST.size, socket.MSG_WAITALL):
                with fe.together():
                    self._answer(fe, data)
        except (Closed, OSError):
            pass  # it was closed meanwhile
        except Exception as error:
            self.broken.append(repr(error))
            raise

    def _answer(self, fe, data):
        _, _, size, iova, _, _, perm, kind = REQUEST.unpack(data)
        if (size, kind) != (32, MISS) or perm not in PERMS or page_of(iova - IOVA_BASE) is None:
            self.broken.append(data.hex())
            return
        if not self.memory:
            return  # it is refused, and not started
        block = self.rng.choice(BLOCKS)
        start = iova // block * block
        update = iotlb(UPDATE, start, block, self.memory.uva_of(start - IOVA_BASE))
        fe.tell("IOTLB_MSG", update)  # it may be refused: the guest's driver has stopped the device
        self.counts["translations"] += 1
        self.told.update(range(start, start + block, PAGE))
        if self.rng.random() < TAKE_BACK:
            self._take_back(self.told - self.ring_pages)

    def _take_back(self, pages):
        if pages:
            page = self.rng.choice(sorted(pages))
            self.told.discard(page)
            self.fe.tell("IOTLB_MSG", iotlb(INVALIDATE, page, PAGE))
            self.counts["taken back"] += 1
