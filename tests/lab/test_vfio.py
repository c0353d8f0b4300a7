# SPDX-License-Identifier: BSD-2-Clause
"""VFIO as the kernel has it, under drivers/virtio: a guest with an IOMMU drives its own network function.

What it has to see there are the steps of vfio_check.c; what comes out of the function, QEMU writes down.
"""
import os
import struct
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
GUEST = REPO / "build" / "guest"
PROGRAM = REPO / os.environ.get("VDPAD_BUILD", "build") / "tests" / "lab" / "vfio_check"
SECONDS = 240
STEPS = ["attach", "layout", "registers", "negotiate", "map", "unmap", "queues", "send", "receive",
         "interrupt", "blocked", "reset"]
MAC = "52:54:00:aa:bb:01"  # and the MTU: vfio_check.c has them too
MTU = 1400


def qemu(folder):
    # A slow machine's timer may be late for the check that the kernel makes of it, and panics about.
    kernel = ("console=ttyS0 panic=-1 loglevel=1 intel_iommu=on iommu=nopt mitigations=off nokaslr "
              "tsc=reliable no_timer_check")
    return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35,kernel-irqchip=split",
            "-cpu", "max", "-smp", "1", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot",
            "-serial", f"file:{folder}/console",
            "-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48,device-iotlb=on",
            "-kernel", str(GUEST / "vmlinuz"), "-initrd", f"{folder}/initrd.gz", "-append", kernel,
            "-netdev", "user,id=net,restrict=on,ipv6=off",
            "-object", f"filter-dump,id=dump,netdev=net,file={folder}/wire.pcap",
            "-device", "pcie-root-port,id=root-port,chassis=1,addr=05.0",
            "-device", f"virtio-net-pci,bus=root-port,netdev=net,mac={MAC},host_mtu={MTU},iommu_platform=on"]


def frames(pcap):
    """Those of a file of pcap, in this machine's byte order."""
    found, at = [], 24
    while at + 16 <= len(pcap):
        size = struct.unpack_from("=I", pcap, at + 8)[0]
        found.append(pcap[at + 16:at + 16 + size])
        at += 16 + size
    return found


class Run:
    """What a guest said, which ran until it ended by itself, and what was on its wire."""

    def __init__(self, folder):
        subprocess.run([REPO / "tests/guest/build", GUEST], check=True, stdin=subprocess.DEVNULL)
        subprocess.run([REPO / "tests/lab/build", GUEST, PROGRAM, folder / "initrd.gz"], check=True,
                       stdin=subprocess.DEVNULL)
        with open(folder / "qemu.log", "wb") as log:
            ended = subprocess.run(qemu(folder), timeout=SECONDS, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log)
        assert ended.returncode == 0, (folder / "qemu.log").read_text()
        self.console = (folder / "console").read_text(errors="replace")
        self.lines = self.console.splitlines()
        self.frames = frames((folder / "wire.pcap").read_bytes())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("lab"))


@pytest.mark.parametrize("step", STEPS)
def test_the_kernel_and_the_driver_agree_on(run, step):
    assert f"ok {step}" in run.lines, run.console


def test_the_guest_takes_these_steps_and_no_others(run):
    assert [line[3:] for line in run.lines if line.startswith("ok ")] == STEPS
    assert "lab: status 0" in run.lines


def test_the_frame_that_is_sent_is_on_the_wire(run):
    own = bytes.fromhex(MAC.replace(":", ""))
    request = b"\xff" * 6 + own + b"\x08\x06" + bytes.fromhex("0001080006040001") + own
    assert [frame for frame in run.frames if frame.startswith(request)], run.frames


def test_memory_is_on_the_wire_only_while_it_is_mapped(run):
    assert [frame for frame in run.frames if b"may be reached" in frame], run.frames
    assert not [frame for frame in run.frames if b"must not be reached" in frame]
