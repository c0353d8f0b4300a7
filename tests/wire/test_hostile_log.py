# SPDX-License-Identifier: BSD-2-Clause
"""The dirty log and the inflight area: files of the front-end's."""
import os
import threading

import pytest
from frontend import table, u64
from hostile import hostile
from inflight_area import AREA, SIZE, get_area, part_size
from test_set_log_base import Log, answer, log_all
from waiting import wait_for

PAGE = 4096


def logging(guest):
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    log_all(guest)
    guest.exchange(2)
    return log


@hostile(106)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("own_nic_stand", [False, True], ids=["relay", "device"], indirect=True)
def test_a_log_that_is_cut_short_fails_its_device_whoever_marks(own_nic_stand, packed):
    stand = own_nic_stand
    guest = stand.guest(packed=packed).setup()
    log = logging(guest)
    os.ftruncate(log.fd, 0)
    guest.rings[0].offer(writable=2048)
    guest.rings[1].offer(bytes(12) + b"\2\0\0\0\0\x99" + guest.mac + b"\x88\xb5" + bytes(80))
    for ring in guest.rings:
        ring.notify()
    wait_for(lambda: stand.shim.dump()["device"]["failed"], "the failure")
    os.close(log.fd)


@hostile(106)
@pytest.mark.parametrize("own_nic_stand", [False, True], ids=["relay", "device"], indirect=True)
@pytest.mark.parametrize("name", ["GET_VRING_BASE", "SET_STATUS", "SET_FEATURES", "SET_LOG_BASE", "close"])
def test_a_log_that_is_cut_short_before_a_message_harms_nobody(own_nic_stand, name):
    guest = own_nic_stand.guest().setup()
    log = logging(guest)
    os.ftruncate(log.fd, 0)
    payload = {"GET_VRING_BASE": bytes(8), "SET_STATUS": u64(0), "SET_FEATURES": u64(guest.features),
               "SET_LOG_BASE": log.payload(), "close": None}[name]
    if payload is not None:
        guest.fe.send(name, payload, [log.fd] if name == "SET_LOG_BASE" else [], flags=9)
        guest.fe.reply(name)
    os.close(log.fd)


@hostile(108)
def test_after_another_log_was_taken_the_old_one_does_not_change(stand):
    guest = stand.guest().setup()
    log = logging(guest)
    ended = threading.Event()

    def traffic():
        while not ended.is_set():
            guest.exchange(1)

    thread = threading.Thread(target=traffic)
    thread.start()
    for _ in range(30):
        other = Log(guest)
        assert answer(guest.fe, other) == 0
        os.pwrite(log.fd, bytes(log.size), log.offset)
        wait_for(lambda: other.marked(), "marks in the new one")
        assert not log.marked()
        os.close(log.fd)
        log = other
    ended.set()
    thread.join()
    os.close(log.fd)


@hostile(110)
@pytest.mark.parametrize("at", [0, 1, 100, PAGE - 1, PAGE - 4, 5 * PAGE + 7])
def test_a_log_address_in_a_page_marks_the_pages_of_its_bytes(stand, at):
    guest = stand.guest().setup()
    log = logging(guest)
    ring = guest.rings[1]
    guest.fe.accepted("SET_VRING_ADDR", ring.addr(1, at))
    os.pwrite(log.fd, bytes(log.size), log.offset)
    guest.exchange(2)
    guest.fe.vring_base(1)
    first = guest.memory.gpa >> 12
    below = {page for page in log.marked() if page < first}
    used = 6 + 8 * ring.size
    assert below and below <= set(range(at // PAGE, (at + used - 1) // PAGE + 1))
    os.close(log.fd)


@hostile(114)
@pytest.mark.parametrize("own_nic_stand", [False, True], ids=["relay", "device"], indirect=True)
def test_all_marks_are_there_when_a_ring_s_end_is_told(own_nic_stand):
    """Memory is compared before the answer and after it: what differs is marked."""
    guest = own_nic_stand.guest().setup()
    log = logging(guest)
    for _ in range(20):
        os.pwrite(log.fd, bytes(log.size), log.offset)
        before = bytes(guest.memory.map)  # what the NIC writes in between is marked and no change
        receive, transmit = guest.rings
        for _ in range(16):
            receive.offer(writable=2048)
            transmit.offer(bytes(12) + b"\2\0\0\0\0\x99" + guest.mac + b"\x88\xb5" + os.urandom(80))
        ours = set()
        for ring in guest.rings:
            ours |= {(guest.memory.gpa + at) >> 12 for at in range(ring.desc, ring.used, 1024)}
        ours |= {(guest.memory.gpa + transmit.slot(i)) >> 12 for i in range(transmit.size)}
        receive.notify()
        transmit.notify()
        bases = [guest.fe.vring_base(ring.index) for ring in guest.rings]
        marked = log.marked()
        changed = {(guest.memory.gpa + at) >> 12 for at in range(0, guest.memory.size, PAGE)
                   if guest.memory.map[at:at + PAGE] != before[at:at + PAGE]}
        assert changed - ours <= marked
        for ring, base in zip(guest.rings, bases):
            while ring.take():
                pass
            ring.next_avail = ring.next_used
            ring._put("=H", ring.avail + 2, ring.next_avail)
            guest.fe.accepted("SET_VRING_BASE", ring.index.to_bytes(4, "little") + base.to_bytes(4, "little"))
            guest.fe.accepted("SET_VRING_KICK", u64(ring.index), [ring.kick])
            guest.fe.accepted("SET_VRING_CALL", u64(ring.index), [ring.call])
    os.close(log.fd)


# ---- the inflight area

@hostile(125)
def test_an_area_of_the_largest_rings_again_and_again_costs_no_memory(shuffled_stand):
    fe = shuffled_stand.front_end()
    for _ in range(300):
        os.close(get_area(fe, 4, 32768)[2][0])


@hostile(132)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("name", ["GET_VRING_BASE", "SET_STATUS", "RESET_DEVICE", "SET_MEM_TABLE", "close"])
def test_an_area_that_is_cut_short_before_a_message_harms_nobody(shuffled_stand, name, packed):
    guest = shuffled_stand.guest(packed=packed)
    fd = os.memfd_create("area")
    os.ftruncate(fd, 2 * part_size(packed))
    guest.fe.negotiate()
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    guest.fe.accepted("SET_INFLIGHT_FD", AREA.pack(2 * part_size(packed), 0, 2, SIZE, 0), [fd])
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    for _ in range(8):
        guest.rings[0].offer(writable=2048)
    guest.rings[0].notify()
    os.ftruncate(fd, 0)
    payload = {"GET_VRING_BASE": bytes(8), "SET_STATUS": u64(0), "RESET_DEVICE": b"",
               "SET_MEM_TABLE": table(guest.memory), "close": None}[name]
    if payload is not None:
        guest.fe.send(name, payload, [guest.memory.fd] if name == "SET_MEM_TABLE" else [], flags=9)
        guest.fe.reply(name)
    os.close(fd)


@hostile(132)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_an_area_that_is_cut_short_before_rings_start_harms_nobody(shuffled_stand, packed):
    guest = shuffled_stand.guest(packed=packed)
    fd = os.memfd_create("area")
    os.ftruncate(fd, 2 * part_size(packed))
    guest.fe.negotiate()
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    guest.fe.accepted("SET_INFLIGHT_FD", AREA.pack(2 * part_size(packed), 0, 2, SIZE, 0), [fd])
    os.ftruncate(fd, 0)
    for step in guest.setup_steps():
        guest.fe.tell(*step)
    os.close(fd)


