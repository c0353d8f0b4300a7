# SPDX-License-Identifier: BSD-2-Clause
"""IOTLB_MSG, and the misses that ask for it: guests whose driver is behind an IOMMU."""
import os
import random

import pytest
from dirty import Log
from frontend import PF, Memory, table, u64
from hostile import hostile
from iommu import (ACCESS_FAIL, BASE, F_ACCESS_PLATFORM, INVALIDATE, MISS, PAGE, READ, UPDATE, WRITE,
                   IommuGuest, iotlb)
from looks import mapped, running
from unchanged import unchanged
from waiting import wait_for


@pytest.fixture
def stand(logging_stand):
    return logging_stand


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def guest(stand, request):
    return IommuGuest(stand, packed=request.param)


def rings_run(stand, guest):
    """Without a word on the main channel but the answers."""
    guest.serve_until(lambda: all(running(stand)[:len(guest.rings)]), "rings to run")


# ---- what it is for

def test_rings_and_buffers_are_asked_for_and_frames_arrive_whole(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(100)
    guest.exchange(10, frame_size=1500)
    assert all(kind == MISS for kind, _, _ in guest.asked)
    assert not guest.hasty


def test_with_several_pairs_each_waits_for_its_own(stand):
    guest = IommuGuest(stand, pairs=2).configure()
    rings_run(stand, guest)
    guest.exchange(20)


def test_a_frame_waits_for_its_buffer_and_is_not_lost(stand, guest):
    """The guest maps each buffer anew, as its kernel does: each frame meets a miss."""
    guest.configure()
    rings_run(stand, guest)
    guest.silent = True
    for _ in range(20):
        guest.rings[0].offer(writable=2048)
    for i in range(20):
        guest.rings[1].offer(bytes(12) + b"\2\0\0\0\0\x99\x52\x54\0\0\0\1\x88\xb5" + bytes([i]) * 60)
    guest.rings[1].notify()
    guest.serve_until(lambda: guest.asked, "the first miss")
    guest.silent = False
    assert guest.tell(guest.update(guest.asked[-1][1] // PAGE * PAGE))
    for i in range(20):
        number, length = guest.serve_until(guest.rings[0].take, f"frame {i}")
        assert guest.rings[0].data(number, length)[12 + 14:] == bytes([i]) * 60


def test_what_was_taken_back_is_asked_for_again(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(3)
    buffers = {iova // PAGE for _, iova, _ in guest.asked} - {
        (BASE + at) // PAGE for ring in guest.rings for at in (ring.desc, ring.avail, ring.used)}
    assert buffers
    for page in buffers:
        assert guest.tell(iotlb(INVALIDATE, page * PAGE))
    guest.asked.clear()
    guest.exchange(64)  # each slot once more
    assert buffers <= {iova // PAGE for _, iova, _ in guest.asked}


@hostile(240)
def test_an_invalidated_page_is_not_written_any_more(stand, guest):
    """The answer comes when the device uses nothing of it."""
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(1)
    ring = guest.rings[0]
    slot = ring.slot(ring.next_avail % ring.size)
    page = slot // PAGE * PAGE
    assert guest.tell(iotlb(INVALIDATE, BASE + page))
    before = guest.view.map[page:page + PAGE]
    guest.silent = True
    ring.offer(writable=2048)
    guest.rings[1].offer(bytes(12) + b"\2\0\0\0\0\x99\x52\x54\0\0\0\1\x88\xb5" + b"\xee" * 60)
    guest.rings[1].notify()
    guest.serve_until(guest.rings[1].take, "the frame to be sent")
    guest.serve_until(lambda: (MISS, BASE + slot, WRITE) in guest.asked, "the miss")
    assert guest.view.map[page:page + PAGE] == before
    guest.silent = False
    assert guest.tell(guest.update(BASE + page))
    number, length = guest.serve_until(ring.take, "the frame to come back")
    assert ring.data(number, length)[26:] == b"\xee" * 60


def test_a_ring_whose_page_is_taken_back_stands_still_until_it_is_there_again(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(5)
    guest.silent = True
    assert guest.tell(iotlb(INVALIDATE, BASE + guest.rings[1].used // PAGE * PAGE))
    assert running(stand)[:2] == [1, 0]
    guest.serve_until(lambda: guest.asked[-1][1] // PAGE == (BASE + guest.rings[1].used) // PAGE,
                      "the ring's page to be asked for")
    guest.silent = False
    assert guest.tell(guest.update(BASE + guest.rings[1].used // PAGE * PAGE))
    rings_run(stand, guest)
    guest.exchange(5)


@hostile(120)
def test_a_page_of_a_ring_that_moves_takes_the_ring_along(stand, guest):
    """Replaced at once: the ring goes on in the other page, which has the same bytes."""
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(5)
    place = guest.rings[0].used // PAGE
    pages = guest.view.map.pages
    other = pages.index(pages[-1])
    data = guest.view.map[place * PAGE:place * PAGE + PAGE]
    pages[place], pages[other] = pages[other], pages[place]
    guest.view.map[place * PAGE:place * PAGE + PAGE] = data
    assert guest.tell(guest.update(BASE + place * PAGE))
    rings_run(stand, guest)
    guest.exchange(5)


@hostile(123)
def test_everything_may_be_taken_back_at_once(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    for size in (2 ** 64 - 1, 2 ** 64 - BASE, 2 ** 64 - 1 - BASE):
        guest.exchange(2)
        assert guest.tell(iotlb(INVALIDATE, BASE if size != 2 ** 64 - 1 else 0, size))
        assert not any(running(stand))
        guest.serve(1)
        rings_run(stand, guest)
    guest.exchange(5)


def test_positions_are_right_at_the_end(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(7)
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()


def test_a_queue_that_waits_can_be_stopped(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(2)
    guest.silent = True
    assert guest.tell(iotlb(INVALIDATE, BASE + guest.rings[1].buffers, 1 << 18))
    guest.rings[1].offer(bytes(12) + bytes(60))
    guest.rings[1].notify()
    before = len(guest.asked)
    guest.serve_until(lambda: len(guest.asked) > before, "the miss")
    position = guest.rings[1].position()
    assert guest.fe.vring_base(1) == position


@pytest.mark.parametrize("how", ["GET_VRING_BASE", "SET_STATUS", "RESET_DEVICE"])
def test_translations_end_with_the_last_ring(stand, guest, how):
    """What a guest takes back afterwards no front-end tells."""
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(3)
    if how == "GET_VRING_BASE":
        assert guest.fe.vring_base(0) == guest.rings[0].position()
        assert guest.fe.vring_base(1) == guest.rings[1].position()
    else:
        guest.fe.accepted(how, u64(0) if how == "SET_STATUS" else b"")
    guest.asked.clear()
    for ring in guest.rings:
        ring.base = ring.position()
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    assert not any(running(stand))
    rings_run(stand, guest)
    guest.exchange(3)


# ---- the page's own way: crashes, memory, migration

def test_a_new_worker_asks_for_what_a_queue_waits_for(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(2)
    guest.silent = True
    assert guest.tell(iotlb(INVALIDATE, BASE + guest.rings[1].buffers, 1 << 18))
    guest.rings[1].offer(bytes(12) + b"\2\0\0\0\0\x99\x52\x54\0\0\0\1\x88\xb5" + bytes(60))
    guest.rings[1].notify()
    before = len(guest.asked)
    guest.serve_until(lambda: len(guest.asked) > before, "the miss")
    guest.silent = False
    stand.shim.restart()
    guest.rings[0].offer(writable=2048)
    guest.serve_until(guest.rings[1].take, "the frame to be sent")
    guest.serve_until(guest.rings[0].take, "the frame to come back")
    guest.exchange(5)


def test_a_new_worker_knows_rings_that_run_without_asking(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(2)
    stand.shim.restart()
    guest.exchange(2)
    assert guest.tell(iotlb(INVALIDATE, BASE + guest.rings[0].used // PAGE * PAGE))
    assert running(stand)[:2] == [0, 1]
    guest.serve(1)
    rings_run(stand, guest)
    guest.exchange(2)


@pytest.mark.parametrize("own_nic_stand", [True], indirect=True, ids=["marks"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_where_a_lost_device_stood_a_worker_knows_that_never_translated(own_nic_stand, packed):
    guest = IommuGuest(own_nic_stand, packed=packed)
    guest.pf &= ~(1 << PF["CONFIG"])  # nothing but questions on the channel
    guest.configure()
    rings_run(own_nic_stand, guest)
    guest.exchange(5)
    own_nic_stand.shim.restart()
    own_nic_stand.replace_device()
    assert "nobody knows where it stood" not in own_nic_stand.shim.log()
    rings_run(own_nic_stand, guest)
    guest.exchange(5)
    assert [guest.fe.vring_base(ring.index) for ring in guest.rings] == [
        ring.position() for ring in guest.rings]


@pytest.mark.parametrize("own_nic_stand", [True], indirect=True, ids=["marks"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_what_a_lost_device_may_not_have_marked_is(own_nic_stand, packed):
    """The areas of its rings, in the guest's pages; before anything runs again."""
    guest = IommuGuest(own_nic_stand, packed=packed)
    guest.pf &= ~(1 << PF["CONFIG"])
    guest.configure()
    rings_run(own_nic_stand, guest)
    log = Log(guest)
    guest.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])
    guest.log_all()
    guest.exchange()
    own_nic_stand.shim.restart()
    os.pwrite(log.fd, bytes(log.size), 0)
    own_nic_stand.replace_device()
    at = [BASE + (ring.desc if packed else ring.used) for ring in guest.rings]
    assert {guest.memory.gpa + guest.uva(iova) - guest.memory.uva >> 12 for iova in at} <= log.marked()
    os.close(log.fd)


def test_memory_that_changes_makes_translations_void(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(2)
    guest.memory.uva += 1 << 32
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
    assert not any(running(stand))
    guest.serve(1)
    rings_run(stand, guest)
    guest.exchange(5)


@pytest.mark.parametrize("own_nic_stand", [dict(dirty_log=True, misbehaves=True)], indirect=True, ids=["refuses"])
def test_memory_that_is_refused_leaves_a_device_that_asks_anew(own_nic_stand):
    """What goes is not where the rings are; all translations end with it, and then it stays."""
    stand = own_nic_stand
    guest = IommuGuest(stand).configure()
    more, other = Memory(1 << 20, gpa=0x80000000), Memory(1 << 20, gpa=0x90000000)
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory, more), [guest.memory.fd, more.fd])
    rings_run(stand, guest)
    guest.exchange(2)
    stand.order("fail", command="MAP", errno=22)
    guest.fe.refused("SET_MEM_TABLE", table(guest.memory, other), [guest.memory.fd, other.fd])
    assert len(mapped(stand)) == 2
    rings_run(stand, guest)
    guest.exchange(2)
    more.close()
    other.close()


def test_the_log_has_the_pages_where_they_are(stand, guest):
    """By the guest's addresses, not the driver's; the log address is one of the driver's."""
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(1)
    log = Log(guest)
    guest.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])
    guest.log_all()
    for ring in guest.rings:
        guest.fe.accepted("SET_VRING_ADDR", ring.addr(flags=1, log=BASE + ring.used))
    before = bytes(guest.memory.map[:])
    guest.exchange(40)
    for ring in guest.rings:
        guest.fe.vring_base(ring.index)
    marked = {page - guest.memory.gpa // PAGE for page in log.marked()}
    after = bytes(guest.memory.map[:])
    changed = {at // PAGE for at in range(0, len(after), PAGE) if after[at:at + PAGE] != before[at:at + PAGE]}
    mine = {guest.view.map.pages[at // PAGE] for ring in guest.rings for at in (ring.desc, ring.avail)}
    mine |= {guest.view.map.pages[(guest.rings[1].buffers + at) // PAGE] for at in range(0, 64 * 2048, PAGE)}
    written = {guest.view.map.pages[guest.rings[i].used // PAGE] for i in (0, 1) if not guest.packed}
    written |= {guest.view.map.pages[guest.rings[0].slot(i) // PAGE] for i in range(40)}
    assert written <= changed
    assert changed - mine <= marked
    assert not guest.packed or {guest.view.map.pages[ring.desc // PAGE] for ring in guest.rings} <= marked
    os.close(log.fd)


# ---- what is refused

@hostile(115)
def test_nothing_is_translated_that_was_not_accepted(stand):
    guest = IommuGuest(stand)
    guest.features &= ~F_ACCESS_PLATFORM
    guest.fe.negotiate()
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    with unchanged(stand.shim):
        assert not guest.tell(iotlb(INVALIDATE, 0))


def test_a_device_that_may_need_a_relay_does_not_offer_it(make_stand, shuffled_stand):
    """A relay would have to log pages by addresses that it does not know."""
    for stand in (make_stand(), shuffled_stand):
        fe = stand.front_end()
        assert not fe.features & F_ACCESS_PLATFORM
        fe.refused("SET_FEATURES", u64(1 << 32 | 1 << 30 | F_ACCESS_PLATFORM))


END = 2 ** 64
NONSENSE = {
    "no size": dict(size=0),
    "address wraps": dict(iova=END - PAGE, size=2 * PAGE),
    "front-end's address wraps": dict(uva=END - 1, size=2),
    "not in memory": dict(uva=0x1000),
    "half beyond memory": dict(size=64 << 20),
    "no permission": dict(perm=0),
    "unknown permission": dict(perm=4),
    "all permissions": dict(perm=255),
}


@hostile(116, 117)
@pytest.mark.parametrize("what", NONSENSE)
def test_an_update_that_makes_no_sense_is_refused(stand, what):
    guest = IommuGuest(stand).configure()
    facts = dict(kind=UPDATE, iova=BASE, uva=guest.memory.uva) | NONSENSE[what]
    with unchanged(stand.shim):
        assert not guest.tell(iotlb(**facts))


@hostile(117)
@pytest.mark.parametrize("kind", [0, MISS, ACCESS_FAIL, 5, 6, 255])
def test_a_type_that_is_not_the_front_end_s_is_refused(stand, kind):
    guest = IommuGuest(stand).configure()
    with unchanged(stand.shim):
        assert not guest.tell(iotlb(kind, BASE, uva=guest.memory.uva))


@pytest.mark.parametrize("size", [0, 25, 27, 31, 33, 40])
def test_other_sizes_are_refused(stand, size):
    guest = IommuGuest(stand).configure()
    payload = (iotlb(UPDATE, BASE, uva=guest.memory.uva) + bytes(20))[:size]
    with unchanged(stand.shim):
        assert not guest.tell(payload)


def test_the_short_form_is_taken(stand):
    guest = IommuGuest(stand).configure()
    assert guest.tell(iotlb(UPDATE, BASE, uva=guest.memory.uva, tail=b""))


@hostile(123)
def test_to_take_back_what_was_never_there_is_fine(stand, guest):
    guest.configure()
    assert guest.tell(iotlb(INVALIDATE, 0x1234, 0x777777))
    assert not guest.tell(iotlb(INVALIDATE, 0x1234, 0))


@hostile(121)
@pytest.mark.parametrize("where", ["buffer", "used ring"])
def test_an_access_that_is_not_permitted_is_told_and_stops_that_queue(stand, guest, where):
    guest.configure()
    guest.perm = READ if where == "used ring" else READ | WRITE
    if where == "used ring":
        guest.serve(2)
        assert not any(running(stand)[:2])  # never begins: the answer does not do
        return
    rings_run(stand, guest)
    ring = guest.rings[0]
    page = BASE + ring.buffers // PAGE * PAGE
    for i in range(32):
        assert guest.tell(guest.update(page + i * PAGE, perm=READ))
    before = guest.view.map[ring.buffers:ring.buffers + 64 * 2048]
    ring.offer(writable=2048)
    guest.rings[1].offer(bytes(12) + b"\2\0\0\0\0\x99\x52\x54\0\0\0\1\x88\xb5" + b"\xee" * 60)
    guest.rings[1].notify()
    guest.serve_until(lambda: any(kind == ACCESS_FAIL for kind, _, _ in guest.asked), "the news")
    assert (ACCESS_FAIL, BASE + ring.slot(0), WRITE) in guest.asked
    wait_for(lambda: stand.shim.has_event("queue error"), "the queue's end")
    assert guest.view.map[ring.buffers:ring.buffers + 64 * 2048] == before
    assert running(stand)[1] == 1


# ---- hostile

@hostile(122)
def test_a_front_end_that_never_answers_is_asked_some_times_and_served_meanwhile(stand, guest):
    guest.silent = True
    guest.configure()
    wait_for(lambda: guest.serve(0.1) and False or len(guest.asked) >= 6, "to be asked again", 60)
    guest.fe.accepted("SET_OWNER")
    wait_for(lambda: guest.serve(0.1) and False or "does not translate" in stand.shim.log(),
             "the end of patience", 60)
    assert max(guest.asked.count(one) for one in guest.asked) == 10
    guest.silent = False
    for ring in guest.rings:
        for at in (ring.desc, ring.avail, ring.used):
            assert guest.tell(guest.update(BASE + at // PAGE * PAGE))
    rings_run(stand, guest)
    guest.exchange(3)


@hostile(241)
def test_a_front_end_without_a_channel_is_served_what_it_tells_unasked(stand, guest):
    guest.fe.negotiate(guest.pf)
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    assert "no channel to ask" in stand.shim.log()
    for page in range(guest.memory.size // PAGE):
        assert guest.tell(guest.update(BASE + page * PAGE))
    assert running(stand)[:2] == [1, 1]
    guest.exchange(3)


@hostile(118)
def test_many_updates_leave_the_newest_and_those_of_rings(stand, guest):
    guest.configure()
    rings_run(stand, guest)
    guest.exchange(2)
    random.seed(1)
    for _ in range(6000):
        page = random.randrange(1 << 30)
        assert guest.tell(iotlb(UPDATE, page * PAGE, uva=guest.memory.uva))
    guest.exchange(70)
    assert running(stand)[:2] == [1, 1]


@hostile(122)
def test_updates_and_misses_that_cross_do_no_harm(stand, guest):
    """Answers that come late, twice, or for something else; pages that go as they are asked for."""
    guest.configure()
    rings_run(stand, guest)
    random.seed(2)
    for i in range(60):
        page = BASE + random.choice([guest.rings[0].buffers, guest.rings[1].buffers]) // PAGE * PAGE
        page += random.randrange(32) * PAGE
        if i % 2:
            assert guest.tell(iotlb(INVALIDATE, page, random.choice([1, PAGE, 3 * PAGE])))
        assert guest.tell(guest.update(page))
        guest.exchange(1)
