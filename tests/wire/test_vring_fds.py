# SPDX-License-Identifier: BSD-2-Clause
"""What SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR have in common."""
import os
import select
import socket

import pytest
from frontend import NO_FD, eventfd, u64
from hostile import hostile
from unchanged import unchanged

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
    fe.accepted(name, u64(0 | NO_FD))
    before = len(stand.shim.kept())
    for _ in range(100):
        fd = eventfd()
        fe.accepted(name, u64(0), [fd])
        os.close(fd)
    assert len(stand.shim.kept()) == before + 1
    fe.accepted(name, u64(NO_FD))
    assert len(stand.shim.kept()) == before
