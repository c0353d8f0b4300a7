# SPDX-License-Identifier: BSD-2-Clause
"""Linux guests in QEMU as front-ends: what their users do all day."""
import pytest

from guest import Guest
from guest_pair import guest_pair
from vdpad_fixture import Vdpad

MACS = {"a": "52:54:00:00:02:01", "b": "52:54:00:00:02:02"}
ADDRESSES = {"a": "10.0.2.1", "b": "10.0.2.2"}
BULK = 64 * 1024 * 1024
KINDS = [pytest.param((1, False), id="split"), pytest.param((1, True), id="packed"),
         pytest.param((2, False), id="split-2-pairs"), pytest.param((2, True), id="packed-2-pairs")]


@pytest.fixture(scope="module", params=KINDS)
def guests(request):
    """Two guests that are up, each on its device; the tests of a module share them."""
    queues, packed = request.param
    with guest_pair(Vdpad(), MACS, ADDRESSES, queues=queues, packed=packed) as pair:
        yield pair


def test_guests_ping_each_other(guests):
    a, b = guests
    assert a.ping(b.address, 5)
    assert b.ping(a.address, 5)


def test_a_bulk_transfer_arrives_byte_by_byte_both_ways(guests):
    for source, sink in (guests, guests[::-1]):
        sink.run("killall xfer; true")
        sink.serve()
        source.send(sink.address, BULK)


def test_a_large_ping_arrives(guests):
    a, b = guests
    assert ", 0% packet loss" in a.run(f"ping -c 3 -i 0.2 -s 20000 {b.address}")


def test_a_driver_may_be_reloaded(guests):
    a, b = guests
    for _ in range(3):
        a.reload_driver()
        assert a.wait_ping(b.address)
    b.run("killall xfer; true")
    b.serve()
    a.send(b.address, BULK // 4)


def test_a_guest_may_reboot(guests):
    a, b = guests
    a.reboot()
    assert a.wait_ping(b.address)
    b.run("killall xfer; true")
    b.serve()
    a.send(b.address, BULK // 4)


def test_a_guest_whose_qemu_listens_is_served_and_may_come_back(vdpad, tmp_path):
    """Client mode: QEMU makes the socket and waits until vdpad's side connects."""
    pair = []
    try:
        for name in ("a", "b"):
            path = tmp_path / f"{name}.sock"
            vdpad.cli("dev", "add", "name", name, "mgmtdev", "sim/nic0", "mac", MACS[name],
                      "mode", "client", "socket", str(path))
            pair.append(Guest(tmp_path, name, path, MACS[name], ADDRESSES[name], server=True))
            pair[-1].start()
        for guest in pair:
            guest.wait_ready()
        assert pair[0].wait_ping(pair[1].address)
        pair[1].kill9()
        vdpad.wait_status("b", lambda status: not status["connected"])
        pair[1].boot()
        assert pair[0].wait_ping(pair[1].address)
    finally:
        for guest in pair:
            guest.end()
