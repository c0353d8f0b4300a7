# SPDX-License-Identifier: BSD-2-Clause
"""Uplinks: a TAP and a packet socket in a network namespace of the test's own, and DPDK's ring."""
import ctypes
import json
import os
import socket
import struct
import subprocess

import pytest

import simnic_client as sim
from test_simnic_frames import (GSO_TCPV4, GSO_TCPV6, MERGEABLE, OFFLOADS, checksums_right,
                                offload_header, pattern, tcp4, tcp6)
from test_simnic_misbehave import Orders
from waiting import wait_for

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE, SOL_PACKET, PACKET_AUXDATA = 33, 263, 8
VLAN = b"\x81\0\x20\x07"  # priority 1, network 7
UP, DOWN = 1, 2


@pytest.fixture
def namespace():
    """The test, and simnic as its child, run in a network namespace of their own meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    if libc.unshare(CLONE_NEWNET) < 0:
        os.close(before)
        pytest.skip("no network namespace can be made here")
    yield
    assert libc.setns(before, CLONE_NEWNET) == 0
    os.close(before)


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL)


def packet_socket(interface):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind((interface, 0))
    sock.settimeout(sim.DEADLINE)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    return sock


def receive_whole(sock):
    """A frame with its VLAN tag, which the kernel hands over beside it."""
    frame, ancillary, _, _ = sock.recvmsg(70000, 100)
    for level, kind, content in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, tci, tpid = struct.unpack("<I12xHH", content)
            if status & 0x10:
                frame = frame[:12] + struct.pack(">HH", tpid, tci) + frame[12:]
    return frame


def receive_wanted(sock, wanted):
    """The next frame that wanted() likes; others come from the kernel itself."""
    while True:
        frame = receive_whole(sock)
        if wanted(frame):
            return frame


def need_tap():
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("no /dev/net/tun here")


def is_ours(frame):
    return b"\x88\xb5" in (frame[12:14], frame[16:18])


def receive_ours(guest):
    while True:
        header, frame = guest.receive()
        if is_ours(frame):
            return header, frame


def uplink_state(nic):
    return struct.unpack_from("<I", nic.admin.call(sim.INFO)[0], 24)[0]


def promiscuity(interface):
    out = subprocess.run(["ip", "-d", "-j", "link", "show", interface], check=True,
                         capture_output=True, stdin=subprocess.DEVNULL).stdout
    return json.loads(out)[0]["promiscuity"]


@pytest.fixture(params=["tap", "af_packet"])
def wire(request, namespace, make_nic, tmp_path):
    """(simnic, a packet socket on the other side of its uplink)."""
    test_path = str(tmp_path / "orders")
    options = ["--flood-limit", "0", "--uid", "812345", "--threads", "2", "--test-socket",
               test_path]
    if request.param == "tap":
        need_tap()
        nic = make_nic("--uplink", "tap:simtap0", *options)
        ip("link", "set", "simtap0", "up")
        sock = packet_socket("simtap0")
    else:
        ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
        for name in ("v0", "v1"):
            ip("link", "set", name, "up")
        for feature in ("tx", "rx"):
            subprocess.run(["ethtool", "-K", "v1", feature, "off"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        nic = make_nic("--uplink", "af_packet:v0", *options)
        sock = packet_socket("v1")
    nic.orders = Orders(test_path)
    nic.uplink = request.param
    yield nic, sock
    nic.orders.close()
    sock.close()


def test_frames_go_out_and_come_in(wire, make_guest, layout):
    nic, sock = wire
    guest = make_guest(nic.add("a", mac=sim.mac(1)), MERGEABLE | layout, size=256)
    for _ in range(250):
        guest.offer()
    for n in range(20):
        out = sim.frame(sim.mac(9), sim.mac(1), b"out %d" % n)
        guest.send(out)
        assert receive_wanted(sock, is_ours) == out
        into = sim.frame(sim.mac(1), sim.mac(9), b"in %d" % n)
        sock.send(into)
        header, frame = receive_ours(guest)
        assert (frame, header) == (into, bytes(10) + b"\1\0")


@pytest.mark.parametrize("size", [0, 6, 45, 46])
def test_frames_of_any_length_come_in(wire, make_guest, size):
    nic, sock = wire
    guest = make_guest(nic.add("a", mac=sim.mac(1)), MERGEABLE, size=256)
    for _ in range(250):
        guest.offer()
    into = sim.mac(1) + sim.mac(9) + b"\x88\xb5" + pattern(size)
    sock.send(into)
    assert receive_ours(guest)[1] == into


def test_vlan_tags_pass_both_ways(wire, make_guest):
    nic, sock = wire
    guest = make_guest(nic.add("a", mac=sim.mac(1)), MERGEABLE, size=256)
    for _ in range(250):
        guest.offer()
    out = sim.mac(9) + sim.mac(1) + VLAN + b"\x88\xb5" + pattern(100)
    guest.send(out)
    assert receive_wanted(sock, is_ours) == out
    into = sim.mac(1) + sim.mac(9) + VLAN + b"\x88\xb5" + pattern(1500)
    sock.send(into)
    assert receive_ours(guest)[1] == into


@pytest.mark.parametrize("make,kind,head", [(tcp4, GSO_TCPV4, 54), (tcp6, GSO_TCPV6, 74)])
@pytest.mark.parametrize("mss", [300, 1400])
def test_checksums_and_segments_are_right_on_the_wire(wire, make_guest, make, kind, head, mss):
    nic, sock = wire
    guest = make_guest(nic.add("a", mac=sim.mac(1)), MERGEABLE | OFFLOADS)
    payload = pattern(30000)
    start = head - 20

    def from_guest(frame):
        return frame[6:12] == sim.mac(1)
    guest.send(make(sim.mac(9), sim.mac(1), b"small"), header=offload_header(start=start))
    assert checksums_right(receive_wanted(sock, from_guest))
    guest.send(make(sim.mac(9), sim.mac(1), payload),
               header=offload_header(kind, mss, start=start, hdr_len=head))
    got = b""
    while len(got) < len(payload):
        frame = receive_wanted(sock, from_guest)
        assert checksums_right(frame)
        assert len(frame) <= head + mss
        got += frame[head:]
    assert got == payload


def test_a_frame_that_the_port_does_not_take_holds_up_no_other(wire, make_guest):
    nic, sock = wire
    guest = make_guest(nic.add("a", mac=sim.mac(1)), MERGEABLE)
    large = sim.frame(sim.mac(9), sim.mac(1), pattern(5000))
    small = sim.frame(sim.mac(9), sim.mac(1), b"small")
    for frame in (small, large, small):
        guest.send(frame, notify=False)
    guest.queues[1].notify()
    assert receive_wanted(sock, is_ours) == small
    assert receive_wanted(sock, is_ours) == small


def test_several_threads_send_at_once_and_nothing_is_lost_or_kept(wire, make_guest):
    nic, sock = wire
    before = nic.orders.order(do="stats")["frames_in_use"]
    guests = [make_guest(nic.add(f"f{i}", mac=sim.mac(i)), MERGEABLE, size=256)
              for i in range(1, 5)]
    expected = set()
    for n in range(100):
        for i, guest in enumerate(guests, 1):
            frame = sim.frame(sim.mac(9), sim.mac(i), b"%d" % n)
            expected.add(frame)
            guest.send(frame, notify=n % 10 == 9)
    got = [receive_wanted(sock, is_ours) for _ in expected]
    assert len(set(got)) == len(got) and set(got) == expected
    wait_for(lambda: nic.orders.order(do="stats")["frames_in_use"] <= before,
             "all packet memory back")


def test_what_a_slow_interface_was_given_goes_out_also_when_nothing_follows(namespace, make_nic, make_guest):
    """The kernel has each frame until the wire behind a bridge, which is slow, has taken it."""
    ip("link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
    for near, far in (("v0", "v1"), ("v2", "v3")):
        ip("link", "add", near, "type", "veth", "peer", "name", far)
    for name in ("v1", "v2"):
        ip("link", "set", name, "master", "bridge")
    for name in ("bridge", "v0", "v1", "v2", "v3"):
        ip("link", "set", name, "up")
    subprocess.run(["tc", "qdisc", "add", "dev", "v2", "root", "tbf", "rate", "8mbit", "burst", "2kb", "limit", "10mb"],
                   check=True, stdin=subprocess.DEVNULL)
    nic = make_nic("--uplink", "af_packet:v0", "--flood-limit", "0", "--uid", "812345")
    sock = packet_socket("v3")
    guest = make_guest(nic.add("a", mac=sim.mac(1)), MERGEABLE, size=256)
    frames = [sim.frame(sim.mac(9), sim.mac(1), b"%d " % n + bytes(1300)) for n in range(250)]
    for frame in frames[:-1]:
        guest.send(frame, notify=False)
    guest.send(frames[-1])
    assert [receive_wanted(sock, is_ours) for _ in frames] == frames


def test_the_state_of_the_link_is_told(wire):
    nic, _ = wire
    near, far = ("simtap0", "simtap0") if nic.uplink == "tap" else ("v0", "v1")
    wait_for(lambda: uplink_state(nic) == UP, "the link")
    ip("link", "set", far, "down")
    wait_for(lambda: uplink_state(nic) == DOWN, "the link to go")
    ip("link", "set", far, "up")
    wait_for(lambda: uplink_state(nic) == UP, "the link to come back")
    ip("link", "del", near)
    wait_for(lambda: uplink_state(nic) == DOWN, "the link to go")


def test_an_interface_is_left_as_it_was(namespace, make_nic):
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    for stop in ("terminate", "kill"):
        nic = make_nic("--uplink", "af_packet:v0", "--uid", "812345")
        assert promiscuity("v0") >= 1
        getattr(nic.process, stop)()
        nic.process.wait(sim.DEADLINE)
        wait_for(lambda: promiscuity("v0") == 0, "the interface to be as before")
        nic.forget()


def test_a_tap_that_is_deleted_wakes_nobody(namespace, make_nic, make_guest):
    nic = make_nic("--uplink", "tap:simtap0")
    a, b = make_guest(nic.add("a", mac=sim.mac(1))), make_guest(nic.add("b", mac=sim.mac(2)))
    ip("link", "del", "simtap0")
    wait_for(lambda: nic.busy_ms(0.5) < 250, "it to rest")
    b.offer()
    a.send(sim.frame(sim.mac(2), sim.mac(1), b"still"))
    assert b.receive()[1][14:19] == b"still"


def test_an_idle_tap_wakes_nobody(namespace, make_nic, make_guest):
    need_tap()
    nic = make_nic("--uplink", "tap:simtap0")
    guest = make_guest(nic.add("a"))
    wait_for(guest.queues[1].ring.wants_kicks, "sleep")
    wait_for(lambda: nic.quiet(0.5), "half a second without a wake-up")


def test_any_port_of_dpdk_will_do(make_nic, make_guest):
    """net_ring gives back what it was given: a frame comes in from the uplink again."""
    nic = make_nic("--uplink", "dev:net_ring0")
    guest = make_guest(nic.add("a", mac=sim.mac(1)))
    other = make_guest(nic.add("b", mac=sim.mac(2)))
    other.offer()
    out = sim.frame(sim.BROADCAST, sim.mac(1), b"around")
    for _ in range(2):
        guest.offer()
    guest.send(out)
    assert other.receive()[1] == out
    assert guest.receive()[1] == out
    assert uplink_state(nic) == UP


@pytest.mark.parametrize("uplink", ["dev:net_nonsense0", "af_packet:nosuchif"])
def test_an_uplink_that_is_not_there_is_an_error_with_a_reason(tmp_path, namespace, uplink):
    done = subprocess.run([os.path.join(sim.BUILD, "tools/simnic/simnic"), "--name", "x",
                           "--listen", str(tmp_path / "s"), "--uplink", uplink],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert uplink in done.stderr and "does the interface or device exist?" in done.stderr


@pytest.mark.parametrize("uplink", ["none", "dev:net_ring0", "tap:simtap0"])
@pytest.mark.parametrize("threads", ["1", "3", "16"])
def test_memory_suffices_for_any_number_of_threads(namespace, make_nic, uplink, threads):
    if uplink.startswith("tap"):
        need_tap()
    nic = make_nic("--uplink", uplink, "--threads", threads)
    assert len(os.listdir(f"/proc/{nic.process.pid}/task")) > int(threads)


@pytest.mark.parametrize("words", [
    [], ["--name", "x"], ["--name", "", "--listen", "s"], ["--name", "x" * 64, "--listen", "s"],
    ["--name", "x", "--listen", "s", "--listen-fd", "3"],
    ["--name", "x", "--listen", "s", "--uplink", "sky"],
    ["--name", "x", "--listen", "s", "--uplink", "tap:"],
    ["--name", "x", "--listen", "s", "--uplink", "tap:sixteen_letters_"],
    ["--name", "x", "--listen", "s", "--uplink", "af_packet:eth0,qpairs=2"],
    ["--name", "x", "--listen", "s", "--uplink", "loops"],
    ["--name", "x", "--listen", "s", "--uplink", "dev:"],
    ["--name", "x", "--listen", "s", "--threads", "0"],
    ["--name", "x", "--listen", "s", "--threads", "17"],
    ["--name", "x", "--listen", "s", "--threads", "-1"],
    ["--name", "x", "--listen", "s", "--memory", "1"],
    ["--name", "x", "--listen", "s", "--uid", "0"],
    ["--name", "x", "--listen", "s", "--uid", "me"],
    ["--name", "x", "--listen", "s", "--log-level", "loud"],
    ["--name", "x", "--listen", "s", "word"], ["--sing"],
])
def test_wrong_options_are_refused(words):
    done = subprocess.run([os.path.join(sim.BUILD, "tools/simnic/simnic"), *words],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr


def test_help_and_version_answer():
    for option, text in (("--help", "--uplink UPLINK"), ("--version", "simnic 0.")):
        done = subprocess.run([os.path.join(sim.BUILD, "tools/simnic/simnic"), option],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and text in done.stdout
