# SPDX-License-Identifier: BSD-2-Clause
"""vdpad's side of tools/shim/wire.h, for a vdpa-shim under test."""
import os
import select
import socket
import struct
import subprocess

from logs import assert_clean
from waiting import wait_for

HELLO, CONFIGURE, DEVICE_FDS, SET_SPEC, UPGRADE, STOP, STANDBY_FDS = 1, 2, 3, 4, 5, 6, 7
REFRESH, DUMP = 32, 33
REPLY, EVENT = 128, 129
CLIENT = 1
WAITING, WORKING, RESTARTING, GIVEN_UP = range(4)
EVENTS = {1: "connected", 2: "disconnected", 3: "running", 4: "stopped", 5: "failed",
          6: "recovered", 7: "queue error", 63: "of later", 64: "worker died", 65: "worker started",
          66: "given up"}
HEADER = struct.Struct("=IIiI")
SPEC = struct.Struct("=64s16s108s256sIIII4xQH6x")
STATUS = struct.Struct(f"=IIiiII128s{SPEC.size}s")
DEADLINE = 60


def text(data):
    return data.split(b"\0")[0].decode()


class Status:
    def __init__(self, payload):
        (self.version, self.state, self.pid, self.worker_pid, self.restarts, _, reason,
         spec) = STATUS.unpack(payload)
        self.reason = text(reason)
        self.worker_path = text(SPEC.unpack(spec)[3])


class Link:
    """One connection to a shim's control socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(path)
        self.seq = 0
        self.events = []

    def close(self):
        self.sock.close()

    def post(self, kind, payload=b"", fds=()):
        self.seq += 1
        socket.send_fds(self.sock, [HEADER.pack(kind, self.seq, 0, len(payload)) + payload],
                        list(fds))
        return self.seq

    def receive(self):
        """One message: (kind, seq, status, payload, fds)."""
        data, fds, _, _ = socket.recv_fds(self.sock, 4096, 8)
        if not data:
            raise ConnectionResetError
        kind, seq, status, size = HEADER.unpack_from(data)
        assert len(data) == HEADER.size + size
        return kind, seq, status, data[HEADER.size:], fds

    def _note(self, payload):
        number, words = struct.unpack("=I128s", payload)
        self.events.append((EVENTS[number], text(words)))

    def answer(self, seq):
        """Wait for the answer to request @seq; events on the way are noted."""
        while True:
            kind, got, status, payload, fds = self.receive()
            if kind == REPLY and got == seq:
                return status, payload, fds
            assert kind == EVENT
            self._note(payload)

    def ask(self, kind, payload=b"", fds=()):
        status, _, fds = self.answer(self.post(kind, payload, fds))
        for fd in fds:
            os.close(fd)
        return status

    def hello(self):
        status, payload, fds = self.answer(self.post(HELLO))
        assert status == 0
        for fd in fds:
            os.close(fd)
        return Status(payload)

    def take_events(self):
        while select.select([self.sock], [], [], 0)[0]:
            kind, _, _, payload, _ = self.receive()
            if kind == EVENT:
                self._note(payload)
        return self.events

    def forget_events(self):
        self.take_events().clear()

    def wait_event(self, name, deadline=DEADLINE):
        def seen():
            for event, words in self.take_events():
                if event == name:
                    return words or " "
            return None
        return wait_for(seen, f"the event '{name}'; there were {self.events}", deadline)


class Device:
    """A vdpa-shim of the test's own, and vdpad's link to it. Use as a context manager."""

    def __init__(self, program, worker, folder, client=False, uid=0, name="dev"):
        self.program, self.worker, self.folder = program, str(worker), str(folder)
        self.client, self.uid, self.name = client, uid, name
        self.control_path = os.path.join(self.folder, "control.sock")
        self.vhost_path = os.path.join(self.folder, "vhost.sock")
        self.log_path = os.path.join(self.folder, "shim.log")
        self.process = self.link = self.listener = None
        self.environ = {}

    def __enter__(self):
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.bind(self.control_path)
        control.listen(4)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "--name", self.name, "--listen-fd", str(control.fileno())],
                pass_fds=[control.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | self.environ)
        control.close()
        self.link = Link(self.control_path)
        if not self.client:
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(self.vhost_path)
            self.listener.listen(8)
            self.listener.setblocking(False)
        return self

    def __exit__(self, *_):
        self.link.close()
        if self.listener:
            self.listener.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        assert_clean(self.log())

    def spec(self, **changed):
        facts = {"name": self.name, "driver": "sim", "socket_path": self.vhost_path,
                 "worker_path": self.worker, "flags": CLIENT if self.client else 0,
                 "uid": self.uid, "gid": self.uid, "log_level": 7, "features": 2**64 - 1,
                 "max_pairs": 0} | changed
        return SPEC.pack(*(v.encode() if isinstance(v, str) else v for v in facts.values()))

    def configure(self, device_fds=(), **changed):
        listener = [self.listener] if self.listener else []
        return self.link.ask(CONFIGURE, self.spec(**changed),
                             [s.fileno() for s in listener] + list(device_fds))

    def relink(self):
        self.link.close()
        self.link = Link(self.control_path)

    def state(self):
        return self.link.hello().state

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()
