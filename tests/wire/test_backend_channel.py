# SPDX-License-Identifier: BSD-2-Clause
"""CONFIG_CHANGE, on the channel that SET_BACKEND_REQ_FD gave."""
import os
import select
import socket
import struct

import pytest
from device_state import begin_load, check, pack
from frontend import OFFERED_PF, PF, state
from hostile import hostile
from waiting import wait_for

ADMIN_SET = 68
CONFIG_CHANGE = struct.pack("=III", 2, 1, 0)
LINK_STATUS = struct.pack("=III", 6, 2, 0) + bytes(2)


def set_link(stand, up):
    nic = stand.nic
    status, _, _ = nic.call(ADMIN_SET, nic.function(stand.name, pairs=2, features=nic.features(),
                                                    flags=2 if up else 0))
    assert status == 0


def link_is_up(fe):
    return fe.ask("GET_CONFIG", LINK_STATUS)[12] & 1


def comes(sock, seconds=60):
    return bool(select.select([sock], [], [], seconds)[0])


@pytest.fixture
def channel():
    pair = socket.socketpair()
    yield pair
    for sock in pair:
        sock.close()


def test_a_change_of_the_link_is_told_and_seen(stand, fe, channel):
    ours, theirs = channel
    fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    for up in (0, 1):
        set_link(stand, up)
        assert comes(ours)
        assert ours.recv(100) == CONFIG_CHANGE
        assert link_is_up(fe) == up


def test_a_new_channel_takes_the_old_one_s_place(stand, fe, channel):
    old, theirs = channel
    fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    new, theirs = socket.socketpair()
    fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    theirs.close()
    set_link(stand, 0)
    assert comes(new) and new.recv(100) == CONFIG_CHANGE
    assert not comes(old, 0)
    new.close()


def test_the_channel_outlives_the_worker(stand, fe, channel):
    ours, theirs = channel
    fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    stand.shim.restart()
    set_link(stand, 0)
    assert comes(ours) and ours.recv(100) == CONFIG_CHANGE


@pytest.mark.parametrize("own_nic_stand", [False], indirect=True)
def test_a_device_that_was_replaced_may_have_another_configuration(own_nic_stand, channel):
    ours, theirs = channel
    fe = own_nic_stand.front_end()
    fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    own_nic_stand.replace_device()
    assert comes(ours) and ours.recv(100) == CONFIG_CHANGE


def test_a_state_that_was_loaded_may_have_changed_the_configuration(stand, fe, channel):
    """As by what a guest set through its control queue."""
    ours, theirs = channel
    fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    write = begin_load(fe)
    assert not comes(ours, 0)
    os.write(write, pack())
    os.close(write)
    assert check(fe)
    assert comes(ours) and ours.recv(100) == CONFIG_CHANGE


def test_a_front_end_without_the_config_feature_is_told_nothing(stand, channel):
    ours, theirs = channel
    fe = stand.front_end(negotiate=False)
    fe.negotiate(OFFERED_PF & ~(1 << PF["CONFIG"]))
    fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    set_link(stand, 0)
    fe.accepted("SET_OWNER")
    assert not comes(ours, 0.2)


@hostile(153, 156)
@pytest.mark.parametrize("how", ["closed", "full"])
def test_a_channel_that_nobody_reads_holds_nothing_up(stand, channel, how):
    ours, theirs = channel
    guest = stand.guest().setup()
    guest.fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    if how == "closed":
        ours.close()
    else:
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                theirs.send(bytes(4096))
        theirs.setblocking(True)
    set_link(stand, 0)
    wait_for(lambda: "CONFIG_CHANGE_MSG not sent" in stand.shim.log(), "the attempt")
    set_link(stand, 1)
    guest.exchange(2)
    guest.fe.accepted("SET_VRING_ENABLE", state(0, 1))


def test_the_end_of_the_connection_gives_the_channel_up(stand, channel):
    ours, theirs = channel
    fe = stand.front_end()
    before = len(stand.shim.kept())
    fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    assert len(stand.shim.kept()) == before + 1
    theirs.close()
    fe.close()
    assert comes(ours) and ours.recv(1) == b""
    assert len(stand.shim.kept()) == before
