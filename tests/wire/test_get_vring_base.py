# SPDX-License-Identifier: BSD-2-Clause
"""GET_VRING_BASE: where a ring stands."""
import pytest
from frontend import RINGS_NOT_THERE, state, u64
from hostile import hostile
from looks import rings


@hostile(55)
@pytest.mark.parametrize("index", RINGS_NOT_THERE)
def test_get_vring_base_of_a_ring_that_is_not_there_closes_the_connection(stand, index):
    fe = stand.front_end()
    fe.send("GET_VRING_BASE", state(index, 0))
    assert fe.is_closed()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_get_vring_base_tells_where_the_ring_stands(stand, packed, n):
    guest = stand.guest(packed=packed).setup()
    guest.exchange(n)
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
    assert not any(ring["running"] for ring in rings(stand))


@hostile(72)
def test_get_vring_base_ignores_what_its_request_says_and_works_twice(stand):
    guest = stand.guest().setup()
    guest.exchange(4)
    assert guest.fe.ask("GET_VRING_BASE", state(1, 256)) == state(1, 4)
    assert guest.fe.ask("GET_VRING_BASE", state(1, 256)) == state(1, 4)


@hostile(72)
def test_a_ring_that_never_ran_answers_the_base_it_was_given(fe):
    fe.accepted("SET_VRING_BASE", state(1, 77))
    assert fe.vring_base(1) == 77


@pytest.mark.parametrize("packed", [False, True])
def test_positions_survive_a_status_of_0(stand, packed):
    guest = stand.guest(packed=packed).setup()
    guest.exchange(9)
    guest.fe.accepted("SET_STATUS", u64(0))
    assert not any(ring["running"] for ring in rings(stand))
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
