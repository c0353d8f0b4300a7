# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_ERR; see also test_vring_fds.py."""
import os
import select

import pytest
from dirty import Log
from frontend import F_LOG_ALL, state
from hostile import hostile
from test_set_log_base import answer
from waiting import wait_for


def begin_logged(guest, log):
    guest.fe.negotiate()
    assert answer(guest.fe, log) == 0
    for step in guest.setup_steps():
        guest.fe.accepted(*step)


def spoil(ring):
    """Make a ring say what no ring may."""
    if ring.packed:  # a chain that never ends
        for at in range(ring.size):
            ring._put("=QIHH", ring.desc + 16 * at, ring.memory.gpa + ring.slot(0), 100, at, 0x81)
    else:
        ring._put("=H", ring.avail + 2, ring.next_avail + 0x8000)  # 32768 of 64 are available


def queue(stand, index):
    return stand.shim.dump()["device"]["rings"][index]


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


@hostile(169)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_relayed_ring_that_breaks_the_rules_fails_alone(stand, packed):
    """Its err eventfd, a count, an event, as of a direct one; the other rings of the guest go on."""
    guest = stand.guest(pairs=2, packed=packed)
    guest.features |= F_LOG_ALL
    log = Log(guest)
    begin_logged(guest, log)
    guest.transmit(tx=3)
    ring = guest.rings[1]
    before = queue(stand, 1)
    spoil(ring)
    ring.notify()
    wait_for(lambda: select.select([ring.err], [], [], 0)[0], "the err eventfd")
    wait_for(lambda: stand.shim.has_event("queue error"), "the event")
    assert ("queue error", "queue 1 broke the rules of its ring") in stand.shim.events
    after = queue(stand, 1)
    assert not before["failed"] and after["failed"]
    assert after["device"]["errors"] == before["device"]["errors"] + 1
    guest.transmit(4, tx=3)
    assert [queue(stand, i)["failed"] for i in (0, 2, 3)] == [0, 0, 0]
    assert [os.eventfd_read(ring.err)] == [1]
    os.close(log.fd)


@hostile(169)
def test_what_a_relay_gave_up_stays_so(stand):
    """Also after a message that is refused, and for another worker."""
    guest = stand.guest(pairs=2)
    guest.features |= F_LOG_ALL
    log = Log(guest)
    begin_logged(guest, log)
    spoil(guest.rings[1])
    guest.rings[1].notify()
    wait_for(lambda: stand.shim.has_event("queue error"), "the event")
    guest.fe.refused("SET_VRING_NUM", state(3, 3))
    stand.shim.restart()
    guest.fe.refused("SET_VRING_NUM", state(3, 3))
    guest.transmit(tx=3)
    assert queue(stand, 1)["failed"] and queue(stand, 1)["device"]["errors"] == 1
    assert os.eventfd_read(guest.rings[1].err) == 1  # by the first worker, once
    assert [name for name, _ in stand.shim.events].count("queue error") == 1
    os.close(log.fd)
