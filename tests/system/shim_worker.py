# SPDX-License-Identifier: BSD-2-Clause
"""A worker for a vdpa-shim under test. The process is a script that gives its socket to the test and
waits; the test says what a worker would say, or what none should."""
import os
import signal
import socket
import struct

from shim_client import DEADLINE, HEADER, SPEC, text
from waiting import alive, wait_for

START, SLOTS, GO, SPEC_CHANGED, DEVICE_CHANGED, CONNECTED = 64, 65, 66, 67, 68, 69
STORE, DROP, READY, DISCONNECTED, WORKER_EVENT = 96, 97, 98, 99, 100
REPLY = 128
SLOT_PAGE, SLOT_HEALTH, SLOT_LISTEN, SLOT_CONN, SLOT_DEVICE, SLOT_FREE = 0, 1, 2, 3, 4, 8
SLOT_STANDBY, STANDBY_CHANGED = 1536, 70
MAX_SLOTS, FDS_A_MESSAGE = 1536, 32

SCRIPT = """#!/usr/bin/python3 -IS
import os, socket, sys
at = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
at.connect(os.environ["FAKE_WORKER"])
socket.send_fds(at, ["\\n".join([str(os.getpid()), *sys.argv]).encode()], [3])
os.close(3)
os._exit(ord(at.recv(1) or b"\\0"))
"""


def slots_payload(slots):
    return struct.pack("=33I", len(slots), *slots, *[0] * (FDS_A_MESSAGE - len(slots)))


def event_payload(kind, words):
    return struct.pack("=I128s", kind, words)


def same_file(a, b):
    return os.path.samestat(os.fstat(a), os.fstat(b))


class Program:
    """The script, and the socket its processes come to."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.path = self.make("worker")
        self.meet = os.path.join(self.folder, "meet.sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.meet)
        os.chmod(self.meet, 0o666)
        self.listener.listen(16)
        self.listener.settimeout(DEADLINE)
        self.workers = []

    def make(self, name, script=SCRIPT):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(script)
        os.chmod(path, 0o755)
        return path

    def next(self):
        """Wait for the next worker process."""
        at, _ = self.listener.accept()
        words, fds, _, _ = socket.recv_fds(at, 4096, 1)
        pid, program, *args = words.decode().split("\n")
        worker = Worker(int(pid), program, args, at, socket.socket(fileno=fds[0]))
        self.workers.append(worker)
        return worker

    def serving(self):
        """Wait for the next one, take over, and say that it is ready."""
        worker = self.next()
        worker.take_over()
        worker.send(READY)
        return worker

    def close(self):
        for worker in self.workers:
            worker.close()
        self.listener.close()


class Worker:
    def __init__(self, pid, program, args, at, sock):
        self.pid, self.program, self.args, self.at, self.sock = pid, program, args, at, sock
        self.sock.settimeout(DEADLINE)
        self.slots = {}
        self.worker_path = None

    def close(self):
        for fd in self.slots.values():
            os.close(fd)
        self.slots = {}
        self.sock.close()
        self.at.close()

    def send(self, kind, payload=b"", fds=(), seq=0, status=0):
        self.send_raw(HEADER.pack(kind, seq, status, len(payload)) + payload, fds)

    def send_raw(self, data, fds=()):
        socket.send_fds(self.sock, [data], list(fds))

    def receive(self):
        """One message: (kind, seq, payload, fds)."""
        data, fds, flags, _ = socket.recv_fds(self.sock, 4096, 64)
        assert not flags & socket.MSG_CTRUNC
        kind, seq, _, size = HEADER.unpack_from(data)
        assert len(data) == HEADER.size + size
        return kind, seq, data[HEADER.size:], fds

    def take_over(self):
        """Everything up to SHIM_GO."""
        kind, _, payload, _ = self.receive()
        assert kind == START
        self.worker_path = text(SPEC.unpack(payload)[3])
        self.spec = payload
        while True:
            kind, _, payload, fds = self.receive()
            if kind == GO:
                return
            assert kind == SLOTS
            n, *numbers = struct.unpack("=33I", payload)
            assert n == len(fds)
            self.slots.update(zip(numbers[:n], fds))

    def store(self, slots_and_fds):
        self.send(STORE, slots_payload(list(slots_and_fds)), list(slots_and_fds.values()))

    def die(self, how=signal.SIGKILL):
        os.kill(self.pid, how)

    def leave(self, status):
        self.at.send(bytes([status]))

    def wait_gone(self):
        wait_for(lambda: not alive(self.pid), f"the end of worker {self.pid}")
