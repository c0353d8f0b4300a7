# SPDX-License-Identifier: BSD-2-Clause
"""The supervisor: devices come, stay and go as they should, whatever happens to vdpad."""
import contextlib
import fcntl
import grp
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from hostile import hostile
from open_files import open_files
from vdpad_fixture import BUILD
from virtio_user import PktCheck
from waiting import alive, wait_for

MACS = {"a": "52:54:00:00:04:01", "b": "52:54:00:00:04:02"}


def add(vdpad, name, *words):
    return vdpad.add(name, MACS[name], *words)


def traffic_works(vdpad, packets=2000):
    sockets = [vdpad.run_dir / "vhost" / f"{name}.sock" for name in MACS]
    check = PktCheck(sockets, MACS.values(), packets=packets)
    try:
        for port in check.finish().values():
            assert (port.right, port.lost, port.bad) == (packets, 0, 0)
    finally:
        check.end()


def leftovers(vdpad):
    """What of devices is in the run and state folders."""
    found = []
    for folder in ("vhost", "shim"):
        found += [f"{folder}/{name}" for name in os.listdir(vdpad.run_dir / folder)]
    found += os.listdir(vdpad.state_dir / "devices")
    uids = json.loads((vdpad.state_dir / "uids.json").read_text())["uids"]
    return found + [owner for owner in uids if owner.startswith("device:")]


def fds_of(vdpad):
    """How many descriptors it has. The connection of a command that just ended is none of them."""
    wait_for(lambda: not re.search(rf" 03 +\d+ {vdpad.run_dir}/control.sock$",
                                   Path("/proc/net/unix").read_text(encoding="ascii"), re.MULTILINE),
             "the end of connections")
    return len(os.listdir(f"/proc/{vdpad.process.pid}/fd"))


# ---- what a device is made of

@hostile(167)
def test_a_device_s_socket_is_for_its_group(make_vdpad):
    vdpad = make_vdpad(config="[vdpad]\nsocket_group = daemon\n")
    path = add(vdpad, "a")
    facts = os.stat(path)
    assert stat.S_ISSOCK(facts.st_mode) and stat.S_IMODE(facts.st_mode) == 0o660
    assert facts.st_gid == grp.getgrnam("daemon").gr_gid


def test_a_device_that_is_deleted_leaves_nothing(vdpad):
    add(vdpad, "a")
    vdpad.cli("dev", "del", "a")
    wait_for(lambda: not any(b"vdpa-shim" in line for line in vdpad.command_lines()), "the end of the shim")
    fds, processes = fds_of(vdpad), len(vdpad.processes())
    for _ in range(10):
        add(vdpad, "a")
        add(vdpad, "b", "mode", "client")
        vdpad.cli("dev", "del", "a")
        vdpad.cli("dev", "del", "b")
    assert leftovers(vdpad) == []
    wait_for(lambda: fds_of(vdpad) == fds, "the last ends to be noticed")
    wait_for(lambda: len(vdpad.processes()) == processes, "the end of shims and workers")


@hostile(163)
def test_deleting_a_device_ends_its_front_end_s_connection(vdpad):
    path = add(vdpad, "a")
    with socket.socket(socket.AF_UNIX) as front_end:
        front_end.connect(str(path))
        vdpad.wait_status("a", lambda status: status["connected"])
        vdpad.cli("dev", "del", "a")
        front_end.settimeout(60)
        assert front_end.recv(1) == b""


def privileges(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)


def wait_serving(vdpad, *names):
    """Until their workers are through their start; before, shims answer in their place."""
    for name in names:
        vdpad.wait_status(name, lambda status: status["state"] == "idle" and "stale" not in status)


def test_workers_and_simnic_have_no_privileges_and_a_user_each(vdpad):
    add(vdpad, "a")
    add(vdpad, "b")
    wait_serving(vdpad, "a", "b")
    pids = [vdpad.worker_pid("a"), vdpad.worker_pid("b"), vdpad.simnic_pid()]
    users = set()
    for pid in pids:
        facts = privileges(pid)
        assert facts["NoNewPrivs"] == "1"
        if "address" not in os.environ.get("VDPAD_BUILD", "") and BUILD.name in ("build",
                                                                                 "build-clang"):
            assert facts["Seccomp"] == "2", facts["Name"]
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(facts[kind], 16) == 0, facts["Name"]
        uid = set(facts["Uid"].split())
        assert len(uid) == 1 and "0" not in uid and facts["Groups"].strip() == ""
        users |= uid
    assert len(users) == 3


def test_a_worker_holds_no_descriptor_of_another_device(vdpad):
    add(vdpad, "a")
    add(vdpad, "b")
    wait_serving(vdpad, "a", "b")

    def sockets(pid):
        found = set()
        for target in open_files(pid).values():
            assert target.startswith(("socket:", "/memfd:", "anon_inode:", "/dev/null",
                                      str(vdpad.folder))), target
            if target.startswith(("socket:",)):
                found.add(target)
        return found
    a, b = sockets(vdpad.worker_pid("a")), sockets(vdpad.worker_pid("b"))
    assert a and b and not a & b


def test_nothing_wakes_up_when_nobody_does_anything(vdpad):
    add(vdpad, "a")
    add(vdpad, "b", "mode", "client")

    def switches():
        total = 0
        for pid in vdpad.processes():
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
                    total += sum(int(line.split()[1]) for line in f
                                 if line.startswith("voluntary"))
        return total

    def quiet():
        before = switches()
        time.sleep(1)  # the property is that nothing happens meanwhile
        return switches() == before
    wait_for(quiet, "a second without a wake-up")


# ---- vdpad's own end

@pytest.mark.parametrize("how", ["killed", "ended"])
def test_devices_outlive_vdpad(vdpad, how):
    add(vdpad, "a", "mtu", "2000", "max_vqp", "2")
    add(vdpad, "b")
    vdpad.cli("dev", "set", "name", "a", "spoof_check", "off", "log_level", "debug")
    before = vdpad.json("dev", "config", "show"), vdpad.json("dev", "show")
    pids = [vdpad.shim_pid(name) for name in MACS] + [vdpad.worker_pid(name) for name in MACS]
    if how == "killed":
        vdpad.kill9()
    else:
        assert vdpad.terminate() == 0
    assert all(alive(pid) for pid in pids) and alive(vdpad.simnic_pid())
    vdpad.start()
    assert (vdpad.json("dev", "config", "show"), vdpad.json("dev", "show")) == before
    assert [vdpad.shim_pid(name) for name in MACS] + [vdpad.worker_pid(name)
                                                       for name in MACS] == pids
    assert vdpad.status("a")["spoof_check"] is False
    assert vdpad.status("a")["log_level"] == "debug"
    traffic_works(vdpad)


def test_a_device_with_a_control_queue_keeps_it_and_serves_front_ends_that_do_not_use_it(vdpad, checks):
    """DPDK's virtio-user serves the queue itself; it takes features that depend on it all the same."""
    paths = [add(vdpad, name, "ctrl_vq", "on", "max_vqp", "2") for name in MACS]
    assert vdpad.json("dev", "show", "a")["dev"]["a"]["max_vqs"] == 5
    check = checks(paths, list(MACS.values()), queues=2, packets=0).wait_started()
    vdpad.kill9()
    vdpad.start()
    check.wait_more(1000)
    status = vdpad.status("a")
    assert status["ctrl_vq"] is True
    assert "CTRL_RX" in status["features"] and "CTRL_VQ" not in status["features"]
    assert [queue["queue_type"] for queue in status["queues"]] == ["rx", "tx"] * 2 + ["control_vq"]
    assert [queue["running"] for queue in status["queues"]] == [True] * 4 + [False]
    check.stop()
    os.kill(vdpad.simnic_pid(), signal.SIGKILL)
    wait_for(lambda: vdpad.status("a")["state"] != "down", "the device")
    assert vdpad.status("a")["ctrl_vq"] is True


def test_a_device_without_it_says_nothing_of_a_control_queue(vdpad):
    add(vdpad, "a")
    assert vdpad.json("dev", "show", "a")["dev"]["a"]["max_vqs"] == 2
    vdpad.wait_status("a", lambda status: status.get("ctrl_vq") is False)


def test_devices_come_back_after_the_host_was_started_again(vdpad):
    for name in MACS:
        add(vdpad, name)
    vdpad.kill9()
    killed = vdpad.processes()
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):  # a worker ends with its shim
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not vdpad.processes() and not any(map(alive, killed)), "the end of all")  # and of its sockets
    vdpad.start()
    traffic_works(vdpad)


def test_without_devices_simnic_ends_with_vdpad(vdpad):
    pid = vdpad.simnic_pid()
    assert vdpad.terminate() == 0
    assert not alive(pid)
    vdpad.start()
    assert vdpad.simnic_pid() not in (None, pid)


def test_a_killed_shim_is_followed_by_another_one(vdpad):
    for name in MACS:
        add(vdpad, name)
    old = vdpad.shim_pid("a")
    os.kill(old, signal.SIGKILL)
    vdpad.wait_status("a", lambda status: status["shim_pid"] not in (0, old)
                      and status["state"] == "idle")
    traffic_works(vdpad)


def change_without_shim(vdpad):
    """Its shim dies while the NIC is told of a change. Return: the command, and simnic, stopped."""
    for name in MACS:
        add(vdpad, name)
    simnic, shim = vdpad.simnic_pid(), vdpad.shim_pid("a")
    os.kill(simnic, signal.SIGSTOP)
    command = subprocess.Popen([BUILD / "tools/vdpa/vdpa", "--socket",
                                vdpad.run_dir / "control.sock", "dev", "set", "name", "a", "link",
                                "down"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: "dev.set" in vdpad.log_text(), "the request")
    os.kill(shim, signal.SIGKILL)
    return command, simnic


def check_unchanged(vdpad, command, words):
    """The command fails with these words, and the device comes back as it was."""
    _, said = command.communicate(timeout=60)
    assert command.returncode == 1 and words in said
    vdpad.wait_status("a", lambda status: status["state"] == "idle")
    traffic_works(vdpad)


def test_a_change_that_its_shim_can_t_take_says_so(vdpad):
    command, simnic = change_without_shim(vdpad)
    wait_for(lambda: "a: failed: its shim ended" in vdpad.log_text(), "vdpad to notice", tell=vdpad.log_text)
    os.kill(simnic, signal.SIGCONT)
    check_unchanged(vdpad, command, "its shim does not take the change")


def test_a_device_is_started_again_after_a_change_that_goes_on(vdpad):
    command, simnic = change_without_shim(vdpad)
    try:
        command.wait(30)
    finally:
        os.kill(simnic, signal.SIGCONT)
    check_unchanged(vdpad, command, "the NIC does not take the change: no answer in time")


@pytest.mark.parametrize("what", ["add", "del"])
def test_vdpad_may_be_killed_at_any_time_while_devices_come_and_go(vdpad, what):
    """Afterwards the device is there and works, or nothing is left of it."""
    add(vdpad, "b")
    only_b = sorted(leftovers(vdpad))
    begun = time.monotonic()
    add(vdpad, "a")
    vdpad.cli("dev", "del", "a")
    whole = time.monotonic() - begun
    seen = set()
    for i in range(24):
        if what == "del":
            add(vdpad, "a")
        words = (["add", "name", "a", "mgmtdev", "sim/nic0", "mac", MACS["a"]] if what == "add"
                 else ["del", "a"])
        # However busy the machine is, the first two come too late to be seen by the vdpad that dies.
        late = ["sh", "-c", 'sleep 0.3; exec "$@"', "sh"] if i < 2 else []
        command = subprocess.Popen([*late, BUILD / "tools/vdpa/vdpa", "--socket",
                                    vdpad.run_dir / "control.sock", "dev", *words],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(whole * (i / 20) ** 2)  # most in the beginning, the last ones when all is over
        vdpad.kill9()
        command.wait(30)
        vdpad.start()
        there = "a" in vdpad.json("dev", "show")["dev"]
        seen.add(there)
        if there:
            vdpad.wait_status("a", lambda status: status["state"] == "idle")
            vdpad.cli("dev", "del", "a")
        wait_for(lambda: sorted(leftovers(vdpad)) == only_b, "strangers to be removed",
                 tell=lambda: leftovers(vdpad))
    assert seen == {True, False}
    add(vdpad, "a")
    traffic_works(vdpad)


def test_a_strangers_socket_that_is_about_to_end_is_removed_then(vdpad):
    """As a worker's that was told to end by the vdpad before."""
    vdpad.kill9()
    path = vdpad.run_dir / "vhost/gone.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        vdpad.start()
        wait_for(lambda: select.select([listener], [], [], 0)[0], "it to be looked at")
        vdpad.cli("dev", "show")
        assert path.exists()
    wait_for(lambda: not path.exists(), "the file to be removed")


def test_a_lock_that_a_child_of_a_dead_vdpad_still_has_is_waited_for(vdpad):
    vdpad.kill9()
    with open(vdpad.run_dir / "vdpad.lock", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a child that is not another program yet
        vdpad.spawn()
        wait_for(lambda: vdpad.process.poll() is not None or has_open(vdpad, "vdpad.lock"), "the lock to be tried")
        fcntl.flock(lock, fcntl.LOCK_UN)
    vdpad.wait_until_it_serves()
    assert "dev" in vdpad.json("dev", "show")


def has_open(vdpad, name):
    return any(target.endswith(name) for target in open_files(vdpad.process.pid).values())


def test_a_second_vdpad_on_the_same_folders_is_refused(vdpad, make_vdpad):
    for options in (["--run-dir", vdpad.run_dir, "--state-dir", vdpad.folder / "other"],
                    ["--run-dir", vdpad.folder / "other", "--state-dir", vdpad.state_dir]):
        done = subprocess.run([BUILD / "tools/vdpad/vdpad", *options], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert f"belongs to another vdpad that runs, process {vdpad.process.pid}" in done.stderr
    assert "dev" in vdpad.json("dev", "show")


# ---- damaged state

@pytest.mark.parametrize("text", ["", "{", "[]", "{\"version\":2}", "\0" * 100,
                                  "{\"version\":1,\"name\":\"b\"}"])
def test_a_device_whose_file_is_damaged_is_left_alone(vdpad, text):
    add(vdpad, "a")
    add(vdpad, "b")
    shim = vdpad.shim_pid("a")
    vdpad.kill9()
    file = vdpad.state_dir / "devices/a.json"
    good = file.read_bytes()
    file.write_text(text)
    vdpad.start()
    assert list(vdpad.json("dev", "show")["dev"]) == ["b"]
    assert f"{file}: " in vdpad.log_text() and alive(shim)
    done = vdpad.try_cli("dev", "add", "name", "a", "mgmtdev", "sim/nic0")
    assert done.returncode == 1 and "can't be read" in done.stderr
    vdpad.kill9()
    file.write_bytes(good)
    vdpad.start()
    assert vdpad.shim_pid("a") == shim


def test_a_device_of_a_nic_that_the_configuration_lost_says_so(make_vdpad):
    vdpad = make_vdpad(config="[simnic nic0]\n[simnic nic1]\n")
    vdpad.cli("dev", "add", "name", "x", "mgmtdev", "sim/nic1")
    vdpad.kill9()
    vdpad.config.write_text("[simnic nic0]\n")
    vdpad.start()
    status = vdpad.status("x")
    assert status["state"] == "broken" and "sim/nic1" in status["reason"]
    vdpad.config.write_text("[simnic nic0]\n[simnic nic1]\n")
    vdpad.kill9()
    vdpad.start()
    assert vdpad.status("x")["state"] == "idle"


def test_a_device_whose_nic_is_lost_and_another_nic_that_can_t_start(make_vdpad):
    vdpad = make_vdpad(config="[simnic nic0]\n[simnic nic1]\n")
    vdpad.cli("dev", "add", "name", "x", "mgmtdev", "sim/nic1")
    shim = vdpad.shim_pid("x")
    vdpad.kill9()
    os.kill(vdpad.simnic_pid("nic0"), signal.SIGKILL)
    wait_for(lambda: vdpad.simnic_pid("nic0") is None, "the end of simnic")
    path = vdpad.run_dir / "sim/nic0.sock"
    path.unlink()
    path.write_text("not a socket")
    vdpad.config.write_text("[simnic nic0]\n")
    vdpad.start()
    assert vdpad.status("x")["state"] == "broken"
    assert path.read_text() == "not a socket" and str(path) in vdpad.log_text()
    path.unlink()
    wait_for(lambda: vdpad.simnic_pid("nic0"), "a simnic")
    vdpad.cli("dev", "del", "x")
    assert not alive(shim)
    os.kill(vdpad.simnic_pid("nic1"), signal.SIGKILL)


# ---- programs that do not work

def test_a_simnic_that_does_not_start_is_given_up_with_a_reason(make_vdpad):
    vdpad = make_vdpad(start=False, config="[simnic nic0]\nuplink = af_packet:nosuchif\n"
                                           "[simnic nic1]\n")
    vdpad.start()
    vdpad.cli("dev", "add", "name", "x", "mgmtdev", "sim/nic1")
    wait_for(lambda: "given up" in vdpad.log_text(), "the end of attempts")
    done = vdpad.try_cli("dev", "add", "name", "y", "mgmtdev", "sim/nic0")
    assert done.returncode == 1
    assert "sim/nic0 is not up: given up" in done.stderr and "see the log" in done.stderr
    assert "uplink af_packet:nosuchif: DPDK has no such port" in vdpad.log_text()
    assert vdpad.status("x")["state"] == "idle"


def test_a_worker_that_dies_again_and_again_is_given_up_and_can_be_revived(vdpad):
    for name in MACS:
        add(vdpad, name)
    for _ in range(50):
        pid = vdpad.worker_pid("a")
        if vdpad.status("a")["state"] == "broken":
            break
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
    status = vdpad.wait_status("a", lambda status: status["state"] == "broken")
    assert status["reason"] and status["worker_pid"] == 0
    assert vdpad.status("b")["state"] == "idle"
    vdpad.cli("dev", "upgrade", "a")
    vdpad.wait_status("a", lambda status: status["state"] == "idle")
    traffic_works(vdpad)


def test_an_upgrade_to_a_program_that_does_not_work_goes_back(vdpad):
    for name in MACS:
        add(vdpad, name)
    wait_serving(vdpad, "a")
    killed, text = vdpad.folder / "killed", vdpad.folder / "text"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    text.write_text("no program\n")
    killed.chmod(0o755)
    text.chmod(0o755)
    for program, reason in (("/bin/true", "it ended with status 0"),
                            ("/bin/false", "it ended with status 1"),
                            (killed, "it was killed by SIGSEGV"),
                            (text, "it can't be run: Exec format error")):
        done = vdpad.try_cli("dev", "upgrade", "a", "worker", program)
        assert done.returncode == 1
        assert done.stderr == (f"Error: a: the new worker does not serve: {reason}; the old one "
                               "takes its place\n")
    for program, reason in (("/etc/passwd", "/etc/passwd can't be run: Permission denied"),
                            ("/nonsense", "/nonsense can't be run: No such file or directory"),
                            ("relative", "absolute")):
        done = vdpad.try_cli("dev", "upgrade", "a", "worker", program)
        assert done.returncode == 1 and reason in done.stderr
    assert vdpad.wait_status("a", lambda status: status["worker_pid"] != 0)["worker"] == str(
        BUILD / "tools/worker/vdpa-worker")
    vdpad.kill9()
    vdpad.start()
    traffic_works(vdpad)


def test_an_upgrade_that_a_shim_hears_of_too_late_changes_nothing(vdpad):
    """The next worker is started from the program of before."""
    add(vdpad, "a")
    wait_serving(vdpad, "a")
    old, shim = vdpad.worker_pid("a"), vdpad.shim_pid("a")
    program = vdpad.folder / "worker"
    shutil.copy(BUILD / "tools/worker/vdpa-worker", program)
    os.kill(shim, signal.SIGSTOP)
    done = vdpad.try_cli("dev", "upgrade", "a", "worker", program)
    assert done.returncode == 1 and "its shim does not take the new worker: no answer in time" in done.stderr
    os.kill(shim, signal.SIGCONT)
    vdpad.wait_status("a", lambda status: status["worker_pid"] == old)
    os.kill(old, signal.SIGKILL)
    new = vdpad.wait_status("a", lambda status: status["worker_pid"] not in (0, old))["worker_pid"]
    assert os.readlink(f"/proc/{new}/exe") == str(BUILD / "tools/worker/vdpa-worker")


def test_figures_of_a_hostile_worker_hide_no_other_device(vdpad):
    """Offsets as of vdpa/health.h: frames, and of the first queue its size and chains."""
    for name in MACS:
        add(vdpad, name)
        wait_serving(vdpad, name)
    pid = vdpad.worker_pid("a")
    os.kill(pid, signal.SIGSTOP)
    (block,) = [path for path in Path(f"/proc/{pid}/fd").iterdir() if "health" in os.readlink(path)]
    with open(block, "r+b", buffering=0) as file:
        for offset, size in ((160, 8), (352, 4), (368, 8)):
            file.seek(offset)
            file.write(b"\xff" * size)
    status = vdpad.json("dev", "status", "show")["status"]
    assert status["b"]["state"] == "idle" and status["a"]["counters"]["rx_frames"] == 2**63 - 1
    assert vdpad.json("dev", "vstats", "show", "a")["vstats"]["a"]["queues"][0]["received_desc"] == 2**63 - 1
    os.kill(pid, signal.SIGCONT)


# ---- changes

def test_frames_with_another_source_address_are_dropped_and_named(vdpad, checks):
    sockets = [add(vdpad, name) for name in MACS]
    wrong = ["52:54:00:00:04:99", MACS["b"]]
    check = checks(sockets, wrong, packets=0, lossy=True)
    status = vdpad.wait_status("a", lambda s: s.get("counters", {}).get("spoof_drops", 0) > 0)
    assert status["last_spoof_mac"] == wrong[0]
    text = vdpad.cli("dev", "status", "show", "a")
    assert wrong[0] in text and "spoof_check off" in text
    vdpad.cli("dev", "set", "name", "a", "spoof_check", "off")
    check.wait_started()
    check.wait_more(100)


def test_a_device_without_a_given_address_is_not_checked(vdpad):
    vdpad.cli("dev", "add", "name", "x", "mgmtdev", "sim/nic0")
    vdpad.wait_status("x", lambda status: status.get("spoof_check") is False)
    vdpad.cli("dev", "add", "name", "y", "mgmtdev", "sim/nic0", "spoof_check", "on")
    vdpad.wait_status("y", lambda status: status.get("spoof_check") is True)


def test_the_log_level_of_a_device_changes_while_it_runs(vdpad):
    path = add(vdpad, "a")
    vdpad.cli("dev", "set", "name", "a", "log_level", "error")

    def connect_and_leave():
        with socket.socket(socket.AF_UNIX) as front_end:
            front_end.connect(str(path))
            vdpad.wait_status("a", lambda status: status["connected"])
        vdpad.wait_status("a", lambda status: not status["connected"])
        return vdpad.log_text().count("vdpa-worker[a]")
    before = connect_and_leave()
    assert connect_and_leave() == before
    vdpad.cli("dev", "set", "name", "a", "log_level", "debug")
    assert connect_and_leave() > before


def test_a_dump_holds_what_support_asks_for_and_no_payload(vdpad, checks, tmp_path):
    sockets = [add(vdpad, name) for name in MACS]
    checks(sockets, MACS.values(), packets=0).wait_started()
    file = tmp_path / "dump.json"
    vdpad.cli("dev", "dump", "a", "file", str(file))
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    text = file.read_text()
    assert len(text) < 200000
    dump = json.loads(text)
    for key in ("vdpad_version", "host", "spec", "status", "vstats", "nic", "vdpad_log"):
        assert dump[key], key
    report = dump["worker_report"]
    rings = report["device"]["rings"]
    assert [ring["index"] for ring in rings] == [0, 1] and all(ring["running"] for ring in rings)
    assert any(message["name"] == "SET_MEM_TABLE" for message in report["session"]["messages"])
    assert report["log"]


def test_systemd_is_told_when_vdpad_serves(make_vdpad, tmp_path):
    vdpad = make_vdpad(start=False)
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(60)
        os.environ["NOTIFY_SOCKET"] = path
        try:
            vdpad.spawn()
            assert b"READY=1" in notify.recv(1000)
        finally:
            del os.environ["NOTIFY_SOCKET"]
    assert vdpad.try_cli("mgmtdev", "show", "sim/nic0").returncode == 0


def test_a_device_can_be_added_as_soon_as_vdpad_serves_however_long_its_nic_takes(make_vdpad):
    vdpad = make_vdpad(start=False)
    programs = vdpad.folder / "programs"
    programs.mkdir()
    for name in ("shim/vdpa-shim", "worker/vdpa-worker"):
        (programs / Path(name).name).symlink_to(BUILD / "tools" / name)
    slow = programs / "simnic"
    slow.write_text(f"#!/bin/sh\nsleep 10\nexec {BUILD}/tools/simnic/simnic \"$@\"\n")
    slow.chmod(0o755)
    vdpad.words = ["--libexec-dir", programs]
    vdpad.start().add("a", MACS["a"])
