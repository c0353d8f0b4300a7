# SPDX-License-Identifier: BSD-2-Clause
"""vdpad takes the machine's network functions, and DPDK's virtio-user is the front-end: each packet that
goes from one function to the other through the host is checked."""
import os
import signal
import subprocess

import pytest
from open_files import open_files
from vdpad_fixture import CliError, Vdpad
from vfio import IOMMUFD, cdev_of
from virtio_user import PktCheck
from waiting import wait_for

KINDS = [pytest.param(queues, packed, id=f"{'packed' if packed else 'split'}-{queues}")
         for packed in (False, True) for queues in (1, 4)]
PACKETS = 3000


@pytest.fixture
def make_vdpad():
    made = []

    def make(**facts):
        made.append(Vdpad(**facts))
        return made[-1].start()

    yield make
    for vdpad in made:
        vdpad.stop()


@pytest.fixture
def vdpad(make_vdpad):
    return make_vdpad()


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
    # By iommufd, if this kernel has that.
    cdev = cdev_of(function)
    opened = open_files(vdpad.worker_pid("a")).values()
    assert (f"/dev/vfio/devices/{cdev}" if cdev else "anon_inode:[vfio-device]") in opened
    assert (IOMMUFD if cdev else "/dev/vfio/vfio") in opened
    assert vdpad.json("dev", "config", "show", "a")["config"]["a"]["mac"] == function.mac
    with pytest.raises(CliError, match="a"):
        add(vdpad, "b", function)
    vdpad.cli("dev", "del", "a")
    wait_for(lambda: function.driver == "virtio-pci", "the function to be given back")


@pytest.mark.parametrize("queues, packed", KINDS)
def test_every_packet_goes_through_the_functions_and_arrives_unchanged(vdpad, pair, checks, host, queues, packed):
    sockets, macs = pair(queues)
    before = host.ask("frames", number=1 if queues > 1 else 3)
    check = checks(sockets, macs, queues, packed, packets=0, lossy=queues > 1).wait_started()
    wait_for(lambda: [port.right >= PACKETS for port in check.progress().values()] == [True, True], "packets",
             300, tell=check.output)
    status = vdpad.status("a")
    assert status["datapath"] == ("relay" if packed else "direct")
    assert ("packed" in status.get("datapath_reason", "")) == packed
    ports = check.progress() if queues > 1 else check.stop(300)
    # The host's tap with several queues moves a flow to another one when it learns where it belongs, and
    # what is in the first one still comes late.
    forgiven = 64 if queues > 1 else 0
    for port in ports.values():
        assert port.right >= PACKETS and port.bad <= forgiven and port.lost <= forgiven, check.output()
    assert "was changed" not in check.output() and "stamp is wrong" not in check.output()
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


@pytest.fixture
def vdpad_with_standby(make_vdpad, functions):
    """Its simnic reaches the same wire, by a function that the kernel drives."""
    functions[5].give_to("")
    interface, = [name for folder in functions[5].folder.glob("virtio*/net") for name in os.listdir(folder)]
    subprocess.run(["ip", "link", "set", interface, "up", "promisc", "on"], check=True)
    return make_vdpad(config=f"[simnic nic0]\nuplink = af_packet:{interface}\n")


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_guest_whose_function_is_pulled_out_keeps_its_network(vdpad_with_standby, functions, checks, host, packed):
    vdpad = vdpad_with_standby
    paths = [add(vdpad, "a", functions[3], "mac", functions[3].mac, "standby", "sim/nic0"),
             add(vdpad, "b", functions[4])]
    check = checks(paths, [functions[3].mac, functions[4].mac], 1, packed, packets=0, lossy=True).wait_started()
    check.wait_more(300)
    host.ask("monitor", command="device_del", id="nic3")
    status = vdpad.wait_status("a", lambda status: status["datapath"] == "sim", 120)
    assert status["connected"] and status["failovers"] == 1
    check.wait_more(300, 120)
    wait_for(lambda: not functions[3].folder.exists(), "the kernel to have let go of it", 120)
    check.wait_more(300, 120)
    host.ask("plug", number=3)
    wait_for(functions[3].folder.exists, "the function to be back", 120)
    check.wait_more(300, 120)
    check.stop(300)
    vdpad.wait_status("a", lambda status: "went away" not in status.get("reason", ""), 120)
    checks(paths, [functions[3].mac, functions[4].mac], 1, packed, packets=300, lossy=True).finish(300)


def test_the_operator_chooses_who_serves(vdpad_with_standby, functions, checks):
    vdpad = vdpad_with_standby
    paths = [add(vdpad, "a", functions[3], "mac", functions[3].mac, "standby", "sim/nic0"),
             add(vdpad, "b", functions[4])]
    check = checks(paths, [functions[3].mac, functions[4].mac], packets=0, lossy=True).wait_started()
    assert vdpad.status("a")["datapath"] == "direct"
    # A function that stood still has frames in the host's queue that it gives to its guest later, so what comes
    # after it is taken back is not looked at here.
    for wanted, datapath in (("relay", "relay"), ("direct", "relay"), ("sim", "sim")):
        vdpad.cli("dev", "set", "name", "a", "datapath", wanted)
        vdpad.wait_status("a", lambda status, path=datapath: status["datapath"] == path)
        check.wait_more(300, 120)
    check.stop(300)
    vdpad.cli("dev", "set", "name", "a", "datapath", "direct")
    assert vdpad.status("a")["datapath_wanted"] == "direct"
