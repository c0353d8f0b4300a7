# SPDX-License-Identifier: BSD-2-Clause
"""A worker whose device is a network function of the machine: its driver is `virtio`, over VFIO.

The front-ends are ours. What one guest sends goes through its function, the host's bridge and the
other's function; rings, interrupts and kicks are QEMU's, and the IOMMU is the kernel's.
"""
import os
import resource
import select
import shutil
import signal
import struct
import tempfile

import pytest
from dirty import Log
from frontend import F_LOG_ALL, F_MQ, OFFERED_PF, Guest, Memory, state, table, u64
from stand import WORKER
from test_host_notifier import ALLOWED, NOTIFIER, SEND_FD, Notifiers
from vfio import VirtioShim, open_function
from waiting import wait_for

OFFERED = OFFERED_PF & ~(1 << 8 | 1 << 2)  # neither postcopy nor RARP
LAYOUTS = pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])


class Stand:
    """A worker on a function of the machine, and the guest that it serves."""

    def __init__(self, function, packed=False, notifiers=False):
        function.give_to("vfio-pci")
        self.function = function
        self.mac = bytes.fromhex(function.mac.replace(":", ""))
        self.folder = tempfile.mkdtemp()
        self.shim = VirtioShim(WORKER, self.folder, open_function(function))
        self.offered = OFFERED
        if notifiers:
            self.shim.flags = ALLOWED
            self.offered |= 1 << SEND_FD | 1 << NOTIFIER
        self.shim.start()
        self.guest = self.new_guest(packed)

    def new_guest(self, packed=False, pairs=1, **facts):
        return Guest(self.shim.path, pairs=pairs, packed=packed, offered=self.offered, mac=self.mac, **facts)

    def device(self):
        return self.shim.dump()["device"]

    def path(self):
        return self.device()["datapath"]

    def close(self):
        self.guest.close()
        self.shim.__exit__()
        shutil.rmtree(self.folder)


def frame(sender, receiver, number):
    return receiver.mac + sender.mac + b"\x88\xb5" + struct.pack("=I", number) + bytes(56)


def send(sender, receiver, n, tx=1, rx=(0,)):
    """@n frames from guest to guest, each of which arrives, unchanged, once."""
    for number in range(n):
        data = frame(sender, receiver, number)
        for index in rx:
            ring = receiver.guest.rings[index]
            if ring.next_avail == ring.next_used:
                ring.offer(writable=2048)
                ring.notify()
        sender.guest.rings[tx].offer(bytes(12) + data)
        sender.guest.rings[tx].notify()
        sender.guest.rings[tx].wait()
        assert take(receiver, rx) == data


def take(receiver, rx):
    def any_ring():
        for index in rx:
            done = receiver.guest.rings[index].take()
            if done:
                return receiver.guest.rings[index].data(*done)[12:]
        return None
    return wait_for(any_ring, "a frame")


def exchange(a, b, n):
    send(a, b, n)
    send(b, a, n)


@pytest.fixture
def stands(functions):
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    made = []

    def make(number, **facts):
        made.append(Stand(functions[number], **facts))
        return made[-1]

    yield make
    for stand in made:
        stand.close()


@pytest.fixture
def pair(stands):
    """Two guests that run, with one pair of rings each."""
    def make(packed=False):
        both = [stands(number, packed=packed) for number in (3, 4)]
        for stand in both:
            stand.guest.setup()
        return both
    return make


def test_split_rings_are_the_functions_own_and_tell_where_they_stood(pair):
    a, b = pair()
    assert a.path() == b.path() == "direct"
    exchange(a, b, 150)
    for stand in (a, b):
        for ring in stand.guest.rings:
            assert stand.guest.fe.vring_base(ring.index) == ring.next_used & 0xffff


def test_packed_rings_are_relayed_and_tell_where_they_stood(pair):
    a, b = pair(packed=True)
    assert a.path() == b.path() == "relay"
    exchange(a, b, 150)
    for stand in (a, b):
        for ring in stand.guest.rings:
            assert stand.guest.fe.vring_base(ring.index) & 0xffff0000 == ring.position() & 0xffff0000


def test_the_guest_has_the_functions_address_and_link(pair, host):
    a, _ = pair()

    def config():
        return a.guest.fe.ask("GET_CONFIG", struct.pack("=III8x", 0, 8, 0))[12:20]

    assert config()[:6] == a.mac and config()[6] & 1
    host.ask("monitor", command="set_link", name="nic3", up=False)
    wait_for(lambda: not config()[6] & 1, "the link to go down")
    host.ask("monitor", command="set_link", name="nic3", up=True)
    wait_for(lambda: config()[6] & 1, "the link to come up")


@LAYOUTS
def test_another_worker_goes_on(pair, packed):
    a, b = pair(packed)
    for _ in range(3):
        exchange(a, b, 20)
        a.shim.kill()
        b.guest.rings[1].offer(bytes(12) + frame(b, a, 7))  # for a guest whose worker is away
        b.guest.rings[1].notify()
        a.guest.rings[0].offer(writable=2048)
        a.guest.rings[0].notify()
        a.shim.start()
        assert take(a, (0,)) == frame(b, a, 7)
        b.guest.rings[1].wait()
    exchange(a, b, 20)


def test_interrupts_come_to_the_guest_with_none_of_our_threads_running(pair):
    a, b = pair()
    a.guest.rings[0].offer(writable=2048)
    a.guest.rings[0].notify()
    assert a.device()["rings"][0]["running"]  # an answer: the kick before it was passed on
    call = a.guest.rings[0].call
    os.set_blocking(call, False)
    while select.select([call], [], [], 0)[0]:
        os.read(call, 8)
    os.kill(a.shim.process.pid, signal.SIGSTOP)
    try:
        b.guest.rings[1].offer(bytes(12) + frame(b, a, 1))
        b.guest.rings[1].notify()
        assert select.select([call], [], [], 60)[0], "no interrupt"
        assert take(a, (0,)) == frame(b, a, 1)
    finally:
        os.kill(a.shim.process.pid, signal.SIGCONT)


def log_on(stand):
    log = Log(stand.guest)
    answer = stand.guest.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])
    assert answer == u64(0)
    stand.guest.fe.accepted("SET_FEATURES", u64(stand.guest.features | F_LOG_ALL))
    return log


@LAYOUTS
def test_what_the_function_writes_is_logged_by_the_relay_until_the_guest_begins_anew(pair, packed):
    a, b = pair(packed)
    exchange(a, b, 20)
    log = log_on(a)
    assert a.path() == "relay"
    exchange(a, b, 100)
    ring = a.guest.rings[0]
    first = a.guest.memory.gpa >> 12
    assert {first + (ring.slot(i) >> 12) for i in range(ring.size)} & log.marked()
    a.guest.fe.accepted("SET_FEATURES", u64(a.guest.features))
    os.close(log.fd)
    exchange(a, b, 20)
    assert a.path() == "relay"  # a virtio function begins in fresh rings only

    a.guest.fe.accepted("SET_STATUS", u64(0))
    for ring in a.guest.rings:
        a.guest.fe.vring_base(ring.index)
    a.guest.close()
    a.guest = a.new_guest(packed)
    a.guest.setup()
    assert a.path() == ("relay" if packed else "direct")
    exchange(a, b, 20)


@LAYOUTS
def test_a_guest_that_arrives_goes_on_by_relay(pair, packed):
    a, b = pair(packed)
    exchange(a, b, 30)
    for ring in a.guest.rings:
        word = a.guest.fe.vring_base(ring.index)
        a.guest.fe.accepted("SET_VRING_BASE", state(ring.index, word))
        if packed:  # what was taken back is offered still
            assert word & 0x7fff == word >> 16 & 0x7fff
        a.guest.fe.accepted("SET_VRING_KICK", u64(ring.index), [ring.kick])
    assert a.path() == "relay"
    exchange(a, b, 70)


def send_from(stand, memory, data):
    """A frame in memory of its own; don't wait."""
    ring = stand.guest.rings[1]
    memory.map[:len(data)] = data
    place = ring.next_avail % ring.size
    ring._put("=QIHH", ring.desc + 16 * place, memory.gpa, len(data), 0, 0)
    ring._put("=H", ring.avail + 4 + 2 * place, place)
    ring.next_avail = (ring.next_avail + 1) & 0xffff
    ring._put("=H", ring.avail + 2, ring.next_avail)
    ring.notify()


def received(stand):
    """All that came and was not looked at."""
    ring, found = stand.guest.rings[0], []
    while done := ring.take():
        found.append(ring.data(*done)[12:])
    return found


def test_memory_that_is_not_mapped_is_not_reached(pair):
    """A function may take what it can't read for a broken ring, or go on with nothing: both are right."""
    a, b = pair()
    other = Memory(size=1 << 20, gpa=0x90000000)
    for _ in range(20):
        b.guest.rings[0].offer(writable=2048)
    b.guest.rings[0].notify()
    tables = {True: (table(a.guest.memory, other), [a.guest.memory.fd, other.fd]),
              False: (table(a.guest.memory), [a.guest.memory.fd])}
    a.guest.fe.accepted("SET_MEM_TABLE", *tables[True])
    send_from(a, other, bytes(12) + frame(a, b, 1))
    a.guest.rings[1].wait()
    wait_for(lambda: frame(a, b, 1) in received(b), "a frame from memory that is mapped")

    a.guest.fe.accepted("SET_MEM_TABLE", *tables[False])
    send_from(a, other, bytes(12) + frame(a, b, 2))
    wait_for(lambda: a.guest.rings[1].take() or a.device()["failed"], "the function to look at it")
    assert frame(a, b, 2) not in received(b)

    a.guest.close()
    a.guest = a.new_guest()
    a.guest.setup()
    send_from(a, a.guest.memory, bytes(12) + frame(a, b, 3))
    a.guest.rings[1].wait()
    wait_for(lambda: frame(a, b, 3) in received(b), "a frame after a new beginning")
    other.close()


def test_a_doorbell_of_the_functions_is_the_guests_where_the_operator_allows_it(stands):
    """Function 3 has a page for each queue, and function 4 has none."""
    a, b = stands(3, notifiers=True), stands(4)
    b.guest.setup()
    a.guest.fe.negotiate()
    notifiers = Notifiers(a.guest.fe)
    for step in a.guest.setup_steps():
        a.guest.fe.accepted(*step)
    assert notifiers.take_all(2) == {0, 1}
    for number in range(20):
        b.guest.rings[0].offer(writable=2048)
        b.guest.rings[0].notify()
        a.guest.rings[1].offer(bytes(12) + frame(a, b, number))
        notifiers.ring(1)
        a.guest.rings[1].wait()
        assert take(b, (0,)) == frame(a, b, number)
    notifiers.close()


class TestSeveralPairs:
    PAIRS = 4

    @pytest.fixture
    def four(self, stands):
        def make(packed=False):
            both = [stands(number) for number in (1, 2)]
            for stand in both:
                stand.guest.close()
                stand.guest = stand.new_guest(packed, self.PAIRS)
                assert stand.guest.features & F_MQ
                stand.guest.setup()
            return both
        return make

    @LAYOUTS
    def test_each_pair_sends_and_any_receives(self, four, packed):
        a, b = four(packed)
        rx = tuple(range(0, 2 * self.PAIRS, 2))
        for pair in range(self.PAIRS):
            send(a, b, 10, tx=2 * pair + 1, rx=rx)
            send(b, a, 10, tx=2 * pair + 1, rx=rx)
        assert a.path() == ("relay" if packed else "direct")

    def test_a_lone_ring_stops_and_the_others_run_on(self, four):
        a, b = four()
        rx = tuple(range(0, 2 * self.PAIRS, 2))
        send(a, b, 10, tx=3, rx=rx)
        assert a.guest.fe.vring_base(3) == a.guest.rings[3].next_used
        assert [ring["running"] for ring in a.device()["rings"]] == [True] * 3 + [False] + [True] * 4
        for pair in (0, 2, 3):
            send(a, b, 10, tx=2 * pair + 1, rx=rx)
        assert a.path() == "direct"

    def test_a_pair_that_is_added_later_works(self, four):
        a, b = four()
        rx = tuple(range(0, 2 * self.PAIRS, 2))
        for index in (6, 7):
            a.guest.fe.accepted("SET_VRING_ENABLE", state(index, 0))
        send(a, b, 10, tx=1, rx=rx)
        for index in (6, 7):
            a.guest.fe.accepted("SET_VRING_ENABLE", state(index, 1))
        send(a, b, 10, tx=7, rx=rx)
        send(b, a, 10, tx=1, rx=rx)
