# SPDX-License-Identifier: BSD-2-Clause
"""vdpa-shim and vdpad: requests for the worker, and whose answers they are."""
import errno
import os

import pytest

import shim_client as vdpad
import shim_worker as worker
from shim_stand import answered, make_stand, memory_file, settled, stand  # noqa: F401
from shim_worker import same_file

NOBODY = 65534


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
