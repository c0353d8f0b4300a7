# SPDX-License-Identifier: BSD-2-Clause
"""vdpa-shim between a vdpad and workers that the test plays itself."""
import errno
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path

import pytest

import shim_client as vdpad
import shim_worker as worker
from shim_client import wait_for
from shim_worker import same_file, slots_payload

BUILD = Path(__file__).resolve().parents[2] / os.environ.get("VDPAD_BUILD", "build")
SHIM = str(BUILD / "tools/shim/vdpa-shim")
NOBODY = 65534
F_GET_SEALS = 1034


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
        self.device.__exit__()
        shutil.rmtree(self.folder)


@pytest.fixture
def make_stand():
    stands = []

    def make(**facts):
        stands.append(Stand(**facts))
        return stands[-1]

    yield make
    for stand in stands:
        stand.close()


@pytest.fixture
def stand(make_stand):
    return make_stand()


def memory_file(name="kept"):
    return os.memfd_create(name)


def settled(stand):
    """What a worker sent before is taken: vdpad is heard first, but not twice before the worker."""
    stand.link.hello()
    stand.link.hello()


# ------------------------------------------------------------------------ start and end

def test_before_it_is_configured_it_says_who_it_is(stand):
    status = stand.link.hello()
    assert (status.version, status.state, status.worker_pid) == (1, vdpad.WAITING, 0)
    assert status.pid == stand.device.process.pid


def test_a_worker_begins_with_all_it_needs_and_nothing_else(stand):
    device_fds = [memory_file(f"device{i}") for i in range(4)]
    first = stand.working(*device_fds)
    assert first.args == ["--fd", "3", "--name", "dev"]
    assert first.spec == stand.device.spec()
    assert set(first.slots) == {worker.SLOT_PAGE, worker.SLOT_HEALTH, worker.SLOT_LISTEN,
                                4, 5, 6, 7}
    for i, fd in enumerate(device_fds):
        assert same_file(fd, first.slots[worker.SLOT_DEVICE + i])
        os.close(fd)
    assert same_file(stand.device.listener.fileno(), first.slots[worker.SLOT_LISTEN])
    assert len(os.listdir(f"/proc/{first.pid}/fd")) <= 4  # 0, 1, 2, and the test's own
    status = stand.link.hello()
    assert (status.state, status.worker_pid) == (vdpad.WORKING, first.pid)


def test_a_worker_has_its_own_identity_and_no_way_back(make_stand):
    stand = make_stand(uid=812345)
    first = stand.working()
    with open(f"/proc/{first.pid}/status", encoding="ascii") as f:
        status = dict(line.split(":", 1) for line in f)
    assert status["Uid"].split() == status["Gid"].split() == ["812345"] * 4
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"].strip() == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0


def test_page_and_health_block_are_sealed_and_vdpad_only_reads(stand):
    first = stand.working()
    for slot in (worker.SLOT_PAGE, worker.SLOT_HEALTH):
        assert fcntl.fcntl(first.slots[slot], F_GET_SEALS) & 7 == 7
    _, _, (fd,) = stand.link.answer(stand.link.post(vdpad.HELLO))
    assert same_file(fd, first.slots[worker.SLOT_HEALTH])
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    os.close(fd)


@pytest.mark.parametrize("kind,payload,n_fds,wanted", [
    (vdpad.CONFIGURE, "spec", 0, errno.EINVAL),
    (vdpad.CONFIGURE, "spec", 6, errno.EINVAL),
    (vdpad.CONFIGURE, "short", 1, errno.EBADMSG),
    (vdpad.CONFIGURE, "relative", 1, errno.EINVAL),
    (vdpad.CONFIGURE, "flags", 1, errno.EINVAL),
    (vdpad.CONFIGURE, "no end", 1, errno.EINVAL),
    (vdpad.DEVICE_FDS, "", 1, errno.EINVAL),
    (vdpad.SET_SPEC, "spec", 0, errno.EINVAL),
    (vdpad.UPGRADE, "", 0, errno.EINVAL),
    (vdpad.REFRESH, "", 0, errno.EHOSTDOWN),
    (vdpad.HELLO, "short", 0, errno.EBADMSG),
    (0, "", 0, errno.EOPNOTSUPP),
    (worker.STORE, "", 0, errno.EOPNOTSUPP),
    (2**32 - 1, "", 0, errno.EOPNOTSUPP),
])
def test_wrong_requests_are_refused_and_change_nothing(stand, kind, payload, n_fds, wanted):
    payloads = {"": b"", "spec": stand.device.spec(), "short": stand.device.spec()[:-1],
                "relative": stand.device.spec(worker_path="worker"),
                "flags": stand.device.spec(flags=2),
                "no end": stand.device.spec(name="x" * 64)}
    settled(stand)
    before = stand.shim_fds()
    fds = [memory_file() for _ in range(n_fds)]
    assert stand.link.ask(kind, payloads[payload], fds) == -wanted
    for fd in fds:
        os.close(fd)
    assert stand.link.hello().state == vdpad.WAITING
    assert stand.shim_fds() == before
    stand.working()


def test_it_is_configured_once(stand):
    stand.working()
    assert stand.device.configure() == -errno.EALREADY


def test_stop_ends_the_connection_and_the_worker_and_the_shim(stand):
    first = stand.working()
    ours, theirs = socket.socketpair()
    first.store({worker.SLOT_CONN: theirs.fileno()})
    settled(stand)
    assert stand.link.ask(vdpad.STOP) == 0
    assert stand.device.process.wait(vdpad.DEADLINE) == 0
    first.wait_gone()
    ours.settimeout(vdpad.DEADLINE)
    assert ours.recv(1) == b""  # though the test has a copy, as the worker had
    ours.close()
    theirs.close()


def test_a_worker_does_not_outlive_its_shim(stand):
    first = stand.working()
    stand.device.process.kill()
    first.wait_gone()


# -------------------------------------------------------------------------- replacement

def test_a_worker_that_dies_is_replaced_with_all_its_slots(stand):
    first = stand.working(memory_file("device"))
    kept = {slot: memory_file(f"slot {slot}") for slot in (worker.SLOT_CONN, 8, 9, 500, 1535)}
    first.store(kept)
    os.pwrite(first.slots[worker.SLOT_PAGE], b"state", 0)
    settled(stand)
    first.die()
    second = stand.program.serving()
    for slot, fd in kept.items():
        assert same_file(fd, second.slots[slot])
        os.close(fd)
    assert set(second.slots) == set(first.slots) | set(kept)
    for slot in first.slots:
        assert same_file(first.slots[slot], second.slots[slot])
    assert os.pread(second.slots[worker.SLOT_PAGE], 5, 0) == b"state"
    assert "SIGKILL" in stand.link.wait_event("worker died")
    assert stand.link.wait_event("worker started")
    status = stand.link.hello()
    assert (status.worker_pid, status.restarts) == (second.pid, 1)


def test_all_slots_at_once_come_in_several_messages(stand):
    first = stand.working()
    fd = memory_file()
    for begin in range(worker.SLOT_FREE, worker.MAX_SLOTS, worker.FDS_A_MESSAGE):
        end = min(begin + worker.FDS_A_MESSAGE, worker.MAX_SLOTS)
        first.store({slot: fd for slot in range(begin, end)})
    os.close(fd)
    settled(stand)
    first.die()
    second = stand.program.serving()
    assert len(second.slots) == worker.MAX_SLOTS - worker.SLOT_FREE + 3


def test_slots_are_replaced_and_dropped(stand):
    first = stand.working()
    old, new = memory_file("old"), memory_file("new")
    first.store({8: old, 9: old})
    first.store({9: new, 10: old, 11: old})
    first.send(worker.DROP, slots_payload([8, 11, 1000]))
    settled(stand)
    first.die()
    second = stand.program.serving()
    assert same_file(second.slots[9], new) and same_file(second.slots[10], old)
    assert not {8, 11, 1000} & set(second.slots)
    os.close(old)
    os.close(new)


def test_what_a_worker_said_before_its_end_counts(stand):
    first = stand.working()
    os.kill(stand.device.process.pid, signal.SIGSTOP)
    kept = {slot: memory_file() for slot in range(8, 40)}
    first.store(kept)
    first.die()
    first.wait_gone()
    os.kill(stand.device.process.pid, signal.SIGCONT)
    assert set(stand.program.serving().slots) >= set(kept)
    for fd in kept.values():
        os.close(fd)


def crash(stand, first, times):
    current = first
    for _ in range(times):
        current.die()
        current = stand.program.serving()
    return current


def test_a_crash_loop_is_given_up_with_a_reason(stand):
    first = stand.working()
    ours, theirs = socket.socketpair()
    first.store({worker.SLOT_CONN: theirs.fileno()})
    settled(stand)
    last = crash(stand, first, 5)
    last.leave(3)
    reason = stand.link.wait_event("given up")
    status = stand.link.hello()
    assert status.state == vdpad.GIVEN_UP and status.worker_pid == 0
    assert "6 times" in reason and "status 3" in reason and status.reason == reason
    ours.settimeout(vdpad.DEADLINE)
    assert ours.recv(1) == b""
    assert stand.link.ask(vdpad.REFRESH) == -errno.EHOSTDOWN
    with stand.front_end() as refused:
        assert refused.recv(1) == b""
    ours.close()
    theirs.close()


def test_new_device_descriptors_revive_what_was_given_up(stand):
    last = crash(stand, stand.working(), 5)
    last.die()
    stand.link.wait_event("given up")
    fd = memory_file("device")
    seq = stand.link.post(vdpad.DEVICE_FDS, fds=[fd])
    revived = stand.program.serving()
    assert stand.link.answer(seq)[0] == 0
    assert same_file(revived.slots[worker.SLOT_DEVICE], fd)
    os.close(fd)
    status = stand.link.hello()
    assert (status.state, status.reason) == (vdpad.WORKING, "")
    with stand.front_end() as waiting:  # the worker would accept it; nobody refuses it
        settled(stand)
        assert not select.select([waiting], [], [], 0.2)[0]
    crash(stand, revived, 5)  # the record begins anew


def test_a_program_that_does_not_start_is_told_at_once_and_may_be_mended(stand):
    os.rename(stand.program.path, stand.program.path + ".away")
    assert stand.device.configure() == -errno.EHOSTDOWN
    status = stand.link.hello()
    assert status.state == vdpad.GIVEN_UP
    assert "No such file" in status.reason and "/worker" in status.reason
    os.rename(stand.program.path + ".away", stand.program.path)
    seq = stand.link.post(vdpad.UPGRADE)
    stand.program.serving()
    assert stand.link.answer(seq)[0] == 0


def test_descriptors_do_not_leak_over_100_replacements(stand):
    current = stand.working(memory_file())
    fd = memory_file()
    current.store({8: fd})
    settled(stand)
    before = None
    for n in range(100):
        seq = stand.link.post(vdpad.UPGRADE)
        current.close()
        current = stand.program.serving()
        current.store({8: fd})
        assert stand.link.answer(seq)[0] == 0
        settled(stand)
        before = before or stand.shim_fds()
    os.close(fd)
    assert stand.shim_fds() == before


# ------------------------------------------------------------------------------ upgrade

def answered(stand):
    return bool(select.select([stand.link.sock], [], [], 0)[0])


def test_an_upgrade_is_answered_when_the_new_program_is_ready(stand):
    first = stand.working()
    kept = memory_file()
    first.store({8: kept})
    stand.link.take_events()
    path = stand.program.make("worker2")
    seq = stand.upgrade_to(path)
    second = stand.program.next()
    second.take_over()
    assert second.program == path and same_file(second.slots[8], kept)
    stand.link.wait_event("worker started")
    assert not answered(stand)
    second.send(worker.READY)
    assert stand.link.answer(seq)[0] == 0
    status = stand.link.hello()
    assert (status.worker_path, status.restarts) == (path, 1)
    assert ("worker died" not in [kind for kind, _ in stand.link.events])
    os.close(kept)


@pytest.mark.parametrize("script,error", [
    (None, errno.ENOENT), ("not a program\n", errno.ENOEXEC),
    ("#!/bin/sh\nexit 1\n", errno.ECHILD),
])
def test_a_program_that_does_not_work_is_taken_back(stand, script, error):
    stand.working()
    path = os.path.join(stand.folder, "bad")
    if script:
        stand.program.make("bad", script)
    seq = stand.upgrade_to(path)
    back = stand.program.next()
    back.take_over()
    assert back.program == stand.program.path
    back.send(worker.READY)
    assert stand.link.answer(seq)[0] == -error
    assert stand.link.hello().worker_path == stand.program.path


def test_a_program_that_never_gets_ready_is_taken_back(stand):
    stand.working()
    seq = stand.upgrade_to(stand.program.make("slow"))
    slow = stand.program.next()
    back = stand.program.serving()
    assert back.program == stand.program.path
    assert stand.link.answer(seq)[0] == -errno.ETIMEDOUT
    slow.wait_gone()


def test_an_upgrade_is_answered_even_if_nothing_gets_ready(stand):
    """Neither the new program nor the old one: the answer comes, and another upgrade may."""
    stand.link.sock.settimeout(60)
    stand.program.listener.settimeout(60)
    stand.working()
    seq = stand.upgrade_to(stand.program.make("slow"))
    stand.program.next()
    stand.program.next()
    assert stand.link.answer(seq)[0] == -errno.ETIMEDOUT
    seq = stand.link.post(vdpad.UPGRADE)
    while stand.program.serving().program != stand.program.path:
        pass
    assert stand.link.answer(seq)[0] == 0


def test_one_upgrade_at_a_time(stand):
    stand.working()
    seq = stand.link.post(vdpad.UPGRADE)
    second = stand.program.next()
    second.take_over()
    assert stand.link.ask(vdpad.UPGRADE) == -errno.EBUSY
    second.send(worker.READY)
    assert stand.link.answer(seq)[0] == 0


def test_what_an_old_worker_says_does_not_make_the_new_program_good(stand):
    """It gets ready when the next program was named already, and even when it was told to end."""
    seq = stand.post_configure()
    first = stand.program.next()
    first.take_over()
    assert stand.link.answer(seq)[0] == 0
    bad = os.path.join(stand.folder, "bad")
    assert stand.link.ask(vdpad.SET_SPEC, stand.device.spec(worker_path=bad)) == 0
    first.send(worker.READY)
    settled(stand)
    seq = stand.link.post(vdpad.UPGRADE)
    back = stand.program.serving()
    assert back.program == stand.program.path
    assert stand.link.answer(seq)[0] == -errno.ENOENT

    os.kill(stand.device.process.pid, signal.SIGSTOP)
    back.send(worker.READY)
    seq = stand.link.post(vdpad.UPGRADE)
    os.kill(stand.device.process.pid, signal.SIGCONT)
    second = stand.program.next()
    second.take_over()
    stand.link.wait_event("worker started")
    assert not answered(stand)
    second.send(worker.READY)
    assert stand.link.answer(seq)[0] == 0


def test_the_answer_to_an_upgrade_is_for_the_vdpad_that_asked(stand):
    stand.working()
    seq = stand.link.post(vdpad.UPGRADE)
    second = stand.program.next()
    second.take_over()
    stand.device.relink()
    stand.link.seq = seq - 1
    asked = stand.link.post(vdpad.REFRESH)
    assert asked == seq
    assert stand.link.answer(asked)[0] == -errno.EHOSTDOWN
    second.send(worker.READY)
    wait_for(lambda: stand.link.hello().state == vdpad.WORKING, "the worker")
    assert not answered(stand)
    assert stand.link.post(vdpad.UPGRADE)
    stand.program.serving()


# ------------------------------------------------------------- requests for the worker

def test_requests_for_the_worker_are_passed_on_and_answered(stand):
    first = stand.working()
    fd = memory_file("report")
    seqs = [stand.link.post(vdpad.REFRESH), stand.link.post(vdpad.DUMP, fds=[fd])]
    asked = [first.receive() for _ in seqs]
    assert [a[0] for a in asked] == [vdpad.REFRESH, vdpad.DUMP]
    assert same_file(asked[1][3][0], fd)
    first.send(worker.REPLY, seq=asked[1][1], status=-errno.EIO)
    first.send(worker.REPLY, seq=asked[0][1])
    assert stand.link.answer(seqs[1])[0] == -errno.EIO
    assert stand.link.answer(seqs[0])[0] == 0
    os.close(fd)
    os.close(asked[1][3][0])


def test_an_answer_nobody_waits_for_is_dropped(stand):
    first = stand.working()
    seq = stand.link.post(vdpad.REFRESH)
    _, asked, _, _ = first.receive()
    for answer in (asked, asked, asked + 1, 0, 2**32 - 1):
        first.send(worker.REPLY, seq=answer)
    assert stand.link.answer(seq)[0] == 0
    settled(stand)
    assert not answered(stand)


def test_requests_of_a_worker_that_dies_are_answered_by_the_shim(stand):
    first = stand.working()
    seqs = [stand.link.post(vdpad.REFRESH) for _ in range(8)]
    assert stand.link.ask(vdpad.REFRESH) == -errno.EBUSY
    first.die()
    for seq in seqs:
        assert stand.link.answer(seq)[0] == -errno.EHOSTDOWN
    stand.program.serving()


def test_new_device_descriptors_and_facts_reach_the_worker(stand):
    first = stand.working(memory_file("old"), memory_file("old"))
    new = memory_file("new")
    assert stand.link.ask(vdpad.DEVICE_FDS, fds=[new]) == 0
    kind, _, _, fds = first.receive()
    assert kind == worker.DEVICE_CHANGED and [same_file(fd, new) for fd in fds] == [True]
    os.close(fds[0])
    spec = stand.device.spec(log_level=3)
    assert stand.link.ask(vdpad.SET_SPEC, spec) == 0
    kind, _, payload, _ = first.receive()
    assert (kind, payload) == (worker.SPEC_CHANGED, spec)
    first.die()
    second = stand.program.serving()
    assert second.spec == spec
    assert same_file(second.slots[4], new) and 5 not in second.slots
    os.close(new)


def test_a_worker_that_does_not_read_is_replaced(stand):
    first = stand.working()
    while stand.link.hello().worker_pid == first.pid:
        assert stand.link.ask(vdpad.SET_SPEC, stand.device.spec()) == 0
    stand.program.serving()


# ----------------------------------------------------------------------- hostile workers

def message(kind, payload=b"", size=None, status=0):
    return vdpad.HEADER.pack(kind, 0, status, len(payload) if size is None else size) + payload


def event(kind, words=b"words"):
    return message(worker.WORKER_EVENT, worker.event_payload(kind, words))


HOSTILE = {
    "one byte": (b"x", 0),
    "no payload": (message(worker.STORE), 0),
    "half a header": (message(worker.READY)[:15], 0),
    "a size that lies": (message(worker.READY, size=1), 0),
    "a payload too many": (message(worker.READY, b"1234"), 0),
    "a payload too short": (message(worker.STORE, slots_payload([8])[:-1]), 1),
    "a payload too long": (message(worker.STORE, slots_payload([8]) + b"x"), 1),
    "longer than any": (message(worker.STORE, bytes(3000)), 0),
    "an unknown kind": (message(1234), 0),
    "a kind of vdpad": (message(vdpad.STOP), 0),
    "a kind of the shim": (message(worker.START), 0),
    "fewer descriptors": (message(worker.STORE, slots_payload([8, 9])), 1),
    "more descriptors": (message(worker.STORE, slots_payload([8])), 2),
    "many more descriptors": (message(worker.STORE, slots_payload([8])), 64),
    "too many slots": (message(worker.STORE, struct.pack("=33I", 33, *range(8, 40))), 32),
    "countless slots": (message(worker.DROP, struct.pack("=33I", 2**32 - 1, *range(8, 40))), 0),
    "the page": (message(worker.STORE, slots_payload([worker.SLOT_PAGE])), 1),
    "the health block": (message(worker.DROP, slots_payload([worker.SLOT_HEALTH])), 0),
    "the listener": (message(worker.DROP, slots_payload([worker.SLOT_LISTEN])), 0),
    "the device": (message(worker.STORE, slots_payload([worker.SLOT_DEVICE])), 1),
    "the last of the device": (message(worker.DROP, slots_payload([7])), 0),
    "a good slot and a bad one": (message(worker.STORE, slots_payload([8, 0])), 2),
    "a slot beyond": (message(worker.STORE, slots_payload([worker.MAX_SLOTS])), 1),
    "a slot far beyond": (message(worker.DROP, slots_payload([2**32 - 1])), 0),
    "an event of no kind": (event(0), 0),
    "an event of the shim": (event(64), 0),
    "an event beyond": (event(2**32 - 1), 0),
    "an event without an end": (event(1, b"x" * 128), 0),
    "a reply with success above 0": (message(worker.REPLY, status=1), 0),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_worker_that_says_what_none_says_is_killed_and_changes_nothing(stand, what):
    data, n_fds = HOSTILE[what]
    first = stand.working(memory_file("device"))
    kept = memory_file("kept")
    first.store({8: kept})
    settled(stand)
    before = stand.shim_fds()
    fds = [memory_file() for _ in range(n_fds)]
    first.send_raw(data, fds)
    for fd in fds:
        os.close(fd)
    first.wait_gone()
    second = stand.program.serving()
    assert set(second.slots) == set(first.slots) | {8}
    assert same_file(second.slots[8], kept)
    os.close(kept)
    status = stand.link.hello()
    assert (status.state, status.restarts) == (vdpad.WORKING, 1)
    assert stand.shim_fds() == before


def test_a_flood_of_events_is_cut_and_vdpad_is_served(stand):
    first = stand.working()
    stop = threading.Event()

    def flood():
        while not stop.is_set():
            try:
                first.send_raw(event(1))
            except OSError:
                return
    thread = threading.Thread(target=flood)
    thread.start()
    begin = time.monotonic()
    for _ in range(20):
        assert stand.link.hello().worker_pid == first.pid
    stop.set()
    thread.join()
    events = [kind for kind, _ in stand.link.take_events() if kind == "connected"]
    assert 0 < len(events) <= 64 * (2 + int(time.monotonic() - begin))


# ------------------------------------------------------------------------- vdpad's side

def test_a_newer_vdpad_takes_the_place_of_an_older_one(stand):
    first = stand.working()
    older = stand.link
    stand.device.link = vdpad.Link(stand.device.control_path)
    assert stand.link.hello().worker_pid == first.pid
    with pytest.raises(ConnectionResetError):
        while True:
            older.receive()
    older.close()


def test_an_answer_for_an_older_vdpad_is_not_given_to_a_newer_one(stand):
    first = stand.working()
    seq = stand.link.post(vdpad.REFRESH)
    _, asked, _, _ = first.receive()
    stand.device.relink()
    stand.link.seq = seq - 1
    assert stand.link.post(vdpad.REFRESH) == seq
    _, asked_again, _, _ = first.receive()
    first.send(worker.REPLY, seq=asked, status=-errno.EIO)
    first.send(worker.REPLY, seq=asked_again)
    assert stand.link.answer(seq)[0] == 0


def test_it_works_on_without_vdpad(stand):
    first = stand.working()
    stand.link.close()
    first.die()
    second = stand.program.serving()
    stand.device.link = vdpad.Link(stand.device.control_path)
    assert stand.link.hello().worker_pid == second.pid


@pytest.mark.parametrize("data", [b"x", b"x" * 15, b"x" * 4000])
def test_nonsense_ends_vdpads_connection_only(stand, data):
    first = stand.working()
    stand.link.sock.send(data)
    with pytest.raises(ConnectionResetError):
        while True:
            stand.link.receive()
    stand.device.relink()
    assert stand.link.hello().worker_pid == first.pid


def test_a_foreign_user_is_turned_away(stand):
    first = stand.working()
    os.chmod(stand.device.control_path, 0o777)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            link = vdpad.Link(stand.device.control_path)
            try:
                link.post(vdpad.STOP)
                link.receive()
            except OSError:
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert stand.link.hello().worker_pid == first.pid  # and ours was not disturbed


# -------------------------------------------------------------------------- client mode

@pytest.fixture
def client(make_stand):
    return make_stand(client=True)


def listen(path, backlog=8):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.settimeout(vdpad.DEADLINE)
    if backlog:
        sock.listen(backlog)
    return sock


def receive_connection(current):
    kind, _, _, (fd,) = current.receive()
    assert kind == worker.CONNECTED
    return socket.socket(fileno=fd)


def assert_joined(a, b):
    a.sendall(b"hello")
    b.settimeout(vdpad.DEADLINE)
    assert b.recv(5) == b"hello"


def test_it_connects_and_the_next_worker_has_the_connection(client):
    front = listen(client.device.vhost_path)
    first = client.working()
    peer, _ = front.accept()
    ours = receive_connection(first)
    assert_joined(peer, ours)
    ours.close()
    first.die()
    second = client.program.serving()
    with socket.socket(fileno=os.dup(second.slots[worker.SLOT_CONN])) as again:
        assert_joined(peer, again)
    peer.close()
    front.close()


def test_it_waits_for_folders_and_socket_without_waking(client):
    deep = os.path.join(client.folder, "a", "b")
    client.device.vhost_path = os.path.join(deep, "sock")
    first = client.working()
    wait_for(client.sleeps, "sleep")
    os.mkdir(os.path.dirname(deep))
    wait_for(client.sleeps, "sleep")
    os.mkdir(deep)
    front = listen(client.device.vhost_path)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    wait_for(client.sleeps, "sleep")
    peer.close()
    front.close()


def test_a_socket_that_is_moved_into_place_is_found(client):
    first = client.working()
    front = listen(client.device.vhost_path + ".new")
    wait_for(client.sleeps, "sleep")
    os.rename(client.device.vhost_path + ".new", client.device.vhost_path)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    peer.close()
    front.close()


def test_a_socket_nobody_listens_at_yet_is_tried_again(client):
    front = listen(client.device.vhost_path, backlog=0)
    first = client.working()
    wait_for(lambda: "Connection refused" in client.device.log(), "the first try")
    front.listen(8)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    peer.close()
    front.close()


@pytest.mark.parametrize("where", ["socket", "folder"])
def test_no_symbolic_link_is_followed(client, where):
    real = os.path.join(client.folder, "real")
    os.mkdir(real)
    front = listen(os.path.join(real, "sock"))
    link = os.path.join(client.folder, "link")
    if where == "folder":
        os.symlink(real, link)
        client.device.vhost_path = os.path.join(link, "sock")
    else:
        os.mkdir(link)
        client.device.vhost_path = os.path.join(link, "sock")
        os.symlink(os.path.join(real, "sock"), client.device.vhost_path)
    first = client.working()
    wait_for(lambda: "symbolic link" in client.device.log(), "the reason in the log")
    wait_for(client.sleeps, "sleep")
    assert not select.select([front], [], [], 0)[0]

    front.close()
    if where == "folder":
        os.unlink(link)
        os.mkdir(link)
    else:
        os.unlink(client.device.vhost_path)
    front = listen(client.device.vhost_path)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    peer.close()
    front.close()


def test_what_is_no_socket_is_left_alone(client):
    with open(client.device.vhost_path, "w", encoding="ascii"):
        pass
    first = client.working()
    wait_for(client.sleeps, "sleep")
    os.unlink(client.device.vhost_path)
    front = listen(client.device.vhost_path)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    peer.close()
    front.close()


def test_it_connects_again_and_does_not_spin(client):
    front = listen(client.device.vhost_path)
    current = client.working()
    times = []
    for _ in range(6):
        peer, _ = front.accept()
        times.append(time.monotonic())
        receive_connection(current).close()
        peer.close()
        current.send(worker.DISCONNECTED)
    waits = [b - a for a, b in zip(times, times[1:])]
    assert waits[-1] > 2 * waits[0] and waits[-1] > 0.1  # each waits longer
    front.close()


def test_given_up_and_revived_it_connects_again(client):
    front = listen(client.device.vhost_path)
    first = client.working()
    peer, _ = front.accept()
    crash(client, first, 5).die()
    client.link.wait_event("given up")
    peer.settimeout(vdpad.DEADLINE)
    assert peer.recv(1) == b""
    wait_for(client.sleeps, "sleep")
    seq = client.link.post(vdpad.DEVICE_FDS)
    revived = client.program.serving()
    assert client.link.answer(seq)[0] == 0
    again, _ = front.accept()
    kind = revived.receive()[0] if worker.SLOT_CONN not in revived.slots else worker.CONNECTED
    assert kind == worker.CONNECTED
    again.close()
    peer.close()
    front.close()


def test_an_idle_shim_does_not_wake(stand):
    stand.working()
    wait_for(stand.sleeps, "sleep")
