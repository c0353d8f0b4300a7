# SPDX-License-Identifier: BSD-2-Clause
"""A device with a standby: its rings go on there when it fails, or when its operator wants it, and back."""
import os
import shutil
import signal
import struct
import time
from contextlib import ExitStack

import pytest
from control import OK, PROMISC, RX, ControlGuest
from dirty import Log
from frontend import F_LOG_ALL, u64
from looks import rings
from shimside import SLOT_STANDBY, SPEC_RELAY, SPEC_SIM
from simnic import Simnic
from stand import BUILD, Stand
from test_control_queue import CHOSEN, mac_of, set_much
from waiting import wait_for

PLAIN = ["--start-position", "initial", "--positions", "ring", "--queues", "together"]
LAYOUTS = pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])


class Pair(Stand):
    """A worker with a function at each of two NICs; the second one stands by."""

    def __init__(self, primary, standby, pairs=1, standby_pairs=None, **facts):
        self.second = standby
        self.second_name, self.mailbox = standby.add(standby_pairs or pairs, **facts)
        super().__init__(primary, pairs, **facts)

    def make_shim(self, *args):
        from shimside import Shim
        return Shim(*args, standby=self.mailbox)

    def failover(self):
        return self.shim.dump()["device"]["failover"]

    def datapath(self):
        return self.shim.dump()["device"]["datapath"]

    def wait_path(self, path, seconds=60):
        wait_for(lambda: self.datapath() == path, f"the datapath {path}", seconds)

    def primary_returns(self, **facts):
        self.nic.stop()
        self.nic.start()
        _, mailbox = self.nic.add(name=self.name, **facts)
        self.shim.device_changed(mailbox)

    def standby_returns(self):
        self.second.stop()
        self.second.start()
        _, mailbox = self.second.add(name=self.second_name)
        self.shim.device_changed(mailbox, SLOT_STANDBY)

    def close_now(self):
        if self.nic.process.poll() is not None:
            self.nic.delete = lambda name: None  # it is not there any more
        super().close_now()


@pytest.fixture
def make_pair():
    """A function that makes pairs of NICs of their own; options of the first one are given."""
    ends = ExitStack()  # whatever fails, nobody is left

    def end_nic(nic):
        nic.stop()
        shutil.rmtree(nic.folder)

    def make(options=(), start=True, pairs=1, second=(), misbehaves=False, **facts):
        primary, standby = Simnic(BUILD, misbehaves=misbehaves), Simnic(BUILD)
        primary.options, standby.options = list(options), list(second)
        for nic in (primary, standby):
            ends.callback(end_nic, nic)
            nic.start()
        pair = Pair(primary, standby, pairs, **facts)
        ends.callback(pair.close_now)
        if start:
            pair.shim.start()
        return pair

    with ends:
        yield make


@pytest.fixture
def pair(make_pair):
    return make_pair()


# ------------------------------------------------------------------------------- by itself


@LAYOUTS
@pytest.mark.parametrize("options", [(), PLAIN], ids=["any", "plain"])
def test_a_primary_that_dies_is_followed_by_its_standby(make_pair, packed, options):
    pair = make_pair(options)
    guest = pair.guest(packed=packed).setup()
    guest.exchange(9)
    pair.nic.kill()
    pair.wait_path("sim")
    guest.exchange(70)
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
    assert pair.failover()["switches"] == 1
    assert ("failover", "from the device to its standby: the device is gone") in pair.shim.events
    assert not pair.shim.has_event("failed")


def outstanding(guest, n):
    """Buffers to receive that nothing fills yet."""
    for _ in range(n):
        guest.rings[0].offer(writable=2048)
    guest.rings[0].notify()


@LAYOUTS
def test_buffers_that_the_primary_had_come_back_once(make_pair, packed):
    pair = make_pair()
    guest = pair.guest(packed=packed).setup()
    outstanding(guest, 20)
    for n in range(3):
        guest.transmit(1)
    pair.nic.kill()
    for n in range(3):
        guest.rings[1].offer(bytes(12) + b"\x52\x54\0\0\0\2\x52\x54\0\0\0\1\x88\xb5" + bytes(50))
    guest.rings[1].notify()
    pair.wait_path("sim")
    for n in range(3):
        guest.rings[1].wait()
    taken = []
    for n in range(6):
        guest.transmit(1)
    while True:
        done = guest.rings[0].take()
        if not done:
            break
        taken.append(done[0])
    assert len(taken) == len(set(taken)) <= 20


@LAYOUTS
def test_a_primary_that_hangs_is_followed_by_its_standby(pair, packed):
    """Its processes stand still, so that nobody answers and nothing moves."""
    guest = pair.guest(packed=packed).setup()
    guest.exchange(5)
    os.kill(pair.nic.process.pid, signal.SIGSTOP)
    guest.fe.accepted("NET_SET_MTU", u64(1400))
    assert pair.datapath() == "sim"
    assert pair.failover()["stale"] == 1
    assert "may still reach the guest's memory" in pair.shim.log()
    guest.exchange(70)
    assert struct.unpack_from("<H", guest.fe.ask("GET_CONFIG", bytes(4) + b"\x0c" + bytes(7 + 12)),
                              12 + 10)[0] == 1400
    pair.nic.kill()


def test_a_question_that_the_primary_does_not_answer_its_standby_does(make_pair):
    pair = make_pair(misbehaves=True)
    guest = pair.guest().setup()
    guest.exchange(3)
    pair.order("hang", command="GET_CONFIG", times=1)
    assert len(guest.fe.ask("GET_CONFIG", bytes(4) + b"\x0c" + bytes(7 + 12))) == 24
    assert pair.datapath() == "sim"
    guest.exchange(70)


@LAYOUTS
def test_a_primary_that_answers_with_errors_is_stopped_before(make_pair, packed):
    pair = make_pair(misbehaves=True)
    guest = pair.guest(packed=packed).setup()
    guest.exchange(3)
    pair.order("fail", command="SET_MTU", errno=5, times=1)
    guest.fe.accepted("NET_SET_MTU", u64(1400))
    assert pair.datapath() == "sim"
    assert pair.failover()["stale"] == 0
    guest.exchange(70)


def test_a_primary_that_can_not_be_reset_was_stopped_all_the_same(make_pair):
    pair = make_pair(misbehaves=True)
    guest = pair.guest(packed=True).setup()
    guest.exchange(3)
    pair.order("fail", command="RESET", errno=5, times=100)
    pair.order("fail", command="SET_MTU", errno=5, times=1)
    pair.order("delay", command="STOP", ms=200, times=1)
    begin = time.monotonic()
    guest.fe.accepted("NET_SET_MTU", u64(1400))
    assert time.monotonic() > begin + 0.2, "nobody asked it to stop"
    assert (pair.datapath(), pair.failover()["stale"]) == ("sim", 1)
    guest.exchange(70)
    pair.nic.order("clear")
    wait_for(lambda: pair.failover()["stale"] == 0, "the next try")
    pair.wait_path("direct")
    guest.exchange(5)


def test_without_a_standby_that_is_well_a_failure_is_one(make_pair):
    pair = make_pair(misbehaves=True)
    guest = pair.guest().setup()
    pair.second.kill()
    wait_for(lambda: "the standby is gone" in pair.shim.log(), "the standby's end")
    pair.order("fail", command="SET_MTU", errno=5, times=1)
    guest.fe.refused("NET_SET_MTU", u64(1400))
    assert pair.shim.has_event("failed") or pair.shim.dump()["device"]["failed"]


def test_when_both_are_gone_the_first_one_that_returns_serves(pair):
    guest = pair.guest().setup()
    guest.exchange(3)
    pair.second.kill()
    wait_for(lambda: "the standby is gone" in pair.shim.log(), "the standby's end")
    pair.nic.kill()
    wait_for(lambda: pair.shim.dump()["device"]["lost"], "the loss of both")
    pair.standby_returns()
    pair.wait_path("sim")
    guest.exchange(70)


def test_a_standby_that_dies_while_it_serves_gives_the_rings_back(pair):
    guest = pair.guest().setup()
    pair.shim.datapath(SPEC_SIM)
    pair.wait_path("sim")
    guest.exchange(5)
    pair.second.kill()
    pair.wait_path("direct")
    guest.exchange(70)


# ------------------------------------------------------------------------------ when it is told


@LAYOUTS
@pytest.mark.parametrize("options", [(), PLAIN], ids=["any", "plain"])
def test_the_operator_changes_the_datapath_as_often_as_he_likes(make_pair, packed, options):
    pair = make_pair(options)
    plain = bool(options)
    guest = pair.guest(packed=packed).setup()
    back = "relay" if plain else "direct"
    for _ in range(3):
        pair.shim.datapath(SPEC_SIM)
        pair.wait_path("sim")
        guest.exchange(21)
        pair.shim.datapath(0)
        pair.wait_path(back)
        guest.exchange(21)
        pair.shim.datapath(SPEC_RELAY)
        pair.wait_path("relay")
        guest.exchange(21)
    assert pair.failover()["stale"] == 0
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()


@LAYOUTS
def test_relay_is_a_wish_that_needs_no_standby(make_stand, packed):
    stand = make_stand()
    guest = stand.guest(packed=packed).setup()
    for _ in range(3):
        stand.shim.datapath(SPEC_RELAY, now=False)
        wait_for(lambda: stand.shim.dump()["device"]["datapath"] == "relay", "the relay")
        guest.exchange(21)
        stand.shim.datapath(0, now=False)
        wait_for(lambda: stand.shim.dump()["device"]["datapath"] == "direct", "the end of it")
        guest.exchange(21)


def test_figures_go_on_where_they_were(pair):
    guest = pair.guest().setup()
    guest.exchange(10)
    pair.shim.datapath(SPEC_SIM)
    pair.wait_path("sim")
    guest.exchange(10)
    pair.shim.datapath(0)
    pair.wait_path("direct")
    guest.exchange(10)
    assert [ring["device"]["completed"] for ring in rings(pair)] == [30, 30]


@LAYOUTS
@pytest.mark.parametrize("how", ["loss", "told"])
def test_what_the_control_queue_set_holds_on_the_other_side(make_pair, packed, how):
    pair = make_pair(control=True)
    guest = ControlGuest(pair.path, 1, packed=packed)
    pair.opened.append(guest)
    guest.setup()
    set_much(guest)
    if how == "loss":
        pair.nic.kill()
    else:
        pair.shim.datapath(SPEC_SIM)
    pair.wait_path("sim")
    assert mac_of(guest) == CHOSEN
    guest.mac = CHOSEN
    guest.exchange(5)
    assert guest.control.command(RX, PROMISC, b"\1") == OK


@LAYOUTS
@pytest.mark.parametrize("many", [False, True], ids=["without-mq", "with-mq"])
def test_a_control_queue_is_relayed_on_both_sides_while_pages_are_logged(make_pair, packed, many):
    pair = make_pair(control=True, pairs=2)
    guest = ControlGuest(pair.path, 2 if many else 1, packed=packed)
    pair.opened.append(guest)
    guest.setup()
    set_much(guest)
    guest.mac = CHOSEN
    log = Log(guest)
    log.begin(guest)
    pair.shim.datapath(SPEC_SIM)
    pair.wait_path("sim")
    assert guest.control.command(RX, PROMISC, b"\0") == OK
    pair.shim.restart()
    pair.second.kill()
    pair.wait_path("relay")
    os.pwrite(log.fd, bytes(log.size), 0)
    assert guest.control.command(RX, PROMISC, b"\1") == OK
    wait_for(lambda: (guest.memory.gpa + guest.control.verdict_at) >> 12 in log.marked(), "its mark")
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    assert (pair.datapath(), mac_of(guest)) == ("direct", CHOSEN)
    guest.exchange(3)
    assert guest.stopped()[guest.control.index] == guest.control.position()
    os.close(log.fd)


@LAYOUTS
def test_all_pairs_go_over(make_pair, packed):
    """The standby has more of them, which nobody is offered."""
    pair = make_pair(pairs=2, standby_pairs=4)
    guest = pair.guest(pairs=2, packed=packed).setup()
    assert guest.fe.ask_u64("GET_QUEUE_NUM") == 2
    pair.nic.kill()
    pair.wait_path("sim")
    assert [ring["running"] for ring in rings(pair)] == [1] * 4
    for tx in (1, 3):
        guest.transmit(40, tx=tx)


# ----------------------------------------------------------------------------------- and back


def test_a_primary_that_is_well_for_a_while_is_taken_back(pair):
    guest = pair.guest().setup()
    guest.exchange(5)
    pair.nic.kill()
    pair.wait_path("sim")
    guest.exchange(5)
    assert pair.failover()["reason"] == "the device is gone; waiting for it to come back"
    pair.primary_returns()
    wait_for(lambda: pair.failover()["well_ns"], "the device to be well")
    assert pair.datapath() == "sim"
    guest.exchange(5)
    pair.wait_path("direct")
    guest.exchange(70)
    assert ("failover", "from the standby to the device: it is well again") in pair.shim.events


def test_a_primary_that_begins_in_fresh_rings_only_waits_for_the_guest_to_begin_anew(make_pair):
    pair = make_pair(PLAIN)
    guest = pair.guest().setup()
    guest.exchange(5)
    pair.nic.kill()
    pair.wait_path("sim")
    pair.primary_returns()
    wait_for(lambda: "when the guest's driver begins anew" in pair.failover()["reason"], "its time")
    guest.exchange(70)
    assert pair.datapath() == "sim"
    guest.fe.accepted("SET_STATUS", u64(0))
    for ring in guest.rings:
        guest.fe.vring_base(ring.index)
        memory = guest.memory.map
        memory[ring.avail:ring.avail + 4] = memory[ring.used:ring.used + 4] = bytes(4)
        ring.next_avail = ring.next_used = 0
    for name, payload, fds in guest.setup_steps():
        guest.fe.accepted(name, payload, fds)
    assert pair.datapath() == "direct"
    guest.exchange(70)


# ------------------------------------------------------------------------------- other lives


@LAYOUTS
@pytest.mark.parametrize("step", ["before", "while it is away", "on the standby"])
def test_another_worker_goes_on(pair, packed, step):
    guest = pair.guest(packed=packed).setup()
    guest.exchange(5)
    if step == "before":
        pair.shim.restart()
        pair.nic.kill()
    elif step == "while it is away":
        pair.shim.dump()
        pair.shim.kill()
        pair.nic.stop()
        pair.shim.start()
    else:
        pair.nic.kill()
        pair.wait_path("sim")
        pair.shim.restart()
    pair.wait_path("sim")
    guest.exchange(70)
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()


def test_a_front_end_that_comes_while_the_standby_serves_is_served(pair):
    guest = pair.guest().setup()
    guest.exchange(5)
    pair.nic.kill()
    pair.wait_path("sim")
    guest.close()
    pair.opened.remove(guest)
    guest = pair.guest(packed=True).setup()
    guest.exchange(70)
    assert pair.datapath() == "sim"


def test_a_primary_that_returns_while_no_worker_is_there_is_well(pair):
    guest = pair.guest().setup()
    pair.nic.kill()
    pair.wait_path("sim")
    pair.shim.dump()
    pair.shim.kill()
    pair.primary_returns()
    pair.shim.start()
    guest.exchange(5)
    pair.wait_path("direct")
    guest.exchange(70)


@LAYOUTS
def test_pages_are_logged_on_the_standby_too(pair, packed):
    guest = pair.guest(packed=packed).setup()
    guest.exchange(5)
    log = os.memfd_create("log", os.MFD_CLOEXEC)
    os.ftruncate(log, 1 << 16)
    guest.fe.ask("SET_LOG_BASE", struct.pack("=QQ", 1 << 16, 0), [log])
    guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    guest.exchange(5)
    pair.nic.kill()
    pair.wait_path("sim")
    assert pair.failover()["relayed"] == 1
    os.pwrite(log, bytes(1 << 16), 0)
    guest.exchange(5)
    page = (guest.memory.gpa + guest.rings[0].slot(guest.rings[0].next_used - 1)) // 4096
    assert os.pread(log, 1, page // 8)[0] & 1 << page % 8
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    guest.exchange(70)
    assert pair.failover()["relayed"] == 0
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
    os.close(log)


def test_what_one_of_the_two_can_not_is_not_offered(make_pair):
    pair = make_pair(second=["--completion", "shuffled"], pairs=2)
    fe = pair.front_end(negotiate=False)
    features = fe.ask_u64("GET_FEATURES")
    assert not features & 1 << 35
    assert not fe.ask_u64("GET_PROTOCOL_FEATURES") & 1 << 12
