# SPDX-License-Identifier: BSD-2-Clause
"""The oracle's own proof: it accepts a back-end that is right, and notices what is not.

The back-end is DPDK's librte_vhost. Two things that it can't do are avoided: a log that does not
begin where its file does, and packed rings with mergeable buffers of one descriptor each, where
it leaves the number of buffers unwritten.
"""
import random

import pytest

from campaign import migrate_often
from dirtylog import SIZE, DirtyLog
from memory import END, HIGH, PAGE, Memory, offset_of, page_of
from rings import U16, USED_ELEMENT, RingError
from stands import TestpmdStand
from traffic import Guest, Shape, build_frame, parse_frame

SEED = 20
RIGHT = [Shape(packed, indirect, event_idx, pairs) for pairs in (1, 4)
         for packed in (False, True) for indirect in (False, True) for event_idx in (False, True)
         if indirect or not packed]


@pytest.fixture(scope="module", params=[1, 4], ids="{}-pairs".format)
def stand(request):
    stand = TestpmdStand(request.param)
    yield stand
    stand.stop()


def shapes_for(stand):
    return [shape for shape in RIGHT if shape.pairs == stand.pairs]


def test_it_accepts_a_back_end_that_is_right(stand):
    for shape in shapes_for(stand):
        counts = migrate_often(stand, shape, SEED, 8)
        assert counts["migrations"] == 8 and counts["frames"] > 500


@pytest.mark.parametrize("kind", ["receive buffers", "used ring", "descriptor ring"])
def test_it_notices_pages_that_are_never_named(stand, kind):
    shapes = [shape for shape in shapes_for(stand)
              if kind == "receive buffers" or shape.packed == (kind == "descriptor ring")]
    for shape in shapes:
        with pytest.raises(AssertionError, match=rf"pages differ(?s:.*), the {kind} of queue"):
            migrate_often(stand, shape, SEED, 20, failing=0, blind=[kind])


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
                     (guest.rings[1].device + guest.rings[1].device_size, "gap of queue 1"),
                     (END - 1, "nothing")):
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
    log = DirtyLog(PAGE)
    assert log.is_empty() and log.take() == set()
    for gpa in (0, 7 * PAGE, 8 * PAGE, HIGH, HIGH + 2047 * PAGE, HIGH - PAGE):
        log.map[PAGE + gpa // PAGE // 8] |= 1 << gpa // PAGE % 8
    assert not log.is_empty()
    assert log.take() == {page_of(gpa) for gpa in (0, 7 * PAGE, 8 * PAGE, HIGH, HIGH + 2047 * PAGE)}
    assert log.n_outside == 1 and log.is_empty()
    log.check_canaries()
    for at in (PAGE - 1, PAGE + SIZE):
        log.map[at] ^= 1
        with pytest.raises(AssertionError, match="beside the log"):
            log.check_canaries()
        log.map[at] ^= 1
    log.close()
