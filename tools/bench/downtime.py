# SPDX-License-Identifier: BSD-2-Clause
"""How long a guest is cut off when it migrates: over vdpad, and over librte_vhost.

Each side has two back-ends, each with a tap, and both taps in a bridge of the host. A guest goes from
one to the other and back, and a proxy before each back-end notes when messages came. The guests are
idle: QEMU without KVM loses pages of busy ones, whatever the back-end. The sides migrate in turn;
testpmd, which never sleeps, is stopped while it is not its turn.

  blackout  from the source's first GET_VRING_BASE to the answer that the destination gives next after
            the last kick and enable, when it has handled them
  waiting   what QEMU waited of that for answers; the rest is its own
  gap       the longest time without an answer that one sees who asks the guest each 5 ms, from the host
  downtime  what QEMU says itself
"""
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import load, ratio_text, spread_text
from peers import REPO, BenchError, Proxy, Testpmd, Vdpad, wait_for

sys.path.insert(0, str(REPO / "tests/system"))
from guest import Guest, GuestError  # noqa: E402

GET_VRING_BASE, SET_VRING_KICK, SET_VRING_ENABLE = 11, 12, 18
TITLES = ["blackout", "waiting", "gap", "QEMU's downtime"]
ASK_MS = 5
GOAL = 0.5


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def waits(messages):
    """Nanoseconds from requests to their answers, together."""
    asked, total = {}, 0
    for when, side, request, *_ in messages:
        if side == "front":
            asked[request] = when
        elif request in asked:
            total += when - asked.pop(request)
    return total


class Bridge:
    """Of the host, with an address; taps join it when they are there."""

    def __init__(self, number):
        self.name = f"vb{os.getpid()}-{number}"
        self.subnet = f"10.77.{number}"
        self.taps = [f"{self.name}{end}" for end in "ab"]
        ip("link", "add", self.name, "type", "bridge", "forward_delay", "0")
        Path(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6").write_text("1")
        ip("addr", "add", f"{self.subnet}.1/24", "dev", self.name)
        ip("link", "set", self.name, "up")

    def join(self):
        for tap in self.taps:
            wait_for(tap, lambda tap=tap: os.path.exists(f"/sys/class/net/{tap}"))
            Path(f"/proc/sys/net/ipv6/conf/{tap}/disable_ipv6").write_text("1")
            ip("link", "set", tap, "master", self.name, "up")

    def end(self):
        ip("link", "del", self.name)


class Side:
    """Two back-ends, and a guest that is on one of them."""

    def __init__(self, title, number):
        self.title = title
        self.bridge = Bridge(number)
        self.mac = f"52:54:00:00:08:{number:02x}"
        self.folder = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))
        self.proxies = []
        self.guest, self.at, self.n = None, 0, 0
        self.results = []

    def connect(self, paths):
        self.bridge.join()
        self.proxies = [Proxy(self.folder, f"end{i}", path) for i, path in enumerate(paths)]

    def make(self, end, **facts):
        self.n += 1
        guest = Guest(self.folder, f"g{self.n}", self.proxies[end].path, self.mac,
                      f"{self.bridge.subnet}.2", **facts)
        guest.start()
        return guest

    def boot(self):
        if self.guest:
            self.guest.end()
        self.at = 0
        self.guest = self.make(0)
        self.guest.wait_ready()
        if not self.guest.ping(f"{self.bridge.subnet}.1"):
            raise GuestError(self.guest.describe("it reaches nobody"))

    def turn(self):
        """Its processes run."""

    def rest(self):
        """Until its next turn."""

    def migrate(self):
        """One result; or None and a guest that was lost, the next one is booted anew."""
        self.turn()
        target = None
        try:
            if not self.guest:
                self.boot()
            target = self.make(1 - self.at, incoming=True)
            with target.monitor():
                pass
            result = self.observe(target)
            self.guest.end()
            self.guest, target = target, None
            self.at = 1 - self.at
            self.results.append(result)
        except GuestError as error:
            print(f"  {self.title}: a guest was lost: {str(error).splitlines()[0]}")
            self.results.append(None)
            self.guest.end()
            self.guest = None
        finally:
            if target:
                target.end()
            self.rest()

    def observe(self, target):
        """Milliseconds, as in TITLES."""
        begun = time.monotonic_ns()
        answers = self.folder / "answers"
        with open(answers, "wb") as out:
            observer = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("observer.py"), self.guest.address,
                 str(ASK_MS)], stdin=subprocess.PIPE, stdout=out)
        try:
            time.sleep(0.5)
            said = self.guest.migrate_to(target)
            time.sleep(1.5)
        finally:
            observer.stdin.close()
            observer.wait()
        if said["status"] != "completed":
            raise GuestError(f"the migration: {said}")
        stopped, started = self.switched(begun)
        times = [int(word) for word in answers.read_text().split()]
        if not times or times[-1] < started:
            raise GuestError("nobody answers after the migration")
        gap = max(b - a for a, b in zip(times, times[1:]) if b > stopped - 10**8)
        waited = sum(waits([m for m in self.since(end, begun) if stopped <= m[0] <= started])
                     for end in range(2))
        return (started - stopped) / 1e6, waited / 1e6, gap / 1e6, max(said["downtime"], 1)

    def since(self, end, begun):
        return [m for m in self.proxies[end].messages() if m[0] > begun]

    def switched(self, begun):
        """When the source's first ring was stopped, and the destination's last was started."""
        source, target = self.since(self.at, begun), self.since(1 - self.at, begun)
        stops = [m[0] for m in source if m[1:3] == ("front", GET_VRING_BASE)]
        kicks = [i for i, m in enumerate(target) if m[1:3] == ("front", SET_VRING_KICK)]
        if not stops or not kicks:
            raise BenchError("a migration without a stop and a start")
        last = max(i for i, m in enumerate(target) if i >= kicks[0] and m[1] == "front" and
                   m[2] in (SET_VRING_KICK, SET_VRING_ENABLE))
        answered = [m[0] for m in target[last:] if m[1] == "back"]
        return stops[0], answered[0] if answered else target[last][0]

    def end(self):
        if self.guest:
            self.guest.end()
        for proxy in self.proxies:
            proxy.end()
        self.bridge.end()
        subprocess.run(["rm", "-rf", self.folder], check=True, stdin=subprocess.DEVNULL)


class Ours(Side):
    """Two NICs of a vdpad; with a log of their own, or relayed."""

    def __init__(self, folder, title, number, has_log):
        super().__init__(title, number)
        folder = folder / f"side{number}"
        folder.mkdir()
        facts = f"dirty_log = {has_log}\n"
        self.vdpad = Vdpad(folder, uplink=f"tap:{self.bridge.taps[0]}", tag=str(number),
                           extra=facts + f"[simnic other{number}]\nuplink = tap:{self.bridge.taps[1]}\n"
                           + facts)
        ends = [self.vdpad.add(end, "mac", self.mac, nic=nic)
                for end, nic in enumerate((self.vdpad.nic, f"other{number}"))]
        self.connect([path for _, path in ends])

    def end(self):
        super().end()
        self.vdpad.end()


class Theirs(Side):
    """Two ports of one testpmd, each with a tap behind it."""

    def __init__(self, folder, title, number, locked):
        super().__init__(title, number)
        paths = [folder / f"side{number}.{end}" for end in "ab"]
        devices = []
        for i, path in enumerate(paths):
            devices += [f"net_vhost{i},iface={path},queues=1",
                        f"net_tap{i},iface={self.bridge.taps[i]}"]
        self.peer = Testpmd(folder, f"side{number}", devices, locked=locked)
        wait_for("the peer's sockets", lambda: all(path.exists() for path in paths))
        self.peer.tell("start")
        self.connect(paths)

    def turn(self):
        self.peer.resume()

    def rest(self):
        self.peer.pause()

    def end(self):
        self.peer.resume()
        super().end()
        self.peer.end()


def report(sides):
    for side in sides:
        good = [result for result in side.results if result]
        texts = [f"{title} {spread_text(column, 'ms')}" for title, column in zip(TITLES, zip(*good))]
        lost = len(side.results) - len(good)
        print(f"  {side.title}: {', '.join(texts)}" + (f"; guests lost: {lost}" if lost else ""))
    for ours in sides[:2]:
        for theirs in sides[2:]:
            pairs = [pair for pair in zip(ours.results, theirs.results) if all(pair)]
            print(f"  {ours.title}, against {theirs.title}")
            for i, title in enumerate(TITLES):
                a, b = zip(*[(mine[i], its[i]) for mine, its in pairs])
                print(f"    {title:16}{ratio_text(a, b, GOAL if i == 0 else None)}")


def downtime(folder, quick):
    sides = []
    try:
        sides.append(Ours(folder, "vdpad, the NIC logs", 1, "yes"))
        sides.append(Ours(folder, "vdpad, relayed", 2, "no"))
        for number, title, locked in ((3, "librte_vhost", True),
                                      (4, "librte_vhost, memory not locked", False)):
            sides.append(Theirs(folder, title, number, locked))
            sides[-1].rest()
        for side in sides:
            side.turn()
            side.boot()
            side.rest()
        rounds = 2 if quick else 11
        for i in range(rounds):
            for side in sides if i % 2 == 0 else reversed(sides):
                side.migrate()
        print(f"\nmigrations of an idle guest of 256 MiB, {rounds} a side, in turn; {load()}")
        report(sides)
    finally:
        for side in reversed(sides):
            side.end()
