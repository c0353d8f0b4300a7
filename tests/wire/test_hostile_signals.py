# SPDX-License-Identifier: BSD-2-Clause
"""Eventfds that the front-end keeps, and may change at any time: their flags are everybody's."""
import fcntl
import os
import select

import pytest
from frontend import F_LOG_ALL, u64
from hostile import hostile
from test_set_log_base import Log, answer
from waiting import wait_for

END = 2**64 - 2  # the largest count


def fill(fd):
    """Its count is at the end, and the next write to it waits."""
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        pass
    os.eventfd_write(fd, END)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)


@pytest.fixture(params=["direct", "relayed"])
def guest(request, stand):
    """Its frames go round by themselves, or through the relay."""
    guest = stand.guest().setup()
    if request.param == "relayed":
        log = Log(guest)
        assert answer(guest.fe, log) == 0
        os.close(log.fd)
        guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    guest.exchange(2)
    return guest


@hostile(33)
def test_a_blocking_call_descriptor_that_is_full_blocks_nobody(guest):
    for ring in guest.rings:
        fill(ring.call)
    guest.exchange(20)
    for ring in guest.rings:
        os.eventfd_read(ring.call)  # and who reads it again is signalled again
    guest.exchange(1)
    for ring in guest.rings:
        assert os.eventfd_read(ring.call) > 0


@hostile(33)
def test_a_blocking_err_descriptor_that_is_full_blocks_nobody(stand, guest):
    ring = guest.rings[1]
    fill(ring.err)
    guest.memory.map[ring.avail + 2:ring.avail + 4] = b"\x00\x80"  # 32768 of 64 are available
    ring.notify()
    wait_for(lambda: stand.shim.dump()["device"]["rings"][1]["failed"], "the ring's failure")


@hostile(33)
def test_a_full_descriptor_is_taken_and_not_waited_for(guest):
    for ring in guest.rings:
        fill(ring.call)
        for _ in range(2):
            guest.fe.accepted("SET_VRING_CALL", u64(ring.index), [ring.call])
    guest.exchange(3)


@hostile(33)
def test_a_descriptor_beyond_its_end_is_refused_and_not_waited_for(stand):
    """Beyond the end it is when the kernel itself signals it, as it does for the device."""
    guest = stand.guest().setup()
    fill(guest.rings[1].call)
    guest.transmit()
    poll = select.poll()
    poll.register(guest.rings[1].call, 0)
    assert wait_for(lambda: poll.poll(0), "the end") == [(guest.rings[1].call, select.POLLERR)]
    guest.fe.refused("SET_VRING_CALL", u64(0), [guest.rings[1].call])
    guest.exchange(3)


@hostile(33, 200)
def test_flags_that_are_changed_all_the_time_block_nobody(guest):
    for _ in range(30):
        for ring in guest.rings:
            fill(ring.call)
        guest.exchange(2)
        for ring in guest.rings:
            flags = fcntl.fcntl(ring.call, fcntl.F_GETFL)
            fcntl.fcntl(ring.call, fcntl.F_SETFL, flags | os.O_NONBLOCK)


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
