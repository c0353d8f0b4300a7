# SPDX-License-Identifier: BSD-2-Clause
"""VRING_KICK, VRING_CALL and VRING_ERR: notifications as messages, for front-ends that give no eventfds."""
import os
import resource
import select
import socket
import struct

import pytest
from dirty import Log
from frontend import DEADLINE, NO_FD, PF, state, u64
from hostile import hostile
from looks import running
from shimside import SPEC_RELAY
from unchanged import unchanged
from waiting import wait_for

CALL, ERR = 4, 5
FDS = ("SET_VRING_KICK", "SET_VRING_CALL", "SET_VRING_ERR")
FRAME = bytes(12) + b"\2\0\0\0\0\x99\x52\x54\0\0\0\1\x88\xb5"


class Channel:
    """What the front-end hears."""

    def __init__(self, fe):
        self.sock, self.theirs = socket.socketpair()
        fe.accepted("SET_BACKEND_REQ_FD", fds=[self.theirs.fileno()])

    def next(self, seconds=DEADLINE):
        """(request, ring), or None."""
        if not select.select([self.sock], [], [], seconds)[0]:
            return None
        request, flags, size, ring, num = struct.unpack("=IIIII", self.sock.recv(20, socket.MSG_WAITALL))
        assert (flags, size, num) == (1, 8, 0)
        return request, ring

    def all(self, seconds=0.1):
        heard = []
        while (one := self.next(seconds)) is not None:
            heard.append(one)
        return heard

    def hears(self, *wanted):
        """Wait for all of these; others are passed over."""
        wanted = set(wanted)
        while wanted:
            one = self.next()
            assert one, f"{wanted} did not come"
            wanted.discard(one)

    def stuff(self):
        """Until there is no room. Return: bytes of it."""
        self.theirs.setblocking(False)
        stuffed = 0
        with pytest.raises(BlockingIOError):
            while True:
                stuffed += self.theirs.send(bytes(4096))
        self.theirs.setblocking(True)
        return stuffed

    def take_out(self, stuffed):
        while stuffed > 0:
            stuffed -= len(self.sock.recv(min(stuffed, 1 << 16)))

    def close(self):
        self.sock.close()
        self.theirs.close()


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def guest(stand, request):
    """Rings that were described, and no word of any eventfd."""
    guest = stand.guest(packed=request.param)
    guest.fe.negotiate()
    guest.channel = Channel(guest.fe)
    for name, payload, fds in guest.setup_steps():
        if name not in FDS:
            guest.fe.accepted(name, payload, fds)
    yield guest
    guest.channel.close()


def kick(guest, ring):
    guest.fe.accepted("VRING_KICK", state(ring, 0))


def exchange(guest, n=1):
    for i in range(n):
        guest.rings[0].offer(writable=2048)
        kick(guest, 0)
        guest.rings[1].offer(FRAME + bytes([i]) * 60)
        kick(guest, 1)
        guest.channel.hears((CALL, 0), (CALL, 1))
        guest.rings[1].wait()
        number, length = guest.rings[0].wait()
        assert guest.rings[0].data(number, length)[26:] == bytes([i]) * 60


def test_kicks_and_calls_go_as_messages(stand, guest):
    assert not any(running(stand))
    exchange(guest, 20)
    assert running(stand)[:2] == [1, 1]


def test_a_kick_starts_its_ring_only(stand, guest):
    kick(guest, 1)
    assert running(stand)[:2] == [0, 1]


def test_a_guest_that_wants_no_call_gets_none(stand, guest):
    exchange(guest)
    guest.channel.all()
    for ring in guest.rings:
        at = ring.avail if not guest.packed else ring.avail + 2
        ring._put("=H", at, 1)
    guest.rings[0].offer(writable=2048)
    guest.rings[1].offer(FRAME + bytes(60))
    kick(guest, 1)
    guest.rings[1].wait()
    guest.rings[0].wait()
    assert guest.channel.all() == []


def test_an_eventfd_is_preferred(stand, guest):
    exchange(guest)
    for ring in guest.rings:
        guest.fe.accepted("SET_VRING_CALL", u64(ring.index), [ring.call])
        guest.fe.accepted("SET_VRING_KICK", u64(ring.index), [ring.kick])
    guest.channel.all()
    guest.exchange(3)
    assert select.select([guest.rings[0].call], [], [], DEADLINE)[0]
    assert guest.channel.all() == []


def test_a_ring_that_is_polled_is_told_nothing(stand, guest):
    guest.fe.accepted("SET_VRING_CALL", u64(0 | NO_FD))
    guest.fe.accepted("SET_VRING_KICK", u64(1 | NO_FD))
    kick(guest, 0)
    guest.rings[0].offer(writable=2048)
    guest.rings[1].offer(FRAME + bytes(60))
    guest.rings[1].wait()  # without a kick
    guest.rings[0].wait()
    assert {ring for _, ring in guest.channel.all()} == {1}


def test_a_broken_ring_is_told(stand, guest):
    exchange(guest)
    ring = guest.rings[1]
    if guest.packed:
        ring._put("=QIHH", ring.desc + 16 * ring.next_avail, 1, 60, 0, 0x80)
    else:
        ring._put("=H", ring.avail + 2, ring.next_avail + 5000)
    kick(guest, 1)
    guest.channel.hears((ERR, 1))
    wait_for(lambda: stand.shim.dump()["device"]["rings"][1]["failed"], "the state to say so")


@hostile(153)
def test_a_call_that_the_channel_has_no_room_for_comes_later(stand, guest):
    exchange(guest)
    guest.channel.all()
    stuffed = guest.channel.stuff()
    for _ in range(3):
        guest.rings[0].offer(writable=2048)
        guest.rings[1].offer(FRAME + bytes(60))
        kick(guest, 1)
        guest.rings[1].wait()
        guest.rings[0].wait()
    guest.fe.accepted("SET_OWNER")  # nobody waits for anything
    guest.channel.take_out(stuffed)
    guest.channel.hears((CALL, 0), (CALL, 1))
    guest.channel.all()
    exchange(guest)


@pytest.mark.parametrize("relayed", [False, True], ids=["direct", "relayed"])
def test_a_call_that_found_no_room_comes_when_its_ring_has_stopped_too(stand, guest, relayed):
    """Buffers came back, and nobody else is going to say so."""
    exchange(guest)
    if relayed:
        log = Log(guest)
        log.begin(guest)
        os.close(log.fd)
    guest.channel.all()
    stuffed = guest.channel.stuff()
    guest.rings[0].offer(writable=2048)
    guest.rings[1].offer(FRAME + bytes(60))
    kick(guest, 1)
    guest.rings[1].wait()
    guest.rings[0].wait()
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
    stand.shim.restart()
    guest.channel.take_out(stuffed)
    guest.channel.hears((CALL, 0), (CALL, 1))
    kick(guest, 0)
    exchange(guest)


@hostile(156)
def test_a_channel_that_breaks_is_given_up_and_rings_go_on(stand, guest):
    exchange(guest)
    guest.channel.close()
    for _ in range(10):
        guest.rings[0].offer(writable=2048)
        guest.rings[1].offer(FRAME + bytes(60))
        kick(guest, 1)
        guest.rings[1].wait()
        guest.rings[0].wait()
    wait_for(lambda: "VRING_CALL not sent" in stand.shim.log(), "the news")
    assert stand.shim.log().count("not sent") == 1
    guest.channel = Channel(guest.fe)
    exchange(guest)


def test_without_a_channel_nobody_is_called(stand):
    guest = stand.guest()
    guest.fe.negotiate()
    for name, payload, fds in guest.setup_steps():
        if name not in FDS:
            guest.fe.accepted(name, payload, fds)
    guest.rings[0].offer(writable=2048)
    guest.rings[1].offer(FRAME + bytes(60))
    kick(guest, 0)
    kick(guest, 1)
    guest.rings[1].wait()
    guest.rings[0].wait()


def test_a_new_worker_goes_on_with_messages(stand, guest):
    for _ in range(3):
        exchange(guest, 2)
        stand.shim.restart()
    exchange(guest, 2)


def test_a_ring_that_was_stopped_is_told_nothing_and_starts_again(stand, guest):
    exchange(guest, 3)
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
    guest.channel.all()
    guest.rings[1].offer(FRAME + bytes(60))
    assert guest.channel.all() == []
    guest.rings[0].offer(writable=2048)
    kick(guest, 0)
    kick(guest, 1)
    guest.channel.hears((CALL, 0), (CALL, 1))


@pytest.mark.parametrize("reset", ["RESET_DEVICE", "disconnect"])
def test_a_reset_leaves_no_eventfd_of_ours(stand, guest, reset):
    before = len(stand.shim.kept())
    exchange(guest)
    kept = len(stand.shim.kept())
    assert kept == before + 6
    if reset == "RESET_DEVICE":
        guest.fe.accepted("RESET_DEVICE")
        assert len(stand.shim.kept()) == kept - 6
    else:
        guest.fe.close()
        wait_for(lambda: len(stand.shim.kept()) == before - 2, "all but memory and channel")


def test_relayed_rings_are_kicked_and_called_too(stand, guest):
    exchange(guest)
    log = Log(guest)
    log.begin(guest)
    exchange(guest, 5)
    assert log.marked()
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    exchange(guest, 5)
    os.close(log.fd)


def test_a_front_end_that_gives_eventfds_is_never_sent_messages(stand):
    """QEMU accepts the feature and knows nothing of it; it gives call after kick, and both anew each time."""
    guest = stand.guest()
    guest.fe.negotiate()
    channel = Channel(guest.fe)
    for _ in range(2):
        guest.rings[0].offer(writable=2048)
        guest.rings[1].offer(FRAME + bytes(60))
        for ring in guest.rings:
            guest.fe.accepted("SET_VRING_CALL", u64(ring.index), [ring.call])
            guest.fe.accepted("SET_VRING_ERR", u64(ring.index), [ring.err])
        for name, payload, fds in guest.setup_steps():
            if name not in ("SET_VRING_CALL", "SET_VRING_ERR"):
                guest.fe.accepted(name, payload, fds)
        guest.rings[1].wait()
        guest.rings[0].wait()
        for ring in guest.rings:
            ring.base = guest.fe.vring_base(ring.index)
        guest.rings[0].offer(writable=2048)
        guest.rings[1].offer(FRAME + bytes(60))
        for name, payload, fds in guest.setup_steps():
            if name not in ("SET_VRING_CALL", "SET_VRING_ERR"):
                guest.fe.accepted(name, payload, fds)
        guest.rings[1].wait()
        guest.rings[0].wait()
        for ring in guest.rings:
            ring.base = guest.fe.vring_base(ring.index)
    assert channel.all() == []
    channel.close()


@hostile(79)
@pytest.mark.parametrize("num", [1, 0xffffffff])
def test_the_reserved_number_has_to_be_zero(stand, guest, num):
    with unchanged(stand.shim):
        guest.fe.refused("VRING_KICK", state(0, num))


def test_a_kick_of_a_ring_with_an_eventfd_is_fine(stand):
    guest = stand.guest().setup()
    kick(guest, 0)
    kick(guest, 1)
    guest.exchange(2)


@hostile(44)
@pytest.mark.parametrize("missing", ["REPLY_ACK", "BACKEND_REQ"])
def test_the_feature_without_what_it_needs_ends_the_connection(stand, missing):
    fe = stand.front_end()
    fe.send("SET_PROTOCOL_FEATURES", u64(stand.offered & ~(1 << PF[missing])), flags=9)
    assert fe.is_closed()
    assert stand.front_end().features


@hostile(242)
def test_many_kicks_are_as_good_as_one(stand, guest):
    guest.rings[0].offer(writable=2048)
    kick(guest, 0)
    guest.rings[1].offer(FRAME + bytes(60))
    for _ in range(2000):
        guest.fe.send("VRING_KICK", state(1, 0))
    kick(guest, 1)
    guest.channel.hears((CALL, 0), (CALL, 1))


@pytest.fixture(params=[0, SPEC_RELAY], ids=["direct", "relay"])
def late_guest(stand, request):
    """It accepted the feature when its rings were started already, and spoke of no call eventfd of one."""
    stand.shim.flags = request.param
    stand.shim.datapath(request.param)
    guest = stand.guest()
    guest.fe.negotiate(stand.offered & ~(1 << PF["INBAND_NOTIFICATIONS"]))
    for name, payload, fds in guest.setup_steps():
        if (name, payload) == ("SET_STATUS", u64(0xf)):
            guest.fe.accepted("SET_PROTOCOL_FEATURES", u64(stand.offered))
        if (name, payload) not in (("SET_VRING_CALL", u64(1)), ("SET_VRING_ERR", u64(1))):
            guest.fe.accepted(name, payload, fds)
    guest.channel = Channel(guest.fe)
    yield guest
    guest.channel.close()


@pytest.mark.parametrize("left", [1, 2], ids=["for-none", "for-one"])
def test_a_kick_eventfd_is_not_taken_without_descriptors_for_what_goes_with_it(stand, late_guest, left):
    """It needs two more. The one before is the ring's still."""
    guest, pid = late_guest, stand.shim.process.pid
    guest.exchange(3)
    used = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
    free = [number for number in range(len(used) + 3) if number not in used]
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    other = os.eventfd(0)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[left - 1] + 1, limits[1]))
    guest.fe.refused("SET_VRING_KICK", u64(1), [other])
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    guest.exchange(3)
    guest.fe.accepted("SET_VRING_KICK", u64(1), [other])
    os.close(guest.rings[1].kick)
    guest.rings[1].kick = other
    guest.exchange(3)
