# SPDX-License-Identifier: BSD-2-Clause
"""A worker that is killed at any edge of taking back a device that was replaced: the next one does it."""
import pytest
from tracer import Tracer
from waiting import wait_for


def another(stand):
    stand.nic.stop()
    stand.nic.start()
    _, mailbox = stand.nic.add(name=stand.name)
    return mailbox


def while_nobody_is_here(stand):
    shim = stand.shim
    shim.kill()
    shim.device_changed(another(stand))
    shim.spawn(silent=True)
    tracer = Tracer(shim.process.pid)
    while tracer.next_edge() != ("recvmsg", True):
        pass
    shim.send_state()
    shim.pump()
    return tracer


def while_a_worker_waits(stand):
    mailbox = another(stand)
    wait_for(lambda: stand.shim.dump()["device"]["lost"], "the loss")
    tracer = Tracer(stand.shim.process.pid)
    stand.shim.device_changed(mailbox)
    return tracer


def killed_at(stand, guest, replace, edge):
    """Return: whether it was over before."""
    seen = stand.shim.log().count("device is back")
    tracer = replace(stand)
    over = tracer.over_before(edge, lambda: stand.shim.log().count("device is back") > seen)
    stand.shim.kill()
    stand.shim.start()
    guest.exchange(2)
    return over


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("replace", [while_nobody_is_here, while_a_worker_waits])
def test_killed_anywhere_a_device_that_was_replaced_is_taken_back(own_nic_stand, replace, packed):
    guest = own_nic_stand.guest(packed=packed).setup()
    guest.exchange(3)
    edge = packed  # a NIC takes its time to begin again: each layout has every second edge
    while not killed_at(own_nic_stand, guest, replace, edge):
        edge += 2
    assert edge > 20, "this walked over nothing"
