# SPDX-License-Identifier: BSD-2-Clause
"""SEND_RARP, NET_SET_MTU, SET_BACKEND_REQ_FD, GET_CONFIG, SET_CONFIG."""
import os
import socket
import struct

import pytest
from frontend import eventfd, u64
from hostile import hostile
from unchanged import unchanged


def config(offset, size, flags=0, data=None):
    return struct.pack("=III", offset, size, flags) + (bytes(size) if data is None else data)


# ---- SEND_RARP

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


# ---- NET_SET_MTU

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


# ---- SET_BACKEND_REQ_FD

def test_set_backend_req_fd_takes_one_stream_socket_and_replaces_it(stand, fe):
    before = len(stand.shim.kept())
    for _ in range(20):
        ours, theirs = socket.socketpair()
        fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
        theirs.close()
        ours.close()
    assert len(stand.shim.kept()) == before + 1


@hostile(37)
def test_set_backend_req_fd_refuses_what_is_no_stream_socket(stand, fe, tmp_path):
    datagrams = socket.socketpair(type=socket.SOCK_DGRAM)
    tcp = socket.socket()
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    event = eventfd()
    with unchanged(stand.shim):
        for fd in (datagrams[0].fileno(), tcp.fileno(), file, event):
            fe.refused("SET_BACKEND_REQ_FD", fds=[fd])
        fe.refused("SET_BACKEND_REQ_FD")
        fe.refused("SET_BACKEND_REQ_FD", fds=[event, event])
    os.close(file)
    os.close(event)
    tcp.close()
    for sock in datagrams:
        sock.close()


# ---- GET_CONFIG, SET_CONFIG

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


@hostile(142)
def test_set_config_has_no_field_that_a_driver_may_write(stand, fe):
    with unchanged(stand.shim):
        for flags in (0, 2):
            fe.refused("SET_CONFIG", config(0, 6, flags, bytes.fromhex("525400000009")))
        fe.refused("SET_CONFIG", config(0, 6, 1, bytes.fromhex("525400000009")))
        fe.refused("SET_CONFIG", config(20, 10, 1))


def test_set_config_of_a_migration_may_repeat_what_is_there(fe):
    fe.accepted("SET_CONFIG", config(0, 6, 1, bytes.fromhex("525400000001")))
