# SPDX-License-Identifier: BSD-2-Clause
"""A worker that is killed at any edge of a change of sides: the next one completes it."""
import pytest
from shimside import SPEC_SIM
from simnic import Simnic
from stand import BUILD
from test_failover import LAYOUTS, Pair, outstanding
from tracer import Tracer


def told(pair):
    pair.shim.datapath(SPEC_SIM)


def loss(pair):
    pair.nic.kill()
    pair.nic.process.wait()


def back(pair):
    pair.shim.datapath(0)


def on_standby(pair, guest):
    told(pair)
    pair.wait_path("sim")
    guest.exchange(3)


# name: (what makes the worker change sides, the state before, who serves then)
CHANGES = {
    "told": (told, lambda pair, guest: None, "sim"),
    "loss": (loss, lambda pair, guest: None, "sim"),
    "back": (back, on_standby, "direct"),
}


def n_changes(pair):
    return pair.shim.log().count("rings are served by")


def change_killed(pair, change, edge):
    """Kill the worker at that edge of what it does. Return: whether it was over before."""
    tracer = Tracer(pair.shim.process.pid)
    before = n_changes(pair)
    change(pair)
    over = tracer.over_before(edge, lambda: n_changes(pair) > before)
    pair.shim.kill()
    pair.shim.start()
    return over


@pytest.fixture(scope="module")
def two_nics():
    with Simnic(BUILD) as primary, Simnic(BUILD) as standby:
        yield primary, standby


def killed_at(two_nics, name, packed, edge):
    """Return: whether the change was over before."""
    change, before, path = CHANGES[name]
    if two_nics[0].process.poll() is not None:  # of the one before
        two_nics[0].stop()
        two_nics[0].start()
    pair = Pair(*two_nics)
    pair.shim.start()
    guest = pair.guest(packed=packed).setup()
    guest.exchange(5)
    before(pair, guest)
    outstanding(guest, 3)
    pair.shim.dump()  # from now on nothing is under way
    over = change_killed(pair, change, edge)
    pair.wait_path(path)
    for ring in guest.rings:
        assert not ring.take()
    transmit_and_receive(guest)
    assert pair.failover()["stale"] == 0
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
    pair.close_now()
    return over


@LAYOUTS
@pytest.mark.parametrize("name", CHANGES)
def test_killed_anywhere_a_change_of_sides_is_completed(two_nics, name, packed):
    """A NIC that dies takes half a second to begin again: there each layout has every second edge."""
    step = 2 if name == "loss" else 1
    edge = packed if name == "loss" else 0
    while not killed_at(two_nics, name, packed, edge):
        edge += step
    assert edge > 20, "this walked over nothing"


def transmit_and_receive(guest):
    """Some buffers wait already; they come back in their order, each once."""
    first = guest.rings[0].next_used % 64
    for n in range(40):
        frame = b"\2\0\0\0\0\x99" + guest.mac + b"\x88\xb5" + bytes([n]) * 60
        guest.rings[0].offer(writable=2048)
        guest.rings[0].notify()
        guest.rings[1].offer(bytes(12) + frame)
        guest.rings[1].notify()
        guest.rings[1].wait()
        number, length = guest.rings[0].wait()
        assert number == (first + n) % 64
        assert guest.rings[0].data(number, length)[24:] == frame[12:]
