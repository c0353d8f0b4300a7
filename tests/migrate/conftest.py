# SPDX-License-Identifier: BSD-2-Clause
"""The page oracle: migrations that copy only what the log names, and compare every byte.

VDPAD_BUILD names the build folder, as elsewhere; VDPAD_SEED another seed than a random one. What
happens in which order is the seed's, when it happens is not: a seed does not repeat all of it.
"""
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in ("common", "conformance", "system", "wire", "migrate"):
    sys.path.insert(0, str(HERE.parent / folder))

TOTALS = Counter()
SEED = os.environ.get("VDPAD_SEED") or str(random.SystemRandom().randrange(10**6))


@pytest.fixture
def seed():
    return SEED


@pytest.fixture
def totals():
    return TOTALS


def pytest_report_header():
    return f"seed: VDPAD_SEED={SEED}"


def pytest_terminal_summary(terminalreporter):
    if TOTALS:
        terminalreporter.write_line(f"seed {SEED}: " + ", ".join(
            f"{n} {what}" for what, n in TOTALS.items()))
