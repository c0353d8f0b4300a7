# SPDX-License-Identifier: BSD-2-Clause
"""The shim's side of tools/shim/wire.h, for a worker under test: it keeps descriptors in slots,
starts workers and hands everything over, as vdpa-shim does, but under the test's control."""
import os
import select
import socket
import struct
import subprocess
import threading

from logs import assert_clean
from waiting import wait_for

PAGE_SIZE = 512 * 1024
HEALTH_SIZE = 64 * 1024
SLOT_PAGE, SLOT_HEALTH, SLOT_LISTEN, SLOT_CONN, SLOT_DEVICE, SLOT_FREE = 0, 1, 2, 3, 4, 8
SLOT_STANDBY = 1536
SPEC_RELAY, SPEC_SIM, SPEC_NOW = 4, 8, 16
REFRESH, DUMP = 32, 33
START, SLOTS, GO, SPEC_CHANGED, DEVICE_CHANGED, CONNECTED = 64, 65, 66, 67, 68, 69
STANDBY_CHANGED = 70
STORE, DROP, READY, DISCONNECTED, WORKER_EVENT = 96, 97, 98, 99, 100
REPLY = 128
EVENT_NAMES = {1: "connected", 2: "disconnected", 3: "running", 4: "stopped", 5: "failed",
               6: "recovered", 7: "queue error", 8: "migration logging", 9: "migration stopped",
               10: "migration resumed", 11: "migration handed over", 12: "migration cancelled",
               13: "migration broken off", 14: "failover"}
FDS_A_MESSAGE = 32
DEADLINE = 60


def sealed_memory(name, size):
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    return fd


class Shim:
    """One device's shim. Use as a context manager. @mailbox: what the driver gets; None: nothing yet."""

    driver = b"sim"

    def __init__(self, worker, folder, mailbox, features=2**64 - 1, max_pairs=0, standby=None):
        self.worker_path = worker
        self.path = os.path.join(folder, "vhost.sock")
        self.features, self.max_pairs, self.flags = features, max_pairs, 0
        self.slots = {SLOT_PAGE: sealed_memory("page", PAGE_SIZE),
                      SLOT_HEALTH: sealed_memory("health", HEALTH_SIZE)}
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.path)
        listener.listen(8)
        listener.setblocking(False)
        self.slots[SLOT_LISTEN] = listener.detach()
        for i, fd in enumerate(self.device_fds(mailbox)):
            self.slots[SLOT_DEVICE + i] = fd
        self.standby = b""  # driver of the standby
        if standby is not None:
            self.standby = b"sim"
            self.slots[SLOT_STANDBY] = standby
        self.process = None
        self.sock = None
        self.thread = None
        self.lock = threading.Lock()
        self.events = []
        self.ready = False
        self.log_path = os.path.join(folder, "worker.log")
        self.seq = 0
        self.replies = {}
        self.errors = []
        self.environ = None  # of workers; None: ours

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        for fd in self.slots.values():
            os.close(fd)
        self.slots = {}
        os.unlink(self.path)
        if os.path.exists(self.log_path):
            assert_clean(self.log())
        if self.errors:
            raise AssertionError(self.errors[0])

    @staticmethod
    def device_fds(mailbox):
        if mailbox is None:
            return []
        return [mailbox] if isinstance(mailbox, int) else mailbox

    # ---- sending

    def send(self, kind, payload=b"", fds=(), seq=0):
        header = struct.pack("=IIiI", kind, seq, 0, len(payload))
        socket.send_fds(self.sock, [header + payload], list(fds))

    def spec(self):
        return struct.pack("=64s16s108s256sIIII4xQH6s", b"dev", self.driver, self.path.encode(),
                           self.worker_path.encode(), self.flags, 0, 0, 7, self.features, self.max_pairs,
                           self.standby)

    def datapath(self, flags, now=True):
        """What the operator wants: SPEC_RELAY, SPEC_SIM, or 0: direct."""
        self.flags = flags | (SPEC_NOW if now else 0)
        self.send(SPEC_CHANGED, self.spec())
        self.flags = flags

    def send_state(self):
        self.send(START, self.spec())
        with self.lock:
            slots = sorted(self.slots.items())
        for i in range(0, len(slots), FDS_A_MESSAGE):
            part = slots[i:i + FDS_A_MESSAGE]
            numbers = [n for n, _ in part] + [0] * (FDS_A_MESSAGE - len(part))
            self.send(SLOTS, struct.pack("=33I", len(part), *numbers), [fd for _, fd in part])
        self.send(GO)

    # ---- the worker

    def spawn(self, worker=None, silent=False):
        """Start a worker and hand everything over, unless send_state() is to do it; don't wait for it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ready = False
        self.sock = ours
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [worker or self.worker_path, "--fd", str(theirs.fileno()), "--name", "dev"],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environ)
        theirs.close()
        if not silent:
            self.send_state()

    def start(self, worker=None):
        """Start a worker and wait until it serves."""
        self.spawn(worker)
        self.pump()
        wait_for(lambda: self.ready or self.process.poll() is not None, "the worker's start")
        assert self.ready, self.log()

    def pump(self):
        """Serve the worker in a thread, until it ends."""
        self.thread = threading.Thread(target=self._serve, args=(self.sock,), daemon=True)
        self.thread.start()

    def drain(self):
        """Take what a dead worker said last."""
        while select.select([self.sock], [], [], 0)[0] and self._receive(self.sock):
            pass

    def kill(self):
        """kill -9, then everything it said is taken."""
        self.process.kill()
        self._reap()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        self._reap()

    def _reap(self):
        if self.process:
            self.process.wait(DEADLINE)
        if self.thread:
            self.thread.join(DEADLINE)
            self.thread = None
        elif self.sock:
            self.drain()
        if self.sock:
            self.sock.close()
            self.sock = None

    def restart(self, worker=None):
        """kill -9 and a successor. The worker is between two messages: one that is killed after a
        reply, before it noted that it went out, costs the connection."""
        self.dump()
        self.kill()
        self.start(worker)

    def _serve(self, sock):
        try:
            while self._receive(sock):
                pass
        except AssertionError as error:
            self.errors.append(str(error))

    def _receive(self, sock):
        try:
            data, fds, flags, _ = socket.recv_fds(sock, 4096, 64)
        except (ConnectionResetError, OSError):
            return False
        if not data:
            return False
        assert not flags & socket.MSG_CTRUNC
        kind, seq, status, size = struct.unpack_from("=IIiI", data)
        payload = data[16:]
        assert len(payload) == size
        with self.lock:
            self._handle(kind, seq, status, payload, fds)
        return True

    def _handle(self, kind, seq, status, payload, fds):
        if kind in (STORE, DROP):
            n, *slots = struct.unpack("=33I", payload)
            for slot in slots[:n]:
                assert slot == SLOT_CONN or SLOT_FREE <= slot < SLOT_STANDBY, f"slot {slot}"
                if slot in self.slots:
                    os.close(self.slots.pop(slot))
            if kind == STORE:
                assert len(fds) == n
                self.slots.update(zip(slots[:n], fds))
        elif kind == READY:
            self.ready = True
        elif kind == DISCONNECTED:
            if SLOT_CONN in self.slots:
                os.close(self.slots.pop(SLOT_CONN))
        elif kind == WORKER_EVENT:
            number, text = struct.unpack("=I128s", payload)
            self.events.append((EVENT_NAMES[number], text.rstrip(b"\0").decode()))
        elif kind == REPLY:
            self.replies[seq] = status
        else:
            assert False, f"worker said {kind}"

    # ---- questions

    def request(self, kind, fds=()):
        self.seq += 1
        seq = self.seq
        self.send(kind, fds=fds, seq=seq)
        wait_for(lambda: seq in self.replies, "the worker's reply")
        return self.replies[seq]

    def device_changed(self, mailbox, slot=SLOT_DEVICE):
        """Or its standby, with another slot. Without a worker: for the next one."""
        with self.lock:
            old = self.slots.pop(slot, None)
            self.slots[slot] = mailbox
        if self.sock:
            self.send(DEVICE_CHANGED if slot == SLOT_DEVICE else STANDBY_CHANGED, fds=[mailbox])
        if old is not None:
            os.close(old)

    def dump(self):
        import json
        fd = os.memfd_create("dump")
        assert self.request(DUMP, [fd]) == 0
        os.lseek(fd, 0, os.SEEK_SET)
        with os.fdopen(fd) as f:
            return json.load(f)

    def kept(self):
        """The slots that the worker filled."""
        self.request(REFRESH)  # an answer comes after everything it said before
        with self.lock:
            return sorted(n for n in self.slots if SLOT_FREE <= n < SLOT_STANDBY)

    def has_event(self, name):
        with self.lock:
            return any(event == name for event, _ in self.events)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()
