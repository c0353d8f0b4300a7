# SPDX-License-Identifier: BSD-2-Clause
"""vdpa-shim: a worker is replaced by another program, or by the old one if that is no good."""
import errno
import os
import signal

import pytest

import shim_client as vdpad
import shim_worker as worker
from shim_stand import answered, make_stand, memory_file, settled, stand  # noqa: F401
from shim_worker import same_file
from waiting import wait_for


def test_an_upgrade_is_answered_when_the_new_program_is_ready(stand):
    first = stand.working()
    kept = memory_file()
    first.store({8: kept})
    stand.link.forget_events()
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


@pytest.mark.parametrize("script,error,words", [
    (None, errno.ENOENT, "No such file"), ("not a program\n", errno.ENOEXEC, "format"),
    ("#!/bin/sh\nexit 1\n", errno.ECHILD, "status 1"),
])
def test_a_program_that_does_not_work_is_taken_back(stand, script, error, words):
    stand.working()
    path = os.path.join(stand.folder, "bad")
    if script:
        stand.program.make("bad", script)
    seq = stand.upgrade_to(path)
    back = stand.program.next()
    back.take_over()
    assert back.program == stand.program.path
    back.send(worker.READY)
    status, why, _ = stand.link.answer(seq)
    assert status == -error and words in vdpad.text(why)
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
    stand.link.forget_events()
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
    seq = stand.link.post(vdpad.UPGRADE)
    stand.program.serving()
    assert stand.link.answer(seq)[0] == 0
