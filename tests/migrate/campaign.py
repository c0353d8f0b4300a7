# SPDX-License-Identifier: BSD-2-Clause
"""Many migrations of one guest, there and back, some of which fail and are repeated."""
import random
from collections import Counter

from memory import Memory
from migration import Migration, random_plan
from traffic import Guest

UVA = (0x7f1000000000, 0x7e4200000000)
FAILING = 0.2


def migrate_often(stand, shape, seed, n, failing=FAILING, **facts):
    """Migrate `n` times, and return what happened: counts by name. Fails on the first defect.

    failing: the part of them that is meant to fail
    facts: for each Migration
    """
    rng = random.Random(seed)
    memories = [Memory(uva) for uva in UVA]
    guest = Guest(shape, memories[0], rng, stand.hurried and shape.indirect)
    counts = Counter()
    devices = [stand.device(which, shape) for which in (0, 1)]
    here, there = 0, 1
    try:
        guest.refill_before_start()
        devices[here].connect().start(guest, [ring.base() for ring in guest.rings])
        guest.run(32)
        while counts["migrations"] < n:
            plan = random_plan(rng) if rng.random() < failing else None
            migration = Migration(guest, devices[there], memories[there], stand.log_offsets, plan,
                                  **facts)
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
                here, there = there, here
            else:
                counts["failed"] += 1
                counts[plan.way] += 1
            guest.settle()
        guest.device.stop(guest, status_after=0)
        guest.collect()
        guest.check_canaries()
    finally:
        for device in devices:
            device.close()
        for memory in memories:
            memory.close()
    missed = sum(flow.n_missed for flow in guest.flows)
    assert missed * 200 <= guest.n_received, f"{missed} of {guest.n_received} frames found no buffer"
    counts["frames"], counts["lost"] = guest.n_received, guest.n_lost
    counts["missed"] = missed
    counts["plugged memory"] = guest.ram.n_plugged
    counts["returned buffers"] = sum(ring.n_returned for ring in guest.rings)
    return counts
