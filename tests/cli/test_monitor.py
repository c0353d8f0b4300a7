# SPDX-License-Identifier: BSD-2-Clause
"""`vdpa monitor`: lines as they happen, and an end with a reason."""
import json
import os
import signal
import socket
import threading

import pytest

EVENTS = [
    {"event": "connected", "time_ms": 1764000000000, "dev": "vm1", "text": "process 4711"},
    {"event": "nic-died", "time_ms": 1764000000007, "mgmtdev": "sim/nic0", "text": "signal 11"},
    {"event": "migration-stopped", "time_ms": 1764000001000, "dev": "vm1",
     "text": "all queues were taken back (relay, switch 0.120 ms, logging 2103.004 ms, stop 0.085 ms)"},
    {"event": "removed", "time_ms": 1764000001999, "dev": "vm1"},
    {"event": "added", "time_ms": 1764000001999, "dev": "vm1", "text": ""},
    {"event": "lost", "time_ms": 1764000002000, "count": 17},
    {"event": "of-later", "time_ms": 0, "dev": "vm1", "text": "a\x1b[2Jb\n", "more": [1]},
]


class Script:
    """Answers monitor, then sends what the test says."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.connection = None
        self.begun = threading.Event()
        daemon.answers = {"monitor": self}

    def __call__(self, connection, request):
        self.connection = connection
        self.daemon.send(connection, {"id": request["id"], "result": {}})
        self.begun.set()

    def send(self, *events):
        assert self.begun.wait(10)
        for event in events:
            self.daemon.send(self.connection, event)

    def hang_up(self):
        self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def script(daemon):
    return Script(daemon)


@pytest.fixture
def monitor(vdpa):
    processes = []

    def start(*words, **more):
        processes.append(vdpa.start(*words, **more))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def lines(process, n):
    return b"".join(process.stdout.readline() for _ in range(n))


def end(process, number=signal.SIGINT):
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("options, ending", [([], "txt"), (["-j"], "json"), (["-jp"], "json")])
def test_events_are_lines(script, monitor, daemon, golden, options, ending):
    process = monitor(*options, "monitor")
    script.send(*EVENTS)
    golden(lines(process, len(EVENTS)), f"monitor.{ending}")
    assert daemon.asked() == [("monitor", {})]
    assert end(process) == (0, b"", b"")


def test_json_lines_are_the_events(script, monitor):
    process = monitor("-j", "monitor")
    script.send(*EVENTS)
    assert [json.loads(line) for line in lines(process, len(EVENTS)).splitlines()] == EVENTS
    assert end(process) == (0, b"", b"")


def test_one_device_can_be_named(script, monitor, daemon):
    process = monitor("mo", "vm1")
    script.send(EVENTS[0])
    assert lines(process, 1) == b"2025-11-24 16:00:00.000 vm1 connected: process 4711\n"
    assert daemon.asked() == [("monitor", {"name": "vm1"})]
    assert end(process)[0] == 0


def test_lines_come_at_once(script, monitor):
    process = monitor("monitor")
    for event in EVENTS:
        script.send(event)
        assert lines(process, 1).endswith(b"\n")
    assert end(process) == (0, b"", b"")


def test_events_may_come_in_one_piece_with_the_answer(daemon, monitor):
    def together(connection, request):
        data = b"".join(json.dumps(thing).encode() + b"\n"
                        for thing in ({"id": request["id"], "result": {}}, *EVENTS))
        daemon.send(connection, data)

    daemon.answers = {"monitor": together}
    process = monitor("monitor")
    assert lines(process, len(EVENTS)).count(b"\n") == len(EVENTS)
    assert end(process) == (0, b"", b"")


def test_events_may_come_in_many_pieces(script, monitor, daemon, golden):
    daemon.piece = 1
    process = monitor("monitor")
    script.send(*EVENTS)
    golden(lines(process, len(EVENTS)), "monitor.txt")
    assert end(process) == (0, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(script, monitor, number):
    process = monitor("monitor")
    script.send(EVENTS[0])
    lines(process, 1)
    assert end(process, number) == (0, b"", b"")


def test_it_says_when_the_daemon_is_gone(script, monitor, vdpa):
    process = monitor("monitor")
    script.send(EVENTS[0])
    script.hang_up()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.count(b"\n")) == (1, 1)
    assert err.decode() == (f"vdpad at {vdpa.socket} is gone: it ended or was restarted "
                            "(begin again when it runs)\n")


@pytest.mark.parametrize("line", [
    b"hello\n", b"[]\n", b"{}\n", b"{\"event\":1,\"time_ms\":1}\n", b"{\"event\":\"x\"}\n",
    b"{\"event\":\"x\",\"time_ms\":1,\"dev\":1}\n", b"{\"event\":\"x\",\"time_ms\":-1}\n"])
def test_nonsense_ends_it(script, monitor, vdpa, line):
    process = monitor("monitor")
    script.send(EVENTS[0], line)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.count(b"\n")) == (1, 1)
    assert err.decode().startswith(f"vdpad at {vdpa.socket} answers monitor with nonsense: ")


def test_a_reader_that_is_gone_ends_it(script, monitor):
    reader, writer = os.pipe()
    process = monitor("monitor", stdout=writer)
    os.close(writer)
    os.close(reader)
    script.send(EVENTS[0])
    assert process.wait(timeout=60) != 0


def test_output_that_gets_lost_ends_it(script, monitor):
    with open("/dev/full", "wb") as full:
        process = monitor("monitor", stdout=full)
        script.send(EVENTS[0])
        err = process.communicate(timeout=60)[1]
    assert err == b"can't write the output: No space left on device\n"
    assert process.returncode == 1
