# SPDX-License-Identifier: BSD-2-Clause
"""A Linux guest in QEMU whose network device is served over vhost-user.

The host says what to do over the guest's second serial port; see tests/guest/init.
"""
import base64
import json
import os
import select
import socket
import subprocess
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
IMAGES = REPO / "build" / "guest"
QEMU = "qemu-system-x86_64"
BOOT_SECONDS = 120


class GuestError(Exception):
    """The guest didn't do what it was told; the text says what and shows its console."""


def build_images():
    subprocess.run([REPO / "tests/guest/build", IMAGES], check=True, stdin=subprocess.DEVNULL)


class Monitor:
    """A connection to QEMU's monitor (QMP)."""

    def __init__(self, path):
        deadline = time.monotonic() + 60
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(path)
                break
            except OSError:
                self.sock.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.sock.settimeout(60)
        self.file = self.sock.makefile("r")
        json.loads(self.file.readline())
        self.call("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def call(self, command, **arguments):
        """The result of one command; events on the way are passed over."""
        self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            line = self.file.readline()
            if not line:
                raise GuestError(f"QEMU ended during {command}")
            answer = json.loads(line)
            if "error" in answer:
                raise GuestError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def wait_migrated(self, seconds=60):
        """Until a migration is over, however it ended."""
        deadline = time.monotonic() + seconds
        while True:
            result = self.call("query-migrate")
            if result.get("status") in ("completed", "failed", "cancelled"):
                return result
            if time.monotonic() > deadline:
                raise GuestError(f"the migration does not end: {result}")
            time.sleep(0.02)


class Guest:
    """One guest with one network device.

    socket:    path of the vhost-user socket; the guest connects to it
    address:   IPv4 address of its eth0, with /24 behind it
    queues:    pairs; the guest gets as many processors, so that it uses them all
    packed:    packed rings
    reconnect: seconds between attempts when the back-end is gone; None: never again
    server:    QEMU listens, for a back-end in client mode
    incoming:  waits for another guest to migrate into it; see migrate_to()
    announce:  the guest itself tells the network where it is after a migration
    iommu:     of the guest's own: its driver's addresses need translations
    paged:     each queue has a page of its own to be kicked by, that a back-end may provide
    """

    def __init__(self, folder, name, socket_path, mac, address, queues=1, packed=False,
                 memory="256M", reconnect=None, server=False, incoming=False, announce=True,
                 iommu=False, paged=False):
        self.folder = Path(folder)
        self.name = name
        self.socket_path = str(socket_path)
        self.mac = mac
        self.address = address
        self.queues = queues
        self.packed = packed
        self.memory = memory
        self.reconnect = reconnect
        self.server = server
        self.incoming = incoming
        self.announce = announce
        self.iommu = iommu
        self.paged = paged
        self.process = None
        self.line = None
        self.buffer = b""
        self.serial = 0
        self.console = self.folder / f"{name}.console"
        self.log = self.folder / f"{name}.qemu.log"

    def command_line(self):
        chardev = f"socket,id=vhost,path={self.socket_path}"
        if self.server:
            chardev += ",server=on"
        elif self.reconnect is not None:
            chardev += f",reconnect={self.reconnect}"
        # Without vectors: with them QEMU 7.2's vhost-user crashes where there's no KVM.
        device = f"virtio-net-pci,netdev=net,mac={self.mac},vectors=0"
        device += ",mq=on" if self.queues > 1 else ""
        device += ",packed=on" if self.packed else ""
        device += "" if self.announce else ",guest_announce=off"
        device += ",iommu_platform=on,ats=on,disable-legacy=on" if self.iommu else ""
        device += ",page-per-vq=on,disable-legacy=on" if self.paged else ""
        # Pages that the guest's kernel clears first would be sent for that, logged or not.
        kernel = ("console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable "
                  "init_on_alloc=0 maxcpus=1"  # see tests/guest/init
                  + (" intel_iommu=on iommu.strict=1 no_timer_check" if self.iommu else ""))
        return [
            QEMU, "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max",
            "-smp", str(self.queues), "-m", self.memory, "-nodefaults", "-display", "none",
            "-object", f"memory-backend-memfd,id=mem,size={self.memory},share=on",
            "-numa", "node,memdev=mem",
            "-kernel", str(IMAGES / "vmlinuz"), "-initrd", str(IMAGES / "initrd.gz"),
            "-append", kernel,
            "-serial", f"file:{self.console}",
            "-chardev", f"socket,id=line,path={self.folder / self.name}.line",
            "-serial", "chardev:line",
            "-chardev", chardev,
            "-netdev", f"vhost-user,id=net,chardev=vhost,queues={self.queues}",
            *(["-device", "intel-iommu,device-iotlb=on"] if self.iommu else []),
            "-device", device,
            "-qmp", f"unix:{self.folder / self.name}.qmp,server=on,wait=off",
        ] + (["-incoming", "defer"] if self.incoming else [])

    def start(self):
        """Start QEMU; don't wait for the guest."""
        build_images()
        if os.path.exists(f"{self.folder / self.name}.qmp"):
            os.unlink(f"{self.folder / self.name}.qmp")
        path = f"{self.folder / self.name}.line"
        if os.path.exists(path):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(60)
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(self.command_line(), stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=log,
                                                start_new_session=True)
            try:
                self.line, _ = listener.accept()
            except TimeoutError as error:
                raise GuestError(self.describe("QEMU didn't start")) from error
        self.line.setblocking(False)
        self.buffer = b""

    def boot(self):
        """Start and wait until the guest is up and has its address."""
        self.start()
        self.wait_ready()
        return self

    def wait_ready(self, seconds=BOOT_SECONDS):
        self._expect("ready", seconds)
        self.set_address()

    def set_address(self):
        self.run(f"ip addr add {self.address}/24 dev eth0 2>/dev/null; ip link set eth0 up")

    def describe(self, what):
        tail = lambda path: path.read_text(errors="replace")[-2000:] if path.exists() else ""
        return (f"guest {self.name}: {what}\n--- console\n{tail(self.console)}"
                f"\n--- QEMU\n{tail(self.log)}")

    def _read_line(self, deadline):
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise GuestError(self.describe("no answer in time"))
            if not select.select([self.line], [], [], left)[0]:
                continue
            data = self.line.recv(65536)
            if not data:
                raise GuestError(self.describe("QEMU ended"))
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode(errors="replace").strip()

    def _expect(self, start, seconds):
        deadline = time.monotonic() + seconds
        while True:
            line = self._read_line(deadline)
            if line.endswith(start) or line.startswith(start + " "):
                return line

    def _send(self, text):
        self.line.setblocking(True)
        self.line.sendall(text.encode())
        self.line.setblocking(False)

    def begin(self, script):
        """Give the guest something to run; result() waits for it. One thing at a time."""
        self.serial += 1
        self._send(f"run {self.serial} {base64.b64encode(script.encode()).decode()}\n")

    def result(self, seconds=60):
        """Return (exit status, output) of what begin() began."""
        words = self._expect(f"done {self.serial}", seconds).split(" ")
        output = base64.b64decode(words[3]).decode(errors="replace") if len(words) > 3 else ""
        return int(words[2]), output

    def run(self, script, seconds=60, check=True):
        """Run a shell script in the guest and return what it printed."""
        self.begin(script)
        status, output = self.result(seconds)
        if check and status != 0:
            raise GuestError(self.describe(f"status {status} of: {script}\n{output}"))
        return output

    def ping(self, address, count=3, seconds=60):
        """True when every one of `count` pings is answered."""
        output = self.run(f"ping -c {count} -i 0.2 -W 5 {address}", seconds, check=False)
        return f"{count} packets transmitted, {count} packets received" in output

    def wait_ping(self, address, seconds=60):
        """Wait until one ping is answered; False when none is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.run(f"ping -c 1 -W 1 {address} >/dev/null && echo yes", check=False):
                return True
        return False

    def serve(self, port=5000, rate=""):
        """Take bulk transfers on `port`, in the background; read at most `rate` MiB/s."""
        self.run(f"xfer serve {port} {rate} >/dev/null 2>&1 & sleep 0.2")

    def send(self, address, size, port=5000, seconds=180):
        """Send `size` bytes to a guest that serves; every byte is checked there. Return Mbit/s."""
        begun = time.monotonic()
        self.run(f"xfer send {address} {port} {size}", seconds)
        return size * 8 / (time.monotonic() - begun) / 1e6

    def stream(self, address, port=5000):
        """Begin to send without end, in the background; see streamed()."""
        self.run(f"xfer stream {address} {port} /tmp/stream >/tmp/stream.log 2>&1 & sleep 0.2")

    def streamed(self):
        """Bytes of the stream that the other guest has found right."""
        text = self.run("cat /tmp/stream 2>/dev/null; cat /tmp/stream.log", check=False).split("\n")
        if text[0].strip() == "broken":
            raise GuestError(self.describe(f"the stream broke: {text[1:]}"))
        return int(text[0] or 0)

    def wait_streamed(self, more, seconds=60):
        """Wait until `more` bytes of the stream have arrived from now on."""
        goal = self.streamed() + more
        deadline = time.monotonic() + seconds
        while self.streamed() < goal:
            if time.monotonic() > deadline:
                raise GuestError(self.describe(
                    f"the stream stands at {self.streamed()}, {goal} wanted"))
        return goal

    def monitor(self):
        """QEMU's monitor, connected."""
        return Monitor(f"{self.folder / self.name}.qmp")

    def migrate_to(self, other, seconds=60):
        """Migrate into `other`, which was started with incoming=True; it takes over our serial line's
        place: what runs in the guest goes on there. Return: what QEMU says of it."""
        path = f"{self.folder / other.name}.migration"
        with other.monitor() as there, self.monitor() as here:
            there.call("migrate-incoming", uri=f"unix:{path}")
            here.call("migrate", uri=f"unix:{path}")
            result = here.wait_migrated(seconds)
        if result["status"] == "completed":
            other.serial, other.buffer = self.serial, b""
        return result

    def wants_answer_of(self, other):
        """A migration into @other is over when that says so: one that fails there is known here."""
        for guest in (other, self):
            with guest.monitor() as monitor:
                monitor.call("migrate-set-capabilities",
                             capabilities=[{"capability": "return-path", "state": True}])

    def reload_driver(self):
        self.run("rmmod virtio_net && insmod /lib/modules/virtio_net.ko")
        self.set_address()

    def reboot(self):
        self.begin("reboot -f")
        self.wait_ready()

    def shutdown(self, seconds=60):
        self.begin("poweroff -f")
        self.process.wait(seconds)
        self._close()

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self):
        self.process = None
        if self.line:
            self.line.close()
            self.line = None

    def end(self):
        """Leave nothing behind, whatever happened before."""
        if self.process:
            self.kill9()
