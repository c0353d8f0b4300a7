# SPDX-License-Identifier: BSD-2-Clause
"""What a device costs that nobody uses: unique memory and wake-ups."""
import os
import time
from pathlib import Path

from figures import load, quartiles
from peers import Vdpad

DEVICES = 100
GOAL_KIB = 1024


def unique_kib(pid):
    """Memory that would be free if this process ended (USS)."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1])
    return total


def wakeups(pids):
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            for line in Path(f"/proc/{pid}/task/{task}/status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
    return total


def settle(pids, seconds=30):
    """Until nobody woke up for two seconds: what starting left to do is done."""
    deadline = time.monotonic() + seconds
    last = wakeups(pids)
    while time.monotonic() < deadline:
        time.sleep(2)
        now = wakeups(pids)
        if now == last:
            return
        last = now


def one_mode(folder, title, words_of, seconds):
    vdpad = Vdpad(folder)
    try:
        daemon, nic = vdpad.process.pid, vdpad.processes("simnic")[vdpad.nic]
        before = unique_kib(daemon), unique_kib(nic)
        begun = time.monotonic()
        for i in range(DEVICES):
            vdpad.add(i, *words_of(i))
        added = time.monotonic() - begun
        shims, workers = vdpad.processes("vdpa-shim"), vdpad.processes("vdpa-worker")
        settle([*shims.values(), *workers.values(), daemon, nic])
        woken = [wakeups(pids) for pids in (shims.values(), workers.values(), [daemon], [nic])]
        time.sleep(seconds)
        woken = [wakeups(pids) - count for pids, count in
                 zip((shims.values(), workers.values(), [daemon], [nic]), woken)]
        each = [unique_kib(shims[name]) + unique_kib(workers[name]) for name in shims]
        low, middle, high = quartiles(each)
        print(f"\nidle, {DEVICES} devices, {title}; {load()}")
        print(f"  unique memory of shim and worker: {middle:.0f} KiB ({low:.0f}..{high:.0f}), "
              f"goal <= {GOAL_KIB}: {'met' if max(each) <= GOAL_KIB else 'missed'}; "
              f"most {max(each)} KiB")
        print(f"  vdpad grew by {(unique_kib(daemon) - before[0]) / DEVICES:.1f} KiB a device, "
              f"simnic by {(unique_kib(nic) - before[1]) / DEVICES:.1f}")
        print(f"  wake-ups in {seconds} s: shims {woken[0]}, workers {woken[1]}, "
              f"vdpad {woken[2]}, simnic {woken[3]}; goal 0: "
              f"{'met' if sum(woken) == 0 else 'missed'}")
        print(f"  adding one device took {added / DEVICES * 1000:.1f} ms")
    finally:
        vdpad.end()


def idle(folder, quick):
    seconds = 5 if quick else 30
    one_mode(folder, "server mode", lambda i: [], seconds)
    one_mode(folder, "client mode, nobody listens",
             lambda i: ["socket", str(folder / f"nobody{i}.sock"), "mode", "client"], seconds)
