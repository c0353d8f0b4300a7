# SPDX-License-Identifier: BSD-2-Clause
"""What the device says by itself reaches vdpad and the front-end, whatever the worker does then."""
import os
import signal
import struct

import pytest

from frontend import state
from stand import Stand
from waiting import system_call, wait_for, waits_for_events


def test_an_event_that_comes_while_the_device_is_asked_something_is_not_forgotten(bad_stand):
    """The worker is idle afterwards; nothing but the event itself may be needed to take it."""
    guest = bad_stand.guest()
    guest.fe.negotiate()
    *steps, driver_ok = guest.setup_steps()
    for step in steps:
        guest.fe.accepted(*step)
    bad_stand.order("delay", command="GET_CONFIG", ms=300)  # asked for the health block
    guest.fe.accepted(*driver_ok)
    ring = guest.rings[1]
    guest.memory.map[ring.avail + 2:ring.avail + 4] = b"\x00\x80"  # 32768 of 64 are available
    ring.notify()
    wait_for(lambda: bad_stand.shim.has_event("queue error"), "the event")


@pytest.mark.parametrize("own_nic_stand", [False], indirect=True)
def test_a_device_that_is_lost_while_it_is_asked_something_lets_the_worker_sleep(own_nic_stand):
    """Its last word, that it is gone, is never taken then, and must not wake the worker for ever."""
    stand = own_nic_stand
    fe = stand.front_end()
    worker = stand.shim.process.pid
    os.kill(stand.nic.process.pid, signal.SIGSTOP)
    fe.send("NET_SET_MTU", struct.pack("<Q", 1400))
    wait_for(lambda: not waits_for_events(worker) and system_call(worker) != "running", "the question")
    stand.nic.kill()
    wait_for(lambda: "device is gone" in stand.shim.log(), "the worker to see it")
    wait_for(lambda: all(waits_for_events(worker) for _ in range(100)), "sleep")
    stand.replace_device()
    stand.front_end().accepted("NET_SET_MTU", struct.pack("<Q", 1400))


@pytest.fixture
def orphans(own_nic_stand):
    """A front-end whose worker and NIC died together; what follows them is there before anybody looks."""
    stand = own_nic_stand
    guest = stand.guest().setup()
    guest.exchange(3)
    stand.shim.kill()
    stand.nic.stop()
    return stand, guest


def another_device(stand):
    stand.nic.start()
    _, mailbox = stand.nic.add(name=stand.name)
    stand.shim.device_changed(mailbox)


def test_rings_go_on_when_worker_and_nic_died_together(orphans):
    stand, guest = orphans
    another_device(stand)
    stand.shim.start()
    guest.exchange(5)


def test_rings_go_on_when_their_worker_waited_for_another_nic(orphans):
    stand, guest = orphans
    stand.shim.spawn()
    stand.shim.pump()
    wait_for(lambda: "waiting for the device" in stand.shim.log(), "the worker to wait")
    another_device(stand)
    wait_for(lambda: stand.shim.ready, "the worker")
    guest.exchange(5)


def test_a_device_that_was_replaced_meanwhile_is_not_asked_where_rings_stand(orphans):
    """The question waits in the socket, and comes before anything that the new device says."""
    stand, guest = orphans
    guest.fe.send("GET_VRING_BASE", state(1, 0))
    another_device(stand)
    stand.shim.start()
    assert struct.unpack("=II", guest.fe.reply("GET_VRING_BASE"))[1] == 3


def test_a_ring_that_the_device_refuses_leaves_the_others_alone(bad_simnic):
    """All are prepared by one command; which of them was refused, commands of their own tell."""
    stand = Stand(bad_simnic, pairs=2)
    stand.shim.start()
    bad_simnic.order("fail", function=stand.name, command="PREPARE", errno=22, times=2)
    guest = stand.guest(pairs=2).setup()
    rings = stand.shim.dump()["device"]["rings"]
    assert [ring["failed"] for ring in rings] == [1, 0, 0, 0]
    assert [ring["running"] for ring in rings] == [0, 1, 1, 1]
    assert "queue 0: the device refuses its ring" in stand.shim.log()
    guest.transmit(3, tx=1)
    bad_simnic.order("clear")
    stand.close_now()
