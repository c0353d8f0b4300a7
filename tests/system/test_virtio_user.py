# SPDX-License-Identifier: BSD-2-Clause
"""DPDK's virtio-user as the front-end; every packet is checked."""
import pytest

MACS = ["52:54:00:00:01:01", "52:54:00:00:01:02"]
KINDS = [pytest.param(queues, packed, id=f"{'packed' if packed else 'split'}-{queues}")
         for packed in (False, True) for queues in (1, 4)]


def add_pair(vdpad, queues=1):
    """Two devices, for the two ports of a pktcheck; the paths of their sockets."""
    return [vdpad.add(name, mac, "max_vqp", str(queues)) for name, mac in zip("ab", MACS)]


@pytest.mark.parametrize("queues, packed", KINDS)
def test_every_packet_arrives_once_in_order_and_unchanged(vdpad, checks, queues, packed):
    check = checks(add_pair(vdpad, queues), MACS, queues, packed, packets=200000)
    ports = check.finish()
    assert set(ports) == {0, 1}
    for port in ports.values():
        assert (port.sent, port.right, port.lost, port.bad) == (200000, 200000, 0, 0)
        # Flows are spread over the receive queues.
        assert sum(1 for count in port.queues if count > 0) > queues // 2


@pytest.mark.parametrize("queues, packed", KINDS)
def test_a_front_end_may_come_back_any_number_of_times(vdpad, checks, queues, packed):
    sockets = add_pair(vdpad, queues)
    for _ in range(4):
        checks(sockets, MACS, queues, packed, packets=5000).finish()


def test_a_front_end_may_come_back_with_another_ring_layout(vdpad, checks):
    sockets = add_pair(vdpad, 4)
    for queues, packed in [(1, False), (4, True), (1, True), (4, False)]:
        checks(sockets, MACS, queues, packed, packets=5000).finish()


def test_a_front_end_that_is_killed_under_traffic_may_come_back(vdpad, checks):
    sockets = add_pair(vdpad)
    for _ in range(3):
        check = checks(sockets, MACS, packets=0).wait_started()
        check.wait_more(1000)
        check.kill9()
    checks(sockets, MACS, packets=5000).finish()


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_front_end_that_listens_is_served(vdpad, checks, packed):
    sockets = [vdpad.run_dir / f"listen-{name}.sock" for name in ("a", "b")]
    for name, mac, path in zip("ab", MACS, sockets):
        vdpad.add(name, mac, "socket", path, "mode", "client")
    check = checks(sockets, MACS, 1, packed, packets=50000, server=True)
    for port in check.finish().values():
        assert (port.right, port.lost, port.bad) == (50000, 0, 0)


@pytest.mark.parametrize("extra", ["mrg_rxbuf=0", "in_order=0", "mrg_rxbuf=0,in_order=0"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_packets_arrive_whatever_the_front_end_declines(vdpad, checks, packed, extra):
    checks(add_pair(vdpad), MACS, 1, packed, packets=50000, extra="," + extra).finish()
