# SPDX-License-Identifier: BSD-2-Clause
"""Devices whose NIC dies for good go on at their standby, and the traffic with them."""
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from vdpad_fixture import BUILD, CliError
from waiting import wait_for

MACS = {"a": "52:54:00:00:06:01", "b": "52:54:00:00:06:02"}
SIM_ADMIN_LIST = 69
LAYOUTS = [pytest.param(False, id="split"), pytest.param(True, id="packed")]


@pytest.fixture
def vdpad(make_vdpad):
    return make_vdpad(config="[simnic nic0]\n[simnic nic1]\n")


def add(vdpad, *words):
    return [vdpad.add(name, mac, "standby", "sim/nic1", *words) for name, mac in MACS.items()]


def datapath(vdpad, path, seconds=60):
    for name in MACS:
        vdpad.wait_status(name, lambda status: status["datapath"] == path, seconds)


def nic_state(vdpad):
    return vdpad.json("mgmtdev", "status", "show")["mgmtdev_status"]["sim/nic0"]["state"]


def kill_for_good(vdpad, nic="nic0"):
    """Again and again, until vdpad gives it up."""
    def given_up():
        pid = vdpad.simnic_pid(nic)
        if pid:
            os.kill(pid, signal.SIGKILL)
        return nic_state(vdpad) == "failed"
    wait_for(given_up, "the NIC to be given up", 120)


@pytest.mark.parametrize("packed", LAYOUTS)
def test_traffic_goes_on_at_the_standby_when_the_nic_dies_for_good(vdpad, checks, packed):
    sockets = add(vdpad)
    check = checks(sockets, MACS.values(), packed=packed, packets=0, lossy=True)
    check.wait_started().wait_more(1000)
    datapath(vdpad, "direct")
    kill_for_good(vdpad)
    datapath(vdpad, "sim")
    check.wait_more(5000)
    status = vdpad.status("a")
    assert status["state"] == "running" and status["failovers"] >= 1
    assert status["standby_reason"] == "the device is gone; waiting for it to come back"
    assert "standby: the device is gone" in vdpad.cli("dev", "status", "show", "a")
    for name in MACS:  # it is not taken back, whatever becomes of it
        vdpad.cli("dev", "set", "name", name, "datapath", "sim")
    assert vdpad.status("a")["standby_reason"] == "the operator wants it so"
    vdpad.kill9()
    vdpad.start()
    check.wait_more(5000)
    old = vdpad.worker_pid("a")
    os.kill(old, signal.SIGKILL)
    vdpad.wait_status("a", lambda status: status["worker_pid"] not in (0, old))
    check.wait_more(5000)
    for port in check.stop().values():
        assert port.bad == 0


def killed_under_traffic(vdpad, checks):
    """Return: the traffic, which the standby carries now, and the process of the NIC that was killed."""
    check = checks(add(vdpad), MACS.values(), packets=0, lossy=True)
    check.wait_started().wait_more(1000)
    old = vdpad.simnic_pid()
    os.kill(old, signal.SIGKILL)
    datapath(vdpad, "sim")
    return check, old


def test_a_nic_that_comes_back_is_taken_back(vdpad, checks):
    check, old = killed_under_traffic(vdpad, checks)
    wait_for(lambda: vdpad.simnic_pid() not in (None, 0, old), "a new simnic")
    check.wait_more(1000)
    datapath(vdpad, "direct")
    check.wait_more(5000)
    for port in check.stop().values():
        assert port.bad == 0


def test_a_change_that_fails_moves_no_device(vdpad, checks):
    """It would be taken back soon, when it has been well for a while, and not at once."""
    check, _ = killed_under_traffic(vdpad, checks)
    vdpad.wait_status("a", lambda status: "taken back soon" in status["standby_reason"])
    new = vdpad.simnic_pid()
    os.kill(new, signal.SIGSTOP)
    done = vdpad.try_cli("dev", "set", "name", "a", "datapath", "direct", "link", "down")
    assert done.returncode == 1 and "the NIC does not take the change" in done.stderr
    check.wait_more(5000)
    assert "can't take over" not in vdpad.log_text()
    os.kill(new, signal.SIGCONT)
    check.stop()


@pytest.mark.parametrize("packed", LAYOUTS)
def test_the_operator_moves_devices_and_nothing_is_broken(vdpad, checks, packed):
    check = checks(add(vdpad), MACS.values(), packed=packed, packets=0, lossy=True)
    check.wait_started().wait_more(1000)
    for path in ("sim", "relay", "direct", "sim", "direct"):
        for name in MACS:
            vdpad.cli("dev", "set", "name", name, "datapath", path)
        datapath(vdpad, path)
        check.wait_more(3000)
        assert vdpad.status("a")["datapath_wanted"] == path
    for port in check.stop().values():
        assert port.bad == 0


def test_a_wish_and_a_standby_outlive_vdpad(vdpad):
    add(vdpad, "datapath", "sim")
    shims = [vdpad.shim_pid(name) for name in MACS]
    vdpad.kill9()
    vdpad.start()
    assert [vdpad.shim_pid(name) for name in MACS] == shims
    status = vdpad.status("a")
    assert (status["standby"], status["datapath_wanted"]) == ("sim/nic1", "sim")
    vdpad.cli("dev", "del", "a")
    vdpad.cli("dev", "del", "b")
    vdpad.add("a", MACS["a"], nic="nic1")  # no function of that name is left there


def test_a_standby_that_dies_comes_back_to_its_device(vdpad, checks):
    check = checks(add(vdpad), MACS.values(), packets=0, lossy=True)
    check.wait_started().wait_more(1000)
    old = vdpad.simnic_pid("nic1")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: "the standby is gone" in vdpad.log_text(), "its end to be noticed", tell=vdpad.log_text)
    vdpad.wait_status("a", lambda status: "standby_reason" not in status)
    for name in MACS:
        vdpad.cli("dev", "set", "name", name, "datapath", "sim")
    datapath(vdpad, "sim")
    check.wait_more(3000)
    check.stop()


def test_a_standby_whose_nic_begins_anew_while_its_device_is_made_is_there(make_vdpad):
    vdpad = make_vdpad(config="[simnic nic0]\n[simnic nic1]\n", start=False)
    programs, go = vdpad.folder / "programs", vdpad.folder / "go"
    programs.mkdir()
    for name in ("simnic/simnic", "worker/vdpa-worker"):
        (programs / Path(name).name).symlink_to(BUILD / "tools" / name)
    slow = programs / "vdpa-shim"
    slow.write_text(f"#!/bin/sh\nuntil test -e {go}; do sleep .1; done\n"
                    f"exec {BUILD}/tools/shim/vdpa-shim \"$@\"\n")
    slow.chmod(0o755)
    vdpad.words = ["--libexec-dir", programs]
    vdpad.start()
    old = vdpad.simnic_pid("nic1")
    with subprocess.Popen([BUILD / "tools/vdpa/vdpa", "--socket", vdpad.run_dir / "control.sock", "dev", "add",
                           "name", "a", "mgmtdev", "sim/nic0", "mac", MACS["a"], "standby", "sim/nic1"],
                          stdin=subprocess.DEVNULL) as adding:
        wait_for(lambda: vdpad.log_text().count("function a added") == 2, "both functions")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: vdpad.log_text().count("sim/nic1: nic-up") == 2, "a new simnic")
        go.touch()
    assert adding.returncode == 0
    vdpad.wait_status("a", lambda status: status["state"] == "idle" and "standby_reason" not in status, 20)


@pytest.mark.parametrize("words, what", [
    (("standby", "sim/nic0"), ["the device's own", "choose another"]),
    (("standby", "sim/nic7"), ["nic7"]),
    (("standby", "sim/nic1", "host_notifier", "on"), ["host_notifier", "leave one"]),
    (("datapath", "sim"), ["no standby", "standby sim/NIC"]),
])
def test_what_makes_no_sense_is_refused(vdpad, words, what):
    with pytest.raises(CliError) as error:
        vdpad.add("a", MACS["a"], *words)
    assert all(part in error.value.stderr for part in what), error.value.stderr
    assert not vdpad.json("dev", "show")["dev"]


def mac_at_nic(vdpad, nic, index=0):
    """Of the function with this number, as its NIC has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.settimeout(60)
        link.connect(str(vdpad.run_dir / f"sim/{nic}.sock"))
        link.send(struct.pack("=IIiIQ", SIM_ADMIN_LIST, 1, 0, 8, index))
        return link.recv(4096)[16 + 64:16 + 70].hex(":")


def test_a_change_that_fails_is_taken_back_at_the_standby_too(vdpad):
    vdpad.add("a", MACS["a"], "standby", "sim/nic1")
    in_the_way = vdpad.state_dir / "devices/a.json.new"
    in_the_way.mkdir()
    done = vdpad.try_cli("dev", "set", "name", "a", "mac", MACS["b"])
    assert done.returncode == 1 and "can't be written" in done.stderr
    in_the_way.rmdir()
    assert mac_at_nic(vdpad, "nic0") == MACS["a"]
    assert mac_at_nic(vdpad, "nic1") == MACS["a"]
    vdpad.cli("dev", "set", "name", "a", "mac", MACS["b"])
    assert mac_at_nic(vdpad, "nic0") == mac_at_nic(vdpad, "nic1") == MACS["b"]
