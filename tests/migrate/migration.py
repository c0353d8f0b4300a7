# SPDX-License-Identifier: BSD-2-Clause
"""The page oracle: one migration, from the first message about a log to a guest that runs elsewhere.

Only pages that the log or the guest named are copied, and in the end every byte of both memories is
compared. A page that differs was written by a device that did not say so.

    log on -> first copy -> rounds, the guest runs -> source stopped -> last round -> compared
           -> destination starts where the source stopped

A Plan ends it at one of PHASES, in one of WAYS; then the guest goes on at the source.
"""
import time
import zlib
from collections import Counter

from dirtylog import DirtyLog
from memory import N_PAGES, PAGE, first_difference, gpa_of

PHASES = ("log base", "log all", "log rings", "first copy", "rounds", "stopped", "compared")
WAYS = ("cancelled", "disconnected", "refused")


class Plan:
    """How a migration fails."""

    def __init__(self, phase, way):
        self.phase, self.way = phase, way

    def __str__(self):
        return f"{self.way} at '{self.phase}'"


def random_plan(rng):
    way = rng.choice(WAYS)
    return Plan(rng.choice(PHASES[-2:] if way == "refused" else PHASES), way)


class Ended(Exception):
    """The plan's phase was reached."""


class Migration:
    """From the device that serves `guest` to `destination`, a Device, and into `memory`.

    log_offset: where the log begins in its file
    blind: for the oracle's own proof: kinds of areas whose pages it pretends the log did not name
    """

    def __init__(self, guest, destination, memory, log_offset=0, plan=None, blind=()):
        self.guest, self.rng = guest, guest.rng
        self.source, self.destination = guest.device, destination
        self.target = memory
        self.plan = plan
        self.blind = {page for page in range(N_PAGES if blind else 0)
                      if guest.ram.kinds_in(page) & set(blind)}
        self.log = DirtyLog(log_offset)
        self.copied = {}  # page: when it was copied last, and why
        self.step = "before the first copy"
        self.n_named = Counter()
        self.bases = None

    # ---- its life

    def run(self):
        """Return: true when it went through, false when it ended as planned."""
        try:
            self.turn_log_on()
            self.copy_all()
            self.rounds()
            self.stop_source()
            self.last_round()
            self.compare()
            self.reach("compared")
        except Ended:
            self.go_back()
            self.finish()
            return False
        self.start_destination()
        self.finish()
        return True

    def reach(self, phase):
        if self.plan and self.plan.phase == phase:
            raise Ended

    def turn_log_on(self):
        self.source.set_log(self.log)
        self.reach("log base")
        self.source.log_all(True)
        self.guest.run(self.rng.randrange(8))
        self.reach("log all")
        self.source.log_rings(self.guest, True)
        self.reach("log rings")

    def copy_all(self):
        """The guest runs meanwhile; what changes after it was copied is in the log, as ever."""
        self.step = "the first copy"
        self.guest.ram.written.clear()
        part = N_PAGES // 4
        for first in range(0, N_PAGES, part):
            at = first * PAGE
            end = at + part * PAGE
            self.target.map[at:end] = self.guest.ram.memory.map[at:end]
            if first == part:
                self.reach("first copy")
            self.guest.run(self.rng.randrange(16))

    def rounds(self):
        n = self.rng.randrange(1, 4)
        for i in range(n):
            self.step = f"round {i + 1} of {n}"
            self.guest.run(self.rng.randrange(4, 32))
            self.guest.write_elsewhere()
            if self.rng.random() < 0.3:  # the device goes on alone
                self.guest.offer_frames(self.rng.randrange(32))
                self.copy_named()
                self.guest.publish()
            self.copy_named()
            if self.rng.random() < 0.3:
                self.guest.collect()
        self.reach("rounds")

    def stop_source(self):
        """The guest does nothing from here on."""
        self.guest.offer_frames(self.rng.randrange(16))
        self.guest.publish()
        if self.rng.random() < 0.5:
            self.step = "the round with the guest stopped"
            self.copy_named()
        if self.rng.random() < 0.5:
            time.sleep(self.rng.random() / 1000)
        self.guest.stopped()
        self.bases = self.source.stop(self.guest, self.rng.randrange(len(self.guest.rings) + 1))
        self.reach("stopped")

    def last_round(self):
        self.step = "the last round"
        self.copy_named()

    def start_destination(self):
        source_checksum = zlib.crc32(self.guest.ram.memory.map)
        source_memory = self.guest.ram.memory
        self.destination.connect()
        self.guest.ram.memory = self.target
        self.check_positions()
        self.destination.start(self.guest, self.bases)
        self.guest.run(self.rng.randrange(8, 32))
        assert zlib.crc32(source_memory.map) == source_checksum, (
            "the source's memory was written after the source was stopped")
        self.source.check_no_errors()
        self.source.close()

    def finish(self):
        """What a device did after it was told that there is no log any more."""
        self.guest.run(8)
        self.guest.device.check_no_errors()
        assert self.log.is_empty(), "the log was written after logging had been turned off"
        self.log.check_canaries()
        self.log.close()

    # ---- failures

    def go_back(self):
        """The guest goes on at the source."""
        if self.plan.way == "disconnected":
            self.source.close()
            self.guest.device = None
            self.guest.stopped()
            self.source.connect()
            self.guest.collect()
            self.source.start(self.guest, [ring.base() for ring in self.guest.rings])
        elif self.bases is None:
            self.turn_log_off()
        else:
            if self.plan.way == "refused":
                self.refuse()
            self.check_positions()
            logging = self.rng.random() < 0.5
            self.source.start(self.guest, self.bases, logging)
            if logging:
                self.guest.run(self.rng.randrange(16))
                self.turn_log_off()
        self.log.take()

    def turn_log_off(self):
        self.source.log_all(False)
        self.source.log_rings(self.guest, False)

    def refuse(self):
        """The destination's front-end gets so far, and ends."""
        self.destination.connect()
        source_memory, self.guest.ram.memory = self.guest.ram.memory, self.target
        n = self.rng.randrange(12)
        for i, _ in enumerate(self.destination.start_steps(self.guest, self.bases)):
            if i == n:
                break
        self.guest.ram.memory = source_memory
        self.destination.close()

    # ---- pages

    def copy_named(self):
        """One round: take the log and what the guest wrote, and copy these pages."""
        named = self.log.take() - self.blind
        self.n_named[self.step] += len(named)
        written, self.guest.ram.written = self.guest.ram.written, set()
        for page in named | written:
            self.guest.ram.memory.copy_page_to(self.target, page)
            self.copied[page] = (self.step, "the log" if page in named else "the guest")

    def compare(self):
        self.guest.check_canaries()
        pages = self.guest.ram.memory.differing_pages(self.target.map)
        if not pages:
            return
        lines = [f"{len(pages)} pages differ and were not named:"]
        lines += [self.describe(page) for page in pages[:8]]
        lines += [f"the log named {dict(self.n_named)}, {self.log.n_outside} of them outside of "
                  "the guest's memory"]
        raise AssertionError("\n  ".join(lines))

    def describe(self, page):
        at = page * PAGE
        byte = at + first_difference(self.guest.ram.memory.map[at:at + PAGE],
                                     self.target.map[at:at + PAGE])
        when, why = self.copied.get(page, ("the first copy", "all are"))
        gpa = gpa_of(byte)
        return (f"page {gpa_of(at):#x} at {gpa:#x}, the {self.guest.ram.what_lies_at(gpa)}: "
                f"{self.guest.ram.memory.map[byte]:#x} at the source, {self.target.map[byte]:#x} at "
                f"the destination; copied last in {when} because of {why}")

    def check_positions(self):
        """Where the source says that it stopped is where what it returned ends."""
        self.guest.collect()
        for ring, base in zip(self.guest.rings, self.bases):
            assert base == ring.base(), (
                f"queue {ring.index}: the source stopped at {base:#x}, and what it returned ends at "
                f"{ring.base():#x}")
