# SPDX-License-Identifier: BSD-2-Clause
"""A Linux guest in QEMU that kicks the device by pages which QEMU got from it."""
import os

import pytest

from guest_pair import guest_pair
from test_survival import kill_worker
from vdpad_fixture import Vdpad
from waiting import wait_for

MACS = {"a": "52:54:00:00:09:01", "b": "52:54:00:00:09:02"}
ADDRESSES = {"a": "10.0.9.1", "b": "10.0.9.2"}


@pytest.fixture(scope="module", params=[False, True], ids=["split", "packed"])
def guests(request):
    """Only the first one's device may give pages away, though both guests would take them."""
    with guest_pair(Vdpad(), MACS, ADDRESSES, {}, {"a": ["host_notifier", "on"]},
                    packed=request.param, paged=True) as pair:
        yield pair


def pages(guest):
    """How many pages of the device QEMU has mapped."""
    with open(f"/proc/{guest.process.pid}/maps", encoding="ascii", errors="replace") as f:
        return sum("simnic-doorbell" in line for line in f)


def test_qemu_maps_a_page_for_each_queue_of_the_one_and_none_of_the_other(guests):
    a, b = guests
    wait_for(lambda: pages(a) == 2, "the pages")
    assert pages(b) == 0
    assert a.vdpad.status("a")["host_notifier"] is True
    assert a.vdpad.status("b")["host_notifier"] is False


def test_frames_go_both_ways_and_a_bulk_transfer_arrives(guests):
    a, b = guests
    assert a.wait_ping(b.address)
    assert a.ping(b.address, 10) and b.ping(a.address, 10)
    b.serve()
    a.send(b.address, 16 << 20)


def test_the_pages_go_with_the_driver_and_come_with_it(guests):
    a, b = guests
    a.run("rmmod virtio_net")
    wait_for(lambda: pages(a) == 0, "the end of the pages")
    a.run("insmod /lib/modules/virtio_net.ko")
    a.set_address()
    wait_for(lambda: pages(a) == 2, "the pages")
    assert a.wait_ping(b.address)


def test_workers_and_nics_come_and_go(guests):
    a, b = guests
    kill_worker(a.vdpad, "a")
    assert a.wait_ping(b.address)
    old = a.vdpad.simnic_pid()
    os.kill(old, 9)
    wait_for(lambda: a.vdpad.simnic_pid() not in (None, 0, old), "another simnic")
    assert a.wait_ping(b.address)
    assert a.ping(b.address, 10)
