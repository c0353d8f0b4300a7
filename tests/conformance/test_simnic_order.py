# SPDX-License-Identifier: BSD-2-Clause
"""Functions that complete in any order, and functions that begin in fresh rings only."""
import errno
import os
import random
import signal
import subprocess
import time

import pytest

import simnic_client as sim
from simnic_client import bits
from test_simnic_mailbox import refused
from waiting import wait_for

BASE = bits(sim.F_VERSION_1, sim.F_MRG_RXBUF)
MANY = 48


def number(data):
    """What a frame of these tests carries."""
    return int.from_bytes(data[14:18], "big")


def frame_of(n, size=60):
    return sim.frame(sim.mac(2), sim.mac(1), n.to_bytes(4, "big") + bytes(size - 18))


def pair_of_guests(nic, make_guest, features, size=64):
    a = make_guest(nic.add("a", mac=sim.mac(1)), features, size=size)
    b = make_guest(nic.add("b", mac=sim.mac(2)), features, size=size)
    return a, b


def heads_given_back(guest, n):
    """Numbers of the next @n chains that the transmit queue gives back."""
    ring, heads = guest.queues[1].ring, []
    for _ in range(n):
        head, _ = wait_for(ring.next_used, "a used chain")
        heads.append(head)
        ring.retire(head)
    return heads


def send_many(guest, n=MANY, rng=None):
    """All at once. Return: the numbers of their chains, in order."""
    heads = []
    for i in range(n):
        split = sorted(rng.sample(range(1, 60), rng.randrange(2))) if rng else ()
        before = set(guest.queues[1].ring.chains)
        guest.send(frame_of(i), split=split, notify=False)
        heads += set(guest.queues[1].ring.chains) - before
    guest.queues[1].notify()
    return heads


@pytest.fixture
def shuffled(make_nic):
    return make_nic("--completion", "shuffled", "--threads", "2")


@pytest.fixture
def initial(make_nic):
    return make_nic("--start-position", "initial")


# ------------------------------------------------------------------------------ any order

@pytest.mark.parametrize("option,flag", [((), 0), (("--completion", "in-order"), 0),
                                         (("--completion", "shuffled"), sim.SHUFFLED)])
def test_in_order_is_offered_by_functions_that_are(make_nic, option, flag):
    nic = make_nic(*option)
    left_out = bits(sim.F_IN_ORDER) if flag else 0
    if flag:
        refused(errno.EINVAL, nic.admin.call, sim.ADD, sim.pack_function("f"))
    function = nic.add("f", features=sim.OFFERED & ~left_out)
    assert function.flags & sim.SHUFFLED == flag
    assert function.offered == sim.OFFERED & ~left_out


def add(nic, name, n):
    return nic.add(name, mac=sim.mac(n), features=sim.OFFERED & ~bits(sim.F_IN_ORDER))


@pytest.fixture
def guests(shuffled, make_guest, layout):
    """A sender and a receiver."""
    return [make_guest(add(shuffled, name, n), BASE | layout, size=128)
            for n, name in ((1, "a"), (2, "b"))]


def test_transmit_chains_come_back_once_and_in_another_order(guests):
    a, b = guests
    sent = send_many(a, rng=random.Random(1))
    back = heads_given_back(a, MANY)
    assert sorted(back) == sorted(sent)
    assert back != sent
    assert not a.queues[1].ring.has_used()


def test_every_frame_arrives_once_and_in_order_whatever_buffer_it_got(guests):
    a, b = guests
    offered = []
    for _ in range(MANY):
        before = set(b.queues[0].ring.chains)
        b.offer()
        offered += set(b.queues[0].ring.chains) - before
    send_many(a)
    back = []
    for n in range(MANY):
        head, _ = wait_for(b.queues[0].ring.next_used, "a frame")
        back.append(head)
        assert number(b.receive()[1]) == n
    assert sorted(back) == sorted(offered)
    assert back != offered
    assert a.function.queue(1)["drops"] == b.function.queue(0)["drops"] == 0


def test_buffers_of_several_chains_stay_together(guests):
    a, b = guests
    for i in range(100):
        b.offer(sizes=((600,), (1500,))[i % 3 == 0])
    for n in range(30):
        a.send(frame_of(n, 1400), notify=False)
    a.queues[1].notify()
    for n in range(30):
        header, frame = b.receive()
        assert number(frame) == n and len(frame) == 1400


def wait_taken(guest, n):
    """Until the device took @n chains, without sleep: they are in flight for a short time only."""
    end = time.monotonic() + sim.DEADLINE
    while guest.function.queue(1)["received_desc"] < n:
        assert time.monotonic() < end


def position_of(ring):
    """Where a device stands that has given back all that it took, and all of it was seen."""
    return ring.word() if isinstance(ring, sim.PackedRing) else ring.used | ring.used << 16


def test_several_chains_are_in_flight_and_stop_gives_them_back(guests):
    a, _ = guests
    seen = 0
    for n in range(1, 21):
        sent = send_many(a, 12)
        wait_taken(a, 12 * n)
        seen = max(seen, a.function.queue(1)["in_flight"])
        position, = a.function.stop(1)
        regs = a.function.queue(1)
        assert (regs["in_flight"], regs["completed_desc"]) == (0, 12 * n)
        assert a.queues[1].ring.has_used()
        assert sorted(heads_given_back(a, 12)) == sorted(sent)
        assert position == regs["position"] == position_of(a.queues[1].ring)
        a.function.start(1)
    assert seen > 1


def test_a_position_in_between_is_ahead_by_no_more_than_is_in_flight(guests):
    a, _ = guests
    seen = False
    for n in range(1, 51):
        send_many(a, 12)
        wait_taken(a, 12 * n)
        before, regs, after = (a.function.queue(1) for _ in range(3))
        if before == regs == after and regs["in_flight"] > 0:
            seen = True
            half = 0x7fff if isinstance(a.queues[1].ring, sim.PackedRing) else 0xffff
            ahead = ((regs["position"] & half) - (regs["position"] >> 16 & half)) % 128
            assert ahead <= regs["in_flight"]  # never fewer than there are
        heads_given_back(a, 12)
    assert seen


def test_a_ring_that_breaks_the_rules_has_its_chains_back_after_the_stop(guests):
    a, _ = guests
    sent = send_many(a, 12)
    a.queues[1].ring.add([(0x1000, 100, False)])
    a.queues[1].notify()
    wait_for(a.queues[1].failed, "the error")
    position, = a.function.stop(1)
    assert sorted(heads_given_back(a, 12)) == sorted(sent)
    assert position == position_of(a.queues[1].ring)


def test_a_driver_that_is_gone_leaves_exact_positions(guests, shuffled):
    a, _ = guests
    sent = send_many(a, 12)
    wait_for(lambda: a.function.queue(1)["received_desc"] == 12, "the chains")
    os.close(shuffled.attach(a.function))
    regs = a.function.queue(1)  # of the BAR of before
    assert regs["in_flight"] == 0
    assert sorted(heads_given_back(a, 12)) == sorted(sent)
    assert regs["position"] == position_of(a.queues[1].ring)


def test_a_nic_that_dies_says_whether_chains_were_in_flight(make_nic, make_guest, layout):
    for _ in range(5):
        nic = make_nic("--completion", "shuffled")
        guest = make_guest(add(nic, "a", 1), BASE | layout, size=128)
        send_many(guest, 40)
        nic.process.send_signal(signal.SIGKILL)
        nic.process.wait()
        nic.forget()
        regs, back = guest.function.queue(1), 0
        while guest.queues[1].ring.take_used():
            back += 1
        assert regs["in_flight"] >= regs["received_desc"] - back
        if regs["in_flight"] == 0:
            assert position_of(guest.queues[1].ring) in (regs["position"], regs["next_position"])


# --------------------------------------------------------------------------- fresh rings

def test_hello_says_where_queues_begin(make_nic):
    assert not make_nic().add("f").flags & sim.START_INITIAL
    assert not make_nic("--start-position", "any").add("f").flags & sim.START_INITIAL
    assert make_nic("--start-position", "initial").add("f").flags & sim.START_INITIAL


@pytest.mark.parametrize("position", [1, 1 << 16, 1 | 1 << 16, 0x80008000, 0xffff])
def test_a_split_ring_begins_at_zero(initial, make_guest, position):
    guest = make_guest(initial.add("f"), BASE, start=False)
    refused(errno.EINVAL, guest.queues[1].prepare, position)
    assert guest.function.queue(1)["position"] == 0
    guest.function.start(0, 1)  # what was prepared before still is


@pytest.mark.parametrize("position", [0, 0x8000, 0x80000000, 0x80008001, 0x80018000, 0x80018001,
                                      0x00010001])
def test_a_packed_ring_begins_at_zero_with_both_counters_set(initial, make_guest, position):
    guest = make_guest(initial.add("f"), BASE | bits(sim.F_PACKED), start=False)
    refused(errno.EINVAL, guest.queues[1].prepare, position)
    assert guest.function.queue(1)["position"] == 0x80008000
    guest.function.start(0, 1)


def test_a_queue_that_was_stopped_elsewhere_is_not_started(initial, make_guest, layout):
    a, b = pair_of_guests(initial, make_guest, BASE | layout)
    a.function.stop(0, 1)
    a.function.start(0, 1)  # they have done nothing
    a.send(frame_of(1))
    a.sent()
    position, = a.function.stop(1)
    refused(errno.EINVAL, a.function.start, 1)
    refused(errno.EINVAL, a.function.start, 0, 1)
    refused(errno.EINVAL, a.queues[1].prepare, position)
    assert a.function.queue(1)["status"] == sim.QUEUE_PREPARED
    a.queues[1].close()
    a.queues[1] = sim.Queue(a, 1)  # a new ring
    a.function.start(0, 1)
    a.function.start(0, 1)
    b.offer()
    a.send(frame_of(2))
    assert number(b.receive()[1]) == 2


# ------------------------------------------------------------------------------- options

@pytest.mark.parametrize("option", ["--completion", "--start-position", "--dirty-log", "--positions",
                                    "--queues"])
@pytest.mark.parametrize("value", ["", "maybe", "YES", "initially"])
def test_other_words_are_refused(tmp_path, option, value):
    result = subprocess.run([os.path.join(sim.BUILD, "tools/simnic/simnic"), "--name", "x",
                             "--listen", str(tmp_path / "s"), option, value],
                            capture_output=True, text=True)
    assert result.returncode == 2
    assert f'{option}: "{value}" is not valid' in result.stderr
