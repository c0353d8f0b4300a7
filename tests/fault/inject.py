#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Lets single calls of a program fail, one life after the other. See docs/fault-injection.md."""
import argparse
import collections
import os
import random
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../wire"), os.path.join(HERE, "../common"),
                os.path.join(HERE, "../system")]

from lives import (Finding, SimnicAnyOrder, SimnicBench, SimnicOwnLog, WorkerAnyOrder,  # noqa: E402
                   WorkerBench, WorkerOwnLog)
from plan import ERRORS, points  # noqa: E402
from shim_lives import ShimBench  # noqa: E402

BENCHES = {"worker": WorkerBench, "simnic": SimnicBench, "shim": ShimBench,
           "worker-log": WorkerOwnLog, "worker-any-order": WorkerAnyOrder,
           "simnic-log": SimnicOwnLog, "simnic-any-order": SimnicAnyOrder}
SEED, SIZE = 1, 150
LEAST = 12  # points that are run however long they take


def choose(every, size, rng):
    """A sample in which each kind of call with each of its errors is at least once, if there is room."""
    rng.shuffle(every)
    first = {}
    for point in every:
        first.setdefault((point[0], point[2]), point)
    chosen = list(first.values())
    rest = [point for point in every if point not in set(chosen)]
    rng.shuffle(chosen)
    return (chosen + rest)[:size]


class Report:
    def __init__(self, name, n, chosen, seed):
        self.name, self.n, self.chosen, self.seed = name, n, chosen, seed
        self.outcomes = collections.Counter()
        self.findings = []
        self.missed = 0

    def note(self, point, hit, outcome):
        self.missed += not hit
        if hit:
            self.outcomes[outcome] += 1

    def text(self):
        run = sum(self.outcomes.values()) + len(self.findings)
        came = ", ".join(f"{n} {what}" for what, n in self.outcomes.most_common())
        return (f"{self.name}: {self.n} points, {run} run, {self.n - run} not run "
                f"(of {len(self.chosen)} chosen {self.missed} were not reached); seed {self.seed}; "
                f"came of it: {came}; findings: {len(self.findings)}")


def run(name, seed=SEED, size=SIZE, seconds=None, only=None):
    """Return: the report. @size: None: all points; @seconds: no more than LEAST are begun then"""
    with tempfile.TemporaryDirectory(prefix="vdpad-fault-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        bench = BENCHES[name](folder)
        try:
            every = points(bench.count())
            chosen = only or (every if size is None else choose(every[:], size, random.Random(seed)))
            report = Report(name, len(every), chosen, seed)
            begun = time.monotonic()
            for i, point in enumerate(chosen):
                if seconds is not None and i >= LEAST and time.monotonic() - begun > seconds:
                    break
                bench = try_point(report, bench, point, folder)
            return report
        finally:
            bench.close()


def try_point(report, bench, point, folder):
    """Return: the bench for the next one; another one after a finding."""
    try:
        report.note(point, *bench.run(*point))
        return bench
    except (Finding, AssertionError, OSError) as error:
        report.findings.append((point, f"{type(error).__name__}: {error}"))
        print(f"{report.name} {':'.join(map(str, point))}: {report.findings[-1][1][:2000]}", flush=True)
    try:
        bench.close()
    except (AssertionError, OSError) as error:
        print(f"afterwards: {str(error)[:2000]}", flush=True)
    return BENCHES[report.name](folder)


def bench_of(text):
    if text not in BENCHES:
        raise argparse.ArgumentTypeError(f"no life '{text}'; there are: {' '.join(BENCHES)}")
    return text


def point_of(text):
    kind, at, error = text.split(":")
    if kind not in ERRORS:
        raise argparse.ArgumentTypeError(f"no call '{kind}'; there are: {' '.join(ERRORS)}")
    return kind, int(at), error


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="*", default=list(BENCHES), type=bench_of,
                        help=f"whose calls fail, and in which life: {', '.join(BENCHES)}; all of them")
    parser.add_argument("--all", action="store_true", help="every point, not a sample")
    parser.add_argument("--size", type=int, default=SIZE, help="points of the sample (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the sample (%(default)s)")
    parser.add_argument("--point", type=point_of, action="append", help="only this one: CALL:NUMBER:ERRNO")
    args = parser.parse_args()
    bad = 0
    for name in args.programs:
        report = run(name, args.seed, None if args.all else args.size, only=args.point)
        print(report.text(), flush=True)
        bad += len(report.findings)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
