# SPDX-License-Identifier: BSD-2-Clause
"""simnic's process, its admin socket (drivers/sim/mailbox.h) and its test interface."""
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile

from logs import assert_clean
from waiting import wait_for

DEADLINE = 60
ADMIN_ADD, ADMIN_ATTACH, ADMIN_DEL = 65, 66, 67
SPOOF_CHECK, LINK_UP = 1, 2
CONTROL = sum(1 << bit for bit in (2, 17, 18, 19, 20, 23))  # features of a control queue
NAME = struct.Struct("=64s6sHHHIQ")
HEADER = struct.Struct("=IIiI")


class Simnic:
    """A simnic of the tests' own; `loop` sends a function's frames back to it. As a context manager
    it runs, and must not have said anything bad in the end."""

    def __init__(self, build, uplink="loop", misbehaves=False, dirty_log=False, shuffled=False):
        self.program = os.path.join(build, "tools/simnic/simnic")
        self.folder = tempfile.mkdtemp(prefix="vdpad-wire-", dir="/tmp")
        self.path = os.path.join(self.folder, "nic.sock")
        self.uplink = uplink
        self.dirty_log = dirty_log
        self.shuffled = shuffled
        self.misbehaves = misbehaves
        self.test_path = os.path.join(self.folder, "test.sock") if misbehaves else None
        self.process = None
        self.sock = None
        self.seq = 0
        self.names = 0
        self.options = []
        self.environ = None  # None: ours

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        log = self.log()
        shutil.rmtree(self.folder)
        assert_clean(log)

    def start(self, preexec_fn=None):
        with open(os.path.join(self.folder, "simnic.log"), "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "--name", "nic0", "--listen", self.path, "--uplink", self.uplink,
                 "--dirty-log", {True: "yes", False: "no"}.get(self.dirty_log, self.dirty_log),
                 "--completion", "shuffled" if self.shuffled else "in-order"]
                + self.options + (["--test-socket", self.test_path] if self.test_path else []),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=preexec_fn,
                env=self.environ)
        wait_for(self._connect, "simnic's admin socket", 60)

    def _connect(self):
        assert self.process.poll() is None, self.log()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return False
        sock.settimeout(DEADLINE)
        self.sock = sock
        return True

    def kill(self):
        """Return: when it has ended; its sockets are closed before that."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process:
            self.kill()
        if self.sock:
            self.sock.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def log(self):
        with open(os.path.join(self.folder, "simnic.log"), encoding="utf-8",
                  errors="replace") as f:
            return f.read()

    def call(self, command, payload=b""):
        """Return: (status, payload, descriptors)."""
        self.seq += 1
        self.sock.send(HEADER.pack(command, self.seq, 0, len(payload)) + payload)
        while True:
            data, fds, _, _ = socket.recv_fds(self.sock, 8192, 4)
            assert data, "simnic ended: " + self.log()
            got, seq, status, size = HEADER.unpack_from(data)
            if seq == self.seq:
                assert got == command and size == len(data) - HEADER.size
                return status, data[HEADER.size:], fds

    def order(self, what, **facts):
        """Misbehave; docs/simnic.md has the orders."""
        facts = {key: value.decode() if isinstance(value, bytes) else value
                 for key, value in facts.items()}
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.test_path)
            sock.sendall(json.dumps({"do": what, **facts}).encode() + b"\n")
            answer = json.loads(sock.makefile().readline())
        assert answer["ok"], answer

    def function(self, name=b"", mac=b"\x52\x54\0\0\0\1", pairs=1, features=0, flags=LINK_UP,
                 mtu=1500):
        return NAME.pack(name, mac, mtu, pairs, 0, flags, features)

    def features(self, control=False):
        """What a function can offer, with a control queue or without."""
        status, info, _ = self.call(64)
        assert status == 0
        return struct.unpack_from("=IIIIQ", info)[4] & (~0 if control else ~CONTROL)

    def add(self, pairs=1, features=None, name=None, control=False, **facts):
        """A new function, with a control queue or without. Return: (name, mailbox). @facts: as of
        function()"""
        if name is None:
            self.names += 1
            name = f"f{self.names}".encode()
        if features is None:
            features = self.features(control)
        status, _, fds = self.call(ADMIN_ADD, self.function(name, pairs=pairs, features=features,
                                                            **facts))
        assert status == 0, os.strerror(-status)
        return name, fds[0]

    def attach(self, name):
        status, _, fds = self.call(ADMIN_ATTACH, self.function(name))
        assert status == 0, os.strerror(-status)
        return fds[0]

    def delete(self, name):
        status, _, _ = self.call(ADMIN_DEL, self.function(name))
        return status
