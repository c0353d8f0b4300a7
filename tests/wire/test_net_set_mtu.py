# SPDX-License-Identifier: BSD-2-Clause
"""NET_SET_MTU."""
import struct

import pytest
from frontend import config, u64
from hostile import hostile
from unchanged import unchanged


def test_net_set_mtu_shows_in_the_configuration(fe):
    for mtu in (68, 1500, 9000, 65535):
        fe.accepted("NET_SET_MTU", u64(mtu))
        assert struct.unpack_from("=H", fe.ask("GET_CONFIG", config(10, 2)), 12)[0] == mtu


@hostile(146)
@pytest.mark.parametrize("mtu", [0, 67, 65536, 1 << 32 | 1500, 2**64 - 1])
def test_net_set_mtu_refuses_what_is_out_of_range(stand, fe, mtu):
    fe.accepted("NET_SET_MTU", u64(1400))
    whole = fe.ask("GET_CONFIG", config(0, 12))
    with unchanged(stand.shim):
        fe.refused("NET_SET_MTU", u64(mtu))
    assert fe.ask("GET_CONFIG", config(0, 12)) == whole
