# SPDX-License-Identifier: BSD-2-Clause
"""What SET_VRING_NUM, _ADDR, _BASE and _ENABLE have in common, and several pairs of rings."""
import pytest
from frontend import RINGS_NOT_THERE, Ring, state
from hostile import hostile
from looks import rings
from unchanged import unchanged


@hostile(55)
@pytest.mark.parametrize("index", RINGS_NOT_THERE)
@pytest.mark.parametrize("name", ["SET_VRING_NUM", "SET_VRING_BASE", "SET_VRING_ENABLE"])
def test_refuses_rings_that_are_not_there(stand, fe, name, index):
    with unchanged(stand.shim):
        fe.refused(name, state(index, 1))


@hostile(59)
def test_a_running_ring_keeps_size_base_and_addresses(stand):
    guest = stand.guest().setup()
    ring = guest.rings[0]
    with unchanged(stand.shim):
        guest.fe.refused("SET_VRING_NUM", state(0, 128))
        guest.fe.refused("SET_VRING_BASE", state(0, 7))
        elsewhere = Ring(guest.memory, 0, ring.desc + 4096)
        guest.fe.refused("SET_VRING_ADDR", elsewhere.addr())
        elsewhere.close()
    guest.exchange()


@hostile(54)
def test_a_second_pair_runs_only_with_multiqueue(stand):
    guest = stand.guest(pairs=2)
    guest.features &= ~(1 << 22)
    guest.setup()
    assert [ring["running"] for ring in rings(stand)] == [1, 1, 0, 0]


def test_two_pairs_carry_traffic(stand):
    guest = stand.guest(pairs=2).setup()
    assert [ring["running"] for ring in rings(stand)] == [1, 1, 1, 1]
    guest.transmit(5, tx=1)
    guest.transmit(5, tx=3)
