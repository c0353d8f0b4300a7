# SPDX-License-Identifier: BSD-2-Clause
"""A machine with an IOMMU and network functions of its own: a guest in QEMU that sees the host's files.

Its functions are QEMU's virtio-net devices, on ports of PCI Express that they can be pulled out of. They
reach each other through a bridge on the host, in a network namespace of the machine's own, where all that
is on the wire can be counted. What runs inside can ask for what only a host can do, over a serial port:
one request a line, one answer a line, both JSON.
"""
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
GUEST = REPO / "build" / "guest"
IMAGE = os.environ.get("LAB_KERNEL", GUEST / "vmlinuz")  # one of one's own has all that it needs built in
KERNEL = ("console=ttyS0 panic=-1 loglevel=1 intel_iommu=on iommu=nopt mitigations=off nokaslr "
          "tsc=reliable no_timer_check maxcpus=1")  # see tests/guest/init
WIRE = "wire0"


def run(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, **options)


class Function:
    """A network function of the machine."""

    def __init__(self, number, pairs=1, facts=""):
        self.number, self.pairs, self.facts = number, pairs, facts
        self.mac = f"52:54:00:aa:bb:{number:02x}"
        self.bus = f"{number:02x}"  # root ports come first on bus 0, each with a bus behind it
        self.tap = f"tap{number}"

    def device(self):
        several = f",mq=on,vectors={2 * self.pairs + 2}" if self.pairs > 1 else ""
        return (f"virtio-net-pci,id=nic{self.number},bus=port{self.number},netdev=net{self.number},"
                f"mac={self.mac},iommu_platform=on,disable-legacy=on,packed=on{several}{self.facts}")

    def command_line(self):
        queues = f",queues={self.pairs}" if self.pairs > 1 else ""
        return ["-netdev", f"tap,id=net{self.number},ifname={self.tap},script=no,downscript=no{queues}",
                "-device", f"pcie-root-port,id=port{self.number},chassis={self.number},bus=pcie.0,"
                f"addr={self.number + 4:x}.0",
                "-device", self.device()]


class Machine:
    """One machine; `folder` is /out inside."""

    def __init__(self, folder, functions, memory="1G", processors=2):
        self.folder = Path(folder)
        self.functions = functions
        self.memory, self.processors = memory, processors
        self.space = f"vdpad-lab-{os.getpid()}"
        self.process = self.reflector = None
        self.console = self.folder / "console"

    # ---- the network

    def make_network(self):
        run("ip", "netns", "add", self.space)
        # The host says nothing itself.
        self.inside("sh", "-c", "f=/proc/sys/net/ipv6/conf/default/disable_ipv6; [ ! -e $f ] || echo 1 >$f")
        self.inside("ip", "link", "add", WIRE, "type", "bridge", "mcast_snooping", "0")
        self.inside("ip", "link", "set", WIRE, "up")
        for f in self.functions:
            many = ["multi_queue"] if f.pairs > 1 else []
            self.inside("ip", "tuntap", "add", f.tap, "mode", "tap", *many)
            self.inside("ip", "link", "set", f.tap, "master", WIRE, "up")

    def inside(self, *words):
        return run("ip", "netns", "exec", self.space, *words).stdout

    def frames(self, number):
        """How many came out of function @number, and how many went in."""
        tap = self.functions[number - 1].tap
        stats = json.loads(self.inside("ip", "-j", "-s", "link", "show", tap))[0]["stats64"]
        return stats["rx"]["packets"], stats["tx"]["packets"]

    # ---- the machine

    def command_line(self):
        words = ["ip", "netns", "exec", self.space,
                 "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine",
                 "q35,kernel-irqchip=split", "-cpu", "max", "-smp", str(self.processors),
                 "-m", self.memory, "-nodefaults", "-display", "none", "-no-reboot",
                 "-serial", f"file:{self.console}",
                 "-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48,device-iotlb=on",
                 "-kernel", str(IMAGE), "-initrd", str(self.folder / "initrd.gz"),
                 "-append", KERNEL,
                 "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off",
                 "-chardev", f"socket,id=ask,path={self.folder}/ask,server=on,wait=off"]
        for f in self.functions:
            words += f.command_line()
        # Behind the functions, whose places stay the same.
        return words + [
            "-device", "virtio-serial-pci,addr=1d.0", "-device", "virtserialport,chardev=ask,name=ask",
            "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=host,mount_tag=host,addr=1e.0",
            "-fsdev", f"local,id=out,path={self.folder},security_model=none",
            "-device", "virtio-9p-pci,fsdev=out,mount_tag=out,addr=1c.0"]

    def run(self, job, seconds):
        """Boot, run the shell's words @job inside, and wait for the end; the console."""
        (self.folder / "job").write_text(job)
        run(REPO / "tests/guest/build", GUEST)
        run(REPO / "tests/lab/build-machine", GUEST, self.folder / "initrd.gz")
        self.make_network()
        try:
            with open(self.folder / "qemu.log", "wb") as log:
                self.process = subprocess.Popen(self.command_line(), stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=log)
            threading.Thread(target=self.serve, daemon=True).start()
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            said = [path.read_text(errors="replace") for path in (self.folder / "log", self.console)
                    if path.exists()]
            raise AssertionError(f"the machine did not end in {seconds} s:\n" + "".join(said)) from None
        finally:
            if self.process:
                self.process.kill()
                self.process.wait()
            self.end_reflector()
            run("ip", "netns", "del", self.space)
        return self.console.read_text(errors="replace")

    # ---- what is asked from inside

    def connect(self, name):
        while self.process.poll() is None:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(self.folder / name))
                return sock
            except OSError:
                sock.close()
                time.sleep(0.05)
        return None

    def serve(self):
        sock = self.connect("ask")
        if not sock:
            return
        with sock, sock.makefile("rw") as line:
            for request in line:
                line.write(json.dumps(self.answer(json.loads(request))) + "\n")
                line.flush()

    def answer(self, request):
        try:
            return {"result": getattr(self, "do_" + request["do"])(**request.get("with", {}))}
        except Exception as error:  # pylint: disable=broad-except
            return {"error": f"{type(error).__name__}: {error}"}

    def do_frames(self, number):
        return self.frames(number)

    def do_reflect(self, numbers):
        """These functions get back what they send, and are on no bridge."""
        taps = [self.functions[number - 1].tap for number in numbers]
        for tap in taps:
            self.inside("ip", "link", "set", tap, "nomaster")
        self.reflector = subprocess.Popen(
            ["ip", "netns", "exec", self.space, sys.executable, REPO / "tests/lab/reflector.py", *taps],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        return self.reflector.stdout.readline().decode().strip()

    def do_bridge(self, numbers):
        """They reach the others again."""
        self.end_reflector()
        for number in numbers:
            self.inside("ip", "link", "set", self.functions[number - 1].tap, "master", WIRE)

    def end_reflector(self):
        if self.reflector:
            self.reflector.kill()
            self.reflector.wait()
            self.reflector.stdout.close()
            self.reflector = None

    def do_plug(self, number):
        """Put a function that was pulled out back into its place."""
        driver, *facts = self.functions[number - 1].device().split(",")
        return self.do_monitor("device_add", driver=driver, **dict(fact.split("=", 1) for fact in facts))

    def do_monitor(self, command, **arguments):
        """A command of QEMU's monitor; what happened meanwhile is passed over."""
        with self.connect("qmp") as sock, sock.makefile("rw") as line:
            line.readline()
            for execute, args in (("qmp_capabilities", {}), (command, arguments)):
                line.write(json.dumps({"execute": execute, "arguments": args}) + "\n")
                line.flush()
                reply = json.loads(line.readline())
                while "event" in reply:
                    reply = json.loads(line.readline())
            if "error" in reply:
                raise RuntimeError(reply["error"]["desc"])
            return reply["return"]
