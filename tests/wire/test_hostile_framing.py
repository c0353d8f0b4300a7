# SPDX-License-Identifier: BSD-2-Clause
"""Bytes that come slowly, in the wrong size, in masses, or out of band."""
import os
import select
import socket
import struct
import threading
import time

import pytest
from frontend import ID, Closed, FrontEnd, eventfd, state, u64
from hostile import hostile
from shimside import REFRESH
from rows import BUILT, ROWS
from test_columns import Good
from unchanged import unchanged
from waiting import wait_for

LONGEST = 60  # bytes; no message has a fixed size beyond


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@hostile(1)
def test_a_connection_on_which_nothing_is_said_costs_nothing(stand):
    fe = stand.front_end(negotiate=False)
    stand.shim.request(REFRESH)
    before = cpu_seconds(stand.shim.process)
    time.sleep(1)
    assert cpu_seconds(stand.shim.process) - before < 0.1
    assert stand.shim.request(REFRESH) == 0
    fe.negotiate()


@hostile(2)
def test_connections_that_are_closed_at_once_leave_nothing(stand):
    for _ in range(10000):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(stand.path)
        sock.close()


@hostile(4)
def test_a_header_that_comes_byte_by_byte_is_not_waited_for_forever(stand):
    fe = stand.front_end(negotiate=False)
    begun = time.monotonic()
    with pytest.raises(Closed):
        for byte in fe.message("SET_MEM_TABLE", bytes(264)):
            fe.raw(bytes([byte]))
            if select.select([fe.sock], [], [], 0.5)[0]:
                raise Closed
    assert 4.5 < time.monotonic() - begun < 30
    wait_for(lambda: any("half a message" in text for _, text in stand.shim.events), "the reason")


@hostile(8)
@pytest.mark.parametrize("name", BUILT)
def test_any_other_length_is_refused_and_the_next_message_is_understood(stand, name):
    """A long message is sent first: what it left behind would make up for what is missing."""
    guest = stand.guest()
    good = Good(guest)
    payload, fds = good[name]
    fixed = ROWS[name]["size"]
    fe = guest.fe
    fe.negotiate()
    before = stand.shim.dump()["session"]["refused"]
    n = 0
    for size in range(LONGEST):
        if size == len(payload) or (size >= fixed and ROWS[name]["more"]) or \
                size in (8, 20) and name.endswith("_INFLIGHT_FD") or size == 26 and name == "IOTLB_MSG":
            continue
        try:
            fe.tell("SET_CONFIG", struct.pack("=III", 0, 60, 1) + payload.ljust(60, b"\xff"))
            fe.send(name, (payload + bytes(LONGEST))[:size], fds, flags=9)
            body = fe.reply(name)
            assert not any(body) or struct.unpack_from("=Q", body)[0] & 0xff == 1
            n += 1
        except Closed:
            fe.close()
            fe = stand.front_end()
    assert stand.shim.dump()["session"]["refused"] - before >= n
    good.close()


@hostile(13)
def test_a_message_with_a_reply_of_its_own_has_no_other_one(stand, fe):
    for name in ("GET_FEATURES", "GET_STATUS", "GET_QUEUE_NUM", "CHECK_DEVICE_STATE", "GET_MAX_MEM_SLOTS"):
        fe.send(name, flags=9)
        fe.reply(name)
        assert fe.silent()


@hostile(18)
def test_a_front_end_that_shuts_its_reading_side_is_dropped(stand, fe):
    fe.sock.shutdown(socket.SHUT_RD)
    try:
        for _ in range(1000):
            fe.send("GET_FEATURES")
    except Closed:
        pass
    wait_for(lambda: stand.shim.has_event("disconnected"), "the end of the connection")


@hostile(19)
def test_a_front_end_that_shuts_its_writing_side_gets_its_replies(stand, fe):
    for _ in range(50):
        fe.send("GET_FEATURES")
    fe.sock.shutdown(socket.SHUT_WR)
    got = 0
    try:
        for _ in range(50):
            fe.reply("GET_FEATURES")
            got += 1
    except Closed:
        pass
    assert got == 50
    assert fe.is_closed()


@hostile(20)
def test_a_flood_of_correct_messages_leaves_time_for_the_shim(stand, fe):
    stop, sent = threading.Event(), [0]
    fe.sock.settimeout(1)

    def flood():
        while not stop.is_set():
            try:
                fe.raw((fe.message("SET_VRING_NUM", state(0, 64)) + fe.message("SET_OWNER")) * 100)
                sent[0] += 200
            except TimeoutError:
                continue

    thread = threading.Thread(target=flood)
    thread.start()
    begun = time.monotonic()
    asked = 0
    while time.monotonic() < begun + (2 if asked > 5 and sent[0] > 2000 else 60):
        assert stand.shim.request(REFRESH) == 0
        asked += 1
    stop.set()
    thread.join()
    assert sent[0] > 2000 and asked > 5


@hostile(22)
def test_urgent_bytes_are_bytes_or_end_the_connection(stand):
    for data in (b"\1", b"\1\0\0\0"):
        fe = stand.front_end()
        fe.sock.send(data, socket.MSG_OOB)
        try:
            fe.tell("SET_OWNER")
        except (Closed, TimeoutError, ConnectionResetError):
            pass
        fe.close()
    wait_for(lambda: stand.shim.dump()["session"]["connected"] == 0, "the end")


@hostile(22)
@pytest.mark.parametrize("where", range(0, 13))
def test_an_urgent_byte_in_the_middle_of_a_message_leaves_the_rest_understood_or_ends_it(stand, where):
    fe = stand.front_end()
    data = fe.message("GET_FEATURES") + fe.message("GET_FEATURES")
    fe.raw(data[:where])
    fe.sock.send(b"\x55", socket.MSG_OOB)
    try:
        fe.raw(data[where:])
        fe.sock.settimeout(8)
        fe.reply("GET_FEATURES")
    except (Closed, AssertionError, TimeoutError):
        pass


@hostile(22)
@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_sockets_of_other_kinds_can_not_connect(stand, kind):
    with socket.socket(socket.AF_UNIX, kind) as sock:
        with pytest.raises(OSError):
            sock.connect(stand.path)


@hostile(201)
def test_a_second_message_that_comes_with_the_first_one_s_last_byte_is_not_lost(fe):
    """The cut goes through every place of the second one, which has descriptors."""
    fd = eventfd()
    first, second = fe.message("SET_OWNER", flags=9), fe.message("SET_VRING_CALL", u64(0), flags=9)
    for cut in range(1, len(second)):
        fe.raw(first[:-1])
        fe.raw(first[-1:] + second[:cut], [fd])
        fe.raw(second[cut:])
        assert fe.reply("SET_OWNER") == u64(0)
        fe.reply("SET_VRING_CALL")
    os.close(fd)


@hostile(202)
@pytest.mark.parametrize("seed", range(8))
def test_random_messages_do_no_harm(stand, seed):
    """Correct headers, anything behind them."""
    import random
    rng = random.Random(seed)
    fds = [eventfd(), os.memfd_create("m"), os.open("/dev/null", os.O_RDWR)]
    os.ftruncate(fds[1], 1 << 20)
    fe = stand.front_end()
    for _ in range(400):
        name = rng.choice(sorted(ID))
        size = rng.choice((0, 8, 8, 16, 40, 40, rng.randrange(300)))
        payload = b"".join(struct.pack("=Q", rng.choice((0, 1, 2, 4096, 1 << 20, rng.getrandbits(64))))
                           for _ in range(size // 8 + 1))[:size]
        try:
            fe.send(name, payload, rng.sample(fds, rng.choice((0, 0, 1, 1, 2))), flags=9)
            fe.sock.setblocking(False)
            try:
                fe.sock.recv(4096)
            except BlockingIOError:
                pass
            fe.sock.setblocking(True)
        except (Closed, ConnectionResetError):
            fe.close()
            fe = stand.front_end()
    for fd in fds:
        os.close(fd)


@hostile(20)
def test_messages_that_are_refused_without_end_do_not_grow_anything(stand, fe):
    with unchanged(stand.shim):
        for _ in range(20):
            fe.raw(fe.message("SET_VRING_NUM", state(0, 0), flags=9) * 100)
            for _ in range(100):
                assert fe.reply("SET_VRING_NUM") == u64(1)


