# SPDX-License-Identifier: BSD-2-Clause
"""Runs the jobs of a table in lanes, several at a time.

A job is a process with a log; a lane takes the first job of the table whose needs are done, and one more
lane is for builds. What a job said is shown whole when it failed, and never mixed with another's. However
the run ends, nothing that it started is left, and its last line is the sum: this process is the reaper of
all orphans of what it started, so it knows them all.
"""
import argparse
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as tree
from pathlib import Path

from suites import ALL, NORMAL, QUICK, jobs, left_out

LOGS = Path("build/test-logs")
TELL_EVERY = 30  # seconds, of what runs
GRACE = 30  # seconds in which what was told to end cleans up
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NOTHING_SELECTED = 5  # pytest's status
SUM = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped\Z")
libc = ctypes.CDLL(None)


def say(text):
    print(f"tests/run [{time.monotonic() - BEGUN:4.0f}s] {text}", flush=True)


# ---- what a job's result file says

def count_meson(path):
    results = [json.loads(line)["result"] for line in path.read_text().splitlines()]
    good = sum(result in ("OK", "EXPECTEDFAIL") for result in results)
    skipped = results.count("SKIP")
    return good, len(results) - good - skipped, skipped


def count_pytest(path):
    found = tree.parse(path).getroot().find("testsuite")
    total, failures, errors, skipped = (
        int(found.get(key)) for key in ("tests", "failures", "errors", "skipped"))
    return total - failures - errors - skipped, failures + errors, skipped


def count_program(path):
    """A sum of its own in its last line, or it is one test."""
    lines = path.read_text(errors="replace").splitlines() or [""]
    found = SUM.search(lines[-1])
    return tuple(map(int, found.groups())) if found else None


class Running:
    """A job that was started."""

    def __init__(self, job, expression):
        self.job, self.selected = job, expression is not None
        self.log = LOGS / f"{job.log}.log"
        self.begun = time.monotonic()
        self.told = 0  # how often it was told to end
        self.processor = 0.0  # seconds of one that it took, with all that it waited for
        self.result = self.result_file()
        if self.result:
            self.result.unlink(missing_ok=True)
        command = list(job.command)
        if job.kind == "pytest":
            command += ["--junitxml", str(self.result)] + (["-k", expression] if expression else [])
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=os.environ | job.environment, preexec_fn=self.settle)

    def settle(self):
        """In the new process: a session, for the terminal's Ctrl-C is ours; and it ends if we do."""
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if self.job.compiles:
            go_first()

    def result_file(self):
        if self.job.kind == "pytest":
            return LOGS / f"{self.job.log}.xml"
        if self.job.kind == "meson":
            return Path(self.job.command[self.job.command.index("-C") + 1]) / "meson-logs/testlog.json"
        return None

    def seconds(self):
        return time.monotonic() - self.begun

    def tell(self):
        """Its name, for how long it runs, and how far it is if it says so."""
        with open(self.log, "rb") as log:
            log.seek(max(0, os.path.getsize(self.log) - 400))
            found = re.findall(rb"\[ *(\d+)%\]|\[(\d+)/(\d+)\]", log.read())
        far = ""
        if found:
            percent, done, whole = found[-1]
            far = f", {int(percent) if percent else 100 * int(done) // int(whole)}%"
        return f"{self.job.name} ({self.seconds():.0f} s{far})"

    def end(self):
        """Tell it to end: pytest cleans up what its tests started, so it is told alone."""
        self.told += 1
        try:
            if self.job.kind == "pytest" and self.told == 1:
                os.kill(self.process.pid, signal.SIGINT)
            else:
                os.killpg(self.process.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass

    def count(self, status):
        """(passed, failed, skipped). No tests at all, or a runner that broke, is a failure; a selection
        that leaves nothing is none."""
        if self.job.kind == "tool":
            return 0, int(status != 0 or self.told > 0), 0
        try:
            if self.job.kind == "meson":
                counted = count_meson(self.result)
            elif self.job.kind == "pytest":
                counted = count_pytest(self.result)
            else:
                good = status == 0 and not self.told
                counted = count_program(self.log) or (int(good), int(not good), 0)
        except (OSError, ValueError, AttributeError, TypeError, KeyError, tree.ParseError):
            counted = 0, 0, 0
        good, bad, skipped = counted
        nothing = self.selected and status == NOTHING_SELECTED
        if bad == 0 and (self.told or status != 0 and not nothing
                         or good + skipped == 0 and not self.selected):
            bad = 1
        return good, bad, skipped


# ---- processes

def go_first():
    """Others wait for this one: it gets three times a share of the processors. Each session has a share of its
    own where the kernel groups them, or else each process; see sched(7)."""
    try:
        os.nice(-5)
        Path("/proc/self/autogroup").write_text("-5")
    except OSError:
        pass  # then it takes longer


def parents():
    """The parent of each process that has not ended, by its number."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def descendants(root):
    above = parents()
    found = {root}
    while True:
        more = {pid for pid, parent in above.items() if parent in found} - found
        if not more:
            return found - {root}
        found |= more


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return ""


def kill_all(pids, number=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def kill_tree(root):
    """A process and all below it. They are stopped first: one that forked meanwhile would leave its child."""
    found = set()
    while fresh := (descendants(root) | {root}) - found:
        kill_all(fresh, signal.SIGSTOP)
        found |= fresh
    kill_all(found)


class Run:
    """All of it. step() until it says that nothing is left to do."""

    def __init__(self, table, lanes, expression=None):
        self.waiting, self.lanes, self.expression = list(table), lanes, expression
        self.running = []
        self.good, self.known = set(), {job.name for job in table}
        self.passed = self.failed = self.skipped = 0
        self.told = time.monotonic()
        self.stopping = 0  # how often we were told to end
        self.stop_begun = 0
        self.never = []  # that were still to be run then

    # ---- starting

    def can_start(self, job):
        """Needs that are not in the table at all are somebody else's. What compiles has a lane of its own."""
        beside = [other for other in self.running if other.job.compiles == job.compiles]
        return (len(beside) < (1 if job.compiles else self.lanes)
                and all(need in self.good for need in job.needs if need in self.known)
                and not (job.alone and self.running) and not any(other.job.alone for other in self.running))

    def start_next(self):
        """Return: whether there was one. What comes after a job that wants to be alone waits for it."""
        for job in self.waiting:
            if self.can_start(job):
                self.waiting.remove(job)
                self.running.append(Running(job, self.expression))
                return True
            if job.alone:
                break
        return False

    def give_up(self, failed):
        """What needs a job that failed can't run, nor what needs that."""
        for job in [job for job in self.waiting if failed in job.needs]:
            if job in self.waiting:
                self.waiting.remove(job)
                self.failed += 1
                say(f"{job.name}: not run, it needs {failed}")
                self.give_up(job.name)

    # ---- ending

    def finish(self, running, status):
        self.running.remove(running)
        passed, failed, skipped = running.count(status)
        self.passed, self.failed, self.skipped = (
            self.passed + passed, self.failed + failed, self.skipped + skipped)
        how = (f"{passed} passed, {failed} failed, {skipped} skipped" if running.job.kind != "tool"
               else "done" if not failed else "failed")
        say(f"{running.job.name}: {how} ({running.seconds():.0f} s, {running.processor:.0f} s of a processor)"
            + (", was cut short" if running.told else ""))
        text = running.log.read_text(errors="replace")
        if failed:
            sys.stdout.write(text)
            sys.stdout.flush()
        elif running.job.tells:
            for line in text.splitlines():
                if re.search(running.job.tells, line):
                    say(f"    {line.strip()}")
        if failed and running.job.kind == "tool":
            self.give_up(running.job.name)
        else:
            self.good.add(running.job.name)

    def reap(self):
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for running in list(self.running):
                if running.process.pid == pid:
                    running.process.returncode = os.waitstatus_to_exitcode(status)
                    running.processor = used.ru_utime + used.ru_stime
                    self.finish(running, running.process.returncode)

    def watch_limits(self):
        for running in self.running:
            over = running.seconds() - running.job.seconds
            if over > 0 and not running.told:
                say(f"{running.job.name} is not done after {running.job.seconds} s, and is told to end")
                running.end()
            elif over > GRACE:
                kill_tree(running.process.pid)

    def stop(self):
        """Told to end by somebody; told again, or after a while, no more questions are asked."""
        self.stopping += 1
        self.never += [job.name for job in self.waiting]
        self.waiting.clear()
        self.stop_begun = time.monotonic()
        say("told to end" + ("" if self.stopping > 1 else "; what runs cleans up"))
        for running in self.running:
            running.end()

    def step(self):
        """Return: whether there is more to do."""
        self.reap()
        while not self.stopping and self.start_next():
            pass
        self.watch_limits()
        if self.stopping > 1 or self.stopping and time.monotonic() - self.stop_begun > GRACE:
            kill_all(descendants(os.getpid()))
        if self.running and time.monotonic() - self.told > TELL_EVERY:
            self.told = time.monotonic()
            say("running: " + "; ".join(running.tell() for running in self.running)
                + (f"; {len(self.waiting)} wait" if self.waiting else ""))
        assert self.running or self.stopping or not self.waiting, "jobs that wait for each other"
        return bool(self.running)

    def sweep(self):
        """Nothing that was started stays. What did not end by itself is a failure."""
        end = time.monotonic() + (0 if self.stopping else GRACE)
        while True:
            self.reap()
            left = descendants(os.getpid())
            if not left or time.monotonic() > end:
                break
            time.sleep(0.1)
        if left and not self.stopping:
            self.failed += 1
            for pid in left:
                say(f"was left behind: {pid} {command_line(pid)}")
        while left:
            kill_all(left)
            time.sleep(0.05)
            self.reap()
            left = descendants(os.getpid())


def run(table, lanes, expression=None, last_words=()):
    """Run all jobs, print the sum. Return: the exit status."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    LOGS.mkdir(parents=True, exist_ok=True)
    doing = Run(table, lanes, expression)
    told = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: told.append(True))
    try:
        while doing.step():
            time.sleep(0.1)
            while told:
                told.pop()
                doing.stop()
    finally:
        doing.sweep()
        if doing.stopping:
            doing.failed += 1
        for words in doing.never + list(last_words):
            say(f"not run: {words}")
        print(f"{doing.passed} passed, {doing.failed} failed, {doing.skipped} skipped", flush=True)
    return 0 if doing.failed == 0 and doing.passed > 0 else 1


def main():
    parser = argparse.ArgumentParser(prog="tests/run")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", dest="kind", action="store_const", const=QUICK, default=NORMAL)
    how.add_argument("--all", dest="kind", action="store_const", const=ALL)
    parser.add_argument("-k", dest="expression")
    parser.add_argument("--lanes", type=int, default=5)
    options = parser.parse_args()
    if options.lanes < 1:
        parser.error("there has to be a lane")
    # What a sanitizer finds ends the process, and stays in its log, where tests look for it. The
    # address sanitizer does so unasked.
    os.environ |= {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
                   "TSAN_OPTIONS": "halt_on_error=1"}
    if options.kind == ALL:
        os.environ["VDPAD_ALL"] = "1"
    table = jobs()
    chosen = [job for job in table if job.since <= options.kind]
    words = left_out(table, options.kind)
    if options.expression:
        words += [job.name for job in chosen if job.kind in ("meson", "program")]
        words.append(f"tests that don't fit {options.expression}")
        chosen = [job for job in chosen if job.kind in ("tool", "pytest")]
    return run(chosen, options.lanes, options.expression, words)


BEGUN = time.monotonic()
if __name__ == "__main__":
    sys.exit(main())
