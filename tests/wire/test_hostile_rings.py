# SPDX-License-Identifier: BSD-2-Clause
"""Rings at places where none can be, and rings that are handled in an unusual way."""
import os
import select
import struct
import threading

import pytest
from frontend import F_EVENT_IDX, Memory, Ring, eventfd, state, table, u64
from hostile import hostile
from looks import running
from waiting import wait_for


def set_up(guest, changed=None):
    """All messages; @changed has (name, ring): payload."""
    guest.fe.negotiate()
    for name, payload, fds in guest.setup_steps():
        ring = struct.unpack_from("=I", payload)[0] if len(payload) >= 4 else None
        guest.fe.accepted(name, (changed or {}).get((name, ring), payload), fds)


@hostile(58)
def test_a_size_that_is_said_again_and_again_costs_no_memory(stand, fe):
    for _ in range(200):
        fe.raw(fe.message("SET_VRING_NUM", state(0, 256)) * 200)
        fe.accepted("SET_VRING_NUM", state(0, 128))
    assert stand.shim.dump()["device"]["rings"][0]["size"] == 128


@hostile(62)
@pytest.mark.parametrize("base", [65, 1000, 0x8000, 0xffff - 65])
def test_a_position_too_far_from_the_ring_is_told_to_its_guest(stand, base):
    guest = stand.guest()
    set_up(guest, {("SET_VRING_BASE", 0): state(0, base)})
    assert running(stand)[:2] == [0, 1]
    assert select.select([guest.rings[0].err], [], [], 20)[0]
    guest.transmit()


@hostile(64)
@pytest.mark.parametrize("beyond", [0, 1, 2, 15, 16, 100])
@pytest.mark.parametrize("area", ["desc", "avail", "used"])
@pytest.mark.parametrize("event_idx", [False, True], ids=["no-event-index", "event-index"])
def test_a_ring_may_end_where_its_region_ends_and_no_byte_later(stand, event_idx, area, beyond):
    """Without the event index there is nothing behind the entries."""
    guest = stand.guest(extra=F_EVENT_IDX if event_idx else 0)
    ring = guest.rings[0]
    head = 6 if event_idx else 4
    size = {"desc": 16 * ring.size, "avail": head + 2 * ring.size, "used": head + 8 * ring.size}[area]
    align = {"desc": 16, "avail": 2, "used": 4}[area]
    at = guest.memory.size - size
    at -= at % align
    setattr(ring, area, at + (beyond + align - 1) // align * align)
    set_up(guest)
    fits = getattr(ring, area) + size <= guest.memory.size
    assert fits == (beyond == 0 or getattr(ring, area) == at) and running(stand)[:2] == [int(fits), 1]


@hostile(65)
def test_a_ring_across_two_regions_that_touch_never_runs(stand):
    guest = stand.guest()
    ring = guest.rings[0]
    half = guest.memory.size // 2
    ring.desc = half - 16 * 8
    low = struct.pack("=QQQQ", guest.memory.gpa, half, guest.memory.uva, 0)
    high = struct.pack("=QQQQ", guest.memory.gpa + half, half, guest.memory.uva + half, half)
    guest.fe.negotiate()
    for name, payload, fds in guest.setup_steps():
        if name == "SET_MEM_TABLE":
            payload, fds = struct.pack("=II", 2, 0) + low + high, fds * 2
        guest.fe.accepted(name, payload, fds)
    assert running(stand)[:2] == [0, 1]
    guest.transmit(3)


@hostile(67)
@pytest.mark.parametrize("how", ["areas", "rings"])
def test_areas_that_overlap_harm_nobody_but_their_guest(stand, how):
    guest = stand.guest()
    first, second = guest.rings
    if how == "areas":
        first.avail = first.used = first.desc
    else:
        second.desc, second.avail, second.used = first.desc, first.avail, first.used
    set_up(guest)
    for i in range(200):
        for ring in guest.rings:
            ring.offer(**({"writable": 2048} if i % 2 else {"data": bytes(100)}))
            ring.notify()
    stand.shim.dump()


@hostile(68)
def test_guest_addresses_are_not_the_front_end_s(stand):
    guest = stand.guest()
    ring = guest.rings[0]
    base = guest.memory.gpa
    addr = struct.pack("=IIQQQQ", 0, 0, base + ring.desc, base + ring.used, base + ring.avail, 0)
    set_up(guest, {("SET_VRING_ADDR", 0): addr})
    assert running(stand)[:2] == [0, 1]


@hostile(170)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_buffers_at_the_front_end_s_addresses_are_not_in_the_guest_s_memory(stand, packed):
    guest = stand.guest(packed=packed).setup()
    ring = guest.rings[1]
    guest.memory.gpa, right = guest.memory.uva, guest.memory.gpa
    ring.offer(bytes(100))
    guest.memory.gpa = right
    ring.notify()
    wait_for(lambda: stand.shim.dump()["device"]["rings"][1]["failed"], "the failure")


@hostile(73)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_nothing_of_a_ring_changes_after_its_position_was_told(stand, packed):
    """Frames arrive all the time, from its own transmit ring."""
    guest = stand.guest(packed=packed).setup()
    receive, transmit = guest.rings
    frame = bytes(12) + b"\2\0\0\0\0\x99" + guest.mac + b"\x88\xb5" + bytes(80)
    for _ in range(10):
        for _ in range(40):
            receive.offer(writable=2048)
            transmit.offer(frame)
        receive.notify()
        transmit.notify()
        base = guest.fe.vring_base(0)
        before = guest.memory.map[receive.desc:transmit.desc]
        for _ in range(40):
            transmit.wait()
        assert guest.memory.map[receive.desc:transmit.desc] == before
        while receive.take():
            pass
        assert base == receive.position()
        receive.next_avail = receive.next_used
        receive.avail_wrap = receive.used_wrap
        if packed:
            guest.memory.map[receive.desc:receive.desc + 16 * receive.size] = bytes(16 * receive.size)
            receive.next_avail = receive.next_used = 0
            receive.avail_wrap = receive.used_wrap = True
            base = 0x80008000
        else:
            receive._put("=H", receive.avail + 2, receive.next_avail)
        guest.fe.accepted("SET_VRING_BASE", state(0, base))
        guest.fe.accepted("SET_VRING_KICK", u64(0), [receive.kick])
        guest.fe.accepted("SET_VRING_CALL", u64(0), [receive.call])
    guest.exchange(3)


@hostile(74)
def test_the_position_of_one_ring_stops_no_other_one(stand):
    guest = stand.guest(pairs=2).setup()
    guest.fe.vring_base(0)
    assert running(stand) == [0, 1, 1, 1]
    for tx in (1, 3):
        guest.transmit(5, tx=tx)


@hostile(75)
def test_a_ring_that_is_put_on_and_off_is_in_its_last_state(stand):
    guest = stand.guest().setup()
    for i in range(1000):
        guest.fe.raw(guest.fe.message("SET_VRING_ENABLE", state(1, i % 2)))
    guest.fe.accepted("SET_VRING_ENABLE", state(1, 1))
    guest.exchange(5)
    guest.fe.accepted("SET_VRING_ENABLE", state(1, 0))
    assert running(stand)[:2] == [1, 0]


@hostile(76)
def test_call_descriptors_that_are_replaced_under_traffic_lose_no_signal(stand):
    guest = stand.guest().setup()
    ended = threading.Event()

    def traffic():
        while not ended.is_set():
            guest.exchange(1)

    thread = threading.Thread(target=traffic)
    thread.start()
    for _ in range(300):
        for ring in (0, 1):
            fd = eventfd()
            guest.fe.accepted("SET_VRING_CALL", u64(ring), [fd])
            os.close(fd)
    ended.set()
    thread.join()
    last = [eventfd(), eventfd()]
    for ring in (0, 1):
        guest.fe.accepted("SET_VRING_CALL", u64(ring), [last[ring]])
        os.eventfd_read(last[ring])
    guest.exchange(1)
    for fd in last:
        assert select.select([fd], [], [], 20)[0]
        os.close(fd)


@hostile(80)
@pytest.mark.parametrize("there", [{1}, {3}, {0, 3}, {1, 2}, {0, 1, 2}])
def test_rings_that_are_complete_run_and_no_others(stand, there):
    guest = stand.guest(pairs=2)
    guest.fe.negotiate()
    for name, payload, fds in guest.setup_steps():
        if name.startswith("SET_VRING") and payload[0] not in there:
            continue
        guest.fe.accepted(name, payload, fds)
    assert {i for i, runs in enumerate(running(stand)) if runs} == there
    for tx in there & {1, 3}:
        guest.transmit(2, tx=tx)


@hostile(207)
def test_a_ring_in_memory_that_is_taken_away_and_given_back_without_end(stand):
    guest = stand.guest().setup()
    other = Memory(1 << 20, gpa=0x80000000)
    for _ in range(100):
        guest.fe.accepted("SET_MEM_TABLE", table(other), [other.fd])
        guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
    guest.exchange(5)
    other.close()


@hostile(208)
def test_a_packed_ring_of_a_split_ring_s_bytes_is_survived(stand):
    """The guest's driver and the device do not mean the same."""
    guest = stand.guest(packed=True)
    split = [Ring(guest.memory, i, (1 << 20) * i) for i in range(2)]
    for ring in split:
        for _ in range(32):
            ring.offer(**({"writable": 2048} if ring.index == 0 else {"data": bytes(100)}))
    guest.setup()
    for ring in guest.rings:
        ring.notify()
    stand.shim.dump()
    for ring in split:
        ring.close()
