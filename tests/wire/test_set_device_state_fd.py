# SPDX-License-Identifier: BSD-2-Clause
"""SET_DEVICE_STATE_FD: figures go on where the guest goes."""
import fcntl
import os
import socket
import struct

import pytest
from device_state import (F_SETPIPE_SZ, LOAD, SAVE, begin, begin_load, check, counters,
                          load, pack, read_all, save, stopped)
from hostile import hostile
from unchanged import unchanged
from waiting import wait_for


@pytest.fixture
def fe(stand):
    return stand.front_end()


def test_figures_go_on_elsewhere(stand, make_stand):
    source = stand.guest().setup()
    source.exchange(20)
    stopped(source)
    before = counters(stand)
    assert before[1]["completed"] == 20
    data = save(source.fe)

    other = make_stand(pairs=2)
    destination = other.guest()
    destination.setup().exchange(3)  # of somebody else, and not to be added
    stopped(destination)
    assert load(destination.fe, data)
    assert counters(other) == before
    destination.fe.close()
    wait_for(lambda: other.shim.has_event("disconnected"), "the end")
    assert counters(other) == before

    again = other.guest().setup()
    again.exchange(5)
    stopped(again)
    assert counters(other)[1]["completed"] == 25
    again.fe.close()


def test_what_was_saved_is_saved_again_as_it_is(stand, make_stand):
    guest = stand.guest().setup()
    guest.exchange(7)
    stopped(guest)
    data = save(guest.fe)
    other = make_stand(pairs=2).front_end()
    assert load(other, data)
    assert save(other) == data


def test_a_device_with_fewer_rings_takes_what_it_has_room_for(make_stand, stand):
    guest = stand.guest(pairs=2).setup()
    guest.exchange(4)
    stopped(guest)
    small = make_stand(pairs=1)
    assert load(small.front_end(), save(guest.fe))
    assert counters(small) == counters(stand)[:2]


def test_a_worker_that_is_replaced_keeps_the_figures(stand, fe):
    assert load(fe, pack((2, 0, struct.pack("<6Q", 10, 9, 8, 7, 6, 5))))
    stand.shim.restart()
    assert counters(stand)[0] == {"received": 10, "completed": 9, "bytes": 8, "drops": 7, "errors": 6}


def test_a_pipe_that_is_full_is_waited_for_without_stopping_anything(stand, fe):
    read, write = os.pipe()
    fcntl.fcntl(write, F_SETPIPE_SZ, 4096)
    os.write(write, bytes(4096))
    assert begin(fe, SAVE, write)
    os.close(write)
    assert fe.ask_u64("GET_FEATURES") == fe.features
    data = read_all(read)[4096:]
    assert data == save(fe)
    os.close(read)


def test_a_reader_that_goes_away_ends_the_transfer(stand, fe):
    read, write = os.pipe()
    os.close(read)
    assert begin(fe, SAVE, write)
    os.close(write)
    assert not check(fe)
    assert save(fe)


@hostile(150)
def test_a_state_that_is_too_long_is_cut_off(stand, fe):
    write = begin_load(fe)
    with pytest.raises(BrokenPipeError):
        while True:
            os.write(write, bytes(65536))
    os.close(write)
    assert not check(fe)


def test_another_transfer_takes_the_place_of_the_first(stand, fe):
    write = begin_load(fe)
    assert save(fe)
    with pytest.raises(BrokenPipeError):
        os.write(write, b"of no use")
    os.close(write)


def test_a_transfer_ends_with_its_worker(stand, fe):
    write = begin_load(fe)
    stand.shim.restart()
    assert not check(fe)
    with pytest.raises(BrokenPipeError):
        os.write(write, b"of no use")
    os.close(write)
    assert save(fe)


def is_broken(pipe):
    try:
        os.write(pipe, b"of no use")
        return False
    except BrokenPipeError:
        return True


def test_a_transfer_ends_with_its_front_end(stand, fe):
    write = begin_load(fe)
    fe.close()
    wait_for(lambda: is_broken(write), "the end")
    os.close(write)


@hostile(149)
@pytest.mark.parametrize("direction, phase", [(2, 0), (0xffffffff, 0), (0, 1), (1, 1)])
def test_other_directions_and_phases_are_refused(stand, fe, direction, phase):
    read, write = os.pipe()
    with unchanged(stand.shim):
        assert not begin(fe, direction, write, phase)
    os.close(read)
    os.close(write)


@hostile(149)
def test_what_is_no_pipe_is_refused(stand, fe):
    with unchanged(stand.shim):
        for fd in (os.memfd_create("file"), os.open("/dev/zero", os.O_RDONLY), os.eventfd(0)):
            assert not begin(fe, LOAD, fd)
            os.close(fd)


def test_a_socket_will_do(stand, fe):
    ours, theirs = socket.socketpair()
    assert begin(fe, SAVE, theirs.fileno())
    theirs.close()
    assert read_all(ours.fileno()) == save(fe)
    ours.close()


@hostile(149)
def test_nothing_is_moved_while_rings_run(stand):
    guest = stand.guest().setup()
    read, write = os.pipe()
    with unchanged(stand.shim):
        assert not begin(guest.fe, SAVE, write)
        assert not begin(guest.fe, LOAD, read)
    os.close(read)
    os.close(write)
    guest.exchange(2)


def test_rings_that_start_meanwhile_keep_the_state_from_being_loaded(stand):
    guest = stand.guest()
    guest.fe.negotiate()
    write = begin_load(guest.fe)
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    os.write(write, pack((1, 0, bytes(56))))
    os.close(write)
    assert not check(guest.fe)
    guest.exchange(2)


GOOD = pack((1, 0, struct.pack("<7Q", *range(7))), (2, 0, struct.pack("<12Q", *range(12))))


BAD = {
    "empty": b"",
    "short-head": GOOD[:23],
    "no-section": GOOD[:24],
    "truncated": GOOD[:-1],
    "truncated-by-a-section": GOOD[:-(8 + 96)],
    "longer": GOOD + bytes(8),
    "text": b"this is not what was saved " * 4,
    "other-magic": pack((1, 0, bytes(56)), magic=b"vdpad-dt"),
    "later-version": pack((1, 0, bytes(56)), version=2),
    "version-0": pack((1, 0, bytes(56)), version=0),
    "unknown-and-needed": pack((1, 0, bytes(56)), (77, 1, bytes(8))),
    "size-not-of-words": pack((1, 0, bytes(55))),
    "section-too-large": pack((1, 0, bytes(56)))[:28] + b"\xff\xff\xff\xff" + bytes(56),
    "too-many-sections": pack((1, 0, bytes(56)), n=2**32 - 1),
    "too-few-sections": pack((1, 0, bytes(56)), (2, 0, bytes(48)), n=1),
    "size-in-head": pack((1, 0, bytes(56)), size=2**64 - 1),
}


@hostile(150)
@pytest.mark.parametrize("what", BAD)
def test_what_was_never_saved_is_refused(stand, fe, what):
    before = counters(stand)
    assert not load(fe, BAD[what])
    assert "the device's state was not loaded" in stand.shim.log()
    assert counters(stand) == before
    assert load(fe, GOOD)


def test_what_a_later_version_adds_is_skipped(stand, fe):
    queue = struct.pack("<6Q", 1, 2, 3, 4, 5, 6)
    assert load(fe, pack((77, 0, bytes(16)), (1, 0, bytes(56 + 8)), (2, 0, queue), (78, 2, b"")))
    assert counters(stand)[0] == {"received": 1, "completed": 2, "bytes": 3, "drops": 4, "errors": 5}
