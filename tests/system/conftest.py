# SPDX-License-Identifier: BSD-2-Clause
"""System tests: the whole product with real front-ends."""
import os
import sys
from contextlib import ExitStack

import pytest

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(1, os.path.join(os.path.dirname(__file__), "../common"))
sys.path.append(os.path.join(os.path.dirname(__file__), "../wire"))  # its front-end; our modules go first

from hostile import register  # noqa: E402
from vdpad_fixture import Vdpad  # noqa: E402
from virtio_user import PktCheck  # noqa: E402


def pytest_configure(config):
    register(config)


@pytest.fixture
def make_vdpad():
    """Makes supervisors, started or not, and ends them after the test."""
    with ExitStack() as made:
        def make(start=True, **facts):
            vdpad = Vdpad(**facts)
            made.callback(vdpad.stop)
            return vdpad.start() if start else vdpad

        yield make


@pytest.fixture
def checks():
    """Starts pktcheck processes and ends what a failed test leaves."""
    with ExitStack() as started:
        def start(*args, **kwargs):
            check = PktCheck(*args, **kwargs)
            started.callback(check.end)
            return check

        yield start


@pytest.fixture
def vdpad(make_vdpad):
    return make_vdpad()
