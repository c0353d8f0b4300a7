# SPDX-License-Identifier: BSD-2-Clause
"""Time to ready and message round trip: the same front-end against vdpad and librte_vhost."""
import statistics
import subprocess

from figures import load, ratio_text, spread_text
from peers import FRONTEND, BenchError, Testpmd, Vdpad, pin, wait_for

MEMORY_MIB = 256
# Front-end, pairs, whether the peer locks its memory: testpmd's default, which fills a guest's
# memory when it maps it. The last case is without, to tell what of a ratio comes from that.
CASES = [("qemu", 1, True), ("qemu", 8, True), ("qemu", 64, True),
         ("virtio-user", 1, True), ("virtio-user", 8, True), ("qemu", 1, False)]


def frontend(path, *words, cpu):
    command = ["taskset", "-c", str(cpu), FRONTEND, path, *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise BenchError(f"{words}: {done.stderr}")
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


class Pair:
    """Both back-ends for one number of pairs, on the same processor; one of them paused."""

    def __init__(self, folder, vdpad, pairs, locked=True):
        self.vdpad = vdpad
        self.name, self.ours = vdpad.add(f"p{pairs}", "max_vqp", str(pairs))
        self.theirs = folder / f"peer{pairs}.sock"
        self.theirs.unlink(missing_ok=True)
        self.peer = Testpmd(folder, f"peer{pairs}", [f"net_vhost0,iface={self.theirs},queues={pairs}"],
                            pairs, locked=locked)
        wait_for("the peer's socket", self.theirs.exists)
        pin(self.peer.process.pid, 1)
        for program in ("vdpa-worker", "simnic"):
            for pid in vdpad.processes(program).values():
                pin(pid, 1)

    def in_turn(self, blocks, *words, cpu):
        """`blocks` blocks of each: ours, theirs, theirs, ours, and so on."""
        ours, theirs = [], []
        for i in range(blocks):
            sides = [(self.ours, ours), (self.theirs, theirs)]
            for path, results in sides if i % 2 == 0 else reversed(sides):
                results.append(frontend(path, *words, cpu=cpu))
        return ours, theirs

    def end(self):
        self.peer.end()
        self.vdpad.remove(self.name)


def report_ready(kind, pairs, locked, ours, theirs):
    def block(rows, *columns):
        return statistics.median(sum(row[column] for column in columns) for row in rows)

    print(f"\nready, {kind}, {pairs} pairs, {int(ours[0][0][4])} messages, "
          f"peer's memory {'locked' if locked else 'not locked'}; "
          f"{len(ours)} blocks of {len(ours[0])} each, in turn; {load()}")
    for title, columns, goal in [("first answer", (0,), None), ("connect", (1,), None),
                                 ("first SET_MEM_TABLE", (2,), None), ("rest of start", (3,), None),
                                 ("ready without the table", (1, 3), 0.7),
                                 ("ready with the table", (1, 2, 3), 0.1)]:
        a = [block(rows, *columns) for rows in ours]
        b = [block(rows, *columns) for rows in theirs]
        print(f"  {title:24} vdpad {spread_text(a, 'us')}, librte_vhost {spread_text(b, 'us')}, "
              f"{ratio_text(a, b, goal)}")


def ready(folder, quick):
    vdpad = Vdpad(folder)
    try:
        for kind, pairs, locked in CASES:
            pair = Pair(folder, vdpad, pairs, locked)
            try:
                # The peer's very first table takes several times as long as any later one.
                frontend(pair.theirs, "ready", kind, pairs, 1, MEMORY_MIB, cpu=0)
                frontend(pair.ours, "ready", kind, pairs, 1, MEMORY_MIB, cpu=0)
                report_ready(kind, pairs, locked, *pair.in_turn(
                    3 if quick else 11, "ready", kind, pairs, 3 if quick else 5, MEMORY_MIB, cpu=0))
            finally:
                pair.end()
    finally:
        vdpad.end()


def trip(folder, quick):
    vdpad = Vdpad(folder)
    try:
        pair = Pair(folder, vdpad, 1)
        try:
            for title, cpu in [("one processor", 1), ("two processors", 0)]:
                ours, theirs = pair.in_turn(5 if quick else 15, "trip", 1, 5000, cpu=cpu)
                a = [rows[0][0] / 1000 for rows in ours]
                b = [rows[0][0] / 1000 for rows in theirs]
                print(f"\nround trip, GET_FEATURES, {title}, 5000 a block, in turn; {load()}")
                print(f"  vdpad {spread_text(a, 'us')}, librte_vhost {spread_text(b, 'us')}, "
                      f"{ratio_text(a, b, 0.8)}")
        finally:
            pair.end()
    finally:
        vdpad.end()
