# SPDX-License-Identifier: BSD-2-Clause
"""A host's PCI functions, made up: a folder that looks like sysfs, and a thread that does what the kernel
does when somebody writes to it. Behind it is no hardware."""
import os
import shutil
import struct
import threading
from pathlib import Path

from waiting import wait_for

VIRTIO_NET = {"vendor": 0x1AF4, "device": 0x1041, "subsystem_vendor": 0x1AF4, "subsystem_device": 0x1100}
TRANSITIONAL = VIRTIO_NET | {"device": 0x1000, "subsystem_device": 1}
INTEL_IFC = VIRTIO_NET | {"subsystem_vendor": 0x8086, "subsystem_device": 0x1A}
E1000E = {"vendor": 0x8086, "device": 0x10D3, "subsystem_vendor": 0x8086, "subsystem_device": 0}
FEATURES = (5, 16, 17, 22, 32)  # MAC, STATUS, CTRL_VQ, MQ, VERSION_1


class PciHost:
    def __init__(self, folder):
        self.sysfs, self.vfio = Path(folder) / "sys", Path(folder) / "vfio"
        self.iommu = Path(folder) / "iommu"  # not there, unless it is made
        self.pci = self.sysfs / "bus/pci"
        self.groups = self.sysfs / "kernel/iommu_groups"
        for path in (self.pci / "devices", self.pci / "drivers", self.groups, self.vfio,
                     self.sysfs / "devices"):
            path.mkdir(parents=True)
        self.opened = Path(folder) / "functions"
        self.opened.mkdir()
        self.written = []
        self.lets_go = self.takes = True  # whether drivers do
        self.lock = threading.Lock()
        self.ending = set()
        self.threads = []
        self.serve(self.pci / "drivers_probe", self.on_probe)
        for name in ("virtio-pci", "vfio-pci", "e1000e", "pci-stub"):
            self.driver(name)

    # ---- what there is

    def driver(self, name):
        folder = self.pci / "drivers" / name
        folder.mkdir()
        self.serve(folder / "bind", lambda function: self.on_bind(name, function))
        self.serve(folder / "unbind", lambda function: self.on_unbind(name, function))

    def add(self, name, numbers, driver=None, group=None, kind=0x020000, pf=None, features=()):
        real = self.sysfs / "devices" / name
        real.mkdir()
        for key, value in ({"class": kind} | numbers).items():
            (real / key).write_text(f"0x{value:06x}\n" if key == "class" else f"0x{value:04x}\n")
        (real / "driver_override").write_text("(null)\n")
        if driver:
            self.link(name, driver)
        if group is not None:
            members = self.groups / str(group) / "devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / name).symlink_to(real)
            (real / "iommu_group").symlink_to(self.groups / str(group))
            (self.vfio / str(group)).touch()
        if pf:
            (real / "physfn").symlink_to(self.sysfs / "devices" / pf)
        if features:
            (real / "virtio0").mkdir()
            (real / "virtio0/features").write_text(
                "".join("1" if bit in features else "0" for bit in range(64)) + "\n")
        (self.opened / name).touch()
        (self.pci / "devices" / name).symlink_to(real)  # now it can be found, with all that it has

    def remove(self, name):
        (self.pci / "devices" / name).unlink()
        shutil.rmtree(self.sysfs / "devices" / name)
        for group in self.groups.iterdir():
            (group / "devices" / name).unlink(missing_ok=True)

    def with_vfio(self):
        """Let VFIO's container be there; groups are with their functions."""
        (self.vfio / "vfio").touch()
        return self

    def with_iommufd(self):
        """Let there be an iommufd, and a device file of its own for each function that VFIO has."""
        self.iommu.touch()
        (self.vfio / "devices").mkdir()
        for number, device in enumerate(sorted((self.sysfs / "devices").iterdir())):
            if self.driver_of(device.name) == "vfio-pci":
                (device / "vfio-dev" / f"vfio{number}").mkdir(parents=True)
                self.cdev(device.name).touch()
        return self

    def cdev(self, name):
        """The device file of a function that VFIO has."""
        made, = (self.sysfs / "devices" / name / "vfio-dev").iterdir()
        return self.vfio / "devices" / made.name

    def driver_of(self, name):
        link = self.sysfs / "devices" / name / "driver"
        return link.readlink().name if link.is_symlink() else None

    def override_of(self, name):
        return (self.sysfs / "devices" / name / "driver_override").read_text().strip()

    # ---- what the kernel does

    def link(self, name, driver):
        (self.sysfs / "devices" / name / "driver").symlink_to(self.pci / "drivers" / driver)

    def on_unbind(self, driver, name):
        if self.lets_go and self.driver_of(name) == driver:
            (self.sysfs / "devices" / name / "driver").unlink()

    def on_bind(self, driver, name):
        if self.takes and self.driver_of(name) is None and self.override_of(name) in ("", driver):
            self.link(name, driver)

    def on_probe(self, name):
        override = self.override_of(name)
        if override and override != "(null)":
            self.on_bind(override, name)

    def serve(self, path, act):
        os.mkfifo(path)

        def run():
            while True:
                words = path.read_text()
                if path in self.ending:
                    return
                with self.lock:
                    self.written.append((str(path.relative_to(self.pci)), words))
                    act(words)
        self.threads.append((path, threading.Thread(target=run, daemon=True)))
        self.threads[-1][1].start()

    def end(self):
        self.ending.update(path for path, _ in self.threads)
        for path, thread in self.threads:
            wait_for(lambda p=path, t=thread: self.wake(p, t), f"the end of the reader of {path}")

    def wake(self, path, thread):
        """Let the reader see that it is over. Return: whether it has."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            pass
        thread.join(0.05)
        return not thread.is_alive()

    def unload(self, name):
        """A driver goes."""
        folder = self.pci / "drivers" / name
        for path, thread in [entry for entry in self.threads if entry[0].parent == folder]:
            self.ending.add(path)
            wait_for(lambda p=path, t=thread: self.wake(p, t), f"the end of the reader of {path}")
        shutil.rmtree(folder)


def health_block(**facts):
    """What a worker says of a device; offsets as of vdpa/health.h."""
    block = bytearray(160)
    has = {"mac": bytes.fromhex("52540000aa01"), "mtu": 1500, "max_pairs": 4, "lost": 0,
           "features": sum(1 << bit for bit in FEATURES)} | facts
    struct.pack_into("=II", block, 0, 0x76645048, 1)
    struct.pack_into("=i", block, 48, 4711)
    struct.pack_into("=II", block, 68, 0, 1024)
    struct.pack_into("=Q", block, 80, has["features"])
    block[140:146] = has["mac"]
    struct.pack_into("=HHHI", block, 146, has["mtu"], has["max_pairs"], 1, has["lost"])
    return bytes(block)
