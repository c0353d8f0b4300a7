# SPDX-License-Identifier: BSD-2-Clause
"""SEND_RARP."""
import pytest
from unchanged import unchanged


def test_send_rarp_is_legal_before_the_device_starts(fe):
    fe.accepted("SEND_RARP", bytes.fromhex("5254000000010000"))


@pytest.mark.parametrize("mac", ["000000000000", "ffffffffffff", "010203040506"])
def test_send_rarp_refuses_addresses_no_station_has(stand, fe, mac):
    with unchanged(stand.shim):
        fe.refused("SEND_RARP", bytes.fromhex(mac + "0000"))


def test_send_rarp_reaches_the_other_stations(stand, make_stand):
    other = make_stand(pairs=1).guest().setup()
    other.rings[0].offer(writable=2048)
    other.rings[0].notify()
    stand.front_end().accepted("SEND_RARP", bytes.fromhex("5254000000010000"))
    number, length = other.rings[0].wait()
    frame = other.rings[0].data(number, length)[12:]
    assert frame[:6] == b"\xff" * 6
    assert frame[12:14] == b"\x80\x35"
    assert frame[22:28] == bytes.fromhex("525400000001")
