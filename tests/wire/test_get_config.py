# SPDX-License-Identifier: BSD-2-Clause
"""GET_CONFIG."""
import struct

import pytest
from frontend import config
from hostile import hostile


def test_get_config_tells_mac_link_pairs_and_mtu(fe):
    reply = fe.ask("GET_CONFIG", config(0, 12))
    assert struct.unpack_from("=III", reply) == (0, 12, 0)
    mac, status, pairs, mtu = struct.unpack_from("=6sHHH", reply, 12)
    assert mac == bytes.fromhex("525400000001")
    assert (status & 1, pairs, mtu) == (1, 2, 1500)


def test_get_config_reads_any_part(fe):
    whole = fe.ask("GET_CONFIG", config(0, 12))[12:]
    for offset in range(12):
        for size in range(12 - offset + 1):
            part = fe.ask("GET_CONFIG", config(offset, size))
            assert part[12:] == whole[offset:offset + size]


@hostile(141)
@pytest.mark.parametrize("offset, size", [(0, 257), (0, 256), (250, 8), (0xffffffff, 1), (25, 0),
                                          (0, 0xffffffff)])
def test_get_config_beyond_the_end_is_answered_by_nothing(fe, offset, size):
    fe.send("GET_CONFIG", struct.pack("=III", offset, size, 0) + bytes(min(size, 300)))
    assert fe.reply("GET_CONFIG") == b""
