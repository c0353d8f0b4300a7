# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_ENABLE."""
from frontend import F_VERSION_1, state, u64
from hostile import hostile
from looks import rings
from unchanged import unchanged
from waiting import wait_for


def test_set_vring_enable_comes_before_everything_else(stand, fe):
    fe.accepted("SET_VRING_ENABLE", state(0, 1))
    assert rings(stand)[0]["enabled"] == 1


@hostile(71)
def test_set_vring_enable_refuses_other_numbers(stand, fe):
    with unchanged(stand.shim):
        for num in (2, 0x100, 0xffffffff):
            fe.refused("SET_VRING_ENABLE", state(0, num))


@hostile(51)
def test_set_vring_enable_is_refused_by_rule_without_protocol_features(stand, fe):
    fe.accepted("SET_FEATURES", u64(F_VERSION_1))
    with unchanged(stand.shim):
        fe.refused("SET_VRING_ENABLE", state(0, 0))


def test_a_disabled_ring_rests_and_goes_on(stand):
    guest = stand.guest().setup()
    guest.exchange(3)
    guest.fe.accepted("SET_VRING_ENABLE", state(1, 0))
    guest.rings[1].offer(bytes(12) + bytes(60))
    guest.rings[1].notify()
    assert not rings(stand)[1]["running"]
    assert guest.rings[1].take() is None
    guest.fe.accepted("SET_VRING_ENABLE", state(1, 1))
    guest.rings[1].wait()
    wait_for(lambda: rings(stand)[1]["running"], "the ring to run")
