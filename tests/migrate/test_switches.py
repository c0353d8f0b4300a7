# SPDX-License-Identifier: BSD-2-Clause
"""A guest that never pauses while its device turns from direct to relayed and back, again and again.

Each frame says which flow it is of, and its number, length and checksum; each buffer comes back once,
and no byte changes that was not a device's to write. Frames that are under way when rings stop may be
lost, as by any NIC that is stopped, but no buffer is.
"""
import os
import random
import select
import time

import pytest

from device import features_of
from dirtylog import DirtyLog
from frontend import F_LOG_ALL, NEED_REPLY, u64
from memory import Memory
from stands import VdpadStand
from traffic import Guest, Shape

# Of each of 8 devices and guests: 2000 in all.
FEW = "san" in os.environ.get("VDPAD_BUILD", "build") and not os.environ.get("VDPAD_ALL")
SWITCHES = 24 if FEW else 250
LOOKS = 10  # times that all stops and every byte is compared
UVA = 0x7f1000000000


class Switcher:
    """One guest, and its device, with a log of pages that is not always in use."""

    def __init__(self, stand, shape, seed):
        self.stand, self.rng = stand, random.Random(seed)
        self.memory = Memory(UVA)
        self.guest = Guest(shape, self.memory, self.rng, stand.hurried and shape.indirect)
        self.device = stand.device(0, shape)
        self.log = DirtyLog(self.guest.ram.regions()[-1].end)
        self.guest.refill_before_start()
        self.device.connect().start(self.guest, [ring.base() for ring in self.guest.rings])
        self.device.set_log(self.log)

    def close(self):
        self.device.close()
        self.memory.close()
        self.log.close()

    def live(self):
        """A moment of the guest's life in which frames may be lost."""
        self.guest.stopped()
        self.guest.collect()
        self.guest.refill()
        self.guest.offer_frames(self.rng.randrange(16))
        self.guest.publish()

    def switch(self, on):
        """The guest goes on while the back-end is at it."""
        if self.rng.random() < 0.5:
            self.guest.last_burst()
        features = features_of(self.guest.shape) | (F_LOG_ALL if on else 0)
        self.device.fe.send("SET_FEATURES", u64(features), flags=1 | NEED_REPLY)
        n = 0
        while not select.select([self.device.fe.sock], [], [], 0)[0]:
            self.live()
            n += 1
        assert self.device.fe.reply("SET_FEATURES") == u64(0), "SET_FEATURES was refused"
        self.guest.stopped()
        return n

    def look(self, on):
        """The device has nothing to do; as soon as it is asleep, nothing changes any more."""
        self.guest.settle()
        end = time.monotonic() + 60
        while True:
            try:
                self.guest.check_canaries()
                break
            except AssertionError:
                if time.monotonic() > end:
                    raise
        assert self.stand.vdpad.status("a")["datapath"] == ("relay" if on else "direct")
        assert on or self.log.is_empty(), "the log was written after it was turned off"

    def end(self):
        self.guest.settle()
        bases = self.device.stop(self.guest, len(self.guest.rings))
        self.guest.collect()
        for ring, base in zip(self.guest.rings, bases):
            assert base == ring.base(), f"queue {ring.index} stopped at {base:#x}, not {ring.base():#x}"
        self.guest.check_canaries()
        self.device.check_no_errors()
        self.log.check_canaries()
        assert self.log.n_outside == 0


@pytest.fixture(scope="module", params=["in-order", "shuffled"])
def make_stand(request):
    stands = {}

    def make(pairs):
        if pairs not in stands:
            method = "relay" if request.param == "in-order" else "relay of a shuffling NIC"
            stands[pairs] = VdpadStand(pairs, method)
        return stands[pairs]

    yield make
    for stand in stands.values():
        stand.stop()


@pytest.mark.parametrize("pairs, tables", [(1, True), (4, False)], ids=["1-pair", "4-pairs"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_no_buffer_is_lost_or_doubled_and_no_byte_changes(make_stand, packed, pairs, tables, seed, totals):
    stand = make_stand(pairs)
    shape = Shape(packed, tables, event_idx=not tables, pairs=pairs)
    switcher = Switcher(stand, shape, f"{seed} {shape}")
    n_during = 0
    try:
        for i in range(SWITCHES):
            on = i % 2 == 0
            n_during += switcher.switch(on)
            switcher.guest.run(switcher.rng.randrange(12))
            if not on:
                assert switcher.log.take(), "no page was logged"
            if i % (SWITCHES // LOOKS) in (0, 1):
                switcher.look(on)
        switcher.end()
        guest = switcher.guest
        totals.update({"switches": SWITCHES, "moments during them": n_during, "frames": guest.n_received,
                       "lost": guest.n_lost,
                       "returned buffers": sum(ring.n_returned for ring in guest.rings)})
        assert guest.n_received > SWITCHES
    finally:
        switcher.close()
