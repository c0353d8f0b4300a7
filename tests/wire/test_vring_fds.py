# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR."""
import os
import select
import socket

import pytest
from frontend import NO_FD, eventfd, u64
from hostile import hostile
from unchanged import unchanged
from waiting import wait_for

NAMES = ["SET_VRING_KICK", "SET_VRING_CALL", "SET_VRING_ERR"]


@hostile(24, 25, 55)
@pytest.mark.parametrize("name", NAMES)
def test_the_word_has_to_agree_with_the_descriptors(stand, fe, name):
    fd = eventfd()
    with unchanged(stand.shim):
        fe.refused(name, u64(0))
        fe.refused(name, u64(NO_FD), [fd])
        fe.refused(name, u64(0), [fd, fd])
        fe.refused(name, u64(0x200), [fd])
        fe.refused(name, u64(1 << 63), [fd])
        fe.refused(name, u64(4), [fd])
        fe.refused(name, u64(255), [fd])
    os.close(fd)


@hostile(32)
@pytest.mark.parametrize("name", NAMES)
def test_only_eventfds_are_taken(stand, fe, name, tmp_path):
    pipe = os.pipe()
    pair = socket.socketpair()
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    poll = select.epoll()
    zero = os.open("/dev/zero", os.O_RDWR)
    folder = os.open(tmp_path, os.O_RDONLY)
    fds = [*pipe, pair[0].fileno(), file, poll.fileno(), zero, folder]
    with unchanged(stand.shim):
        for fd in fds:
            fe.refused(name, u64(0), [fd])
    assert os.fstat(file).st_size == 0
    pair[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        pair[1].recv(1)
    for fd in (*pipe, file, zero, folder):
        os.close(fd)
    poll.close()
    for sock in pair:
        sock.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_replaced_descriptor_is_given_up(stand, fe, name):
    before = len(stand.shim.kept())
    for _ in range(100):
        fd = eventfd()
        fe.accepted(name, u64(0), [fd])
        os.close(fd)
    assert len(stand.shim.kept()) == before + 1
    fe.accepted(name, u64(NO_FD))
    assert len(stand.shim.kept()) == before


@hostile(36)
def test_one_descriptor_may_serve_two_rings(fe):
    fd = eventfd()
    fe.accepted("SET_VRING_KICK", u64(0), [fd])
    fe.accepted("SET_VRING_KICK", u64(1), [fd])
    os.close(fd)


def test_a_new_call_descriptor_is_signalled_once_and_used_from_then_on(stand):
    guest = stand.guest().setup()
    fd = eventfd()
    guest.fe.accepted("SET_VRING_CALL", u64(1), [fd])
    assert os.eventfd_read(fd) == 1
    guest.transmit()
    wait_for(lambda: select.select([fd], [], [], 0)[0], "the new eventfd")
    os.close(fd)


def test_a_ring_may_do_without_a_call_descriptor(stand):
    guest = stand.guest().setup()
    guest.fe.accepted("SET_VRING_CALL", u64(1 | NO_FD))
    guest.exchange(3)


def test_a_kick_left_on_the_descriptor_counts(stand):
    guest = stand.guest()
    guest.rings[1].offer(bytes(12) + bytes(60))
    guest.rings[1].notify()
    guest.setup()
    guest.rings[1].wait()


def test_a_ring_without_a_kick_descriptor_is_polled(stand):
    guest = stand.guest().setup()
    guest.fe.accepted("SET_VRING_KICK", u64(1 | NO_FD))
    guest.rings[1].offer(bytes(12) + bytes(60))
    guest.rings[1].wait()


def test_a_kick_does_not_enable_a_ring(stand, fe):
    fd = eventfd()
    fe.accepted("SET_VRING_KICK", u64(0), [fd])
    ring = stand.shim.dump()["device"]["rings"][0]
    assert ring["started"] and not ring["enabled"]
    os.close(fd)


@hostile(169)
def test_the_err_descriptor_is_signalled_when_a_ring_breaks_the_rules(stand):
    guest = stand.guest().setup()
    ring = guest.rings[1]
    guest.memory.map[ring.avail + 2:ring.avail + 4] = b"\x00\x80"  # 32768 of 64 are available
    ring.notify()
    wait_for(lambda: select.select([ring.err], [], [], 0)[0], "the err eventfd")
    wait_for(lambda: stand.shim.has_event("queue error"), "the event")
    assert stand.shim.dump()["device"]["rings"][1]["failed"]
    assert guest.fe.vring_base(1) == 0
