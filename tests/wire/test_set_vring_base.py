# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_BASE: where a ring goes on."""
import pytest
from frontend import F_PROTOCOL, F_VERSION_1, state, u64
from hostile import hostile
from looks import rings
from unchanged import unchanged


@hostile(61)
def test_set_vring_base_refuses_more_than_16_bits_for_split_rings(stand, fe):
    fe.accepted("SET_FEATURES", u64(F_PROTOCOL | F_VERSION_1))
    with unchanged(stand.shim):
        fe.refused("SET_VRING_BASE", state(0, 0x10000))


def test_a_packed_base_may_come_in_the_short_form(stand):
    guest = stand.guest(packed=True)
    for ring in guest.rings:
        ring.base = 0x8000
    guest.setup().exchange(70)


def test_a_split_base_behind_the_used_index_means_that_index(stand):
    """The device went on after the front-end had looked."""
    guest = stand.guest(start=10)
    for ring in guest.rings:
        ring.base = 3
    guest.setup()
    guest.exchange(5)
    assert guest.fe.vring_base(1) == 15


@hostile(62)
def test_a_base_that_the_ring_can_t_have_is_not_started(stand):
    guest = stand.guest()
    guest.rings[0].base = 65  # of 64 entries, with nothing used
    guest.setup()
    ring = rings(stand)[0]
    assert ring["failed"] and not ring["running"]


@hostile(61)
@pytest.mark.parametrize("base", [64 | 64 << 16, 0x8040, 0x80, 5 | 64 << 16, 0x7fff7fff])
def test_a_packed_base_beyond_the_ring_is_not_started(stand, base):
    guest = stand.guest(packed=True)
    guest.rings[0].base = base
    guest.setup()
    ring = rings(stand)[0]
    assert ring["failed"] and not ring["running"]
    assert "queue 0: can't start" in stand.shim.log()  # the device was not even asked
    assert rings(stand)[1]["running"]


@hostile(61)
def test_a_base_of_more_than_16_bits_comes_before_the_features_and_does_not_start_a_split_ring(stand):
    guest = stand.guest()
    guest.fe.negotiate()
    guest.fe.accepted("SET_VRING_BASE", state(0, 0x10000))
    for name, payload, fds in guest.setup_steps():
        if name != "SET_VRING_BASE":
            guest.fe.accepted(name, payload, fds)
    assert [(ring["running"], ring["failed"]) for ring in rings(stand)[:2]] == [(0, 1), (1, 0)]


@pytest.mark.parametrize("packed", [False, True])
def test_rings_go_on_from_where_they_stopped(stand, packed):
    guest = stand.guest(packed=packed).setup()
    for n in (5, 100, 64):
        guest.exchange(n)
        bases = [guest.fe.vring_base(ring.index) for ring in guest.rings]
        for ring, base in zip(guest.rings, bases):
            guest.fe.accepted("SET_VRING_BASE", state(ring.index, base))
            guest.fe.accepted("SET_VRING_KICK", u64(ring.index), [ring.kick])
            guest.fe.accepted("SET_VRING_CALL", u64(ring.index), [ring.call])
    guest.exchange(3)


def test_a_split_ring_goes_on_across_the_end_of_16_bits(stand):
    guest = stand.guest(start=65500).setup()
    guest.exchange(100)
    assert guest.fe.vring_base(1) == (65500 + 100) & 0xffff
