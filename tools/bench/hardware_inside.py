# SPDX-License-Identifier: BSD-2-Clause
"""The part of hardware.py that runs in the guest; writes its figures as JSON."""
import glob
import json
import mmap
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
for part in ("tests/common", "tests/system", "tests/wire", "tests/lab/inside"):
    sys.path.insert(0, str(REPO / part))
from conftest import Function, Host  # noqa: E402
from frontend import Memory, table  # noqa: E402
from test_worker import OFFERED, Guest, frame  # noqa: E402
from vdpad_fixture import Vdpad  # noqa: E402
from waiting import wait_for  # noqa: E402

GIB = 1 << 30
PMDS = glob.glob("/usr/lib/*/dpdk/pmds-*")[0]
HUGE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
STEP_SECONDS = 4


class Block:
    """1 GiB that a device is to reach."""

    def __init__(self, huge):
        self.fd = os.memfd_create("block", os.MFD_CLOEXEC | (os.MFD_HUGETLB if huge else 0))
        os.ftruncate(self.fd, GIB)
        self.map = mmap.mmap(self.fd, GIB)
        self.gpa, self.size, self.uva = 0x100000000, GIB, 0x7e0000000000
        for at in range(0, GIB, 2 << 20 if huge else 4096):
            self.map[at] = 1  # as a guest that runs has touched its memory

    region = Memory.region

    def close(self):
        self.map.close()
        os.close(self.fd)


def testpmd(function, megabytes, huge):
    """Seconds until it has started its port and asks what to do."""
    words = ["dpdk-testpmd", "-l", "0,1", "--no-telemetry", "-m", str(megabytes), "--file-prefix", "peer"]
    for name in ("net_virtio", "mempool_ring", "bus_pci", "bus_vdev"):
        words += ["-d", f"{PMDS}/librte_{name}.so"]
    words += ["-a", function.name, "--in-memory" if huge else "--no-huge", "--", "-i", "--total-num-mbufs=2048"]
    begun = time.monotonic()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as peer:
        said = b""
        while b"testpmd> " not in said:
            more = os.read(peer.stdout.fileno(), 65536)
            assert more, said.decode(errors="replace")
            said += more
        taken = time.monotonic() - begun
        peer.kill()
    return taken


def add(vdpad, name, function):
    vdpad.cli("dev", "add", "name", name, "mgmtdev", f"pci/{function.name}")
    vdpad.wait_status(name, lambda status: status["state"] == "idle")
    return vdpad.run_dir / "vhost" / f"{name}.sock"


def ready(vdpad, function):
    begun = time.monotonic()
    add(vdpad, "ready", function)
    taken = time.monotonic() - begun
    vdpad.cli("dev", "del", "ready")
    return taken


def running(vdpad, function, huge):
    """Seconds from the message with the memory to rings that run."""
    path = add(vdpad, "running", function)
    block = Block(huge)
    guest = Guest(str(path), offered=OFFERED)
    guest.fe.negotiate(guest.pf)
    begun = None
    for name, payload, fds in guest.setup_steps():
        if name == "SET_MEM_TABLE":
            begun = time.monotonic()
            payload, fds = table(guest.memory, block), [guest.memory.fd, block.fd]
        guest.fe.accepted(name, payload, fds)
    taken = time.monotonic() - begun
    assert vdpad.status("running")["datapath"] == "direct"
    guest.close()
    block.close()
    vdpad.cli("dev", "del", "running")
    return taken


def in_turn(blocks, ours, theirs):
    a, b = [], []
    for i in range(blocks):
        sides = [(ours, a), (theirs, b)]
        for measure, results in sides if i % 2 == 0 else reversed(sides):
            results.append(measure())
    return a, b


# ------------------------------------------------------------------------------- frames

def processor_ms(pid):
    """Of all its threads, milliseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e6


class End:
    """A front-end on a function, as careful with kicks as a guest's driver."""

    def __init__(self, vdpad, name, function):
        self.mac = bytes.fromhex(function.mac.replace(":", ""))
        self.guest = Guest(str(add(vdpad, name, function)), offered=OFFERED, size=256).setup()
        self.kicks = 0

    def kick(self, ring):
        """Unless the device asks for none."""
        if not ring._get("=H", ring.used)[0] & 1:
            ring.notify()
            self.kicks += 1

    def fill(self):
        ring = self.guest.rings[0]
        while ring.next_avail - ring.next_used < ring.size:
            ring.offer(writable=2048)
        self.kick(ring)

    def take(self):
        """What came; buffers go back at once."""
        ring, n = self.guest.rings[0], 0
        while ring.take():
            ring.offer(writable=2048)
            n += 1
        if n:
            self.kick(ring)
        return n


def receive(vdpad, sender, receiver, wanted):
    """So many frames, or the time without any: what the processes of the receiving device did."""
    status = vdpad.status("to")
    pids = {"worker_ms": status["worker_pid"], "shim_ms": status["shim_pid"]}
    before = {key: processor_ms(pid) for key, pid in pids.items()}
    begun, got, sent, calls = time.monotonic(), 0, 0, 0
    ring = sender.guest.rings[1]
    while time.monotonic() < begun + STEP_SECONDS or got < sent:
        if sent < wanted and sent - got < 64:
            ring.offer(bytes(12) + frame(sender, receiver, sent))
            sent += 1
            sender.kick(ring)
        ring.take()
        got += receiver.take()
        calls += count(receiver.guest.rings[0].call)
        if sent == wanted:
            time.sleep(0.001)
    return {"frames": got, "seconds": time.monotonic() - begun, "calls": calls} | {
        key: processor_ms(pid) - before[key] for key, pid in pids.items()}


def count(fd):
    try:
        return int.from_bytes(os.read(fd, 8), "little")
    except BlockingIOError:
        return 0


def frames(vdpad, functions, blocks):
    sender, receiver = End(vdpad, "from", functions[0]), End(vdpad, "to", functions[1])
    receiver.fill()
    runs = []
    for _ in range(blocks):
        runs.append(receive(vdpad, sender, receiver, 0))
        runs.append(receive(vdpad, sender, receiver, 2000))
    return runs


def main():
    out, blocks = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Host()
    functions = [Function(1), Function(2)]
    for function in functions:
        function.give_to("vfio-pci")
    HUGE.write_text("544")
    wait_for(lambda: int(HUGE.read_text()) == 544, "huge pages")
    os.makedirs("/dev/hugepages", exist_ok=True)
    subprocess.run(["mount", "-t", "hugetlbfs", "huge", "/dev/hugepages"], check=True)
    vdpad = Vdpad().start()
    one = functions[0]
    figures = {
        "add": in_turn(blocks, lambda: ready(vdpad, one), lambda: testpmd(one, 64, False)),
        "small": in_turn(blocks, lambda: running(vdpad, one, False), lambda: testpmd(one, 1024, False)),
        "huge": in_turn(blocks, lambda: running(vdpad, one, True), lambda: testpmd(one, 1024, True)),
        "frames": frames(vdpad, functions, blocks),
    }
    Path(out).write_text(json.dumps(figures), encoding="ascii")
    vdpad.stop()


if __name__ == "__main__":
    main()
