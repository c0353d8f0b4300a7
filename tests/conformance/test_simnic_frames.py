# SPDX-License-Identifier: BSD-2-Clause
"""Frames between functions: chains, header offloads, flows, and the switch."""
import random
import struct

import pytest

import simnic_client as sim
from hostile import hostile
from simnic_client import bits
from waiting import wait_for

MERGEABLE = bits(sim.F_VERSION_1, sim.F_MRG_RXBUF)
PLAIN = bits(sim.F_VERSION_1)
OFFLOADS = bits(sim.F_CSUM, sim.F_GUEST_CSUM, sim.F_HOST_TSO4, sim.F_HOST_TSO6, sim.F_GUEST_TSO4,
                sim.F_GUEST_TSO6)
NEEDS_CSUM = 1
GSO_TCPV4, GSO_TCPV6 = 1, 4


def two_guests(nic, make_guest, features, other=None, flags=sim.LINK_UP, **kwargs):
    a = make_guest(nic.add("a", mac=sim.mac(1), flags=flags), features, **kwargs)
    b = make_guest(nic.add("b", mac=sim.mac(2)), features if other is None else other, **kwargs)
    return a, b


def ip_sum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data[:len(data) // 2 * 2]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def tcp4(to, source, payload, flags=0x18, seq=1000, sport=1111, dport=80, partial=True):
    """A TCP/IPv4 frame; its checksum field holds the pseudo header's sum when @partial."""
    size = 20 + len(payload)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + size, 7, 0x4000, 64, 6, 0,
                     b"\x0a\0\0\1", b"\x0a\0\0\2")
    ip = ip[:10] + struct.pack(">H", 0xffff ^ ip_sum(ip)) + ip[12:]
    pseudo = ip_sum(ip[12:20] + struct.pack(">HH", 6, size))
    tcp = struct.pack(">HHIIBBHHH", sport, dport, seq, 0, 0x50, flags, 512, pseudo, 0)
    if not partial:
        tcp = tcp[:16] + struct.pack(">H", 0xffff ^ ip_sum(
            struct.pack(">H", pseudo) + tcp[:16] + b"\0\0" + tcp[18:] + payload)) + tcp[18:]
    return to + source + b"\x08\0" + ip + tcp + payload


def tcp6(to, source, payload, flags=0x18, seq=1000):
    size = 20 + len(payload)
    ends = bytes(15) + b"\1" + bytes(15) + b"\2"
    ip = struct.pack(">IHBB", 6 << 28, size, 6, 64) + ends
    pseudo = ip_sum(ends + struct.pack(">HH", 6, size))
    tcp = struct.pack(">HHIIBBHHH", 1111, 80, seq, 0, 0x50, flags, 512, pseudo, 0)
    return to + source + b"\x86\xdd" + ip + tcp + payload


def checksums_right(frame):
    """Whether IP's and TCP's sums of a frame are right."""
    if frame[12:14] == b"\x08\0":
        ip, rest = frame[14:34], frame[34:14 + struct.unpack(">H", frame[16:18])[0]]
        pseudo = ip[12:20] + struct.pack(">HH", 6, len(rest))
        return ip_sum(ip) == 0xffff and ip_sum(pseudo + rest) == 0xffff
    rest = frame[54:54 + struct.unpack(">H", frame[18:20])[0]]
    return ip_sum(frame[22:54] + struct.pack(">HH", 6, len(rest)) + rest) == 0xffff


def offload_header(gso=0, size=0, start=34, offset=16, flags=NEEDS_CSUM, hdr_len=54):
    return struct.pack("<BBHHHHH", flags, gso, hdr_len, size, start, offset, 0)


def pattern(size, seed=1):
    return random.Random(seed).randbytes(size)


def test_a_frame_goes_from_one_function_to_the_other(nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout)
    b.offer()
    sent = sim.frame(sim.mac(2), sim.mac(1), b"hello")
    a.send(sent)
    a.sent()
    header, received = b.receive()
    assert received == sent
    assert header == bytes(10) + b"\1\0"


@hostile(171)
@pytest.mark.parametrize("indirect", [False, True])
@pytest.mark.parametrize("split", [(), (12,), (3, 5, 12, 13, 70), (100, 1000)])
def test_chains_of_any_shape_are_read_and_written(nic, make_guest, layout, split, indirect):
    a, b = two_guests(nic, make_guest, PLAIN | layout | bits(sim.F_INDIRECT))
    sent = sim.frame(sim.mac(2), sim.mac(1), pattern(1400))
    for _ in range(100):  # around the ring, more than once
        b.offer(sizes=(5, 7, 1, 900, 1000), indirect=indirect)
        a.send(sent, split=split, indirect=indirect)
        chain, size = a.sent()
        assert size == 0
        data = b.take()
        assert data[:12] == bytes(10) + b"\1\0"
        assert data[12:] == sent


def test_a_large_frame_spreads_over_mergeable_buffers(nic, make_guest, layout):
    features = MERGEABLE | layout | OFFLOADS
    a, b = two_guests(nic, make_guest, features, size=256)
    payload = pattern(60000)
    for _ in range(100):
        b.offer(sizes=(700,))
    sent = tcp4(sim.mac(2), sim.mac(1), payload)
    a.send(sent, header=offload_header(GSO_TCPV4, 1460))
    a.sent()
    header, received = b.receive()
    assert received == sent
    assert struct.unpack_from("<H", header, 10)[0] == -(-(len(sent) + 12) // 700)
    assert header[:10] == offload_header(GSO_TCPV4, 1460)[:10]


def test_a_frame_without_room_is_dropped_and_counted_and_leaves_the_ring_alone(
        nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, PLAIN | layout)
    b.offer(sizes=(100,))
    a.send(sim.frame(sim.mac(2), sim.mac(1), pattern(1000)))
    a.sent()
    a.send(sim.frame(sim.mac(2), sim.mac(1), b"short"))
    a.sent()
    assert b.receive()[1] == sim.frame(sim.mac(2), sim.mac(1), b"short")
    wait_for(lambda: b.function.queue(0)["completed_desc"] == 1, "the counters")
    assert b.function.queue(0)["drops"] == 1


@hostile(171)
@pytest.mark.parametrize("size", [0, 1, 11, 12, 25])
def test_a_transmit_chain_that_is_too_short_is_dropped_and_given_back(
        nic, make_guest, layout, size):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout)
    b.offer()
    a.send(bytes(max(size - 12, 0)), header=bytes(min(size, 12)))
    a.sent()
    a.send(sim.frame(sim.mac(2), sim.mac(1), b"good"))
    a.sent()
    assert b.receive()[1] == sim.frame(sim.mac(2), sim.mac(1), b"good")
    assert a.function.queue(1)["drops"] == 1


def test_a_frame_longer_than_any_is_dropped(nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout | OFFLOADS)
    a.send(tcp4(sim.mac(2), sim.mac(1), b"")[:54] + bytes(66000))
    a.sent()
    assert a.function.queue(1)["drops"] == 1


def test_a_frame_beyond_the_receivers_mtu_is_dropped(nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout)
    for _ in range(4):
        b.offer()
    for size, arrives in ((1500, True), (1504, True), (1505, False)):
        sent = sim.frame(sim.mac(2), sim.mac(1), pattern(size))
        a.send(sent)
        a.sent()
        if arrives:
            assert b.receive()[1] == sent
    assert b.nothing_received()
    b.function.u64(sim.SET_MTU, 9000)
    a.send(sent)
    assert b.receive()[1] == sent


# ------------------------------------------------------------------------- offloads

def test_checksum_requests_pass_to_a_receiver_that_knows_them(nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout | OFFLOADS)
    b.offer()
    sent = tcp4(sim.mac(2), sim.mac(1), b"payload")
    a.send(sent, header=offload_header(hdr_len=0))
    header, received = b.receive()
    assert received == sent
    assert header[:10] == offload_header(hdr_len=0)[:10]


@pytest.mark.parametrize("payload", [b"", b"odd", b"even", pattern(1400), pattern(1399)])
def test_checksums_are_computed_for_a_receiver_that_does_not(nic, make_guest, layout, payload):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout | OFFLOADS, MERGEABLE | layout)
    b.offer()
    a.send(tcp4(sim.mac(2), sim.mac(1), payload), header=offload_header())
    header, received = b.receive()
    assert header[:10] == bytes(10)
    assert received == tcp4(sim.mac(2), sim.mac(1), payload, partial=False)
    assert checksums_right(received)


@pytest.mark.parametrize("kind", [GSO_TCPV4, GSO_TCPV6])
@pytest.mark.parametrize("size", [1, 1460, 1461, 10000, 60000])
def test_large_frames_are_cut_for_a_receiver_that_does_not_know_them(
        nic, make_guest, layout, kind, size):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout | OFFLOADS, MERGEABLE | layout)
    make, start, head = (tcp4, 34, 54) if kind == GSO_TCPV4 else (tcp6, 54, 74)
    payload = pattern(size)
    n = -(-size // 1400)
    for _ in range(n):
        b.offer()
    fin_psh_cwr = 0x99
    a.send(make(sim.mac(2), sim.mac(1), payload, flags=fin_psh_cwr),
           header=offload_header(kind, 1400, start=start, hdr_len=0))
    parts = [b.receive() for _ in range(n)]
    assert all(header[:10] == bytes(10) and checksums_right(f) for header, f in parts)
    assert b"".join(f[head:] for _, f in parts) == payload
    for i, (_, f) in enumerate(parts):
        seq, = struct.unpack_from(">I", f, start + 4)
        assert seq == 1000 + 1400 * i
        expected = 0x10 | (0x80 if i == 0 else 0) | (0x09 if i == n - 1 else 0)
        assert f[start + 13] == expected
    if kind == GSO_TCPV4:
        assert [struct.unpack_from(">H", f, 18)[0] for _, f in parts] == list(range(7, 7 + n))


@hostile(172)
@pytest.mark.parametrize("name,header", [
    ("checksum beyond the frame", offload_header(start=60, offset=60)),
    ("checksum far beyond the frame", offload_header(start=65535, offset=65535)),
    ("checksum in the Ethernet header", offload_header(start=0, offset=0)),
    ("segments of nothing", offload_header(GSO_TCPV4, 0)),
    ("segments without a checksum", offload_header(GSO_TCPV4, 1000, flags=0)),
    ("unknown kind of segments", offload_header(9, 1000)),
    ("segments of UDP", offload_header(3, 1000)),
    ("kind that is not the frame's", offload_header(GSO_TCPV6, 1000)),
    ("checksum that is not TCP's", offload_header(GSO_TCPV4, 1000, start=30)),
])
@hostile(172)
def test_offload_requests_that_make_no_sense_lose_the_frame_only(
        nic, make_guest, layout, name, header):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout | OFFLOADS)
    for _ in range(2):
        b.offer()
    a.send(tcp4(sim.mac(2), sim.mac(1), pattern(50)), header=header)
    a.sent()
    good = tcp4(sim.mac(2), sim.mac(1), b"good")
    a.send(good)
    assert b.receive()[1] == good
    assert a.function.queue(1)["drops"] == 1
    assert a.function.queue(1)["status"] == sim.QUEUE_RUNNING


def test_offloads_that_were_not_negotiated_are_ignored(nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout, MERGEABLE | layout | OFFLOADS)
    b.offer()
    sent = tcp4(sim.mac(2), sim.mac(1), b"x")
    a.send(sent, header=offload_header(GSO_TCPV4, 1000))
    header, received = b.receive()
    assert (header[:10], received) == (bytes(10), sent)


def test_a_legacy_guest_has_the_short_header(nic, make_guest):
    a = make_guest(nic.add("a", mac=sim.mac(1)), 0)
    b = make_guest(nic.add("b", mac=sim.mac(2)), 0)
    b.offer()
    sent = sim.frame(sim.mac(2), sim.mac(1), b"legacy")
    a.send(sent, header=bytes(10))
    assert b.take() == bytes(10) + sent


# --------------------------------------------------------------------------- notifications

def test_the_driver_is_called_once_for_a_burst_and_not_when_it_does_not_want_to(
        nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout)
    for _ in range(3):
        a.send(sim.frame(sim.mac(2), sim.mac(1)), notify=False)
    a.queues[1].notify()
    for _ in range(3):
        a.sent()
    heard = [0]

    def all_heard():
        heard[0] += a.queues[1].called()
        counted = a.function.queue(1)
        return counted["completed_desc"] == 3 and 0 < counted["calls"] == heard[0]
    wait_for(all_heard, "a call, and the counters")
    calls = heard[0]
    a.queues[1].ring.suppress_calls()
    a.send(sim.frame(sim.mac(2), sim.mac(1)))
    a.sent()
    wait_for(lambda: a.function.queue(1)["completed_desc"] == 4, "the counters")
    assert a.function.queue(1)["calls"] == calls
    assert a.queues[1].called() == 0


def test_event_index_calls_when_the_used_index_passes_it(nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout | bits(sim.F_EVENT_IDX), size=8)
    ring = a.queues[1].ring
    packed = layout != 0
    for lap in range(5):
        for n in range(8):
            target = 8 * lap + 4
            ring.set_used_event((4 | (1 - lap % 2) << 15) if packed else target)
            before = a.function.queue(1)["calls"]
            a.send(sim.frame(sim.mac(9), sim.mac(1)))
            a.sent()
            wait_for(lambda: a.function.queue(1)["position"] ==
                     a.function.queue(1)["next_position"] and
                     a.function.queue(1)["completed_desc"] == 8 * lap + n + 1,
                     "the completion")
            if n == 4:
                wait_for(lambda: a.function.queue(1)["calls"] == before + 1, "the call")
            else:
                assert a.function.queue(1)["calls"] == before


def test_kicks_are_asked_for_only_before_sleep(nic, make_guest, layout):
    for event_idx in (False, True):
        name = f"f{event_idx}"
        guest = make_guest(nic.add(name, mac=sim.mac(3)),
                           MERGEABLE | layout | (bits(sim.F_EVENT_IDX) if event_idx else 0))
        ring = guest.queues[1].ring
        wait_for(lambda: ring.wants_kicks(event_idx), "the device to ask for kicks")
        guest.send(sim.frame(sim.mac(9), sim.mac(3)))
        guest.sent()
        wait_for(lambda: ring.wants_kicks(event_idx), "the device to ask for kicks")
        nic.admin.call(sim.DEL, sim.pack_function(name))


# ---------------------------------------------------------------------------------- flows

def test_flows_spread_over_running_receive_queues_and_stay_in_order(nic, make_guest, layout):
    a = make_guest(nic.add("a", mac=sim.mac(1), pairs=4), MERGEABLE | layout, pairs=4)
    b = make_guest(nic.add("b", mac=sim.mac(2), pairs=4), MERGEABLE | layout, pairs=4, size=256)
    n_flows, n_each = 64, 4
    for pair in range(4):
        for _ in range(200):
            b.offer(pair, sizes=(256,))
    queue_of = {}

    def run(ports, allowed):
        before = b.function.register("rx_frames")
        for i in range(n_each):
            for port in ports:
                a.send(tcp4(sim.mac(2), sim.mac(1), b"%d" % i, sport=port), pair=port % 4)
                a.sent(port % 4)
        wait_for(lambda: b.function.register("rx_frames") == before + len(ports) * n_each,
                 "all frames")
        counts = {}
        for pair in range(4):
            while not b.nothing_received(pair):
                _, f = b.receive(pair)
                port, = struct.unpack_from(">H", f, 34)
                assert queue_of.setdefault(port, pair) == pair
                assert f[54:] == b"%d" % counts.get(port, 0)
                counts[port] = counts.get(port, 0) + 1
        assert set(counts.values()) == {n_each} and len(counts) == len(ports)
        assert {queue_of[p] for p in ports} == allowed

    run(range(1000, 1000 + n_flows // 2), {0, 1, 2, 3})
    b.function.stop(2, 3)
    queue_of.clear()
    run(range(2000, 2000 + n_flows // 4), {0, 2, 3})


# --------------------------------------------------------------------------------- switch

def test_broadcast_reaches_all_but_the_sender(nic, make_guest):
    guests = [make_guest(nic.add(f"f{i}", mac=sim.mac(i))) for i in (1, 2, 3)]
    for guest in guests:
        guest.offer()
    sent = sim.frame(sim.BROADCAST, sim.mac(1))
    guests[0].send(sent)
    assert guests[1].receive()[1] == sent
    assert guests[2].receive()[1] == sent
    guests[0].sent()
    assert guests[0].nothing_received()


def test_an_unknown_address_is_flooded_until_it_was_a_source(nic, make_guest):
    a, b, c = (make_guest(nic.add(f"f{i}", mac=sim.mac(i))) for i in (1, 2, 3))
    for guest in (a, b, c):
        for _ in range(4):
            guest.offer()
    first = sim.frame(sim.mac(77), sim.mac(1))
    a.send(first)
    assert b.receive()[1] == first and c.receive()[1] == first
    answer = sim.frame(sim.mac(1), sim.mac(77))
    b.send(answer)
    assert a.receive()[1] == answer
    a.send(first)
    assert b.receive()[1] == first
    a.sent()
    assert c.nothing_received()


def test_nobody_learns_away_a_functions_own_address(nic, make_guest):
    a, b, c = (make_guest(nic.add(f"f{i}", mac=sim.mac(i))) for i in (1, 2, 3))
    for guest in (a, b, c):
        for _ in range(4):
            guest.offer()
    c.send(sim.frame(sim.mac(1), sim.mac(2), b"I am b"))
    a.receive()
    sent = sim.frame(sim.mac(2), sim.mac(1), b"for b")
    a.send(sent)
    assert b.receive()[1] == sent
    assert c.nothing_received()


def test_a_spoofed_source_is_dropped_counted_and_named(nic, make_guest):
    flags = sim.LINK_UP | sim.SPOOF_CHECK
    a, b = two_guests(nic, make_guest, MERGEABLE, flags=flags)
    for _ in range(3):
        b.offer()
    a.send(sim.frame(sim.mac(2), sim.mac(9)))
    good = sim.frame(sim.mac(2), sim.mac(1))
    a.send(good)
    assert b.receive()[1] == good
    assert a.function.register("spoof_drops") == 1
    assert a.function.register("last_spoof_mac").to_bytes(8, "little") == sim.mac(9) + b"\0\0"

    nic.admin.call(sim.SET, sim.pack_function("a", mac=sim.mac(1)))  # without the check
    free = sim.frame(sim.mac(2), sim.mac(9))
    a.send(free)
    assert b.receive()[1] == free
    assert a.function.register("spoof_drops") == 1


def test_floods_are_limited_and_known_addresses_are_not(make_nic, make_guest):
    nic = make_nic("--flood-limit", "20")
    a, b = two_guests(nic, make_guest, MERGEABLE, size=256)
    for _ in range(250):
        b.offer()
    for _ in range(100):
        a.send(sim.frame(sim.BROADCAST, sim.mac(1)), notify=False)
    a.queues[1].notify()
    for _ in range(100):
        a.sent()
    wait_for(lambda: a.function.register("flood_drops") + b.function.register("rx_frames") == 100,
             "all to be counted")
    dropped = a.function.register("flood_drops")
    assert 50 <= dropped < 100
    for _ in range(100):
        a.send(sim.frame(sim.mac(2), sim.mac(1)))
        a.sent()
    wait_for(lambda: b.function.register("rx_frames") == 200 - dropped, "all known frames")
    assert a.function.register("flood_drops") == dropped


def test_a_function_without_receive_queues_counts_what_it_missed(nic, make_guest):
    a = make_guest(nic.add("a", mac=sim.mac(1)))
    b = nic.add("b", mac=sim.mac(2))
    a.send(sim.frame(sim.mac(2), sim.mac(1)))
    a.sent()
    wait_for(lambda: b.register("no_queue_drops") == 1, "the count")


def test_a_link_that_is_down_carries_nothing_either_way(nic, make_guest):
    a, b = two_guests(nic, make_guest, MERGEABLE)
    for guest in (a, b):
        guest.offer()
    nic.admin.call(sim.SET, sim.pack_function("b", mac=sim.mac(2), flags=0))
    assert b.function.channel.next_event()[0] == sim.EVENT_CONFIG
    assert b.function.config()["link"] == 0 and b.function.register("link_up") == 0
    a.send(sim.frame(sim.mac(2), sim.mac(1)))
    a.sent()
    b.send(sim.frame(sim.mac(1), sim.mac(2)))
    b.sent()
    nic.admin.call(sim.SET, sim.pack_function("b", mac=sim.mac(2)))
    last = sim.frame(sim.mac(2), sim.mac(1), b"up again")
    a.send(last)
    assert b.receive()[1] == last
    assert a.nothing_received()


def test_of_two_functions_with_one_address_the_one_started_last_has_it(nic, make_guest):
    a = make_guest(nic.add("a", mac=sim.mac(1)))
    old = make_guest(nic.add("old", mac=sim.mac(2)))
    new = make_guest(nic.add("new", mac=sim.mac(2)))
    for guest in (old, new):
        for _ in range(2):
            guest.offer()
    sent = sim.frame(sim.mac(2), sim.mac(1))
    a.send(sent)
    assert new.receive()[1] == sent
    new.function.stop(0, 1)
    a.send(sent)
    assert old.receive()[1] == sent


def test_announce_sends_a_rarp_to_all_others(nic, make_guest):
    a, b = two_guests(nic, make_guest, MERGEABLE)
    for guest in (a, b):
        guest.offer()
    address = sim.mac(42)
    a.function.u64(sim.ANNOUNCE, int.from_bytes(address, "little"))
    _, rarp = b.receive()
    assert rarp[:14] == sim.BROADCAST + address + b"\x80\x35"
    assert rarp[14:22] == b"\0\1\x08\0\6\4\0\3"
    assert rarp[22:28] == address and rarp[32:38] == address
    assert len(rarp) == 60
    assert a.nothing_received()


def test_the_loop_uplink_sends_frames_back_with_the_addresses_swapped(
        make_nic, make_guest, layout):
    nic = make_nic("--uplink", "loop")
    a = make_guest(nic.add("a", mac=sim.mac(1)), MERGEABLE | layout)
    a.offer()
    a.send(sim.frame(sim.mac(9), sim.mac(1), b"there and back"))
    assert a.receive()[1] == sim.frame(sim.mac(1), sim.mac(9), b"there and back")
    assert struct.unpack_from("<I", nic.admin.call(sim.INFO)[0], 24)[0] == 1


def test_counters_tell_frames_and_bytes(nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, MERGEABLE | layout)
    for size in (60, 100, 1000):
        b.offer()
        a.send(sim.frame(sim.mac(2), sim.mac(1), pattern(size - 14)))
        b.receive()
        a.sent()
    wait_for(lambda: a.function.queue(1)["completed_desc"] == 3, "the counters")
    assert (a.function.register("tx_frames"), a.function.register("tx_bytes")) == (3, 1160)
    wait_for(lambda: b.function.register("rx_frames") == 3, "the counters")
    assert b.function.register("rx_bytes") == 1160
    assert a.function.queue(1)["bytes"] == 1160 and b.function.queue(0)["bytes"] == 1160
    assert b.function.queue(0)["received_desc"] == 3
