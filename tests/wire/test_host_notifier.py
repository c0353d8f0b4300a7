# SPDX-License-Identifier: BSD-2-Clause
"""VRING_HOST_NOTIFIER: pages by which a guest kicks the device itself, where the operator allows that."""
import array
import mmap
import os
import select
import socket
import stat
import struct

import pytest
from dirty import Log
from frontend import DEADLINE, OFFERED_PF, PF, state, u64
from hostile import hostile
from stand import Stand
from unchanged import unchanged
from waiting import wait_for

SEND_FD, NOTIFIER = 10, 11
ALLOWED = 2  # flag of the shim's spec
FRAME = bytes(12) + b"\2\0\0\0\0\x99\x52\x54\0\0\0\1\x88\xb5"
ALL = OFFERED_PF | 1 << SEND_FD | 1 << NOTIFIER


@pytest.fixture
def allowed(make_stand):
    """A stand whose operator allows it."""
    stand = make_stand(start=False, pairs=2)
    stand.shim.flags = ALLOWED
    stand.offered = ALL
    stand.shim.start()
    return stand


class Notifiers:
    """The front-end's end of the channel, and what it was given."""

    def __init__(self, fe):
        self.sock, self.theirs = socket.socketpair()
        fe.accepted("SET_BACKEND_REQ_FD", fds=[self.theirs.fileno()])
        self.pages = {}

    def take(self, seconds=DEADLINE):
        """One message: which ring; None: there is none."""
        if not select.select([self.sock], [], [], seconds)[0]:
            return None
        data, ancillary, _, _ = self.sock.recvmsg(36, socket.CMSG_SPACE(16))
        request, flags, size, word, length, offset = struct.unpack("=IIIQQQ", data)
        assert (request, flags, size, length) == (3, 1, 24, 4096)
        fds = array.array("i")
        for _, _, content in ancillary:
            fds.frombytes(content)
        assert len(fds) == 1
        if stat.S_ISREG(os.fstat(fds[0]).st_mode):
            assert os.fstat(fds[0]).st_size == offset + length  # nothing else of the device is in it
        self.pages[word] = mmap.mmap(fds[0], length, offset=offset)
        os.close(fds[0])
        return word

    def take_all(self, n):
        return {self.take() for _ in range(n)}

    def ring(self, index):
        self.pages[index][0:2] = struct.pack("=H", index)

    def close(self):
        for page in self.pages.values():
            page.close()
        self.sock.close()
        self.theirs.close()


@pytest.fixture
def guest(allowed):
    guest = allowed.guest(pairs=2)
    guest.fe.negotiate()
    guest.notifiers = Notifiers(guest.fe)
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    yield guest
    guest.notifiers.close()


def exchange(guest, n=5):
    """Without an eventfd."""
    for i in range(n):
        guest.rings[0].offer(writable=2048)
        guest.rings[2].offer(writable=2048)
        guest.rings[1].offer(FRAME + bytes([i]) * 60)
        guest.notifiers.ring(1)
        guest.rings[1].wait()
        wait_for(lambda: guest.rings[0].take() or guest.rings[2].take(), "the frame to come back", DEADLINE)


def test_each_ring_that_runs_has_a_page_and_needs_no_eventfd(allowed, guest):
    assert guest.notifiers.take_all(4) == {0, 1, 2, 3}
    exchange(guest, 20)
    assert guest.notifiers.take(0.1) is None


def test_an_eventfd_is_as_good_as_ever(allowed, guest):
    guest.rings[0].offer(writable=2048)
    guest.rings[2].offer(writable=2048)
    guest.rings[1].offer(FRAME + bytes(60))
    guest.rings[1].notify()
    guest.rings[1].wait()


@hostile(243)
def test_the_page_is_all_that_a_guest_gets(allowed, guest):
    guest.notifiers.take_all(4)
    guest.notifiers.pages[0][:] = b"\xff" * 4096
    exchange(guest)
    for ring in (1, 3):
        assert guest.fe.vring_base(ring) == guest.rings[ring].position()


def test_without_the_operator_s_word_it_is_not_offered(stand):
    fe = stand.front_end(negotiate=False)
    assert fe.ask_u64("GET_PROTOCOL_FEATURES") & (1 << SEND_FD | 1 << NOTIFIER) == 0


@hostile(45)
@pytest.mark.parametrize("missing", [SEND_FD, PF["BACKEND_REQ"]])
def test_the_feature_without_what_it_needs_is_refused(allowed, missing):
    fe = allowed.front_end()
    features = ALL & ~(1 << missing) & ~(1 << PF["INBAND_NOTIFICATIONS"])
    with unchanged(allowed.shim):
        fe.refused("SET_PROTOCOL_FEATURES", u64(features))


@pytest.mark.parametrize("pf", [ALL & ~(1 << NOTIFIER), ALL & ~(1 << NOTIFIER | 1 << SEND_FD)])
def test_a_front_end_that_does_not_want_it_gets_none(allowed, pf):
    guest = allowed.guest()
    guest.fe.negotiate(pf)
    notifiers = Notifiers(guest.fe)
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    guest.exchange(2)
    assert notifiers.take(0.1) is None
    notifiers.close()


def test_each_start_gives_them_anew(allowed, guest):
    guest.notifiers.take_all(4)
    exchange(guest)
    for ring in guest.rings:
        ring.base = guest.fe.vring_base(ring.index)
        assert ring.base == ring.position() or ring.index % 2 == 0
    assert guest.notifiers.take(0.1) is None
    guest.rings[0].base = guest.rings[0].position()
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    assert guest.notifiers.take_all(4) == {0, 1, 2, 3}
    exchange(guest)


def test_a_new_worker_knows_that_they_are_out(allowed, guest):
    guest.notifiers.take_all(4)
    for _ in range(3):
        allowed.shim.restart()
        exchange(guest, 2)
    assert guest.notifiers.take(0.1) is None


def test_relayed_rings_are_looked_at_as_long_as_a_page_is_out(allowed, guest):
    """What is written there only the device would see, and it does not serve the ring now."""
    guest.notifiers.take_all(4)
    exchange(guest)
    log = Log(guest)
    log.begin(guest)
    allowed.shim.dump()  # whoever slept has slept
    exchange(guest)
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    exchange(guest)
    os.close(log.fd)


def test_what_is_rung_while_a_relayed_ring_rests_is_found_when_it_goes_on(allowed, guest):
    guest.notifiers.take_all(4)
    exchange(guest)
    log = Log(guest)
    log.begin(guest)
    for restart in (False, True):
        guest.fe.accepted("SET_VRING_ENABLE", state(1, 0))
        guest.rings[1].offer(FRAME + bytes(60))
        guest.notifiers.ring(1)
        if restart:
            allowed.shim.restart()
        guest.fe.accepted("SET_VRING_ENABLE", state(1, 1))
        guest.rings[1].wait()
    exchange(guest)
    os.close(log.fd)


def test_a_ring_that_starts_again_alone_is_given_its_page_again(allowed, guest):
    """While pages are logged all rings stop with it; the others keep theirs, which are heard of."""
    guest.notifiers.take_all(4)
    log = Log(guest)
    log.begin(guest)
    guest.fe.accepted("SET_VRING_BASE", state(3, guest.fe.vring_base(3)))
    guest.fe.accepted("SET_VRING_KICK", u64(3), [guest.rings[3].kick])
    assert guest.notifiers.take() == 3
    exchange(guest)
    allowed.shim.restart()
    exchange(guest)
    assert guest.notifiers.take(0.1) is None
    os.close(log.fd)


@pytest.mark.parametrize("own_nic_stand", [False], indirect=True)
def test_a_device_that_was_replaced_is_rung_all_the_same(own_nic_stand):
    nic = own_nic_stand.nic
    own_nic_stand.close_now()
    stand = Stand(nic)
    stand.shim.flags, stand.offered = ALLOWED, ALL
    stand.shim.start()
    guest = stand.guest()
    guest.fe.negotiate()
    notifiers = Notifiers(guest.fe)
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    assert notifiers.take_all(2) == {0, 1}
    stand.replace_device()
    for _ in range(3):
        guest.rings[0].offer(writable=2048)
        guest.rings[1].offer(FRAME + bytes(60))
        notifiers.ring(1)
        guest.rings[1].wait()
        guest.rings[0].wait()
    notifiers.close()
    stand.close_now()


@hostile(153)
def test_a_channel_without_room_holds_nothing_up(allowed):
    guest = allowed.guest()
    guest.fe.negotiate()
    notifiers = Notifiers(guest.fe)
    notifiers.theirs.setblocking(False)
    stuffed = 0
    with pytest.raises(BlockingIOError):
        while True:
            stuffed += notifiers.theirs.send(bytes(4096))
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    guest.exchange(3)
    while stuffed > 0:
        stuffed -= len(notifiers.sock.recv(min(stuffed, 1 << 16)))
    guest.fe.accepted("SET_OWNER")
    assert notifiers.take_all(2) == {0, 1}
    notifiers.close()


def test_the_end_of_the_connection_ends_them(allowed, guest):
    guest.notifiers.take_all(4)
    guest.fe.close()
    wait_for(lambda: not allowed.shim.dump()["session"]["connected"], "the end")
    again = allowed.guest()
    again.fe.negotiate()
    again.notifiers = Notifiers(again.fe)
    for step in again.setup_steps():
        again.fe.accepted(*step)
    assert again.notifiers.take_all(2) == {0, 1}
    again.notifiers.close()
