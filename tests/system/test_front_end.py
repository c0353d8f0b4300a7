# SPDX-License-Identifier: BSD-2-Clause
"""The whole product in front of a front-end that speaks bytes: what QEMU takes no part in."""
import os
import select
import socket
import struct

import pytest

from dirty import Log
from frontend import DEADLINE, F_LOG_ALL, Guest, config, u64

MAC = "52:54:00:00:00:01"  # of frontend.MAC


@pytest.fixture
def guest_of(vdpad):
    """Makes guests of a device of a given name."""
    guests = []

    def make(name, *words, **facts):
        path = vdpad.add(name, MAC, *words)
        guests.append(Guest(str(path), **facts))
        return guests[-1]

    yield make
    for guest in guests:
        guest.close()


CONFIG_CHANGE = struct.pack("=III", 2, 1, 0)


def net_config(guest):
    """(MAC, link, MTU) as the guest's driver reads them now."""
    mac, status, _, mtu = struct.unpack_from("=6sHHH", guest.fe.ask("GET_CONFIG", config(0, 12)), 12)
    return mac.hex(":"), status & 1, mtu


@pytest.mark.parametrize("words,now", [
    (["mac", "52:54:00:00:00:07"], ("52:54:00:00:00:07", 1, 1500)),
    (["mtu", "1400"], (MAC, 1, 1400)),
    (["link", "down"], (MAC, 0, 1500)),
    (["mac", "52:54:00:00:00:08", "mtu", "9000", "link", "down"], ("52:54:00:00:00:08", 0, 9000)),
], ids=["mac", "mtu", "link", "all"])
def test_what_an_operator_changes_reaches_the_guest(vdpad, guest_of, words, now):
    guest = guest_of("a").setup()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        guest.fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
        assert net_config(guest) == (MAC, 1, 1500)
        guest.transmit()
        vdpad.cli("dev", "set", "name", "a", *words)
        assert select.select([ours], [], [], DEADLINE)[0] and ours.recv(100) == CONFIG_CHANGE
        assert net_config(guest) == now
    view = vdpad.json("dev", "config", "show", "a")["config"]["a"]
    assert (view["mac"], view["link"] == "up", view["mtu"]) == (now[0], bool(now[1]), now[2])
    guest.transmit()  # as from the old address; without a link nobody looks
    dropped = now[0] != MAC and now[1] == 1
    vdpad.wait_status("a", lambda status: status["counters"]["spoof_drops"] == dropped)


def positions(queues):
    return [(q["avail"], q["used"]) for q in queues]


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_positions_are_the_guest_s_while_its_rings_are_relayed(vdpad, guest_of, packed):
    """The device works on shadow rings, which begin at zero, and say nothing to anybody."""
    guest = guest_of("a", packed=packed)
    guest.fe.negotiate()
    log = Log(guest)
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    guest.transmit(5)
    assert vdpad.status("a")["datapath"] == "direct"
    assert positions(vdpad.status("a")["queues"]) == [(0, 0), (5, 5)]
    guest.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])
    guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    guest.transmit(3)
    status = vdpad.status("a")
    assert status["datapath"] == "relay"
    assert positions(status["queues"]) == [(0, 0), (8, 8)]
    os.close(log.fd)
