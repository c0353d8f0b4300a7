# SPDX-License-Identifier: BSD-2-Clause
"""System tests: the whole product with real front-ends."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from vdpad_fixture import Vdpad  # noqa: E402


@pytest.fixture
def make_vdpad():
    """Makes supervisors, started or not, and ends them after the test."""
    made = []

    def make(start=True, **facts):
        made.append(Vdpad(**facts))
        return made[-1].start() if start else made[-1]

    yield make
    for vdpad in made:
        vdpad.stop()


@pytest.fixture
def vdpad(make_vdpad):
    return make_vdpad()
