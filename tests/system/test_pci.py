# SPDX-License-Identifier: BSD-2-Clause
"""Devices on PCI functions: found, taken, opened, handed to a worker, and given back. The host is made up
(pci_host.py), VFIO too (vfio_fake.c), and the test plays the worker."""
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

import shim_worker
from pci_host import E1000E, FEATURES, INTEL_IFC, TRANSITIONAL, VIRTIO_NET, PciHost, health_block
from shim_client import REFRESH, SPEC, text
from vdpad_fixture import BUILD, CliError, cmdline
from waiting import alive, wait_for

PF, VF, CARD, IFC, OLD = ("0000:05:00.0", "0000:05:00.1", "0000:06:00.0", "0000:07:00.0", "0000:08:00.0")
MAC = "52:54:00:00:aa:01"


def runtime_first(library):
    """What LD_PRELOAD has to be: a sanitizer's runtime wants to be loaded before anything else."""
    needed = subprocess.run(["ldd", BUILD / "tools/vdpad/vdpad"], capture_output=True, text=True, check=True,
                            stdin=subprocess.DEVNULL).stdout
    runtimes = re.findall(r"=> (\S*/lib[at]san\.so\S*)", needed)
    return ":".join([*runtimes, str(library)])


@pytest.fixture
def host(tmp_path):
    made = PciHost(tmp_path)
    made.add(PF, VIRTIO_NET, driver="virtio-pci", group=11, features=FEATURES)
    made.add(VF, VIRTIO_NET, driver="vfio-pci", group=12, pf=PF)
    made.add(CARD, E1000E, driver="e1000e", group=13)
    made.add(IFC, INTEL_IFC, group=14)
    made.add(OLD, TRANSITIONAL, group=15)
    made.add("0000:08:00.1", TRANSITIONAL | {"subsystem_device": 2}, kind=0x010000, group=16)
    yield made
    made.end()


def config(host):
    return f"[pci]\nsysfs = {host.sysfs}\nvfio = {host.vfio}\niommu = {host.iommu}\n"


@pytest.fixture
def vdpad(make_vdpad, host):
    return make_vdpad(config=config(host))


@pytest.fixture
def program():
    with tempfile.TemporaryDirectory(prefix="vdpad-pci-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)  # workers have users of their own
        made = shim_worker.Program(folder)
        yield made
        made.close()


@pytest.fixture
def open_vdpad(make_vdpad, host, program):
    """One for which functions can be opened, and whose workers come to the test."""
    libexec = Path(program.folder) / "libexec"
    libexec.mkdir()
    (libexec / "vdpa-shim").symlink_to(BUILD / "tools/shim/vdpa-shim")
    (libexec / "simnic").symlink_to(BUILD / "tools/simnic/simnic")
    (libexec / "vdpa-worker").symlink_to(program.path)
    host.with_vfio()
    (host.opened / "limit").touch()
    made = make_vdpad(start=False, config=config(host))
    made.environment = {"LD_PRELOAD": runtime_first(BUILD / "tests/system/libvfio_fake.so"),
                        "VFIO_FAKE": str(host.opened), "FAKE_WORKER": program.meet}
    made.words = ["--libexec-dir", libexec]
    return made.start()


def refusal(vdpad, *words):
    done = vdpad.try_cli(*words)
    assert done.returncode == 1 and done.stdout == ""
    return done.stderr


def records(vdpad):
    return sorted(os.listdir(vdpad.state_dir / "pci"))


# ---- what there is

def test_functions_are_shown_as_management_devices(vdpad):
    shown = vdpad.json("mgmtdev", "show")["mgmtdev"]
    assert list(shown) == ["sim/nic0", f"pci/{PF}", f"pci/{VF}", f"pci/{IFC}", f"pci/{OLD}"]
    assert shown[f"pci/{PF}"] == {"supported_classes": ["net"],
                                  "dev_features": ["MAC", "STATUS", "CTRL_VQ", "MQ", "VERSION_1"]}
    assert shown[f"pci/{VF}"] == {"supported_classes": ["net"]}
    lines = vdpad.cli("mgmtdev", "show", f"pci/{PF}")
    assert lines.splitlines() == [f"pci/{PF}: ", "  supported_classes net",
                                  "  dev_features MAC STATUS CTRL_VQ MQ VERSION_1"]


def test_their_status_says_whose_they_are_and_what_hinders(vdpad):
    status = vdpad.json("mgmtdev", "status", "show")["mgmtdev_status"]
    assert status[f"pci/{VF}"] == {"state": "up", "classes": ["net"], "devices": 0, "kind": "virtio-net",
                                   "driver": "vfio-pci", "iommu_group": "12", "pf": f"pci/{PF}"}
    assert status[f"pci/{PF}"]["state"] == "down" and "bind on" in status[f"pci/{PF}"]["reason"]
    assert "has no driver" in status[f"pci/{IFC}"]["reason"]
    lines = vdpad.cli("mgmtdev", "status", "show", VF).splitlines()
    assert lines == [f"pci/{VF}: up, 0 devices",
                     f"  kind virtio-net driver vfio-pci iommu_group 12 pf pci/{PF}"]


def test_what_is_plugged_and_unplugged_is_seen_at_the_next_look(vdpad, host):
    host.add("0000:09:00.0", VIRTIO_NET, group=19)
    assert "pci/0000:09:00.0" in vdpad.json("mgmtdev", "show")["mgmtdev"]
    host.remove("0000:09:00.0")
    assert "pci/0000:09:00.0" not in vdpad.json("mgmtdev", "show")["mgmtdev"]


def test_a_host_without_pci_has_simnics_only(make_vdpad, tmp_path):
    vdpad = make_vdpad(config=f"[pci]\nsysfs = {tmp_path}\n")
    assert list(vdpad.json("mgmtdev", "show")["mgmtdev"]) == ["sim/nic0"]


@pytest.mark.parametrize("file, content", [
    ("class", "0x"), ("class", ""), ("vendor", "0x1af4 and more\n"), ("device", "x" * 5000),
    ("subsystem_vendor", "0x123456789abcdef01\n"), ("subsystem_device", None)])
def test_a_function_whose_files_make_no_sense_is_passed_over(vdpad, host, file, content):
    path = host.sysfs / "devices" / PF / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert f"pci/{PF}" not in vdpad.json("mgmtdev", "show")["mgmtdev"]


# ---- what is refused

def no_iommu(host):
    (host.sysfs / "devices" / VF / "iommu_group").unlink()


def foreign_neighbour(host):
    host.add("0000:06:00.1", E1000E, driver="e1000e", group=12)


def no_module(host):
    host.unload("vfio-pci")


def nothing(host):
    pass


@pytest.mark.parametrize("change, function, words, says", [
    (no_iommu, VF, "", ["has no IOMMU", "intel_iommu=on"]),
    (foreign_neighbour, VF, "", ["can't keep it apart from 0000:06:00.1, which e1000e has", "group 12",
                                 "another slot"]),
    (nothing, PF, "", [f"pci/{PF} is bound to virtio-pci", "say bind on"]),
    (nothing, OLD, "", ["has no driver", "say bind on"]),
    (no_module, PF, "bind on", ["no driver vfio-pci", "modprobe vfio-pci"]),
    (nothing, "0000:0f:00.0", "", ["there is no PCI function 0000:0f:00.0", "vdpa mgmtdev show"]),
    (nothing, "../../etc", "", ["no PCI function ../../etc"]),
    (nothing, CARD, "bind on", [f"pci/{CARD} is no virtio-net function"]),
    (nothing, VF, "spoof_check on", ["spoof_check on", "ip link set PF vf N"]),
    (nothing, PF, "bind on device_features 0x3", ["does not have 0x3", "it has 0x100430020"]),
    (nothing, VF, "max_vqp 129", ["max_vqp 129 is not possible; 1 to 128 are"]),
    (nothing, VF, "", [f"pci/{VF}: there is no", "vfio/vfio", "modprobe vfio-pci"]),
])
def test_what_can_t_be_taken_is_refused_with_the_remedy_and_nothing_is_changed(
        vdpad, host, change, function, words, says):
    change(host)
    if "/" in function:  # the command knows what a handle looks like
        done = vdpad.try_cli("dev", "add", "name", "x", "mgmtdev", function)
        assert done.returncode == 1
    else:
        answer = refusal(vdpad, "dev", "add", "name", "x", "mgmtdev", f"pci/{function}", *words.split())
        for part in says:
            assert part in answer
    assert host.written == [] and records(vdpad) == []
    assert vdpad.json("dev", "show")["dev"] == {}


def test_bridges_and_stubs_in_the_group_hinder_nobody(vdpad, host):
    host.add("0000:06:00.1", E1000E, driver="pci-stub", group=12)
    host.add("0000:06:00.2", E1000E, group=12)
    host.driver("pcieport")
    host.add("0000:00:01.0", E1000E, driver="pcieport", group=12, kind=0x060400)
    assert vdpad.json("mgmtdev", "status", "show", f"pci/{VF}")["mgmtdev_status"][f"pci/{VF}"]["state"] == "up"


def test_bind_is_for_pci_functions_only(vdpad):
    assert "bind on: sim/nic0 is no PCI function" in refusal(
        vdpad, "dev", "add", "name", "x", "mgmtdev", "sim/nic0", "bind", "on")


# ---- taken and given back

def test_a_function_that_can_t_be_opened_goes_back_to_its_driver(vdpad, host):
    answer = refusal(vdpad, "dev", "add", "name", "x", "mgmtdev", f"pci/{PF}", "bind", "on")
    assert "there is no" in answer and "vfio/vfio" in answer
    wait_for(lambda: records(vdpad) == [], "the function's return")
    assert host.written == [("drivers/virtio-pci/unbind", PF), ("drivers_probe", PF),
                            ("drivers/vfio-pci/unbind", PF), ("drivers/virtio-pci/bind", PF)]
    assert host.override_of(PF) == "" and host.driver_of(PF) == "virtio-pci"


def test_a_driver_that_does_not_let_go_is_told_of(vdpad, host):
    host.lets_go = False
    assert "virtio-pci does not let it go" in refusal(
        vdpad, "dev", "add", "name", "x", "mgmtdev", f"pci/{PF}", "bind", "on")
    wait_for(lambda: records(vdpad) == [], "the function's return")
    assert host.override_of(PF) == "" and host.driver_of(PF) == "virtio-pci"


def test_a_vdpad_that_dies_while_it_takes_a_function_gives_it_back_when_it_is_there_again(vdpad, host):
    host.takes = False  # so it waits
    words = [BUILD / "tools/vdpa/vdpa", "--socket", vdpad.run_dir / "control.sock", "dev", "add", "name",
             "x", "mgmtdev", f"pci/{PF}", "bind", "on"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL):
        wait_for(lambda: ("drivers_probe", PF) in host.written, "the request to probe")
        vdpad.kill9()
    assert host.driver_of(PF) is None and records(vdpad) == [f"{PF}.json"]
    host.takes = True
    vdpad.start()
    wait_for(lambda: records(vdpad) == [], "the function's return")
    assert host.override_of(PF) == "" and host.driver_of(PF) == "virtio-pci"


def test_a_record_of_an_earlier_start_of_the_host_is_forgotten(vdpad, host):
    vdpad.terminate()
    record = {"version": 1, "function": VF, "device": "gone", "driver": "virtio-pci", "boot": "another"}
    (vdpad.state_dir / f"pci/{VF}.json").write_text(json.dumps(record))
    vdpad.start()
    assert records(vdpad) == [] and host.written == [] and host.driver_of(VF) == "vfio-pci"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": 2}', "x" * 100000])
def test_a_record_that_makes_no_sense_changes_nothing(vdpad, host, content):
    vdpad.terminate()
    (vdpad.state_dir / f"pci/{VF}.json").write_text(content)
    vdpad.start()
    assert records(vdpad) == [f"{VF}.json"] and host.written == []
    assert "the function stays as it is" in vdpad.log_text()


# ---- opened, and a worker that serves

class Served:
    """A device on @function whose worker the test plays."""

    def __init__(self, vdpad, program, function, *words, name="a"):
        self.name, self.function = name, function
        command = [BUILD / "tools/vdpa/vdpa", "--socket", vdpad.run_dir / "control.sock", "dev", "add",
                   "name", name, "mgmtdev", f"pci/{function}", *words]
        self.adding = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
        wait_for(lambda: self.adding.poll() is not None or select.select([program.listener], [], [], 0)[0],
                 "the worker")
        assert self.adding.poll() is None, self.adding.communicate()
        self.worker = program.serving()

    def say(self, **facts):
        """Write the health block."""
        os.pwrite(self.worker.slots[shim_worker.SLOT_HEALTH], health_block(**facts), 0)

    def answer_refresh(self):
        """The next request of vdpad for it, which has to be one."""
        kind, seq, _, fds = self.worker.receive()
        assert (kind, fds) == (REFRESH, [])
        self.worker.send(shim_worker.REPLY, seq=seq)

    def serve(self, **facts):
        self.say(**facts)
        self.answer_refresh()
        return self.end()

    def end(self):
        out, err = self.adding.communicate(timeout=60)
        if self.adding.returncode != 0:
            raise CliError(["dev", "add"], subprocess.CompletedProcess([], self.adding.returncode, out, err))
        return self

    def device_files(self):
        return [os.readlink(f"/proc/self/fd/{self.worker.slots[shim_worker.SLOT_DEVICE + i]}")
                for i in range(4) if shim_worker.SLOT_DEVICE + i in self.worker.slots]


def shim_pid(vdpad):
    """Of device a. Its worker is not asked."""
    return next(pid for pid in vdpad.processes() if b"vdpa-shim" in cmdline(pid))


def test_the_worker_gets_container_and_device_and_may_lock_memory(open_vdpad, program, host):
    served = Served(open_vdpad, program, VF).serve()
    assert served.device_files() == [str(host.vfio / "vfio"), str(host.opened / VF)]
    name, driver, socket, _, flags, _, _, _, features, pairs = SPEC.unpack(served.worker.spec)
    assert (text(name), text(driver), flags, pairs) == ("a", "virtio", 0, 0)
    assert text(socket) == str(open_vdpad.run_dir / "vhost/a.sock")
    assert features & 1 << 22 and not features & 1 << 17  # no control queue unless it is asked for
    assert (host.opened / "limit").read_text() == f"{shim_pid(open_vdpad)} -1 -1\n"
    assert host.written == [] and records(open_vdpad) == []  # it was bound already


def test_a_function_with_a_file_of_its_own_is_opened_by_iommufd(open_vdpad, program, host):
    host.with_iommufd()
    served = Served(open_vdpad, program, VF).serve()
    assert served.device_files() == [str(host.iommu), str(host.cdev(VF))]


@pytest.mark.parametrize("missing", ["the iommufd", "the file"])
def test_without_iommufd_or_a_file_of_its_own_groups_are_the_way(open_vdpad, program, host, missing):
    host.with_iommufd()
    if missing == "the file":
        (host.sysfs / "devices" / VF / "vfio-dev" / host.cdev(VF).name).rmdir()
    else:
        host.iommu.unlink()
    served = Served(open_vdpad, program, VF).serve()
    assert served.device_files() == [str(host.vfio / "vfio"), str(host.opened / VF)]


def test_a_worker_that_just_ended_is_waited_for(open_vdpad, program, host):
    host.with_iommufd()
    (host.opened / "taken").touch()
    freed = threading.Timer(0.3, (host.opened / "taken").unlink)
    freed.start()
    served = Served(open_vdpad, program, VF).serve()
    freed.join()
    assert served.device_files() == [str(host.iommu), str(host.cdev(VF))]


@pytest.mark.parametrize("change, says", [
    (lambda host: (host.opened / "taken").touch(), ["another process has", "end it, and try again"]),
    (lambda host: (host.opened / "unsafe").touch(), ["interrupts", "iommufd.allow_unsafe_interrupts=1"]),
    (lambda host: host.cdev(VF).unlink(), ["there is no", "that of this host?"]),
])
def test_a_function_that_iommufd_can_t_have_is_refused_with_the_remedy(open_vdpad, host, change, says):
    host.with_iommufd()
    change(host)
    answer = refusal(open_vdpad, "dev", "add", "name", "a", "mgmtdev", f"pci/{VF}")
    assert f"pci/{VF}: " in answer
    for part in says:
        assert part in answer
    assert host.driver_of(VF) == "vfio-pci" and open_vdpad.json("dev", "show")["dev"] == {}


def test_a_limit_of_locked_memory_that_can_t_be_raised_is_told_and_all_is_undone(open_vdpad, host):
    (host.opened / "limit").unlink()
    answer = refusal(open_vdpad, "dev", "add", "name", "a", "mgmtdev", f"pci/{PF}", "bind", "on")
    assert "could not lock the guest's memory" in answer and "run vdpad as root" in answer
    wait_for(lambda: records(open_vdpad) == [], "the function's return")
    assert host.driver_of(PF) == "virtio-pci"


def test_what_is_shown_is_the_function_s_own(open_vdpad, program):
    Served(open_vdpad, program, VF).serve()
    assert open_vdpad.json("dev", "show")["dev"]["a"] == {
        "type": "network", "mgmtdev": f"pci/{VF}", "vendor_id": 0, "max_vqs": 8, "max_vq_size": 1024}
    shown = open_vdpad.json("mgmtdev", "show")["mgmtdev"][f"pci/{VF}"]
    assert shown["max_supported_vqs"] == 8 and shown["dev_features"][0] == "MAC"
    status = open_vdpad.json("mgmtdev", "status", "show")["mgmtdev_status"]
    assert status[f"pci/{VF}"]["devices"] == 1


@pytest.mark.parametrize("words, facts, says", [
    (["mac", "52:54:00:00:00:99"], {}, f"mac 52:54:00:00:00:99: the function's own is {MAC}"),
    (["mtu", "9000"], {}, "mtu 9000: the function's own is 1500"),
    (["max_vqp", "8"], {}, "max_vqp 8: the function has 4"),
    (["device_features", "0x101000020"], {}, "the function does not have 0x1000000 of them"),
    (["ctrl_vq", "on"], {"features": 1 << 32}, "the function does not have 0x20000 of them"),
])
def test_facts_that_the_function_does_not_have_are_refused(open_vdpad, program, host, words, facts, says):
    served = Served(open_vdpad, program, PF, "bind", "on", *words) if "0x101000020" not in words else Served(
        open_vdpad, program, VF, *words)
    with pytest.raises(CliError) as refused:
        served.serve(**facts)
    assert says in refused.value.stderr
    served.worker.wait_gone()
    wait_for(lambda: records(open_vdpad) == [], "the function's return")
    assert host.driver_of(PF) == "virtio-pci" and open_vdpad.json("dev", "show")["dev"] == {}


def test_facts_that_are_the_function_s_own_are_taken(open_vdpad, program):
    Served(open_vdpad, program, VF, "mac", MAC, "mtu", "1500", "max_vqp", "2", "device_features",
           "0x100000020").serve(max_pairs=2)


def test_a_worker_that_gives_up_ends_the_attempt_with_its_reason(open_vdpad, program):
    served = Served(open_vdpad, program, VF)
    for _ in range(6):
        served.worker.leave(1)
        served.worker.wait_gone()
        if served.adding.poll() is not None:
            break
        try:
            program.listener.settimeout(5)
            served.worker = program.next()
        except TimeoutError:
            break
    with pytest.raises(CliError) as refused:
        served.end()
    assert f"its worker can't serve pci/{VF}: crashed" in refused.value.stderr


def test_a_function_that_was_taken_is_given_back_when_the_device_is_deleted(open_vdpad, program, host):
    Served(open_vdpad, program, PF, "bind", "on").serve()
    assert (host.driver_of(PF), host.override_of(PF)) == ("vfio-pci", "vfio-pci")
    record = json.loads((open_vdpad.state_dir / f"pci/{PF}.json").read_text())
    assert (record["device"], record["driver"]) == ("a", "virtio-pci")
    open_vdpad.cli("dev", "del", "a")
    assert (host.driver_of(PF), host.override_of(PF)) == ("virtio-pci", "")
    assert records(open_vdpad) == []


def test_a_function_that_was_bound_already_stays_bound(open_vdpad, program, host):
    Served(open_vdpad, program, VF, "bind", "on").serve()
    open_vdpad.cli("dev", "del", "a")
    assert host.driver_of(VF) == "vfio-pci" and host.written == []


def test_another_vdpad_finds_the_device_and_gives_its_function_back(open_vdpad, program, host):
    served = Served(open_vdpad, program, PF, "bind", "on").serve()
    pid = shim_pid(open_vdpad)
    open_vdpad.kill9()
    (host.vfio / "vfio").unlink()  # nothing is opened once more
    (host.vfio / "11").unlink()
    written = list(host.written)
    open_vdpad.start()
    served.answer_refresh()
    assert shim_pid(open_vdpad) == pid and alive(served.worker.pid)
    assert host.written == written
    open_vdpad.cli("dev", "del", "a")
    assert (host.driver_of(PF), host.override_of(PF)) == ("virtio-pci", "")
    assert records(open_vdpad) == []


def test_after_a_start_of_the_host_a_function_is_waited_for_and_taken_again(open_vdpad, program, host):
    served = Served(open_vdpad, program, PF, "bind", "on").serve()
    open_vdpad.kill9()
    os.kill(shim_pid(open_vdpad), signal.SIGKILL)
    served.worker.wait_gone()
    served.worker.close()  # the socket that it listened at is ours, too
    record = open_vdpad.state_dir / f"pci/{PF}.json"
    record.write_text(record.read_text().replace('"boot": "', '"boot": "not '))
    host.remove(PF)
    open_vdpad.start()
    assert open_vdpad.status("a")["state"] == "down" and "waits for" in open_vdpad.status("a")["reason"]
    host.add(PF, VIRTIO_NET, driver="virtio-pci", group=11)
    again = program.serving()
    os.pwrite(again.slots[shim_worker.SLOT_HEALTH], health_block(), 0)
    kind, seq, _, _ = again.receive()
    assert kind == REFRESH
    again.send(shim_worker.REPLY, seq=seq)
    wait_for(lambda: "a new shim serves it" in open_vdpad.log_text(), "the device")
    assert host.driver_of(PF) == "vfio-pci"
    assert json.loads(record.read_text())["driver"] == "virtio-pci"
    open_vdpad.cli("dev", "del", "a")  # as long as there is somebody who takes the function


@pytest.mark.parametrize("change", [
    {"mtu": 60000000}, {"mtu": -1}, {"max_vqp": 129}, {"mgmtdev": "pci/../../x"}, {"driver": "x" * 16},
    {"driver": 1}, {"bind": 1}])
def test_a_state_file_with_facts_that_no_function_has_is_left_alone(open_vdpad, program, change):
    Served(open_vdpad, program, VF).serve()
    path = open_vdpad.state_dir / "devices/a.json"
    open_vdpad.kill9()
    facts = json.loads(path.read_text())
    assert (facts["mtu"], facts["max_vqp"], facts["bind"], facts["driver"]) == (0, 0, False, "virtio")
    path.write_text(json.dumps(facts | change))
    open_vdpad.start()
    assert "the device is left alone" in open_vdpad.log_text()
    path.write_text(json.dumps(facts))
    open_vdpad.terminate()
    open_vdpad.start()


@pytest.mark.parametrize("numbers, driver", [
    (VIRTIO_NET, "virtio"), (TRANSITIONAL, "virtio"), (INTEL_IFC, "ifc"),
    (INTEL_IFC | {"subsystem_device": 1}, "ifc"),
    (TRANSITIONAL | {"subsystem_vendor": 0x8086}, "ifc"),
    (VIRTIO_NET | {"subsystem_vendor": 0x8086}, "virtio")])
def test_functions_of_a_kind_have_its_driver(open_vdpad, program, host, numbers, driver):
    host.add("0000:09:00.0", numbers, driver="vfio-pci", group=19)
    served = Served(open_vdpad, program, "0000:09:00.0").serve()
    assert SPEC.unpack(served.worker.spec)[1].rstrip(b"\0").decode() == driver


def test_a_function_is_one_device_s_and_so_is_its_group(open_vdpad, program, host):
    host.add("0000:05:00.2", VIRTIO_NET, driver="vfio-pci", group=12)
    Served(open_vdpad, program, VF).serve()
    assert f"pci/{VF} belongs to device a; delete that first" in refusal(
        open_vdpad, "dev", "add", "name", "b", "mgmtdev", f"pci/{VF}")
    assert "can't keep it apart from 0000:05:00.1, which belongs to device a" in refusal(
        open_vdpad, "dev", "add", "name", "b", "mgmtdev", "pci/0000:05:00.2")


@pytest.mark.parametrize("words, what", [
    (["mac", "52:54:00:00:00:01"], "mac"), (["mtu", "9000"], "mtu"), (["link", "down"], "link"),
    (["spoof_check", "on"], "spoof_check")])
def test_what_is_the_function_s_can_t_be_set(open_vdpad, program, words, what):
    Served(open_vdpad, program, VF).serve()
    answer = refusal(open_vdpad, "dev", "set", "name", "a", *words)
    assert f"a: {what} is that of pci/{VF}, and can't be changed from here" in answer


def test_its_log_level_can_be_set(open_vdpad, program):
    served = Served(open_vdpad, program, VF).serve()
    open_vdpad.cli("dev", "set", "name", "a", "log_level", "debug")
    assert served.worker.receive()[0] == shim_worker.SPEC_CHANGED


def test_a_function_that_went_away_is_let_go_of_and_opened_when_it_is_back(open_vdpad, program, host):
    served = Served(open_vdpad, program, PF, "bind", "on").serve()
    served.say(lost=1)
    served.worker.send(shim_worker.WORKER_EVENT, shim_worker.event_payload(5, b"it is gone"))
    host.remove(PF)
    served.answer_refresh()
    kind, _, _, fds = served.worker.receive()
    assert (kind, fds) == (shim_worker.DEVICE_CHANGED, [])
    wait_for(lambda: "went away" in (open_vdpad.log_text()), "vdpad to wait for it")
    host.add(PF, VIRTIO_NET, driver="virtio-pci", group=11)  # the kernel's driver has it first
    while True:
        kind, seq, _, fds = served.worker.receive()
        if kind == REFRESH:
            served.worker.send(shim_worker.REPLY, seq=seq)
        elif fds:
            break
    assert kind == shim_worker.DEVICE_CHANGED
    assert [os.readlink(f"/proc/self/fd/{fd}") for fd in fds] == [str(host.vfio / "vfio"),
                                                                  str(host.opened / PF)]
    for fd in fds:
        os.close(fd)
    assert host.driver_of(PF) == "vfio-pci"
    served.say()
    open_vdpad.cli("dev", "del", "a")
    assert host.driver_of(PF) == "virtio-pci"
