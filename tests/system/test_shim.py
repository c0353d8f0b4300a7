# SPDX-License-Identifier: BSD-2-Clause
"""vdpa-shim: start and end, and workers that are replaced with all their descriptors."""
import errno
import fcntl
import os
import select
import signal
import socket

import pytest

import shim_client as vdpad
import shim_worker as worker
from shim_stand import crash, make_stand, memory_file, settled, stand  # noqa: F401
from shim_worker import same_file, slots_payload
from waiting import wait_for

F_GET_SEALS = 1034


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
    wait_for(lambda: len(os.listdir(f"/proc/{first.pid}/fd")) <= 4,  # 0, 1, 2, and the test's own
             "the script to give up what it has passed on")
    status = stand.link.hello()
    assert (status.state, status.worker_pid) == (vdpad.WORKING, first.pid)


def test_a_standby_comes_before_the_first_worker_and_anew(stand):
    fds = [memory_file(f"standby{i}") for i in range(3)]
    assert stand.link.ask(vdpad.STANDBY_FDS, fds=fds[:2]) == 0
    first = stand.working()
    assert [same_file(fds[i], first.slots[worker.SLOT_STANDBY + i]) for i in range(2)] == [True] * 2
    assert worker.SLOT_DEVICE not in first.slots
    assert stand.link.ask(vdpad.STANDBY_FDS, fds=fds[2:]) == 0
    kind, _, _, news = first.receive()
    assert kind == worker.STANDBY_CHANGED and len(news) == 1 and same_file(news[0], fds[2])
    os.close(news[0])
    first.die()
    second = stand.program.serving()
    assert same_file(fds[2], second.slots[worker.SLOT_STANDBY])
    assert worker.SLOT_STANDBY + 1 not in second.slots
    for fd in fds:
        os.close(fd)


def test_who_is_to_serve_is_kept_and_that_it_is_urgent_is_not(stand):
    first = stand.working()
    wish, now = 8, 16
    assert stand.link.ask(vdpad.SET_SPEC, stand.device.spec(flags=wish | now | 2)) == 0
    kind, _, spec, _ = first.receive()
    assert (kind, spec) == (worker.SPEC_CHANGED, stand.device.spec(flags=wish | now))
    first.die()
    assert stand.program.serving().spec == stand.device.spec(flags=wish)


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
    (vdpad.STANDBY_FDS, "", 5, errno.EINVAL),
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
                "flags": stand.device.spec(flags=32),
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


@pytest.mark.parametrize("how", ["all was read", "something of the shim's was not read"])
def test_what_a_worker_said_before_its_end_counts(stand, how):
    first = stand.working()
    if how != "all was read":  # then the shim's socket reports an error before it gives what is there
        assert stand.link.ask(vdpad.DEVICE_FDS, fds=[first.slots[worker.SLOT_PAGE]]) == 0
    os.kill(stand.device.process.pid, signal.SIGSTOP)
    kept = {slot: memory_file() for slot in range(8, 40)}
    first.store(kept)
    first.die()
    first.wait_gone()
    first.sock.close()
    os.kill(stand.device.process.pid, signal.SIGCONT)
    assert set(stand.program.serving().slots) >= set(kept)
    for fd in kept.values():
        os.close(fd)


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
