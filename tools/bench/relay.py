# SPDX-License-Identifier: BSD-2-Clause
"""The relay: alone beside a plain loop, and between two guests beside librte_vhost.

Alone: relay_micro plays guest and device in the relay's own thread. A device completes without
copying, so there is nothing but the relay's work, and the loop's.

Between two guests: the NIC starts fresh rings only, so once pages were logged its rings stay relayed,
with logging and without, and both can be compared on the same running relay. The front-end is
traffic.c for both sides: virtio-user can't log, and testpmd loses the frames that it keeps in
circulation when a device changes over. The peer is testpmd, forwarding between two net_vhost ports. All
that belongs to a side runs on the second processor, the front-end on the first: the peer's one thread
has that processor, while two workers and simnic share it. So frames are also compared with the
processor time of what stands between guest and NIC: the workers, polling in vain included, against
testpmd. simnic copies in the place of a NIC.
"""
import os
import subprocess
import time
from pathlib import Path

from figures import load, ratio_text, spread_text
from peers import RELAY_MICRO, BenchError, Testpmd, Traffic, Vdpad, pin, wait_for

MACS = ["52:54:00:00:07:01", "52:54:00:00:07:02"]
VARIANTS = ["split", "packed", "split, log", "packed, log"]
# Chains at a time, memory regions, descriptors of a chain, where these are.
SHAPES = [(batch, regions, 1, "direct") for regions in (1, 8) for batch in (1, 32, 256)]
SHAPES += [(32, 1, 4, "direct"), (32, 1, 4, "indirect"), (32, 1, 1, "indirect")]
SIZES = {64: 1.0, 1518: 1.5}  # and what the ratio shall be at least


# ---- alone

def micro(blocks, batch, regions, pieces, where):
    """Of each variant, the blocks of (offering, returning, the limit of both)."""
    words = [str(word) for word in (batch, regions, pieces, where, blocks)]
    done = subprocess.run(["taskset", "-c", "1", RELAY_MICRO, *words], capture_output=True,
                          text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise BenchError(f"relay_micro: {done.stderr}")
    rows = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
    return [[tuple(row[3 * i:3 * i + 3]) for row in rows] for i in range(len(VARIANTS))]


def report_alone(blocks, batch, regions, pieces, where):
    print(f"\nrelay alone, {batch} chains of {pieces} descriptors ({where}) at a time, "
          f"{regions} memory regions, {blocks} blocks in turn; {load()}")
    both = []
    for title, rows in zip(VARIANTS, micro(blocks, batch, regions, pieces, where)):
        offer, give_back, limit = zip(*rows)
        both.append([a + b for a, b in zip(offer, give_back)])
        text = (f"  {title:12} {spread_text(both[-1], 'ns')} a descriptor, "
                f"{1000 / sorted(both[-1])[len(both[-1]) // 2]:.0f} million a second")
        # Of one descriptor the loop takes less than the clock can tell.
        print(text if min(limit) < 1 else
              f"{text}, loop {spread_text(limit, 'ns')}, {ratio_text(both[-1], limit, 3.0)}")
    for i, log in ((0, "without a log"), (2, "with one")):
        print(f"  packed against split, descriptors a second, {log}: "
              f"{ratio_text(both[i], both[i + 1], 0.9, more_is_better=True)}")


# ---- between two guests

def processor_seconds(pids):
    """What all threads of these processes have used."""
    return sum(int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
               for pid in pids for task in os.listdir(f"/proc/{pid}/task")) / 1e9


def rates(traffic, movers, seconds):
    """Million frames a second with logging and without, measured in turn; and how many a second of
    the `movers`' processor time without."""
    logged, plain, each = [], [], []
    for on in (True, False, False, True):
        traffic.tell(f"log {'on' if on else 'off'}")
        traffic.rate(0.2)
        begun, used = time.monotonic(), processor_seconds(movers)
        rate = traffic.rate(seconds)
        (logged if on else plain).append(rate)
        if not on:
            each.append(rate * (time.monotonic() - begun) / (processor_seconds(movers) - used))
    return sum(logged) / 2, sum(plain) / 2, sum(each) / 2


def ours(folder, packed, size, seconds):
    vdpad = Vdpad(folder, extra="start_position = initial\n")
    traffic = None
    try:
        paths = [vdpad.add(i, "mac", mac)[1] for i, mac in enumerate(MACS)]
        for program in ("vdpa-worker", "simnic"):
            for pid in vdpad.processes(program).values():
                pin(pid, 1)
        traffic = Traffic(packed, size, zip(MACS, paths))
        direct = traffic.rate(seconds)
        return *rates(traffic, vdpad.processes("vdpa-worker").values(), seconds), direct
    finally:
        if traffic:
            traffic.end()
        vdpad.end()


def theirs(folder, packed, size, seconds):
    paths = [folder / f"peer{i}.sock" for i in range(2)]
    for path in paths:
        path.unlink(missing_ok=True)
    traffic = None
    server = Testpmd(folder, "server", [f"net_vhost{i},iface={path},queues=1"
                                        for i, path in enumerate(paths)], forward_cpu=1)
    try:
        wait_for("the peer's sockets", lambda: all(path.exists() for path in paths))
        server.tell("start")
        traffic = Traffic(packed, size, zip(MACS, paths))
        traffic.rate(0.2)
        return rates(traffic, [server.process.pid], seconds)
    finally:
        if traffic:
            traffic.end()
        server.end()


def report_between(folder, packed, size, goal, pairs, seconds):
    a, b = [], []
    for i in range(pairs):
        sides = [(ours, a), (theirs, b)]
        for side, results in sides if i % 2 == 0 else reversed(sides):
            results.append(side(folder, packed, size, seconds))
    logged, plain, each, direct = zip(*a)
    peer_logged, peer_plain, peer_each = zip(*b)
    print(f"\ntwo guests, {'packed' if packed else 'split'}, {size} bytes, both ways, in turn; {load()}")
    for title, x, y in [("relayed", plain, peer_plain), ("relayed, log", logged, peer_logged)]:
        print(f"  {title:14} vdpad {spread_text(x, 'Mpps')}, net_vhost {spread_text(y, 'Mpps')}, "
              f"{ratio_text(x, y, goal, more_is_better=True)}")
    print(f"  a second of processor time: workers {spread_text(each, 'million')}, net_vhost "
          f"{spread_text(peer_each, 'million')}, {ratio_text(each, peer_each, goal, more_is_better=True)}")
    print(f"  what a log leaves: vdpad "
          f"{ratio_text(logged, plain, 0.9 if size > 64 else None, more_is_better=True)}, net_vhost "
          f"{ratio_text(peer_logged, peer_plain)}")
    print(f"  not relayed: vdpad {spread_text(direct, 'Mpps')}; relayed against that: "
          f"{ratio_text(plain, direct, more_is_better=True)}")


def relay(folder, quick):
    for shape in SHAPES:
        report_alone(5 if quick else 41, *shape)
    for packed in (False, True):
        for size, goal in SIZES.items():
            report_between(folder, packed, size, goal, 2 if quick else 7, 0.5 if quick else 1)
