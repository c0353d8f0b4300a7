# SPDX-License-Identifier: BSD-2-Clause
"""Wire tests: a real worker and a real simnic; the tests are front-end and shim."""
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack

import pytest

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(1, os.path.join(os.path.dirname(__file__), "../common"))

from frontend import OFFERED_PF, OFFERED_PF_SHUFFLED, FrontEnd, Guest, Memory  # noqa: E402
from shimside import Shim  # noqa: E402
from simnic import Simnic  # noqa: E402
from waiting import wait_for  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("VDPAD_BUILD", "build"))
WORKER = os.path.join(BUILD, "tools/worker/vdpa-worker")


@pytest.fixture(scope="session")
def simnic():
    with Simnic(BUILD) as nic:
        yield nic


@pytest.fixture(scope="session")
def bad_simnic():
    """One that misbehaves on demand."""
    with Simnic(BUILD, misbehaves=True) as nic:
        yield nic


@pytest.fixture(scope="session")
def shuffled_simnic():
    """One that completes in any order, and misbehaves on demand."""
    with Simnic(BUILD, misbehaves=True, shuffled=True) as nic:
        yield nic


@pytest.fixture(scope="session")
def logging_simnic():
    """One that logs pages itself, and so can translate addresses."""
    with Simnic(BUILD, dirty_log=True) as nic:
        yield nic


class Stand:
    """A worker in front of a function of its own."""

    def __init__(self, nic, pairs=1, **facts):
        self.folder = tempfile.mkdtemp(prefix="vdpad-wire-", dir="/tmp")
        self.nic = nic
        self.name, mailbox = nic.add(pairs, **facts)
        self.shim = Shim(WORKER, self.folder, mailbox)
        self.path = self.shim.path
        self.offered = OFFERED_PF_SHUFFLED if nic.shuffled else OFFERED_PF
        self.opened = []
        self.closed = False

    def front_end(self, negotiate=True):
        fe = FrontEnd(self.path, self.offered)
        self.opened.append(fe)
        if negotiate:
            fe.negotiate()
        return fe

    def guest(self, **facts):
        guest = Guest(self.path, offered=self.offered, **facts)
        self.opened.append(guest)
        return guest

    def replace_device(self):
        """The NIC, which is of this stand only, dies, and another comes in its place."""
        self.nic.stop()
        wait_for(lambda: self.shim.has_event("failed"), "the loss of the device")
        self.nic.start()
        _, mailbox = self.nic.add(name=self.name)
        self.shim.device_changed(mailbox)
        wait_for(lambda: self.shim.has_event("recovered"), "the new device at work")

    def close_now(self):
        """For tests that make many."""
        if self.closed:
            return
        self.closed = True
        for thing in self.opened:
            thing.close()
        try:
            self.shim.__exit__()
        finally:
            self.nic.delete(self.name)
            shutil.rmtree(self.folder)


@pytest.fixture
def make_stand(simnic):
    with ExitStack() as stands:
        def make(start=True, **facts):
            stand = Stand(simnic, **facts)
            stands.callback(stand.close_now)
            if start:
                stand.shim.start()
            return stand

        yield make


@pytest.fixture
def logging_stand(logging_simnic):
    stand = Stand(logging_simnic, pairs=2)
    stand.shim.start()
    yield stand
    stand.close_now()


@pytest.fixture
def stand(make_stand):
    return make_stand(pairs=2)


@pytest.fixture
def own_nic_stand(request):
    """Its simnic is nobody else's; the parameter: whether that has a dirty log."""
    with Simnic(BUILD, dirty_log=getattr(request, "param", False)) as nic:
        stand = Stand(nic)
        stand.shim.start()
        yield stand
        stand.close_now()


@pytest.fixture
def make_shuffled_stand(shuffled_simnic):
    stands = []

    def make(**facts):
        stand = Stand(shuffled_simnic, **facts)
        stand.order = lambda what, **order: shuffled_simnic.order(what, function=stand.name, **order)
        stands.append(stand)
        stand.shim.start()
        return stand

    yield make
    shuffled_simnic.order("clear")
    for stand in stands:
        stand.close_now()


@pytest.fixture
def shuffled_stand(make_shuffled_stand):
    return make_shuffled_stand(pairs=2)


@pytest.fixture
def bad_stand(bad_simnic):
    """Its `order()` is about this stand's function."""
    stand = Stand(bad_simnic)
    stand.order = lambda what, **facts: bad_simnic.order(what, function=stand.name, **facts)
    stand.shim.start()
    yield stand
    bad_simnic.order("clear")
    stand.close_now()


@pytest.fixture
def fe(stand):
    return stand.front_end()


@pytest.fixture
def memory():
    m = Memory(1 << 20)
    yield m
    m.close()
