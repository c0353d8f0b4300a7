# SPDX-License-Identifier: BSD-2-Clause
"""Functions of a PCI bus, in a guest without KVM that has an IOMMU: how soon they serve, against DPDK's own
driver of the same function in the same guest, and what our processes do while frames come in."""
import json
import os
import statistics
import sys

from figures import load, ratio_text, spread_text
from peers import BUILD, REPO, BenchError

sys.path.insert(0, str(REPO / "tests/lab"))
from machine import Function, Machine  # noqa: E402

SECONDS = 1500


def show(title, ours, theirs):
    print(f"{title}: vdpad {spread_text([1000 * t for t in ours], 'ms')}, "
          f"DPDK {spread_text([1000 * t for t in theirs], 'ms')}; {ratio_text(ours, theirs)}")


def show_frames(runs):
    """What the worker and the shim ran while so many frames came in, by what is still."""
    print("\nframes that come in, direct: interrupts go from the function to the guest")
    for run in runs:
        print(f"  {run['frames']} frames in {run['seconds']:.1f} s: worker {run['worker_ms']:.1f} ms, "
              f"shim {run['shim_ms']:.1f} ms of processor time, {run['calls']} interrupts")
    still = statistics.median(run["worker_ms"] for run in runs if run["frames"] == 0)
    busy = statistics.median(run["worker_ms"] for run in runs if run["frames"] > 0)
    print(f"  worker's time with frames and without: {busy:.1f} and {still:.1f} ms")


def hardware(folder, quick):
    machine = Machine(folder, [Function(1), Function(2)], memory="4G")
    job = f"""\
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb VDPAD_BUILD={BUILD} PYTHONDONTWRITEBYTECODE=1
exec >/out/log 2>&1
{sys.executable} {REPO}/tools/bench/hardware_inside.py /out/figures {2 if quick else 7}
"""
    print(f"\nfunctions of a PCI bus, in a guest without KVM; {load()}")
    console = machine.run(job, SECONDS)
    try:
        with open(os.path.join(folder, "figures"), encoding="ascii") as f:
            figures = json.load(f)
    except (OSError, ValueError) as error:
        with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as f:
            raise BenchError(f"{error}\n{f.read()}{console}") from None
    show("dev add to ready, and testpmd to its prompt with 64 MiB", *figures["add"])
    show("memory table of 1 GiB to rings that run, 4 KiB pages, and testpmd with as much", *figures["small"])
    show("the same, 2 MiB pages", *figures["huge"])
    show_frames(figures["frames"])
