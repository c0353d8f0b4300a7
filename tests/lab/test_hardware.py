# SPDX-License-Identifier: BSD-2-Clause
"""vdpad with real virtio-net functions behind a real IOMMU: the tests of inside/ run in a guest.

Each of them is one test here, with the result that it had there.
"""
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from machine import REPO, Function, Machine

INSIDE = Path(__file__).parent / "inside"
SECONDS = int(os.environ.get("LAB_SECONDS", "1500"))
ONLY = ["-k", os.environ["LAB_ONLY"]] if "LAB_ONLY" in os.environ else []  # for who looks for something
PAIRS = 4
# DPDK's packets, of which the wire keeps some for later, come last: our own front-ends look at each frame.
FILES = [str(INSIDE / name) for name in ("test_worker.py", "test_migrations.py", "test_vdpad.py")]


def names():
    """All tests that there are, without running one."""
    done = subprocess.run([sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider",
                           "--rootdir", str(INSIDE), *ONLY, *FILES], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=True)
    return re.findall(r"^\S+::(\S+)$", done.stdout, re.MULTILINE)


NAMES = names()
pytestmark = pytest.mark.timeout(SECONDS + 120)  # the first one waits for the whole run of the machine


class Results:
    """What a run of the machine gave."""

    def __init__(self, folder):
        machine = Machine(folder, [Function(1, PAIRS), Function(2, PAIRS), Function(3, facts=",page-per-vq=on"), Function(4), Function(5)],
                          processors=3)
        build = os.environ.get("VDPAD_BUILD", "build")
        job = f"""\
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb VDPAD_BUILD={build} PYTHONDONTWRITEBYTECODE=1
cd {REPO}
exec >/out/log 2>&1
{sys.executable} -m pytest -v -p no:cacheprovider --rootdir {INSIDE} --junit-xml /out/results.xml {shlex.join(ONLY + FILES)}
"""
        self.console = machine.run(job, SECONDS)
        self.log = (Path(folder) / "log").read_text(errors="replace")
        self.cases = {}
        for case in ElementTree.parse(Path(folder) / "results.xml").iter("testcase"):
            self.cases[case.get("name")] = case

    def of(self, name):
        assert name in self.cases, f"it did not run:\n{self.log}\n{self.console}"
        return [child for child in self.cases[name] if child.tag in ("failure", "error", "skipped")]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(tmp_path_factory.mktemp("machine"))


@pytest.mark.parametrize("name", NAMES)
def test_inside(results, name):
    wrong = results.of(name)
    assert not wrong, results.log + results.console


def test_all_that_there_are_ran_and_no_others(results):
    assert NAMES and sorted(results.cases) == sorted(NAMES)
    assert sorted(FILES) == sorted(str(path) for path in INSIDE.glob("test_*.py"))
