# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_KICK; see also test_vring_fds.py."""
import os

import pytest
from dirty import Log
from frontend import NO_FD, eventfd, u64
from hostile import hostile


@hostile(36)
def test_one_descriptor_may_serve_two_rings(fe):
    fd = eventfd()
    fe.accepted("SET_VRING_KICK", u64(0), [fd])
    fe.accepted("SET_VRING_KICK", u64(1), [fd])
    os.close(fd)


def test_a_kick_left_on_the_descriptor_counts(stand):
    guest = stand.guest()
    guest.rings[1].offer(bytes(12) + bytes(60))
    guest.rings[1].notify()
    guest.setup()
    guest.rings[1].wait()


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_ring_that_starts_is_rung_also_where_it_has_come_around(stand, packed):
    """What the guest offered while nobody asked for kicks: some devices look when they are rung only."""
    guest = stand.guest(packed=packed).setup()
    for ring in guest.rings:
        assert os.read(ring.kick, 8) == (1).to_bytes(8, "little")


def test_a_ring_without_a_kick_descriptor_is_polled(stand):
    guest = stand.guest().setup()
    guest.fe.accepted("SET_VRING_KICK", u64(1 | NO_FD))
    guest.rings[1].offer(bytes(12) + bytes(60))
    guest.rings[1].wait()


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_ring_without_one_is_polled_by_its_relay_too_and_so_by_another_worker_s(stand, packed):
    guest = stand.guest(packed=packed).setup()
    log = Log(guest)
    log.begin(guest)
    guest.fe.accepted("SET_VRING_KICK", u64(1 | NO_FD))
    for look in (stand.shim.dump, stand.shim.dump, stand.shim.restart, stand.shim.dump):
        look()  # whoever sleeps has fallen asleep
        guest.rings[1].offer(bytes(12) + bytes(60))
        guest.rings[1].wait()
    guest.fe.accepted("SET_VRING_KICK", u64(1), [guest.rings[1].kick])
    guest.exchange()
    os.close(log.fd)


def test_a_kick_does_not_enable_a_ring(stand, fe):
    fd = eventfd()
    fe.accepted("SET_VRING_KICK", u64(0), [fd])
    ring = stand.shim.dump()["device"]["rings"][0]
    assert ring["started"] and not ring["enabled"]
    os.close(fd)
