# SPDX-License-Identifier: BSD-2-Clause
"""A vdpa-shim between a vdpad and workers that the test plays itself, and its fixtures."""
import os
import select
import shutil
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

import shim_client as vdpad
import shim_worker as worker

BUILD = Path(__file__).resolve().parents[2] / os.environ.get("VDPAD_BUILD", "build")
SHIM = str(BUILD / "tools/shim/vdpa-shim")


class Stand:
    """A shim, its vdpad (stand.link), and the program of its workers."""

    def __init__(self, **facts):
        self.folder = tempfile.mkdtemp(prefix="vdpad-shim-", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self.program = worker.Program(self.folder)
        self.device = vdpad.Device(SHIM, self.program.path, self.folder, **facts)
        self.device.environ = {"FAKE_WORKER": self.program.meet}
        self.device.__enter__()

    @property
    def link(self):
        return self.device.link

    def working(self, *device_fds):
        """Configure, and return the first worker, ready."""
        seq = self.post_configure(device_fds)
        first = self.program.serving()
        assert self.link.answer(seq)[0] == 0
        settled(self)
        return first

    def post_configure(self, device_fds=(), **changed):
        fds = [self.device.listener.fileno()] if self.device.listener else []
        return self.link.post(vdpad.CONFIGURE, self.device.spec(**changed),
                              fds + list(device_fds))

    def upgrade_to(self, path):
        assert self.link.ask(vdpad.SET_SPEC, self.device.spec(worker_path=path)) == 0
        return self.link.post(vdpad.UPGRADE)

    def shim_fds(self):
        return len(os.listdir(f"/proc/{self.device.process.pid}/fd"))

    def switches(self):
        with open(f"/proc/{self.device.process.pid}/status", encoding="ascii") as f:
            return next(int(l.split()[1]) for l in f if l.startswith("voluntary"))

    def sleeps(self):
        """Whether it did not wake for half a second: the property is that nothing happens."""
        before = self.switches()
        time.sleep(0.5)
        return self.switches() == before

    def front_end(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(vdpad.DEADLINE)
        sock.connect(self.device.vhost_path)
        return sock

    def close(self):
        self.program.close()
        try:
            self.device.__exit__()
        finally:
            shutil.rmtree(self.folder)


@pytest.fixture
def make_stand():
    with ExitStack() as stands:
        def make(**facts):
            stand = Stand(**facts)
            stands.callback(stand.close)
            return stand

        yield make


@pytest.fixture
def stand(make_stand):
    return make_stand()


def memory_file(name="kept"):
    return os.memfd_create(name)


def settled(stand):
    """What a worker sent before is taken: vdpad is heard first, but not twice before the worker."""
    stand.link.hello()
    stand.link.hello()


@pytest.fixture
def client(make_stand):
    """A shim in client mode."""
    return make_stand(client=True)


def answered(stand):
    """Whether something came for vdpad that was not taken yet."""
    return bool(select.select([stand.link.sock], [], [], 0)[0])


def crash(stand, first, times):
    """Kill so many workers, one after the other. Return: the next one."""
    current = first
    for _ in range(times):
        current.die()
        current = stand.program.serving()
    return current
