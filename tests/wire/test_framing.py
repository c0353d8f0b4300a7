# SPDX-License-Identifier: BSD-2-Clause
"""Bytes on the connection: where a message begins and ends, and what is no message at all."""
import os
import socket
import struct

import pytest
from frontend import ID, Closed, FrontEnd, eventfd, state, u64
from hostile import hostile
from unchanged import unchanged
from waiting import wait_for


@hostile(6)
def test_two_messages_in_one_write_are_answered_in_order(fe):
    fe.raw(fe.message("GET_FEATURES") + fe.message("GET_PROTOCOL_FEATURES"))
    first, second = fe.reply("GET_FEATURES"), fe.reply("GET_PROTOCOL_FEATURES")
    assert first != second


@hostile(6)
def test_a_message_may_arrive_byte_by_byte(fe):
    for byte in fe.message("SET_OWNER") + fe.message("GET_FEATURES"):
        fe.raw(bytes([byte]))
    assert struct.unpack("=Q", fe.reply("GET_FEATURES"))[0] == fe.features


@hostile(6)
@pytest.mark.parametrize("cut", range(1, 20))
def test_a_message_may_be_split_anywhere(fe, cut):
    fd = eventfd()
    data = fe.message("SET_VRING_CALL", u64(0), flags=9)
    fe.raw(data[:cut], [fd])
    fe.raw(data[cut:])
    assert fe.reply("SET_VRING_CALL") == u64(0)
    os.close(fd)


@hostile(6)
def test_descriptors_of_a_second_message_are_not_taken_for_the_first(stand, fe):
    fd = eventfd()
    fe.raw(fe.message("GET_FEATURES"))
    fe.raw(fe.message("SET_OWNER", flags=9) + fe.message("SET_OWNER", flags=9))
    fe.raw(fe.message("SET_VRING_CALL", u64(0), flags=9), [fd])
    fe.reply("GET_FEATURES")
    assert fe.reply("SET_OWNER") == u64(0)
    assert fe.reply("SET_OWNER") == u64(0)
    assert fe.reply("SET_VRING_CALL") == u64(0)
    assert stand.shim.dump()["device"]["rings"][0]["call"]
    os.close(fd)


@hostile(10, 11, 12)
@pytest.mark.parametrize("flags", [0, 2, 3, 5, 0xd, 0x11, 0x80000001])
def test_wrong_version_reply_bit_or_reserved_flags_close_the_connection(stand, flags):
    fe = stand.front_end(negotiate=False)
    fe.send("GET_FEATURES", flags=flags)
    assert fe.is_closed()
    assert stand.front_end().features


def test_a_message_longer_than_any_closes_the_connection(stand):
    fe = stand.front_end(negotiate=False)
    fe.send("SET_CONFIG", size=4097)
    assert fe.is_closed()


@hostile(3)
@pytest.mark.parametrize("size", range(1, 12))
def test_an_end_in_the_middle_of_a_message_is_an_end(stand, size):
    fe = stand.front_end(negotiate=False)
    fe.raw(fe.message("GET_FEATURES")[:size])
    fe.close()
    wait_for(lambda: stand.shim.has_event("disconnected"), "the end of the connection")
    assert stand.front_end().features


@hostile(5)
def test_half_a_message_is_not_waited_for_forever(stand):
    fe = stand.front_end(negotiate=False)
    fe.raw(fe.message("SET_FEATURES", u64(0))[:15])
    assert fe.is_closed()
    wait_for(lambda: any("half a message" in text for _, text in stand.shim.events), "the reason")


@hostile(27)
def test_descriptors_in_the_middle_of_a_message_never_leak(stand):
    """They close the connection, unless they came together with the message's beginning."""
    fe = stand.front_end()
    before = len(os.listdir(f"/proc/{stand.shim.process.pid}/fd"))
    fd = eventfd()
    data = fe.message("SET_OWNER", flags=9)
    fe.raw(data[:11])
    fe.raw(data[11:], [fd])
    try:
        assert fe.reply("SET_OWNER") == u64(1)
    except Closed:
        fe = stand.front_end()
    os.close(fd)
    fe.accepted("SET_OWNER")
    assert len(os.listdir(f"/proc/{stand.shim.process.pid}/fd")) <= before


@hostile(26)
def test_more_descriptors_than_a_message_may_have_close_the_connection(stand):
    for count in (9, 64, 250):
        fe = stand.front_end(negotiate=False)
        fd = eventfd()
        fe.raw(fe.message("SET_MEM_TABLE", bytes(8)), [fd] * count)
        assert fe.is_closed()
        os.close(fd)
        open_fds = os.listdir(f"/proc/{stand.shim.process.pid}/fd")
        assert len(open_fds) < 24, open_fds


@hostile(23, 29)
@pytest.mark.parametrize("name", sorted(ID))
def test_descriptors_on_a_refused_message_are_closed(stand, fe, name):
    """Each message of the table, with wrong size and descriptors: refused or closed, no leak."""
    before = len(os.listdir(f"/proc/{stand.shim.process.pid}/fd"))
    fd = eventfd()
    try:
        for _ in range(20):
            fe.send(name, bytes(3), [fd, fd], flags=9)
            fe.reply(name)
    except Closed:
        fe = stand.front_end()
    os.close(fd)
    fe.accepted("SET_OWNER")
    assert len(os.listdir(f"/proc/{stand.shim.process.pid}/fd")) <= before


@hostile(15)
@pytest.mark.parametrize("request_id", [0, 45, 255, 0x7fffffff, 0xffffffff, 22, 23, 26, 33, 41])
def test_unknown_messages_are_refused(stand, fe, request_id):
    with unchanged(stand.shim):
        fe.refused(request_id)


@hostile(15)
def test_unknown_messages_without_acknowledgement_close_the_connection(stand):
    fe = stand.front_end(negotiate=False)
    fe.send(255)
    assert fe.is_closed()


@hostile(17)
def test_a_front_end_that_reads_no_replies_is_dropped(stand):
    fe = stand.front_end(negotiate=False)
    fe.sock.setblocking(False)
    with pytest.raises((Closed, BlockingIOError)):
        for _ in range(100000):
            fe.raw(fe.message("GET_FEATURES") * 16)
    wait_for(lambda: stand.shim.has_event("disconnected"), "the end of the connection")


def test_a_second_front_end_is_turned_away_and_the_first_stays(stand, fe):
    second = FrontEnd(stand.path)
    assert second.is_closed()
    second.close()
    assert fe.ask_u64("GET_FEATURES") == fe.features


@hostile(2)
def test_front_ends_come_and_go_without_a_trace(stand):
    fe = stand.front_end()
    fe.close()
    wait_for(lambda: stand.shim.has_event("disconnected"), "the end of the connection")
    before = len(os.listdir(f"/proc/{stand.shim.process.pid}/fd"))
    for _ in range(200):
        with FrontEnd(stand.path) as again:
            again.negotiate()
            again.accepted("SET_OWNER")
            again.sock.shutdown(socket.SHUT_RDWR)
    fe = stand.front_end()
    fe.accepted("SET_OWNER")
    assert len(os.listdir(f"/proc/{stand.shim.process.pid}/fd")) <= before + 1
    assert not stand.shim.kept()[1:]  # the NIC's registers and nothing else


def test_refusals_do_not_fill_the_log(stand, fe):
    before = stand.shim.log().count("\n")
    for _ in range(2000):
        fe.refused("SET_VRING_NUM", state(0, 0))
    lines = stand.shim.log()
    assert lines.count("\n") - before < 40 and "only some are logged" in lines
    assert stand.shim.dump()["session"]["refused"] >= 2000
