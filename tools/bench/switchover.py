# SPDX-License-Identifier: BSD-2-Clause
"""The gap in a running device's traffic when its rings come to be relayed, and when they no longer are.

A front-end of ours sends to a NIC that sends all back, and has pages logged, which this NIC can't do
by itself, or no longer logged. The gap is the longest time without a frame received from SET_FEATURES
until 3 ms after its acknowledgement; what the machine does to the same time with nothing asked stands
beside it. The limit is the time of as many round trips of the mailbox, for a command without work, as
drivers/sim needs: to relay, one SIM_STOP of all, for each ring SIM_STOP, SIM_UNMAP, SIM_MAP and
SIM_PREPARE, and SIM_START; back, SIM_STOP, for each ring SIM_UNMAP and SIM_PREPARE, and SIM_START.
"""
import statistics
import subprocess

from figures import load, ratio_text, spread_text
from peers import BUILD, BenchError, Traffic, Vdpad, pin

MAC, SIZE = "52:54:00:00:07:01", 1518
TRIPS = {"to the relay": 10, "from the relay": 6}
GOAL = 5.0


def trip_us(vdpad):
    """One empty round trip, from the worker's processor, while there is traffic."""
    command = ["taskset", "-c", "1", BUILD / "tools/bench/mailbox_trip",
               vdpad.run / "sim" / f"{vdpad.nic}.sock", "1", "500"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise BenchError(done.stderr)
    return float(done.stdout) / 1000


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def report(packed, trips, rows):
    """rows: of each block those of its switches, EMPTY ON ACK OFF ACK in microseconds."""
    every = [row for block in rows for row in block]
    print(f"\nswitchover, {'packed' if packed else 'split'}, {SIZE} bytes, {len(every)} switches in "
          f"{len(rows)} blocks; {load()}")
    print(f"  one empty round trip of the mailbox: {spread_text(trips, 'us')}")
    print(f"  nothing asked: longest gap {spread_text([row[0] for row in every], 'us')}, "
          f"99 %: {percentile([row[0] for row in every], 0.99):.0f} us")
    for column, (title, n) in zip((1, 3), TRIPS.items()):
        gaps = [row[column] for row in every]
        acks = [row[column + 1] for row in every]
        medians = [statistics.median(row[column] for row in block) for block in rows]
        print(f"  {title}: gap {spread_text(gaps, 'us')}, 99 %: {percentile(gaps, 0.99):.0f} us; "
              f"acknowledged after {spread_text(acks, 'us')}")
        print(f"    against {n} round trips: {ratio_text(medians, [n * trip for trip in trips], GOAL)}")


def one_layout(folder, packed, blocks, count):
    vdpad = Vdpad(folder, uplink="loop", extra="dirty_log = no\n")
    traffic = None
    try:
        _, path = vdpad.add("a", "mac", MAC)
        for program in ("vdpa-worker", "simnic"):
            for pid in vdpad.processes(program).values():
                pin(pid, 1)
        traffic = Traffic(packed, SIZE, [(MAC, path)])
        traffic.rate(0.5)
        trips, rows = [], []
        for _ in range(blocks):
            trips.append(trip_us(vdpad))
            rows.append([[float(word) for word in row]
                         for row in traffic.tell(f"switch {count}", count)])
        report(packed, trips, rows)
    finally:
        if traffic:
            traffic.end()
        vdpad.end()


def switchover(folder, quick):
    for packed in (False, True):
        one_layout(folder, packed, 3 if quick else 20, 20 if quick else 50)
