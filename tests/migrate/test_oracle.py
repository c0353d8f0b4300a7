# SPDX-License-Identifier: BSD-2-Clause
"""The oracle's own proof: it accepts who is right, and notices what is not.

Those who are right are DPDK's librte_vhost, with split rings, and simnic without a vdpad. (With
packed rings librte_vhost 22.11 marks the wrong pages unless the areas of a ring are neighbours, and
of the descriptors of a burst the first one only.)
"""
import random

import pytest

import migration
from campaign import migrate_often
from dirtylog import DirtyLog
from memory import HIGH, HIGH_REGION, PAGE, Memory, offset_of, page_of
from rings import U16, USED_ELEMENT, RingError
from stands import SimnicStand, TestpmdStand
from traffic import Guest, Shape, build_frame, parse_frame

SEED = 20


@pytest.fixture
def testpmd():
    """Not longer than it is needed: it never sleeps."""
    stand = TestpmdStand(pairs=2)
    yield stand
    stand.stop()


@pytest.fixture
def make_simnics():
    stands = []

    def make(pairs, *options):
        stands.append(SimnicStand(pairs, *options))
        return stands[-1]

    yield make
    for stand in stands:
        stand.stop()


@pytest.mark.parametrize("event_idx", [False, True], ids=["no-event-index", "event-index"])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
def test_it_accepts_librte_vhost(testpmd, indirect, event_idx):
    counts = migrate_often(testpmd, Shape(False, indirect, event_idx, 2), SEED, 8)
    assert counts["migrations"] == 8 and counts["frames"] > 500 and counts["named pages"] > 100


@pytest.mark.parametrize("completion, n", [("in-order", 16), ("shuffled", 4)],
                         ids=["in-order", "shuffled"])
@pytest.mark.parametrize("pairs", [1, 4], ids=["1-pair", "4-pairs"])
@pytest.mark.parametrize("event_idx", [False, True], ids=["no-event-index", "event-index"])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_simnic_names_all_that_it_writes(make_simnics, packed, indirect, event_idx, pairs,
                                         completion, n, seed):
    shape = Shape(packed, indirect, event_idx, pairs)
    stand = make_simnics(pairs, "--completion", completion)
    counts = migrate_often(stand, shape, f"{seed} {shape} {completion}", n)
    assert counts["migrations"] == n and counts["frames"] > 50 * n
    assert counts["needless ones"] == 0


@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("packed, kind", [
    (False, "receive buffers"), (False, "used ring"),
    (True, "receive buffers"), (True, "descriptor ring")])
def test_it_notices_pages_that_are_never_named(make_simnics, packed, kind, indirect, monkeypatch):
    monkeypatch.setattr(migration, "REST", 2)  # however long it waits
    for event_idx in (False, True):
        with pytest.raises(AssertionError, match=rf"pages differ(?s:.*), the {kind} of queue"):
            migrate_often(make_simnics(1), Shape(packed, indirect, event_idx), SEED, 20, failing=0,
                          blind=[kind])


# ---- its parts

@pytest.fixture
def guest():
    memory = Memory(0x7f1000000000)
    guest = Guest(Shape(), memory, random.Random(SEED))
    guest.refill_before_start()
    yield guest
    memory.close()


def test_only_what_a_device_has_may_change(guest):
    guest.check_canaries()
    chain = next(iter(guest.rings[0].chains.values()))
    gpa, size, _ = chain.pieces[0]
    memory = guest.ram.memory.map
    for at in (gpa, gpa + size - 1, guest.rings[1].device):
        memory[offset_of(at)] ^= 1
        guest.check_canaries()
    for at, kind in ((gpa - 1, "receive buffers of queue 0"),
                     (gpa + size, "receive buffers of queue 0"),
                     (guest.rings[1].driver, "available ring of queue 1"),
                     (guest.rings[1].device + guest.rings[1].device_size, "gap behind a ring"),
                     (HIGH_REGION.end - 1, "nothing")):
        memory[offset_of(at)] ^= 1
        with pytest.raises(AssertionError, match=f"{kind}.* was changed"):
            guest.check_canaries()
        memory[offset_of(at)] ^= 1


def give_back(ring, *heads):
    """What a device does."""
    for head in heads:
        at = ring.ram.get(U16, ring.device + 2)[0]
        ring.ram.put(USED_ELEMENT, ring.device + 4 + 8 * (at % ring.size), head, 20)
        ring.ram.put_u16(ring.device + 2, at + 1)


def test_a_chain_is_returned_once(guest):
    ring = guest.rings[0]
    first, second, *_ = ring.chains
    give_back(ring, first, second, first)
    assert ring.take() and ring.take()
    with pytest.raises(RingError, match=f"chain {first} was returned"):
        ring.take()


def test_only_what_was_offered_can_be_returned(guest):
    ring = guest.rings[0]
    never = next(i for i in range(ring.size) if i not in ring.chains)
    give_back(ring, never)
    with pytest.raises(RingError, match=f"chain {never} was returned"):
        ring.take()
    with pytest.raises(RingError, match="the device has 0"):
        give_back(guest.rings[1], 0)
        guest.rings[1].take()


def test_frames_arrive_whole_and_in_order(guest):
    frame = build_frame(3, 5, 200, guest.filler)
    assert parse_frame(frame) == (3, 5)
    for at in (12, 40, 199):
        damaged = bytearray(frame)
        damaged[at] ^= 1
        with pytest.raises(AssertionError):
            parse_frame(bytes(damaged))
    with pytest.raises(AssertionError):
        parse_frame(frame[:-1])
    flow = guest.flows[3]
    flow.n_sent = 6
    flow.device_stops()
    flow.n_sent = 10
    assert flow.arrived(0) == 0
    assert flow.arrived(5) == 4
    for number, what in ((5, "came twice"), (3, "too late"), (10, "never sent"), (8, "were lost")):
        with pytest.raises(AssertionError, match=what):
            flow.arrived(number)


def test_the_log_is_read_and_cleared():
    log = DirtyLog(HIGH_REGION.end, PAGE)
    assert log.is_empty() and log.take() == set()
    for gpa in (0, 7 * PAGE, 8 * PAGE, HIGH, HIGH + 2047 * PAGE, HIGH - PAGE):
        log.map[PAGE + gpa // PAGE // 8] |= 1 << gpa // PAGE % 8
    assert not log.is_empty()
    assert log.take() == {page_of(gpa) for gpa in (0, 7 * PAGE, 8 * PAGE, HIGH, HIGH + 2047 * PAGE)}
    assert log.n_outside == 1 and log.is_empty()
    log.check_canaries()
    for at in (PAGE - 1, PAGE + log.size):
        log.map[at] ^= 1
        with pytest.raises(AssertionError, match="beside the log"):
            log.check_canaries()
        log.map[at] ^= 1
    log.close()
