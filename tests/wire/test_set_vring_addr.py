# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_ADDR."""
import struct

import pytest
from frontend import RINGS_NOT_THERE
from hostile import hostile
from looks import rings
from unchanged import unchanged


@hostile(55)
@pytest.mark.parametrize("index", RINGS_NOT_THERE)
def test_set_vring_addr_refuses_rings_that_are_not_there(stand, fe, index):
    with unchanged(stand.shim):
        fe.refused("SET_VRING_ADDR", struct.pack("=IIQQQQ", index, 0, 0, 0, 0, 0))


@hostile(69)
def test_set_vring_addr_refuses_flags_that_nobody_knows(stand, fe):
    with unchanged(stand.shim):
        for flags in (2, 0x80000000):
            fe.refused("SET_VRING_ADDR", struct.pack("=IIQQQQ", 0, flags, 0, 0, 0, 0))


def test_set_vring_addr_accepts_a_change_of_the_log_while_running(stand):
    guest = stand.guest().setup()
    guest.fe.accepted("SET_VRING_ADDR", guest.rings[0].addr(flags=1, log=0x1000))
    guest.exchange()


@hostile(66)
@pytest.mark.parametrize("which", ["desc", "avail", "used"])
@pytest.mark.parametrize("where", [0, 1, 0xffffffffffffff00, "end"])
def test_a_ring_outside_memory_never_runs(stand, which, where):
    guest = stand.guest()
    ring = guest.rings[0]
    last = guest.memory.size - 16  # the first bytes are inside, the rest is not
    setattr(ring, which, last if where == "end" else where - guest.memory.uva)
    packed = [getattr(ring, name) + guest.memory.uva & 2**64 - 1
              for name in ("desc", "used", "avail")]
    ring.addr = lambda: struct.pack("=IIQQQQ", 0, 0, *packed, 0)
    guest.setup()
    assert not rings(stand)[0]["running"]
    assert rings(stand)[1]["running"]
