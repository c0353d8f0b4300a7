# SPDX-License-Identifier: BSD-2-Clause
"""What the others notice of one front-end that makes trouble: vdpad's 63 neighbours, and librte_vhost's.

Each block of trouble has a block of rest just before it; a ratio is of one neighbour's median trip in the
two. The longest trip of all is told beside it. The sides take turns; testpmd has 32 ports, which is as many as DPDK is built for.
"""
import statistics
import subprocess

from figures import load, spread_text
from peers import NEIGHBOURS, BenchError, Testpmd, Vdpad, pin, wait_for

TROUBLES = {"flood": "valid messages, as fast as they are answered",
            "stall": "a header and half of its payload, and nothing more",
            "map": "4 GiB of memory that nobody touched, again and again"}
DEVICES, PORTS = 64, 32
TRIPS = 100  # of each neighbour in a block
GOAL = 2


class Side:
    """`paths`: sockets of all devices, that of the trouble first. On one processor, and its
    front-ends, who make trouble and who don't, on the other one."""

    def __init__(self, title, paths, turn=lambda: None, rest=lambda: None):
        self.title, self.paths, self.turn, self.rest = title, paths, turn, rest
        self.ratios = {trouble: [] for trouble in TROUBLES}
        self.trips = {trouble: [] for trouble in TROUBLES}
        self.longest = {trouble: [] for trouble in TROUBLES}
        self.idle = []
        self.idle_longest = []

    def block(self, program, trouble):
        """(longest, medians), microseconds."""
        program.stdin.write(f"{trouble} {TRIPS}\n")
        program.stdin.flush()
        words = program.stdout.readline().split()
        if len(words) != len(self.paths):
            raise BenchError(f"{self.title}: the front-ends ended while one made trouble ({trouble})")
        longest, *medians = [float(word) / 1000 for word in words]
        return longest, medians

    def measure(self, trouble, blocks):
        """Front-ends of their own for each: what was answered late is nobody else's."""
        self.turn()
        program = subprocess.Popen(["taskset", "-c", "0", NEIGHBOURS, *self.paths], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.block(program, "idle")
            for _ in range(blocks):
                idle_longest, idle = self.block(program, "idle")
                longest, trips = self.block(program, trouble)
                self.idle += idle
                self.idle_longest.append(idle_longest)
                self.trips[trouble] += trips
                self.longest[trouble].append(longest)
                self.ratios[trouble] += [a / b for a, b in zip(trips, idle)]
        finally:
            program.stdin.close()
            program.wait(30)
            program.stdout.close()
            self.rest()

    def report(self, trouble):
        ratios = self.ratios[trouble]
        high = percentile(ratios, 99)
        print(f"  {self.title}, {len(self.paths) - 1} neighbours: {spread_text(self.trips[trouble], 'us')}, "
              f"longest {statistics.median(self.longest[trouble]):.0f} us; ratio to rest "
              f"{statistics.median(ratios):.2f}, 99 % of {len(ratios)}: {high:.2f}, "
              f"goal <= {GOAL}: {'met' if high <= GOAL else 'missed'}")


def percentile(values, n):
    return statistics.quantiles(values, n=100, method="inclusive")[n - 1]


def ours(folder, vdpad):
    paths = [vdpad.add(i)[1] for i in range(DEVICES)]
    for program in ("vdpa-worker", "simnic"):
        for pid in vdpad.processes(program).values():
            pin(pid, 1)
    return Side("vdpad", paths)


def theirs(folder, title, locked, peers):
    name = "locked" if locked else "free"
    paths = [folder / f"{name}{i}.sock" for i in range(PORTS)]
    peer = Testpmd(folder, name, [f"net_vhost{i},iface={path},queues=1" for i, path in enumerate(paths)],
                   locked=locked)
    peers.append(peer)
    wait_for("the peer's sockets", lambda: all(path.exists() for path in paths))
    pin(peer.process.pid, 1)
    peer.pause()
    return Side(title, paths, peer.resume, peer.pause)


def isolation(folder, quick):
    peers, vdpad = [], Vdpad(folder)
    try:
        sides = [ours(folder, vdpad),
                 theirs(folder, "librte_vhost", True, peers),
                 theirs(folder, "librte_vhost, memory not locked", False, peers)]
        rounds = 3 if quick else 11
        for i in range(rounds):
            for trouble in TROUBLES:
                for side in sides if i % 2 == 0 else reversed(sides):
                    side.measure(trouble, 1)
        print(f"\nisolation, a GET_FEATURES round trip of neighbours, {TRIPS} a block, {rounds} blocks of each "
              f"trouble and as many of rest, in turn; {load()}")
        for side in sides:
            print(f"  at rest: {side.title} {spread_text(side.idle, 'us')}, "
                  f"longest {statistics.median(side.idle_longest):.0f} us")
        for trouble, text in TROUBLES.items():
            print(f" {trouble}: {text}")
            for side in sides:
                side.report(trouble)
    finally:
        for peer in peers:
            peer.end()
        vdpad.end()
