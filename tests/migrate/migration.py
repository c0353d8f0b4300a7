# SPDX-License-Identifier: BSD-2-Clause
"""The page oracle: one migration, from the first message about a log to a guest that is elsewhere.

Only pages that the log or the guest named are copied, and in the end every byte of both memories is
compared. A page that differs was written by a device that did not say so.

    log on -> first copy -> rounds, the guest runs -> source stopped -> last round -> compared
           -> destination starts where the source stopped

Rounds are compared, too, now and then: who stops marks a ring once more, and that would hide what was
not marked before.

A Plan ends it at one of PHASES, in one of WAYS; then the guest goes on at the source.
"""
import time
import zlib
from collections import Counter

from dirtylog import DirtyLog
from memory import N_PAGES, PAGE, first_difference, gpa_of

PHASES = ("log base", "log all", "log rings", "first copy", "rounds", "stopped", "compared")
WAYS = ("cancelled", "disconnected", "refused")
NAP, REST = 0.005, 60  # seconds: most devices fall asleep in; all do, on a busy host too


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

    log_offsets: where a log may begin in its file
    blind: for the oracle's own proof: kinds of areas whose pages it pretends the log did not name
    resting: the part of the rounds that are compared
    """

    def __init__(self, guest, destination, memory, log_offsets=(0,), plan=None, blind=(),
                 resting=0.3):
        self.guest, self.rng = guest, guest.rng
        self.source, self.destination = guest.device, destination
        self.target = memory
        self.plan = plan
        self.blind = guest.ram.pages_with(*blind)
        self.log_offsets = log_offsets
        self.resting = resting
        self.logs = []        # the last one is in use
        self.carried = set()  # what an earlier one named last
        self.copied = {}  # page: when it was copied last, and why
        self.step = "before the first copy"
        self.n_named = Counter()
        self.n_needless = 0   # named pages where a device has nothing to write
        self.bases = None

    # ---- its life

    def run(self):
        """Return: true when it went through, false when it ended as planned."""
        self.destination.connect()
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
            self.destination.close()
            self.finish()
            return False
        self.start_destination()
        self.finish()
        return True

    def reach(self, phase):
        if self.plan and self.plan.phase == phase:
            raise Ended

    def turn_log_on(self):
        """QEMU says all of it once for each pair of queues."""
        self.new_log()
        rings = self.guest.rings
        for pair in range(self.guest.shape.pairs):
            self.source.set_log(self.logs[-1])
            self.reach("log base")
            self.source.log_all(True)
            self.guest.run(self.rng.randrange(8))
            self.reach("log all")
            self.source.log_rings(self.guest, rings[2 * pair:2 * pair + 2], True)
        self.reach("log rings")

    def new_log(self):
        """For all memory that there is, and maybe for some that there is not."""
        end = self.guest.ram.regions()[-1].end
        if self.rng.random() < 0.3:
            end += self.rng.randrange(1 << 30)
        self.logs.append(DirtyLog(end, self.rng.choice(self.log_offsets)))

    def replace_log(self):
        """First the new one, then the old one's last words."""
        self.new_log()
        self.source.set_log(self.logs[-1])
        self.carried |= self.logs[-2].take()

    def plug_memory(self):
        """The log is for all memory before the device knows of it. All that is new is dirty."""
        ram = self.guest.ram
        ram.n_plugged += 1
        region = ram.regions()[-1]
        if region.end > self.logs[-1].end or self.rng.random() < 0.5:
            self.replace_log()
        self.source.set_memory(ram)
        first = region.offset // PAGE
        ram.written.update(range(first, first + region.size // PAGE))
        self.guest.plug()

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
            self.guest.run(self.rng.randrange(48))
            self.pause()

    def pause(self):
        """A device that has nothing to do goes to sleep."""
        if self.rng.random() < 0.3:
            time.sleep(self.rng.random() / 1000)

    def rounds(self):
        n = self.rng.randrange(1, 4)
        for i in range(n):
            self.step = f"round {i + 1} of {n}"
            self.guest.run(self.rng.randrange(8, 96))
            self.guest.write_elsewhere()
            if self.rng.random() < 0.1:
                self.replace_log()
                self.guest.run(self.rng.randrange(16))
            if self.guest.can_plug() and self.rng.random() < 0.1:
                self.plug_memory()
            if self.rng.random() < 0.3:  # the device goes on alone
                self.guest.offer_frames(self.rng.randrange(32))
                self.copy_named()
                self.guest.publish()
            self.copy_named()
            self.pause()
            if self.rng.random() < 0.3:
                self.guest.collect()
            if self.rng.random() < self.resting:
                self.compare_at_rest()
        self.reach("rounds")

    def stop_source(self):
        """The guest does nothing from here on."""
        self.guest.last_burst()
        if self.rng.random() < 0.5:
            self.step = "the round with the guest stopped"
            self.copy_named()
        if self.rng.random() < 0.3:
            for ring in self.guest.rings:
                self.source.kick(ring.index)  # it wakes up, and there is nothing
        self.pause()
        self.guest.stopped()
        self.bases = self.source.stop(self.guest, self.rng.randrange(len(self.guest.rings) + 1))
        self.reach("stopped")

    def last_round(self):
        self.step = "the last round"
        self.copy_named()

    def start_destination(self):
        source_checksum = zlib.crc32(self.guest.ram.memory.map)
        source_memory = self.guest.ram.memory
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
        for log in self.logs:
            assert log.is_empty(), "a log was written after it was replaced or turned off"
            log.check_canaries()
            log.close()

    # ---- failures

    def go_back(self):
        """The guest goes on at the source."""
        if self.plan.way == "disconnected":
            if self.guest.device:
                self.guest.last_burst()
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
        self.logs[-1].take()

    def turn_log_off(self):
        self.source.log_all(False)
        self.source.log_rings(self.guest, self.guest.rings, False)

    def refuse(self):
        """The destination's front-end gets so far, and ends."""
        source_memory, self.guest.ram.memory = self.guest.ram.memory, self.target
        n = self.rng.randrange(12)
        for i, _ in enumerate(self.destination.start_steps(self.guest, self.bases)):
            if i == n:
                break
        self.guest.ram.memory = source_memory

    # ---- pages

    def copy_named(self):
        """One round: take the log and what the guest wrote, and copy these pages."""
        named = (self.logs[-1].take() | self.carried) - self.blind
        self.carried = set()
        self.n_named[self.step] += len(named)
        self.n_needless += len(named - self.guest.pages_of_devices())
        written, self.guest.ram.written = self.guest.ram.written, set()
        for page in named | written:
            self.guest.ram.memory.copy_page_to(self.target, page)
            self.copied[page] = (self.step, "the log" if page in named else "the guest")

    def compare_at_rest(self):
        """A guest that waits for nothing, and a device that has nothing to do: what it writes and names
        before it falls asleep is the last."""
        self.guest.settle()
        self.step += ", at rest"
        end = time.monotonic() + REST
        pages = True
        while pages:
            assert time.monotonic() < end, self.tell_differing(pages)
            self.copy_named()
            time.sleep(NAP)
            self.copy_named()
            pages = self.guest.ram.memory.differing_pages(self.target.map)

    def compare(self):
        self.guest.check_canaries()
        pages = self.guest.ram.memory.differing_pages(self.target.map)
        assert not pages, self.tell_differing(pages)

    def tell_differing(self, pages):
        lines = [f"{len(pages)} pages differ and were not named:"]
        lines += [self.describe(page) for page in pages[:8]]
        outside = sum(log.n_outside for log in self.logs)
        lines += [f"the log named {dict(self.n_named)}, and {outside} pages that are no memory"]
        return "\n  ".join(lines)

    def describe(self, page):
        at = page * PAGE
        byte = at + first_difference(self.guest.ram.memory.map[at:at + PAGE],
                                     self.target.map[at:at + PAGE])
        when, why = self.copied.get(page, ("the first copy", "all are"))
        gpa = gpa_of(byte)
        return (f"page {gpa_of(at):#x} at {gpa:#x}, the {self.guest.ram.what_lies_at(gpa)}: "
                f"{self.guest.ram.memory.map[byte]:#x} at the source, {self.target.map[byte]:#x} "
                f"at the destination; copied last in {when} because of {why}")

    def check_positions(self):
        """Where the source says that it stopped is where what it returned ends."""
        self.guest.collect()
        for ring, base in zip(self.guest.rings, self.bases):
            assert base == ring.base(), (
                f"queue {ring.index}: the source stopped at {base:#x}, and what it returned ends "
                f"at {ring.base():#x}")
