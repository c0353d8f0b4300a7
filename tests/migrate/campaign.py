# SPDX-License-Identifier: BSD-2-Clause
"""Many migrations of one guest, there and back, some of which fail and are repeated."""
import random
from collections import Counter

from memory import Memory
from migration import Migration, random_plan
from traffic import Guest

UVA = (0x7f1000000000, 0x7e4200000000)
FAILING = 0.2


class Journey:
    """A guest, and the two devices that it goes to and fro between; a context."""

    def __init__(self, stand, shape, rng):
        self.memories = [Memory(uva) for uva in UVA]
        self.guest = Guest(shape, self.memories[0], rng,
                           stand.patient or (stand.hurried and shape.indirect), stand.patient)
        self.devices = [stand.device(which, shape) for which in (0, 1)]
        self.here, self.there = 0, 1

    def __enter__(self):
        try:
            self.guest.refill_before_start()
            self.devices[0].connect().start(self.guest, [ring.base() for ring in self.guest.rings])
            self.guest.run(32)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.guest.device.stop(self.guest, status_after=0)
                self.guest.collect()
                self.guest.check_canaries()
        finally:
            self._close()

    def _close(self):
        for thing in (*self.devices, *self.memories):
            thing.close()

    def destination(self):
        """Device and memory that the guest is to go to."""
        return self.devices[self.there], self.memories[self.there]

    def went(self):
        self.here, self.there = self.there, self.here


def migrate_often(stand, shape, seed, n, failing=FAILING, **facts):
    """Migrate `n` times, and return what happened: counts by name. Fails on the first defect.

    failing: the part of them that is meant to fail
    facts: for each Migration
    """
    rng = random.Random(seed)
    counts = Counter()
    with Journey(stand, shape, rng) as journey:
        guest = journey.guest
        while counts["migrations"] < n:
            plan = random_plan(rng) if rng.random() < failing else None
            migration = Migration(guest, *journey.destination(), stand.log_offsets, plan, **facts)
            try:
                through = migration.run()
            except Exception as error:
                raise AssertionError(
                    f"{shape}, seed {seed}, migration {counts['migrations'] + 1}"
                    f"{f' ({plan})' if plan else ''}, {migration.step}: {error}") from error
            counts["migrations"] += 1
            counts["named pages"] += sum(migration.n_named.values())
            counts["needless ones"] += migration.n_needless
            if through:
                journey.went()
            else:
                counts["failed"] += 1
                counts[plan.way] += 1
            guest.settle()
    missed = sum(flow.n_missed for flow in guest.flows)
    assert stand.patient or missed * 200 <= guest.n_received, (
        f"{missed} of {guest.n_received} frames found no buffer")
    counts["frames"], counts["lost"] = guest.n_received, guest.n_lost
    counts["missed"] = missed
    counts["plugged memory"] = guest.ram.n_plugged
    for device in journey.devices:
        counts.update(getattr(device, "counts", {}))
    counts["returned buffers"] = sum(ring.n_returned for ring in guest.rings)
    return counts
