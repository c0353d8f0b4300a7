# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_KICK; see also test_vring_fds.py."""
import os

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
