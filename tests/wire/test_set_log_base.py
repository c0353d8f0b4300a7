# SPDX-License-Identifier: BSD-2-Clause
"""SET_LOG_BASE, SET_LOG_FD, and feature bit 26: where written pages are marked, and whether."""
import os
import struct

import pytest
from dirty import Log
from frontend import F_LOG_ALL, F_PACKED, Ring, eventfd, state, u64
from hostile import hostile
from slow_file import slow_file
from unchanged import unchanged
from waiting import wait_for

def answer(fe, log, payload=None):
    """What SET_LOG_BASE is answered with, whether or not an answer was asked for: 0 is success."""
    return struct.unpack("=Q", fe.ask("SET_LOG_BASE", payload or log.payload(), [log.fd]))[0]


@pytest.fixture
def guest(stand):
    return stand.guest().setup()


@pytest.fixture(params=[0, 4096, 100], ids=["at-0", "at-4096", "at-100"])
def log(guest, request):
    log = Log(guest, request.param)
    yield log
    os.close(log.fd)


def log_all(guest, on=True):
    guest.fe.accepted("SET_FEATURES", u64(guest.features | (F_LOG_ALL if on else 0)))


@hostile(107)
def test_pages_are_marked_from_the_answer_on(guest, log):
    assert answer(guest.fe, log) == 0
    guest.exchange(4)
    assert log.marked() == set()
    log_all(guest)
    guest.exchange(4)
    first = guest.memory.gpa >> 12
    assert log.marked() and all(page >= first for page in log.marked())


def test_a_log_may_come_before_or_after_the_wish_while_nothing_runs(stand):
    guest = stand.guest()
    log = Log(guest)
    guest.features |= F_LOG_ALL
    guest.setup()
    assert not any(ring["running"] for ring in stand.shim.dump()["device"]["rings"])
    assert answer(guest.fe, log) == 0
    guest.exchange(4)
    assert log.marked()
    os.close(log.fd)


def test_pages_of_every_ring_of_a_large_device_are_marked(make_stand):
    stand = make_stand(pairs=32)
    guest = stand.guest(pairs=32).setup()
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    log_all(guest)
    rings = stand.shim.dump()["device"]["rings"]
    assert [ring["running"] and not ring["failed"] for ring in rings[:64]] == [True] * 64
    for ring in range(1, 64, 2):
        guest.transmit(tx=ring)
    os.close(log.fd)


def test_logging_ends_and_traffic_goes_on(guest, log):
    assert answer(guest.fe, log) == 0
    for _ in range(3):
        log_all(guest)
        guest.exchange(2)
        log_all(guest, False)
        os.pwrite(log.fd, bytes(log.size), log.offset)
        guest.exchange(2)
        assert log.marked() == set()


@hostile(47)
def test_the_wish_without_a_log_is_refused_while_rings_run(stand, guest):
    with unchanged(stand.shim):
        guest.fe.refused("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    guest.exchange(2)


@hostile(103, 104, 106)
@pytest.mark.parametrize("payload", [
    struct.pack("=QQ", 0, 0),                 # empty
    struct.pack("=QQ", 1 << 20, 0),           # longer than its file
    struct.pack("=QQ", 4096, 2**64 - 4096),   # wraps
    struct.pack("=QQ", 2**64 - 1, 1),
    struct.pack("=QQ", 8, 0),                 # does not reach the guest's memory
], ids=["empty", "file-too-short", "wraps", "wraps-by-size", "too-small"])
@hostile(103, 104, 106)
def test_a_log_that_does_not_do_is_refused(stand, guest, payload):
    log = Log(guest)
    with unchanged(stand.shim):
        assert answer(guest.fe, log, payload) == 1
    os.close(log.fd)
    guest.exchange(2)


@hostile(104)
def test_a_log_that_misses_the_last_page_is_refused(stand, guest):
    log = Log(guest, missing=1)
    with unchanged(stand.shim):
        assert answer(guest.fe, log) == 1
    os.close(log.fd)


@hostile(128)
def test_what_is_no_memory_is_refused(stand, guest):
    log = Log(guest)
    for fd in (guest.rings[0].kick, os.open("/dev/zero", os.O_RDWR), os.pipe()[1]):
        with unchanged(stand.shim):
            reply = guest.fe.ask("SET_LOG_BASE", log.payload(), [fd])
            assert struct.unpack("=Q", reply)[0] == 1
    os.close(log.fd)


@hostile(40)
def test_a_log_whose_pages_may_be_slow_to_come_is_refused(stand, guest):
    log = Log(guest)
    with slow_file(log.size) as file, unchanged(stand.shim):
        assert guest.fe.ask("SET_LOG_BASE", log.payload(), [file.fileno()]) == u64(1)
    assert "the dirty log is in a file that does not live in memory" in stand.shim.log()
    assert answer(guest.fe, log) == 0
    log_all(guest)
    guest.exchange(2)
    os.close(log.fd)


@hostile(108)
def test_a_log_is_replaced_while_rings_run(guest, log):
    assert answer(guest.fe, log) == 0
    log_all(guest)
    guest.exchange(2)
    other = Log(guest)
    assert answer(guest.fe, other) == 0
    os.pwrite(log.fd, bytes(log.size), log.offset)
    guest.exchange(2)
    assert log.marked() == set() and other.marked()
    os.close(other.fd)


@hostile(109)
def test_a_log_address_outside_the_log_is_refused(stand, guest, log):
    assert answer(guest.fe, log) == 0
    log_all(guest)
    ring = guest.rings[0]
    with unchanged(stand.shim):
        guest.fe.refused("SET_VRING_ADDR", ring.addr(1, 1 << 50))
        guest.fe.refused("SET_VRING_ADDR", ring.addr(1, 2**64 - 8))
    guest.fe.accepted("SET_VRING_ADDR", ring.addr(1, 0))
    guest.exchange(2)
    assert 0 in log.marked()


@hostile(106)
def test_a_log_that_is_cut_short_fails_this_device_and_no_process(stand, guest):
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    log_all(guest)
    guest.exchange(1)
    os.ftruncate(log.fd, 0)
    guest.rings[0].offer(writable=2048)
    guest.rings[0].notify()
    guest.rings[1].offer(bytes(100))
    guest.rings[1].notify()
    wait_for(lambda: stand.shim.has_event("failed"), "the device's failure")
    assert stand.shim.process.poll() is None
    os.close(log.fd)


def test_positions_are_right_when_a_relayed_ring_is_taken_back(guest, log):
    assert answer(guest.fe, log) == 0
    log_all(guest)
    guest.exchange(5)
    for ring in guest.rings:
        reply = guest.fe.ask("GET_VRING_BASE", state(ring.index, 0))
        index, word = struct.unpack("=II", reply)
        assert (index, word & 0x7fff) == (ring.index, 5)


def test_set_log_fd_takes_a_descriptor(guest):
    fd = eventfd()
    guest.fe.accepted("SET_LOG_FD", b"", [fd])
    os.close(fd)


def test_a_killed_worker_is_followed_by_one_that_goes_on_relaying(stand, guest, log):
    assert answer(guest.fe, log) == 0
    log_all(guest)
    for _ in range(4):
        guest.exchange(3)
        stand.shim.kill()
        stand.shim.start()
        os.pwrite(log.fd, bytes(log.size), log.offset)
        guest.exchange(3)
        assert log.marked()
    log_all(guest, False)
    guest.exchange(3)


def ring_pages(guest):
    """Where used rings begin."""
    return {guest.memory.gpa + ring.used >> 12 for ring in guest.rings}


@pytest.mark.parametrize("own_nic_stand", ["buffers"], indirect=True)
def test_rings_of_a_device_that_marks_buffers_are_in_each_log_that_ends(own_nic_stand):
    guest = own_nic_stand.guest().setup()
    logs = [Log(guest) for _ in range(2)]
    assert answer(guest.fe, logs[0]) == 0
    log_all(guest)
    guest.exchange(3)
    assert logs[0].marked() and not logs[0].marked() & ring_pages(guest)
    assert answer(guest.fe, logs[1]) == 0
    assert ring_pages(guest) <= logs[0].marked() and not logs[1].marked()
    guest.exchange(3)
    assert logs[1].marked() and not logs[1].marked() & ring_pages(guest)
    log_all(guest, False)
    assert ring_pages(guest) <= logs[1].marked()
    log_all(guest)
    os.pwrite(logs[1].fd, bytes(logs[1].size), logs[1].offset)
    guest.fe.ask("GET_VRING_BASE", state(0, 0))
    assert ring_pages(guest) <= logs[1].marked()
    for log in logs:
        os.close(log.fd)


@pytest.mark.parametrize("own_nic_stand", [False, True, "buffers"],
                         ids=["relay", "device", "device-that-marks-buffers"], indirect=True)
def test_a_device_that_was_replaced_is_logged_as_the_one_before(own_nic_stand):
    stand = own_nic_stand
    guest = stand.guest().setup()
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    log_all(guest)
    guest.exchange(3)
    stand.replace_device()
    os.pwrite(log.fd, bytes(log.size), log.offset)
    guest.exchange(3)
    assert log.marked()
    os.close(log.fd)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_dump_tells_the_ring_s_position_from_the_shadow_s(stand, packed):
    guest = stand.guest(packed=packed).setup()
    log = Log(guest)
    guest.transmit(5)
    assert answer(guest.fe, log) == 0
    log_all(guest)
    guest.transmit(3)
    ring = stand.shim.dump()["device"]["rings"][1]
    assert (ring["position"]["avail"], ring["position"]["used"]) == (8, 8)
    assert (ring["device"]["avail"], ring["device"]["used"]) == (3, 3)
    assert ring["position"]["avail_wrap"] == ring["position"]["used_wrap"] == packed
    os.close(log.fd)


@pytest.mark.parametrize("end", ["status", "bases", "reset"])
@pytest.mark.parametrize("packed", [False, True], ids=["split-then-packed", "packed-then-split"])
def test_a_guest_that_begins_anew_with_another_ring_layout_is_logged(stand, packed, end):
    """In one connection, while buffers are with the device; a worker is lost in between."""
    guest = stand.guest(packed=packed).setup()
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    log_all(guest)
    guest.exchange(3)
    for _ in range(10):
        guest.rings[0].offer(writable=2048)
    guest.rings[0].notify()
    if end == "bases":
        for ring in guest.rings:
            guest.fe.vring_base(ring.index)
    else:
        guest.fe.accepted(*{"status": ("SET_STATUS", u64(0)), "reset": ("RESET_DEVICE",)}[end])
    stand.shim.restart()
    os.pwrite(log.fd, bytes(log.size), 0)
    guest.features = guest.features ^ F_PACKED | F_LOG_ALL
    for ring in guest.rings:
        guest.memory.map[ring.desc:ring.buffers] = bytes(ring.buffers - ring.desc)
        ring.close()
    guest.rings = [Ring(guest.memory, i, i << 20, 64, not packed) for i in range(2)]
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    guest.exchange(3)
    ring = guest.rings[0]
    pages = {guest.memory.gpa + at >> 12 for at in (ring.slot(0), ring.used if packed else ring.desc)}
    assert guest.fe.vring_base(0) == ring.position()
    assert pages <= log.marked()
    os.close(log.fd)
