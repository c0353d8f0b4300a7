# SPDX-License-Identifier: BSD-2-Clause
"""vdpad takes the machine's network functions, and DPDK's virtio-user is the front-end: each packet that
goes from one function to the other through the host is checked."""
import os
import signal

import pytest
from vdpad_fixture import CliError, Vdpad
from virtio_user import PktCheck
from waiting import wait_for

KINDS = [pytest.param(queues, packed, id=f"{'packed' if packed else 'split'}-{queues}")
         for packed in (False, True) for queues in (1, 4)]
PACKETS = 3000


@pytest.fixture
def vdpad():
    vdpad = Vdpad()
    yield vdpad.start()
    vdpad.stop()


@pytest.fixture
def checks():
    made = []

    def make(*args, **options):
        made.append(PktCheck(*args, **options))
        return made[-1]

    yield make
    for check in made:
        check.end()


def add(vdpad, name, function, *words):
    vdpad.cli("dev", "add", "name", name, "mgmtdev", f"pci/{function.name}", "bind", "on", *words)
    return vdpad.run_dir / "vhost" / f"{name}.sock"


@pytest.fixture
def pair(vdpad, functions):
    """Two devices on functions with as many pairs: the paths of their sockets, and their addresses."""
    def make(queues=1):
        two = (functions[1], functions[2]) if queues > 1 else (functions[3], functions[4])
        words = ("max_vqp", str(queues)) if queues > 1 else ()
        return [add(vdpad, name, f, *words) for name, f in zip("ab", two)], [f.mac for f in two]
    return make


def test_the_functions_are_found(vdpad, functions):
    functions[1].give_to("")
    shown = vdpad.json("mgmtdev", "show")["mgmtdev"]
    for function in functions.values():
        assert f"pci/{function.name}" in shown, shown
        assert "net" in shown[f"pci/{function.name}"]["supported_classes"]
    assert "MQ" in shown[f"pci/{functions[1].name}"]["dev_features"]


def test_a_function_is_taken_on_request_and_given_back(vdpad, functions):
    function = functions[3]
    function.give_to("")
    with pytest.raises(CliError, match="virtio-pci"):
        vdpad.cli("dev", "add", "name", "a", "mgmtdev", f"pci/{function.name}")
    add(vdpad, "a", function)
    assert function.driver == "vfio-pci"
    vdpad.wait_status("a", lambda status: status["state"] == "idle")
    assert vdpad.json("dev", "show", "a")["dev"]["a"]["mgmtdev"] == f"pci/{function.name}"
    assert vdpad.json("dev", "config", "show", "a")["config"]["a"]["mac"] == function.mac
    with pytest.raises(CliError, match="a"):
        add(vdpad, "b", function)
    vdpad.cli("dev", "del", "a")
    wait_for(lambda: function.driver == "virtio-pci", "the function to be given back")


@pytest.mark.parametrize("queues, packed", KINDS)
def test_every_packet_goes_through_the_functions_and_arrives_unchanged(vdpad, pair, checks, host, queues, packed):
    sockets, macs = pair(queues)
    before = host.ask("frames", number=1 if queues > 1 else 3)
    check = checks(sockets, macs, queues, packed, packets=0).wait_started().wait_more(PACKETS)
    status = vdpad.status("a")
    assert status["datapath"] == ("relay" if packed else "direct")
    assert ("packed" in status.get("datapath_reason", "")) == packed
    for port in check.stop(300).values():
        assert port.right >= PACKETS and (port.lost, port.bad) == (0, 0)
    after = host.ask("frames", number=1 if queues > 1 else 3)
    assert min(b - a for a, b in zip(before, after)) >= PACKETS


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_traffic_outlives_worker_and_vdpad(vdpad, pair, checks, packed):
    sockets, macs = pair()
    check = checks(sockets, macs, 1, packed, packets=0, lossy=True).wait_started()
    for _ in range(2):
        check.wait_more(300)
        pid = vdpad.worker_pid("a")
        os.kill(pid, signal.SIGKILL)
        vdpad.wait_status("a", lambda status, pid=pid: status["worker_pid"] not in (0, None, pid))
        check.wait_more(300)
    vdpad.kill9()
    check.wait_more(300)
    vdpad.start()
    check.wait_more(300)
    assert vdpad.status("a")["state"] == "running"
    check.stop()


def test_a_front_end_comes_back_and_is_served_directly_again(vdpad, pair, checks):
    sockets, macs = pair()
    for _ in range(2):
        check = checks(sockets, macs, packets=0).wait_started().wait_more(300)
        assert vdpad.status("a")["datapath"] == "direct"
        check.stop(300)


def test_a_function_that_is_pulled_out_and_put_back_serves_again(vdpad, functions, checks, host):
    sockets, macs = [add(vdpad, name, functions[n]) for name, n in (("a", 3), ("b", 4))], \
        [functions[n].mac for n in (3, 4)]
    checks(sockets, macs, packets=300).finish(300)
    host.ask("monitor", command="device_del", id="nic4")
    vdpad.wait_status("b", lambda status: "went away" in status.get("reason", ""), 120)
    wait_for(lambda: not functions[4].folder.exists(), "the kernel to have let go of it", 120)
    host.ask("plug", number=4)
    vdpad.wait_status("b", lambda status: "reason" not in status, 120)
    checks(sockets, macs, packets=300).finish(300)
