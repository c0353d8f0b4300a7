# SPDX-License-Identifier: BSD-2-Clause
"""vdpa-shim: workers that say what none says."""
import os
import signal
import struct
import threading
import time

import pytest

import shim_client as vdpad
import shim_worker as worker
from shim_stand import make_stand, memory_file, settled, stand  # noqa: F401
from shim_worker import same_file, slots_payload


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


def test_after_what_no_worker_says_nothing_of_it_is_believed_nor_logged(stand):
    first = stand.working(memory_file("device"))
    os.kill(stand.device.process.pid, signal.SIGSTOP)
    for _ in range(8):
        first.send_raw(message(200))
    stored = memory_file("stored")
    first.store({9: stored})
    os.close(stored)
    os.kill(stand.device.process.pid, signal.SIGCONT)
    first.wait_gone()
    assert set(stand.program.serving().slots) == set(first.slots)
    assert stand.device.log().count("said something that no worker says") == 1


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
    begin = time.monotonic()
    thread.start()
    for _ in range(20):
        assert stand.link.hello().worker_pid == first.pid
    stop.set()
    thread.join()
    events = [kind for kind, _ in stand.link.take_events() if kind == "connected"]
    assert 0 < len(events) <= 64 * (2 + int(time.monotonic() - begin))


def test_an_event_of_a_later_worker_is_passed_on(stand):
    first = stand.working()
    first.send_raw(event(63))
    assert stand.link.wait_event("of later") == "words"
    assert stand.link.hello().worker_pid == first.pid
