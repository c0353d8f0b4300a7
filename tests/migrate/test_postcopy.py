# SPDX-License-Identifier: BSD-2-Clause
"""Guests of every kind arrive at vdpad's devices by postcopy, one after the other."""
import os
import random
import signal
from collections import Counter

import pytest

from campaign import Journey
from postcopy import Postcopy
from stands import VdpadStand
from traffic import Shape
from waiting import wait_for, waits_for_events

MIGRATIONS = 4
PAIRS_BEHIND_IOMMU = (1, 4) if os.environ.get("VDPAD_ALL") else (1,)


@pytest.fixture(scope="module", params=[(method, pairs) for method in ("relay", "hardware log")
                                        for pairs in (1, 4)],
                ids=lambda param: f"{param[0].replace(' ', '-')}-{param[1]}-pairs")
def stand(request):
    method, pairs = request.param
    stand = VdpadStand(pairs, method)
    yield stand
    stand.stop()


def kill_worker(stand, which, front_end):
    """It is replaced, and neither guest nor front-end notices. Not while it answers a message: then nobody would
    know whether the answer had come, and the connection would end."""
    name = "ab"[which]
    pid = stand.vdpad.worker_pid(name)
    with front_end.together():
        wait_for(lambda: waits_for_events(pid), "the worker to be done")
        os.kill(pid, signal.SIGKILL)
    stand.vdpad.wait_status(name, lambda status: status["worker_pid"] not in (0, None, pid))


def arrive_often(stand, shape, seed, n, events):
    counts = Counter()
    with Journey(stand, shape, random.Random(seed)) as journey:
        guest = journey.guest
        for i in range(n):
            migration = Postcopy(guest, *journey.destination(), stand.log_offsets,
                                 events(journey.there)[:i])
            try:
                migration.run()
            except Exception as error:
                raise AssertionError(f"{shape}, seed {seed}, migration {i + 1}, {migration.step}: "
                                     f"{error!r}\n{stand.vdpad.log_text()[-3000:]}") from error
            counts.update(migration.report)
            journey.went()
            guest.settle()
    counts["frames"] = guest.n_received
    return counts


@pytest.mark.parametrize("event_idx", [False, True], ids=["no-event-index", "event-index"])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_guest_arrives_by_postcopy(stand, packed, indirect, event_idx, seed, totals):
    arrives(stand, Shape(packed, indirect, event_idx, stand.pairs), seed, totals)


@pytest.mark.parametrize("stand", [("hardware log", n) for n in PAIRS_BEHIND_IOMMU], indirect=True,
                         ids=[f"{n}-pairs" for n in PAIRS_BEHIND_IOMMU])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_guest_behind_an_iommu_arrives_by_postcopy(stand, packed, indirect, seed, totals):
    arrives(stand, Shape(packed, indirect, True, stand.pairs, iommu=True), seed, totals)


def arrives(stand, shape, seed, totals):
    packed, indirect = shape.packed, shape.indirect

    def events(which):
        if indirect != packed:  # not each time: after 6 deaths in 10 s a worker is given up
            return (Postcopy.restart, Postcopy.pause,
                    lambda migration: kill_worker(stand, which, migration.destination.fe))
        return (Postcopy.pause, Postcopy.restart)

    counts = arrive_often(stand, shape, f"{seed} {stand.method} {shape}", MIGRATIONS, events)
    assert counts["device asked"] > 0 and counts["frames"] > 100
    totals.update({f"postcopy: {what}": n for what, n in counts.items()})
