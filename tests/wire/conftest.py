# SPDX-License-Identifier: BSD-2-Clause
"""Wire tests: a real worker and a real simnic; the tests are front-end and shim."""
import os
import sys
from contextlib import ExitStack

import pytest

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(1, os.path.join(os.path.dirname(__file__), "../common"))

from aftermath import Aftermath, Auditors  # noqa: E402
from frontend import Memory  # noqa: E402
from hostile import numbers_of, register  # noqa: E402
from simnic import Simnic  # noqa: E402
from stand import BUILD, Stand  # noqa: E402


def pytest_configure(config):
    register(config)


@pytest.fixture(scope="session")
def auditors():
    auditors = Auditors()
    yield auditors
    auditors.close()


@pytest.fixture(scope="session")
def simnic(auditors):
    with Simnic(BUILD) as nic:
        yield nic
        auditors.forget(nic)


@pytest.fixture(scope="session")
def bad_simnic(auditors):
    """One that misbehaves on demand."""
    with Simnic(BUILD, misbehaves=True) as nic:
        yield nic
        auditors.forget(nic)


@pytest.fixture(scope="session")
def shuffled_simnic(auditors):
    """One that completes in any order, and misbehaves on demand."""
    with Simnic(BUILD, misbehaves=True, shuffled=True) as nic:
        yield nic
        auditors.forget(nic)


@pytest.fixture(scope="session")
def logging_simnic(auditors):
    """One that logs pages itself, and so can translate addresses."""
    with Simnic(BUILD, dirty_log=True) as nic:
        yield nic
        auditors.forget(nic)


class NoAftermath:
    """Of a test that is not about hostile input."""

    def watch(self, stand):
        pass

    check = forget = watch


@pytest.fixture
def aftermath(request):
    """What is left of hostile input: stands are watched from their start to their end."""
    if not numbers_of(request.node):
        return NoAftermath()
    return Aftermath(request.getfixturevalue("auditors"))


def made(aftermath, nic):
    """A function that makes stands in front of @nic, and what ends them."""
    stands = []

    def make(start=True, **facts):
        stand = Stand(nic, **facts)
        stands.append(stand)
        if start:
            stand.shim.start()
            aftermath.watch(stand)
        return stand

    def end():
        with ExitStack() as ends:
            for stand in stands:
                ends.callback(stand.close_now)
            if nic.misbehaves:
                nic.order("clear")
            aftermath.check(stands)

    return make, end


@pytest.fixture
def make_stand(simnic, aftermath):
    make, end = made(aftermath, simnic)
    yield make
    end()


@pytest.fixture
def make_logging_stand(logging_simnic, aftermath):
    make, end = made(aftermath, logging_simnic)
    yield make
    end()


@pytest.fixture
def logging_stand(make_logging_stand):
    return make_logging_stand(pairs=2)


@pytest.fixture
def stand(make_stand):
    return make_stand(pairs=2)


@pytest.fixture
def own_nic_stand(request, aftermath):
    """Its simnic is nobody else's; the parameter: whether that has a dirty log, or of which kind; or its facts."""
    facts = getattr(request, "param", {})
    with Simnic(BUILD, **(facts if isinstance(facts, dict) else {"dirty_log": facts})) as nic:
        make, end = made(aftermath, nic)
        yield make()
        end()
        aftermath.forget(nic)


@pytest.fixture
def make_shuffled_stand(shuffled_simnic, aftermath):
    make, end = made(aftermath, shuffled_simnic)
    yield make
    end()


@pytest.fixture
def shuffled_stand(make_shuffled_stand):
    return make_shuffled_stand(pairs=2)


@pytest.fixture
def bad_stand(bad_simnic, aftermath):
    """Its simnic misbehaves when it is told to, by order()."""
    make, end = made(aftermath, bad_simnic)
    yield make()
    end()


@pytest.fixture
def fe(stand):
    return stand.front_end()


@pytest.fixture
def memory():
    m = Memory(1 << 20)
    yield m
    m.close()
