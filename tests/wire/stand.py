# SPDX-License-Identifier: BSD-2-Clause
"""A worker under test: its shim's side, its function of a simnic, and the front-ends that it has."""
import os
import shutil
import tempfile

from frontend import OFFERED_PF, OFFERED_PF_SHUFFLED, FrontEnd, Guest
from shimside import Shim
from waiting import wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("VDPAD_BUILD", "build"))
WORKER = os.path.join(BUILD, "tools/worker/vdpa-worker")


class Stand:
    """A worker in front of a function of its own."""

    make_shim = Shim

    def __init__(self, nic, pairs=1, **facts):
        self.folder = tempfile.mkdtemp(prefix="vdpad-wire-", dir="/tmp")
        self.nic = nic
        self.name, mailbox = nic.add(pairs, **facts)
        self.shim = self.make_shim(WORKER, self.folder, mailbox)
        self.path = self.shim.path
        self.offered = OFFERED_PF_SHUFFLED if nic.shuffled else OFFERED_PF
        self.opened = []
        self.closed = False

    def order(self, what, **facts):
        """Have the NIC misbehave to this stand's function."""
        self.nic.order(what, function=self.name, **facts)

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
