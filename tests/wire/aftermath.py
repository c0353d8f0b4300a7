# SPDX-License-Identifier: BSD-2-Clause
"""What must hold after hostile input, whatever it was: the worker is there, or its successor; another
device was served all the time; nothing is left of what came, neither in the worker nor in simnic nor
with the shim; and the next front-end finds a device that works."""
import collections
import os
import re
import threading
import time

from frontend import Guest
from open_files import open_files
from stand import BUILD, Stand
from waiting import wait_for

WORKER_SLACK, NIC_SLACK = 768 << 10, 8 << 20  # bytes: pages of a program that it used for the first time
MAPS_SLACK = 4  # a heap that begins, the C library's arena of a thread
# What a worker makes once and keeps: for its first relay; the registers of a device that was lost.
KEPT = {"anon_inode:[eventpoll]": 1, "/memfd:simnic-bar (deleted)": 1}
BOUND = 10  # seconds that another device may wait for a frame; the machine is slow, a hang is longer
PACE = 0.02
OTHER_MAC = b"\x52\x54\0\0\0\xfe"


def built_with_sanitizer():
    with open(os.path.join(BUILD, "meson-info/intro-buildoptions.json"), encoding="ascii") as f:
        return not re.search(r'"name": "b_sanitize", "value": "none"', f.read())


SANITIZED = built_with_sanitizer()  # its memory says nothing of the program's


class Footprint:
    """What a process has."""

    def __init__(self, pid):
        self.pid = pid
        self.fds = collections.Counter(self._fds())
        with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as f:
            lines = [line.split(None, 5) for line in f]
        names = [line[5].strip() if len(line) > 5 else "" for line in lines]
        # A sanitizer's own file has the process's number in its name, which a successor's has not.
        self.files = collections.Counter(n for n in names if n.startswith(("/memfd:", "/dev/", "/tmp/"))
                                         and not n.startswith("/tmp/tsan."))
        self.others = sum(1 for n in names if not n)
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            self.memory = 1024 * sum(int(line.split()[1]) for line in f if line.startswith("Private_"))

    def _fds(self):
        return (re.sub(r"\[\d+\]|^/tmp/.*/", "", target) for target in open_files(self.pid).values())

    def excess(self, before, slack):
        """What there is more of than @before, in words; empty when there is nothing."""
        found = [f"{n} more of {what}" for kind in ("fds", "files")
                 for what, n in (getattr(self, kind) - getattr(before, kind)).items()
                 if n > KEPT.get(what, 0)]
        if self.others > before.others + MAPS_SLACK and not SANITIZED:
            found.append(f"{self.others - before.others} mappings more")
        if self.memory > before.memory + slack and not SANITIZED:
            found.append(f"{self.memory - before.memory} bytes more")
        return found


class Auditor:
    """A device of its own on the same NIC, whose frames go round all the time, each byte checked."""

    def __init__(self, nic):
        self.stand = Stand(nic, mac=OTHER_MAC)
        self.stand.shim.start()
        self.guest = Guest(self.stand.path, offered=self.stand.offered, mac=OTHER_MAC).setup()
        self.error = None
        self.rounds = self.offered = 0
        self.longest = 0.0
        self.since = None
        self.stop = False
        self.awake = threading.Event()
        self.idle = threading.Event()
        self.idle.set()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stop:
            self.awake.wait()
            self.idle.clear()
            while self.awake.is_set() and not self.stop and self.error is None:
                self._round()
                time.sleep(PACE)
            self.idle.set()
            if self.error is not None:
                return

    def _round(self):
        begin = time.monotonic()
        try:
            self._send_one()
        except AssertionError as error:
            self.error = str(error)[:300] or repr(error)
        self.longest = max(self.longest, time.monotonic() - begin)
        self.rounds += 1

    def _send_one(self):
        """A frame goes out and comes back. Others' frames may come, too: those that nobody knows the
        receiver of go to all."""
        receive, transmit = self.guest.rings[:2]
        frame = b"\2\0\0\0\0\x98" + OTHER_MAC + b"\x88\xb5" + os.urandom(86)
        while self.offered < 32:
            receive.offer(writable=2048)
            self.offered += 1
        receive.notify()
        transmit.offer(bytes(12) + frame)
        transmit.notify()
        transmit.wait()
        while True:
            number, length = receive.wait()
            self.offered -= 1
            if receive.data(number, length)[24:] == frame[12:]:
                return
            receive.offer(writable=2048)
            self.offered += 1
            receive.notify()

    def begin(self):
        self.longest = 0.0
        self.awake.set()

    def check(self):
        """A frame goes round now, and none took long meanwhile."""
        seen = self.rounds
        wait_for(lambda: self.rounds > seen + 1 or self.error, "another device's frames")
        assert self.error is None, f"another device: {self.error}"
        assert self.longest < BOUND, f"another device waited {self.longest:.1f} s for a frame"

    def rest(self):
        self.awake.clear()
        self.idle.wait()

    def close(self):
        self.stop = True
        self.awake.set()
        self.thread.join()
        self.guest.close()
        self.stand.close_now()


class Auditors:
    """One for each NIC that is there."""

    def __init__(self):
        self.all = {}

    def of(self, nic):
        if nic not in self.all:
            self.all[nic] = Auditor(nic)
        return self.all[nic]

    def forget(self, nic):
        if nic in self.all:
            self.all.pop(nic).close()

    def close(self):
        for nic in list(self.all):
            self.forget(nic)


class Aftermath:
    """Of one test. Its stands are watched from their start on, and checked when the test is over."""

    def __init__(self, auditors):
        self.auditors = auditors
        self.watched = []

    def watch(self, stand):
        auditor = self.auditors.of(stand.nic)
        auditor.begin()
        auditor.check()
        self.watched.append(stand)
        stand.before = (Footprint(stand.shim.process.pid), Footprint(stand.nic.process.pid),
                        stand.shim.kept())

    def check(self, stands):
        """Their front-ends leave; the rest is as it was."""
        for stand in stands:
            if stand not in self.watched or stand.closed:
                continue
            check_stand(stand, len(self.watched) == 1)
            self.auditors.of(stand.nic).check()
            self.auditors.of(stand.nic).begin()  # for the next one
        for nic in {stand.nic for stand in stands}:
            self.auditors.of(nic).rest()

    def forget(self, nic):
        """It is going to end."""
        self.auditors.forget(nic)


def disconnected(stand):
    return stand.shim.dump()["session"]["connected"] == 0


def leave(stand):
    for thing in stand.opened:
        thing.close()
    stand.opened.clear()
    wait_for(lambda: disconnected(stand), "the end of the connection")


def excess(stand, alone):
    worker, nic, kept = stand.before
    found = ["worker: " + what for what in Footprint(stand.shim.process.pid).excess(worker, WORKER_SLACK)]
    if alone:  # with several, the first one's beginning knows nothing of the others
        found += ["simnic: " + what for what in Footprint(stand.nic.process.pid).excess(nic, NIC_SLACK)]
    if len(stand.shim.kept()) != len(kept):  # numbers may be others
        found.append(f"shim: slots {stand.shim.kept()}, which were {kept}")
    return found


def check_stand(stand, alone):
    assert stand.shim.process.poll() is None, "the worker ended:\n" + stand.shim.log()
    assert stand.nic.process.poll() is None, "simnic ended:\n" + stand.nic.log()
    leave(stand)
    with Guest(stand.path, offered=stand.offered) as next_one:
        next_one.setup().exchange(3)
    wait_for(lambda: disconnected(stand), "the end of the connection")
    found = []
    deadline = time.monotonic() + 20

    def clean():
        found[:] = excess(stand, alone)
        return not found or time.monotonic() > deadline

    wait_for(clean, "nothing to be left")
    assert not found, "; ".join(found)
