# SPDX-License-Identifier: BSD-2-Clause
"""A sample of all calls that may fail, of each program. FAULT_SEED and FAULT_SECONDS are another sample's;
inject.py runs all, or a single point that was found here."""
import os

import pytest
from inject import BENCHES, run

SEED = int(os.environ.get("FAULT_SEED", 1))
SECONDS = float(os.environ.get("FAULT_SECONDS", 18))
MANY = 100000
LIVES = 3  # what the usual life of a program is tried longer than others


@pytest.mark.parametrize("program", BENCHES)
def test_no_call_that_fails_does_more_harm_than_it_may(program, capsys):
    report = run(program, SEED, MANY, SECONDS / LIVES if "-" in program else SECONDS)
    with capsys.disabled():
        print("\n" + report.text())
    found = [f"{':'.join(map(str, point))}: {what[:1500]}" for point, what in report.findings]
    assert not found, report.text() + "\n" + "\n".join(found)
    assert sum(report.outcomes.values()) > 5, report.text()
    assert len(report.outcomes) > 1, "nothing ever came of a fault: " + report.text()
