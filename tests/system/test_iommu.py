# SPDX-License-Identifier: BSD-2-Clause
"""Linux guests whose driver is behind an IOMMU of their own (QEMU's intel-iommu): each packet is mapped
anew, translated when the device asks, and taken back."""
import pytest

from guest_pair import guest_pair
from test_survival import kill_worker
from vdpad_fixture import Vdpad

MACS = {"a": "52:54:00:00:08:01", "b": "52:54:00:00:08:02"}
ADDRESSES = {"a": "10.0.8.1", "b": "10.0.8.2"}
BULK = 4 * 1024 * 1024
KINDS = [pytest.param((1, False), id="split"), pytest.param((1, True), id="packed"),
         pytest.param((2, False), id="split-2-pairs")]


@pytest.fixture(scope="module", params=KINDS)
def guests(request):
    """One behind an IOMMU, and one that is not, on a NIC that logs pages itself."""
    queues, packed = request.param
    vdpad = Vdpad(config="[simnic nic0]\ndirty_log = yes\n")
    with guest_pair(vdpad, MACS, ADDRESSES, {"a": {"iommu": True}}, {}, queues=queues, packed=packed) as pair:
        yield pair


def features(guest, name):
    return guest.vdpad.status(name)["features"]


def test_only_the_guest_behind_an_iommu_has_its_addresses_translated(guests):
    a, _ = guests
    assert "ACCESS_PLATFORM" in features(a, "a")
    assert "ACCESS_PLATFORM" not in features(a, "b")
    assert "DMAR" in a.run("ls -d /sys/class/iommu/dmar0 && echo DMAR")


def test_no_ping_is_lost_either_way(guests):
    a, b = guests
    assert a.wait_ping(b.address)
    assert a.ping(b.address, 20)
    assert b.ping(a.address, 20)


def test_a_bulk_transfer_arrives_byte_by_byte_both_ways(guests):
    for source, sink in (guests, guests[::-1]):
        sink.run("killall xfer; true")
        sink.serve()
        source.send(sink.address, BULK)


def test_a_driver_may_be_reloaded(guests):
    a, b = guests
    for _ in range(2):
        a.reload_driver()
        assert a.wait_ping(b.address)
    assert a.ping(b.address, 5)


def test_a_worker_that_is_killed_is_followed_by_one_that_translates(guests):
    a, b = guests
    for _ in range(3):
        kill_worker(a.vdpad, "a")
        assert a.wait_ping(b.address)
        assert a.ping(b.address, 5)
    a.reload_driver()
    assert a.wait_ping(b.address)
