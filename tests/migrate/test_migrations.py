# SPDX-License-Identifier: BSD-2-Clause
"""vdpad's devices migrate guests of every kind, there and back, and name every page they write."""
import os

import pytest

from campaign import migrate_often
from stands import METHODS, VdpadStand
from traffic import Shape

# Of each of 16 kinds of guests: 576 in all, or ten times as many. A NIC that shuffles takes its time, and
# one that logs buffers only does else what one with a log does.
TIMES = 10 if os.environ.get("VDPAD_ALL") else 1
FEWER = ("relay of a shuffling NIC", "shuffling hardware log", "log of buffers")
MIGRATIONS = {method: TIMES * (4 if method in FEWER else 12) for method in METHODS}


@pytest.fixture(scope="module", params=[(method, pairs) for method in METHODS for pairs in (1, 4)],
                ids=lambda param: f"{param[0].replace(' ', '-')}-{param[1]}-pairs")
def stand(request):
    method, pairs = request.param
    stand = VdpadStand(pairs, method)
    yield stand
    stand.stop()


@pytest.mark.parametrize("event_idx", [False, True], ids=["no-event-index", "event-index"])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_guest_migrates_there_and_back(stand, packed, indirect, event_idx, seed, totals):
    shape = Shape(packed, indirect, event_idx, stand.pairs)
    # Rings are named when they stop only, so there is nothing to compare before.
    facts = {"resting": 0} if stand.method == "log of buffers" else {}
    counts = migrate_often(stand, shape, f"{seed} {stand.method} {shape}",
                           MIGRATIONS[stand.method], **facts)
    assert counts["migrations"] == MIGRATIONS[stand.method]
    totals.update(counts)


@pytest.mark.parametrize("stand", [("hardware log", 1), ("hardware log", 4)], indirect=True,
                         ids=["1-pair", "4-pairs"])
@pytest.mark.parametrize("event_idx", [False, True], ids=["no-event-index", "event-index"])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_guest_behind_an_iommu_migrates_there_and_back(stand, packed, indirect, event_idx, seed, totals):
    """The log names its pages, not its driver's; translations come, go, and are none at the destination."""
    shape = Shape(packed, indirect, event_idx, stand.pairs, iommu=True)
    n = 4 * TIMES
    counts = migrate_often(stand, shape, f"{seed} {shape}", n)
    assert counts["migrations"] == n and counts["translations"] > 100 and counts["taken back"] > 0
    totals.update(counts)
