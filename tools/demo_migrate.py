# SPDX-License-Identifier: BSD-2-Clause
"""The second half of tools/demo --migrate: a guest goes from one vdpad to another and back.

Two vdpads with their NICs stand for two machines. A bridge in a network namespace of the demo's own
connects the NICs, so nothing of it is left when the demo ends. The peer, which sends all the time, has
a NIC of its own: a NIC knows its devices' addresses, also of a device that waits for a guest to come.

QEMU 7.2 without KVM loses pages that the guest itself writes while it begins to migrate, the more the
busier the guest is; see tests/system/test_migration.py. So the guest that migrates only receives, and
reads slowly: it does little, and has always unread data, in pages that its device wrote a moment ago.
Were one of these pages forgotten, a byte would be wrong. When the guest breaks all the same, the demo
says so and fails.
"""
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from demo_end import END
from demo_host import BUILD, REPO, Host, say, show

sys.path.insert(0, str(REPO / "tests/system"))
from guest import Guest, GuestError  # noqa: E402

CLONE_NEWNET = 0x40000000
MAC, ADDRESS = "52:54:00:00:00:01", "10.0.0.1"
PEER_MAC, PEER_ADDRESS = "52:54:00:00:00:02", "10.0.0.2"
MIB = 1 << 20
BULK, RATE = 64 * MIB, 4  # MiB/s
LEFT = "[simnic nic0]\nuplink = tap:left0\ndirty_log = yes\n[simnic nic1]\nuplink = tap:peer0\n"
RIGHT = "[simnic nic0]\nuplink = tap:right0\ndirty_log = no\n"
TAPS = ("left0", "peer0", "right0")


class Events(threading.Thread):
    """What a vdpad tells of vm1, shown as it comes; `vdpa monitor vm1` shows the same."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.seen = host, []
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(host.run_dir / "control.sock"))
        self.sock.sendall(b'{"method":"monitor","params":{}}\n')
        self.lines = self.sock.makefile("r")
        self.lines.readline()

    def run(self):
        for line in self.lines:
            event = json.loads(line)
            if event.get("dev") == "vm1":
                self.seen.append(event)
                text = f": {event['text']}" if event["text"] else ""
                print(f"  [{self.host.name}] {event['event']}{text}\n", end="", flush=True)

    def last(self, name, seconds=30):
        """When the last event of that name happened; waits until there is one. In ms."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            times = [event["time_ms"] for event in self.seen if event["event"] == name]
            if times:
                return times[-1]
            time.sleep(0.01)
        raise SystemExit(f"{self.host.name}: nothing was told of '{name}'")


class Demo:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="vdpad-demo-", dir="/tmp"))
        os.chmod(self.folder, 0o711)
        self.left = Host(self.folder / "left", "left", LEFT)
        self.right = Host(self.folder / "right", "right", RIGHT)
        self.events = {}
        self.guests = []
        self.peer = self.vm = None
        self.moves = 0  # of vm1

    # ---- two machines

    def connect(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) < 0:
            raise SystemExit("no network namespace can be made here: "
                             + os.strerror(ctypes.get_errno()))
        self.ip("link", "add", "bridge0", "type", "bridge")
        self.ip("link", "set", "bridge0", "up")

    def ip(self, *words):
        subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL)

    def start_hosts(self):
        say(f"Starting two vdpads, left and right, in {self.folder}; a bridge connects their NICs")
        self.connect()
        self.left.start(("sim/nic0", "sim/nic1"))
        self.right.start()
        for tap in TAPS:
            self.ip("link", "set", tap, "master", "bridge0")
            self.ip("link", "set", tap, "up")
        for host in (self.left, self.right):
            host.vdpa("mgmtdev", "status", "show")
            self.events[host] = Events(host)
            self.events[host].start()

    def guest(self, host, device, mac, address, **facts):
        guest = Guest(host.folder, f"{device}-{self.moves}", host.run_dir / f"vhost/{device}.sock",
                      mac, address, **facts)
        self.guests.append(guest)
        with END.undisturbed():
            guest.start()
        return guest

    def boot(self):
        say("Booting vm1, on left's sim/nic0, and a peer that it talks to, on left's sim/nic1, in "
            "QEMU (emulated, 5 to 20 seconds)")
        self.left.change("dev", "add", "name", "peer", "mgmtdev", "sim/nic1", "mac", PEER_MAC)
        self.left.change("dev", "add", "name", "vm1", "mgmtdev", "sim/nic0", "mac", MAC)
        self.peer = self.guest(self.left, "peer", PEER_MAC, PEER_ADDRESS)
        self.vm = self.guest(self.left, "vm1", MAC, ADDRESS)
        self.peer.wait_ready()
        self.vm.wait_ready()
        self.reach()

    # ---- traffic

    def reach(self):
        if not self.peer.wait_ping(ADDRESS):
            raise GuestError(self.vm.describe("it can't be reached"))

    def start_traffic(self):
        say(f"The peer pings vm1 ten times a second, and sends it {BULK // MIB} MiB. vm1 reads {RATE} "
            "MiB/s and checks each byte; what it did not read yet migrates with it")
        self.vm.serve(rate=RATE)
        self.peer.run(f"""
            ping -i 0.1 {ADDRESS} >/tmp/ping 2>&1 & echo $! >/tmp/ping.pid
            (xfer send {ADDRESS} 5000 {BULK}; echo status $?) >/tmp/bulk 2>&1 &""")

    def bulk_result(self, seconds=120):
        """(status, what it said) of the transfer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = self.peer.run("cat /tmp/bulk")
            found = re.search(r"(.*)status (\d+)", text, re.S)
            if found:
                return int(found[2]), found[1].strip()
            time.sleep(0.2)
        return 1, "it does not end"

    def tell_bulk(self):
        """Whether it goes on; one that broke ends the demo."""
        if "status" not in self.peer.run("cat /tmp/bulk"):
            print("The bulk transfer goes on", flush=True)
            return
        print("The bulk transfer is over", flush=True)
        if self.bulk_result()[0] != 0:
            self.verdict()

    def pings(self):
        """(sent, answered), at the end."""
        text = self.peer.run("""kill -INT $(cat /tmp/ping.pid)
            while ! grep -q transmitted /tmp/ping; do usleep 50000; done; tail -4 /tmp/ping""")
        found = re.search(r"(\d+) packets transmitted, (\d+) packets received", text)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    # ---- there and back

    def migrate(self, here, there):
        say(f"vm1 migrates from {here.name} to {there.name}: a device there, another QEMU that waits, "
            "and QEMU's migrate command")
        self.moves += 1
        there.change("dev", "add", "name", "vm1", "mgmtdev", "sim/nic0", "mac", MAC)
        source, target = self.vm, self.guest(there, "vm1", MAC, ADDRESS, incoming=True)
        result = source.migrate_to(target)
        if result["status"] != "completed":
            raise GuestError(source.describe(f"QEMU does not migrate: {result}"))
        self.vm = target
        stopped, running = self.events[here].last("stopped"), self.events[there].last("running")
        here.vdpa("dev", "migration", "show", "vm1")
        print(f"QEMU: {result['ram']['transferred'] / MIB:.1f} MiB in {result['total-time']} ms, "
              f"downtime {result['downtime']} ms\n"
              f"vdpad: no queue ran for {running - stopped} ms")
        source.kill9()
        self.guests.remove(source)
        self.events[here].last("migration-handed-over")
        here.vdpa("dev", "migration", "show", "vm1")
        here.change("dev", "del", "vm1")
        self.events[here].seen.clear()
        self.reach()
        there.vdpa("dev", "status", "show", "vm1")
        self.tell_bulk()

    def verdict(self):
        say("The transfer ends; every byte was checked")
        status, said = self.bulk_result()
        sent, answered = self.pings()
        print(f"bulk transfer: {said}\npings: {sent} sent, {sent - answered} lost")
        trouble = self.vm.run("dmesg | grep -E 'BUG:|Oops|Call Trace|segfault' | head -5", check=False)
        if status != 0 or trouble or answered == 0:
            raise GuestError(self.vm.describe(f"the guest is not as it was. {said} {trouble}"))

    def keep(self):
        say("Leaving it running. In another terminal:")
        for host in (self.left, self.right):
            print(f"  {BUILD}/tools/vdpa/vdpa --socket {host.run_dir}/control.sock dev status show\n"
                  f"  less {host.log}")
        print("Enter or Ctrl-C ends it.", flush=True)
        sys.stdin.readline()

    def clean_up(self):
        say("Cleaning up")
        for guest in self.guests:
            guest.end()
        for host in (self.left, self.right):
            host.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def story(self):
        self.start_hosts()
        self.boot()
        self.start_traffic()
        self.migrate(self.left, self.right)
        self.migrate(self.right, self.left)
        self.verdict()

    def tell_trouble(self, error):
        print(f"\n{error}\n", file=sys.stderr)
        for host in (self.left, self.right):
            print(f"--- vdpad {host.name}\n{host.log_text()[-3000:]}", file=sys.stderr)
        print("The migration did not work: the guest, the transfer or QEMU broke, as said above. QEMU 7.2\n"
              "without KVM is known to lose pages that a guest's own processor writes while it migrates;\n"
              "whether it was that, or a page that the device wrote, can't be told from here. Try again;\n"
              "tests/migrate compares each page without QEMU.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(show(Demo, GuestError))
