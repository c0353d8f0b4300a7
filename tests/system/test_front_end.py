# SPDX-License-Identifier: BSD-2-Clause
"""The whole product in front of a front-end that speaks bytes: what QEMU takes no part in."""
import os

import pytest

from dirty import Log
from frontend import F_LOG_ALL, Guest, u64

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
