# SPDX-License-Identifier: BSD-2-Clause
"""Who is on the other side: two devices that return each frame to its sender."""
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from device import Device
from iommudevice import IommuDevice
from nicdevice import NicDevice
from simnic_client import Nic
from vdpad_fixture import BUILD, Vdpad

# How devices know what was written, and what the NIC is like: lines of its section in vdpad.conf.
METHODS = {
    "relay": "",
    "hardware log": "dirty_log = yes\n",
    "log of buffers": "dirty_log = buffers\n",
    "relay of a shuffling NIC": "completion = shuffled\n",
    "shuffling hardware log": "dirty_log = yes\ncompletion = shuffled\n",
}


class TestpmdStand:
    """DPDK's own back-end, librte_vhost: two ports of one testpmd."""
    __test__ = False
    hurried = patient = False
    log_offsets = (0,)  # with another one it writes behind its mapping

    def __init__(self, pairs):
        self.pairs = pairs
        self.folder = Path(tempfile.mkdtemp(prefix="vdpad-mig-", dir="/tmp"))
        self.paths = [str(self.folder / name) for name in "ab"]
        self.log = self.folder / "log"
        command = ["stdbuf", "-oL", "dpdk-testpmd", "--no-huge", "-m", "128", "--no-pci",
                   "--no-telemetry", "--file-prefix", self.folder.name, "--lcores", "0@0-1,1@0-1",
                   "--log-level=lib.vhost:error"]
        for i, path in enumerate(self.paths):
            command += ["--vdev", f"net_vhost{i},iface={path},queues={pairs}"]
        command += ["--", "-i", "--total-num-mbufs=8192", "--nb-cores=1", f"--rxq={pairs}",
                    f"--txq={pairs}", "--forward-mode=macswap", "--port-topology=loop",
                    "--no-mlockall", "--auto-start"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while "testpmd>" not in self.log.read_text(errors="replace"):
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.log.read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def device(self, which, shape):
        return Device(self.paths[which], shape)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        shutil.rmtree(self.folder)


class SimnicStand:
    """Two NICs without any vdpad: their own log."""
    hurried = patient = False
    log_offsets = (0, 4096)
    method = "simnic"

    def __init__(self, pairs, *options, build=BUILD):
        self.pairs = pairs
        self.folder = tempfile.mkdtemp(prefix="vdpad-mig-", dir="/tmp")
        self.nics = [Nic(self.folder, "--uplink", "loop", "--dirty-log", "yes", *options,
                         name=name, build=build) for name in "ab"]

    def device(self, which, shape):
        return NicDevice(self.nics[which], shape)

    def stop(self):
        statuses = [nic.close() for nic in self.nics]
        shutil.rmtree(self.folder)
        assert statuses == [0, 0]


class VdpadStand:
    """Two NICs of one vdpad, each with a device; `method` is one of METHODS."""
    log_offsets = (0, 4096)
    hurried = patient = False

    def __init__(self, pairs, method, build=BUILD):
        self.pairs, self.method = pairs, method
        self.hurried = "relay" in method
        self.vdpad = Vdpad(config="".join(
            f"[simnic {nic}]\nuplink = loop\n{METHODS[method]}"
            for nic in ("nic0", "nic1")), build=build).start()
        self.paths = []
        for name, nic in (("a", "sim/nic0"), ("b", "sim/nic1")):
            path = str(self.vdpad.folder / name)
            self.vdpad.cli("dev", "add", "name", name, "mgmtdev", nic, "socket", path, "max_vqp",
                           str(pairs), "mac", "52:54:00:00:00:01")
            self.paths.append(path)

    def device(self, which, shape):
        return (IommuDevice if shape.iommu else Device)(self.paths[which], shape)

    def stop(self):
        self.vdpad.stop()
