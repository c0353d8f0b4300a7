# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_NUM."""
from frontend import F_PACKED, F_PROTOCOL, F_VERSION_1, state, u64
from hostile import hostile
from looks import rings
from unchanged import unchanged


def test_set_vring_num_accepts_powers_of_two(stand, fe):
    for bit in range(16):
        fe.accepted("SET_VRING_NUM", state(0, 1 << bit))
    assert rings(stand)[0]["size"] == 32768


@hostile(57, 60)
def test_set_vring_num_refuses_bad_sizes_and_leaves_the_ring_alone(stand, fe):
    fe.accepted("SET_FEATURES", u64(F_PROTOCOL | F_VERSION_1))
    fe.accepted("SET_VRING_NUM", state(0, 64))
    with unchanged(stand.shim):
        for num in (0, 3, 100, 32769, 65536, 0xffffffff):
            fe.refused("SET_VRING_NUM", state(0, num))


def test_set_vring_num_accepts_any_size_for_packed_rings(fe):
    fe.accepted("SET_FEATURES", u64(F_PROTOCOL | F_VERSION_1 | F_PACKED))
    fe.accepted("SET_VRING_NUM", state(0, 100))
    fe.refused("SET_VRING_NUM", state(0, 0))
    fe.refused("SET_VRING_NUM", state(0, 32769))
