# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures for tests that drive simnic by its interface."""
import os
import sys
from contextlib import ExitStack
from itertools import count

import pytest

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(1, os.path.join(os.path.dirname(__file__), "../common"))

import simnic_client as sim  # noqa: E402
from hostile import register  # noqa: E402


def pytest_configure(config):
    register(config)


@pytest.fixture
def make_nic(tmp_path):
    """A function that starts simnics; they must end well."""
    names = (f"nic{i}" for i in count())

    def end(nic):
        status = nic.close()
        assert status == 0, nic.log()

    with ExitStack() as nics:
        def make(*options):
            nic = sim.Nic(str(tmp_path), *options, name=next(names))
            nics.callback(end, nic)
            return nic

        yield make


@pytest.fixture
def nic(make_nic):
    return make_nic()


@pytest.fixture
def make_guest():
    """A function that makes guests, and closes them in the end."""
    guests = []

    def make(function, *args, **kwargs):
        guests.append(sim.Guest(function, *args, **kwargs))
        return guests[-1]

    yield make
    for guest in guests:
        guest.close()


@pytest.fixture(params=["split", "packed"])
def layout(request):
    """Feature bits of a ring layout."""
    return sim.bits(sim.F_PACKED) if request.param == "packed" else 0
