# SPDX-License-Identifier: BSD-2-Clause
"""Each process is killed under traffic, in turn, and the traffic goes on."""
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from guest import Guest
from vdpad_fixture import Vdpad
from waiting import wait_for

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / os.environ.get("VDPAD_BUILD", "build")
MACS = {"a": "52:54:00:00:03:01", "b": "52:54:00:00:03:02"}
ADDRESSES = {"a": "10.0.3.1", "b": "10.0.3.2"}
MIB = 1024 * 1024
LAYOUTS = [pytest.param(False, id="split"), pytest.param(True, id="packed")]


def add_devices(vdpad, queues=1):
    return [vdpad.add(name, mac, "max_vqp", str(queues)) for name, mac in MACS.items()]


def kill_worker(vdpad, name):
    """kill -9 of a device's worker, and wait for the next one."""
    old = vdpad.worker_pid(name)
    os.kill(old, signal.SIGKILL)
    vdpad.wait_status(name, lambda status: status["worker_pid"] not in (0, old))


def kill_nic(vdpad):
    """kill -9 of simnic, and wait for the next one."""
    old = vdpad.simnic_pid()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: vdpad.simnic_pid() not in (None, 0, old), "a new simnic")


@pytest.fixture
def traffic(vdpad, checks):
    """Starts traffic between two devices: traffic(queues, packed, lossy)."""
    def start(queues=1, packed=False, lossy=False):
        sockets = add_devices(vdpad, queues)
        check = checks(sockets, MACS.values(), queues, packed, packets=0, lossy=lossy)
        check.wait_started().wait_more(1000)
        return check

    return start


@pytest.mark.parametrize("packed", LAYOUTS)
def test_no_packet_is_lost_when_workers_are_killed(vdpad, traffic, packed):
    check = traffic(packed=packed)
    for _ in range(2):
        for name in MACS:
            kill_worker(vdpad, name)
            check.wait_more(5000)
    for port in check.stop().values():
        assert (port.lost, port.bad) == (0, 0)


def test_no_packet_is_lost_when_vdpad_is_killed(vdpad, traffic):
    check = traffic()
    for _ in range(2):
        shims = [vdpad.shim_pid(name) for name in MACS]
        vdpad.kill9()
        check.wait_more(5000)
        vdpad.start()
        assert [vdpad.shim_pid(name) for name in MACS] == shims
        check.wait_more(5000)
    kill_worker(vdpad, "a")
    check.wait_more(5000)
    for port in check.stop().values():
        assert (port.lost, port.bad) == (0, 0)


def test_a_worker_killed_while_there_is_no_vdpad_is_replaced(vdpad, traffic):
    check = traffic()
    old = vdpad.worker_pid("a")
    vdpad.kill9()
    os.kill(old, signal.SIGKILL)
    check.wait_more(5000)
    vdpad.start()
    vdpad.wait_status("a", lambda status: status["worker_pid"] not in (0, old))
    check.stop()


@pytest.mark.parametrize("queues, packed", [(1, False), (1, True), (4, False), (4, True)],
                         ids=["split", "packed", "split-4", "packed-4"])
def test_traffic_goes_on_after_simnic_is_killed(vdpad, traffic, queues, packed):
    check = traffic(queues, packed, lossy=True)
    for _ in range(2):
        kill_nic(vdpad)
        check.wait_more(5000)
    for port in check.stop().values():
        assert port.bad == 0


def test_traffic_goes_on_after_simnic_and_workers_are_killed_together(vdpad, traffic):
    check = traffic(lossy=True)
    for _ in range(2):
        old = {name: vdpad.worker_pid(name) for name in MACS}
        nic = vdpad.simnic_pid()
        for pid in (nic, *old.values()):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: vdpad.simnic_pid() not in (None, 0, nic), "a new simnic")
        for name in MACS:
            vdpad.wait_status(name, lambda status: status["state"] == "running" and
                              status["worker_pid"] not in (0, old[name]))
        check.wait_more(5000)
    for port in check.stop().values():
        assert port.bad == 0


def test_a_device_still_stops_and_starts_right_after_each_kill(vdpad, traffic, checks):
    check = traffic(lossy=True)
    kill_worker(vdpad, "a")
    kill_nic(vdpad)
    vdpad.kill9()
    vdpad.start()
    check.wait_more(5000)
    check.stop()
    for name in MACS:
        vdpad.wait_status(name, lambda status: not status["connected"])
    sockets = [vdpad.run_dir / "vhost" / f"{name}.sock" for name in MACS]
    again = checks(sockets, MACS.values(), packets=20000)
    for port in again.finish().values():
        assert (port.right, port.lost) == (20000, 0)


def other_build(folder):
    """Another build of the worker: clang's where there is one, else this one at another path."""
    for build in ("build-clang", BUILD):
        program = REPO / build / "tools/worker/vdpa-worker"
        if program.exists():
            return shutil.copy(program, Path(folder) / "vdpa-worker")
    raise AssertionError("no worker was built")


def test_a_worker_is_upgraded_and_back_without_losing_a_packet(vdpad, traffic):
    check = traffic()
    with tempfile.TemporaryDirectory(prefix="upgrade-") as folder:
        os.chmod(folder, 0o755)
        other = other_build(folder)
        for path in (other, BUILD / "tools/worker/vdpa-worker"):
            old = vdpad.worker_pid("a")
            vdpad.cli("dev", "upgrade", "a", "worker", str(path))
            vdpad.wait_status("a", lambda status, old=old: status["worker_pid"] not in (0, old))
            assert os.readlink(f"/proc/{vdpad.worker_pid('a')}/exe") == str(path)
            check.wait_more(5000)
    for port in check.stop().values():
        assert (port.lost, port.bad) == (0, 0)


@pytest.fixture(scope="module")
def guests():
    """Two guests, the first of which sends the second a stream without end."""
    with tempfile.TemporaryDirectory(prefix="guest-") as folder:
        vdpad = Vdpad()
        pair = []
        try:
            vdpad.start()
            sockets = add_devices(vdpad)
            for path, (name, mac) in zip(sockets, MACS.items()):
                pair.append(Guest(folder, name, path, mac, ADDRESSES[name], reconnect=1))
                pair[-1].start()
            for guest in pair:
                guest.wait_ready()
            pair[1].serve()
            pair[0].stream(ADDRESSES["b"])
            pair[0].wait_streamed(4 * MIB)
            yield vdpad, *pair
        finally:
            for guest in pair:
                guest.end()
            vdpad.stop()


def test_a_guest_s_stream_survives_a_killed_worker(guests):
    vdpad, source, _ = guests
    for name in MACS:
        kill_worker(vdpad, name)
        source.wait_streamed(8 * MIB)


def test_a_guest_s_stream_survives_a_killed_vdpad(guests):
    vdpad, source, _ = guests
    vdpad.kill9()
    source.wait_streamed(8 * MIB)
    vdpad.start()
    source.wait_streamed(8 * MIB)


def test_a_guest_s_stream_survives_a_killed_simnic(guests):
    vdpad, source, _ = guests
    kill_nic(vdpad)
    source.wait_streamed(8 * MIB)


def test_a_guest_s_stream_survives_an_upgrade(guests):
    vdpad, source, _ = guests
    vdpad.cli("dev", "upgrade", "b")
    source.wait_streamed(8 * MIB)


def test_a_killed_front_end_does_not_disturb_others_and_may_come_back(guests):
    vdpad, source, sink = guests
    sink.kill9()
    vdpad.wait_status("b", lambda status: not status["connected"])
    sink.boot()
    assert source.wait_ping(sink.address)
    sink.serve()
    source.run("killall xfer; true")
    source.send(sink.address, 16 * MIB)
