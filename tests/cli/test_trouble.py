# SPDX-License-Identifier: BSD-2-Clause
"""A daemon that is not there, refuses, hangs, ends, or talks nonsense."""
import os
import shutil
import socket
import threading
import time

import pytest

import samples
from conftest import PROGRAM
from fake_daemon import Error

SHOWS = [("mgmtdev show", "mgmtdev"), ("mgmtdev status show", "mgmtdev_status"), ("dev show", "dev"), ("dev config show", "config"),
         ("dev status show", "status"), ("dev vstats show vm1", "vstats"),
         ("dev vstats show vm1 qidx 1", "vstats")]
CHANGES = ["dev add name vm1 mgmtdev nic0", "dev del vm1", "dev set name vm1 link up",
           "dev upgrade vm1", "dev dump vm1"]
COMMANDS = [show for show, _ in SHOWS] + CHANGES + ["monitor"]
NOBODY = ("vdpad is not running: nobody listens at {} "
          "(start vdpad, or name its socket with --socket)\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_there_is_no_daemon(vdpa, command):
    assert vdpa.complaint(*command.split()) == NOBODY.format(vdpa.socket)


def test_a_dead_daemon_left_its_socket(vdpa):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(vdpa.socket)
    assert vdpa.complaint("dev") == NOBODY.format(vdpa.socket)


def test_the_path_is_no_socket(vdpa, folder):
    (folder / "file").touch()
    for path in (f"{folder}/file", f"{folder}/file/below"):
        assert vdpa.complaint("--socket", path, "dev") == NOBODY.format(path)


def test_the_socket_is_of_another_kind(vdpa, folder):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(f"{folder}/other")
        other.listen()
        assert vdpa.complaint("--socket", f"{folder}/other", "dev") == (
            f"{folder}/other is a socket, but not vdpad's control socket "
            "(name that with --socket)\n")


def test_the_path_is_too_long(vdpa):
    longest = "/" + "x" * 106
    assert vdpa.complaint("--socket", longest, "dev") == NOBODY.format(longest)
    assert vdpa.complaint("--socket", longest + "x", "dev") == (
        "the path of a socket has at most 107 bytes, this one has 108 "
        f"(name another with --socket): {longest}x\n")
    assert "this one has 5000" in vdpa.complaint("--socket", "x" * 5000, "dev")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_we_may_not_connect(vdpa, daemon, folder):
    # Where everybody may read the program.
    shutil.copy(PROGRAM, folder / "vdpa")
    os.chmod(vdpa.socket, 0o600)
    nobody = {"program": folder / "vdpa", "user": 65534, "group": 65534, "extra_groups": []}
    assert vdpa.complaint("dev", **nobody) == (
        f"{vdpa.socket}: permission denied (only root and members of vdpad's groups may connect: "
        "use sudo, or become a member of one)\n")
    os.chmod(vdpa.socket, 0o666)
    daemon.answers = samples.ANSWERS
    assert vdpa("dev", **nobody)[0] == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_the_daemon_denies_whoever_connects(vdpa, daemon, command):
    daemon.greeting = {"error": {"code": "denied", "message": "user 65534 may not"}}
    assert vdpa.complaint(*command.split()) == "Error: user 65534 may not\n"


CODES = ["invalid", "exists", "not-found", "busy", "denied", "unavailable", "internal", "of-later"]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_daemon_answers_with_an_error(vdpa, daemon, command, code):
    error = Error(code, "device \"vm1\": no; do this")
    daemon.answers = dict.fromkeys(
        [*samples.ANSWERS, "dev.add", "dev.del", "dev.set", "dev.upgrade", "monitor"], error)
    assert vdpa.complaint(*command.split()) == "Error: device \"vm1\": no; do this\n"


@pytest.mark.parametrize("command, section", SHOWS)
def test_json_has_its_section_when_it_failed(vdpa, daemon, command, section):
    daemon.answers = dict.fromkeys(samples.ANSWERS, Error("not-found", "no"))
    status, out, err = vdpa("-j", *command.split())
    assert (status, err) == (1, "Error: no\n")
    assert out == b'{"%s":{}}\n' % section.encode()


@pytest.mark.parametrize("command, section", SHOWS)
def test_json_has_its_section_without_a_daemon(vdpa, command, section):
    assert vdpa("-jp", *command.split())[:2] == (1, b'{\n    "%s": {}\n}\n' % section.encode())


@pytest.mark.parametrize("command", CHANGES)
def test_json_of_changes_that_failed_is_an_empty_line(vdpa, command):
    assert vdpa("-j", *command.split())[:2] == (1, b"\n")


def test_an_error_steers_no_terminal(vdpa, daemon):
    daemon.answers = {"dev.show": Error("internal", "a\x1b[2J\nb\u202e\u009b" + "x" * 5000)}
    err = vdpa.complaint("dev")
    assert err.startswith("Error: a?[2J?b??xxx")
    assert err.count("\n") == 1
    assert len(err) < 3000


NONSENSE = [
    b"\n",
    b"hello\n",
    b"[]\n",
    b"\"text\"\n",
    b"{}\n",
    b"{\"id\":1}\n",
    b"{\"id\":1,\"result\":{}\n",
    b"{\"id\":1,\"result\":[]}\n",
    b"{\"id\":1,\"result\":null}\n",
    b"{\"id\":2,\"result\":{\"devs\":[]}}\n",
    b"{\"result\":{\"devs\":[]}}\n",
    b"{\"id\":\"1\",\"result\":{\"devs\":[]}}\n",
    b"{\"id\":1,\"error\":\"denied\"}\n",
    b"{\"id\":1,\"error\":{\"code\":1,\"message\":\"x\"}}\n",
    b"{\"id\":1,\"error\":{\"code\":\"denied\"}}\n",
    b"{\"id\":1,\"result\":{\"devs\":[],\"x\":\"\xff\"}}\n",
    b"{\"id\":1,\"result\":{\"devs\":[],\"x\":\"\\u0000\"}}\n",
    b"{\"id\":1,\"result\":{\"devs\":[]}}\0\n",
    b"{\"id\":1,\"result\":{\"devs\":[],\"x\":99999999999999999999}}\n",
    b"{\"id\":1,\"result\":{\"devs\":" + b"[" * 100000 + b"]" * 100000 + b"}}\n",
    b"{\"id\":1,\"result\":{}}\n",
    b"{\"id\":1,\"result\":{\"devs\":{}}}\n",
    b"{\"id\":1,\"result\":{\"devs\":[1]}}\n",
    b"{\"id\":1,\"result\":{\"devs\":[{}]}}\n",
    b"\x16\x03\x01\x00\xa5" + b"x" * 160 + b"\n",
]


@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: repr(answer)[2:40])
@pytest.mark.parametrize("command", ["dev show", "dev config show", "dev status show"])
def test_nonsense_is_called_so(vdpa, daemon, command, answer):
    method = ".".join(command.split()[:2])
    daemon.answers = {method: lambda connection, _: daemon.send(connection, answer)}
    err = vdpa.complaint(*command.split())
    assert err.startswith(f"vdpad at {vdpa.socket} answers {method} with nonsense: ")
    assert err.endswith(("of the same version as vdpa?)\n", "of the same version?)\n"))


def test_what_is_wrong_with_it_is_said(vdpa, daemon):
    for answer, what in ((b"[]\n", "not a JSON object"), (b"{\"id\":1}\n", "no result"),
                         (b"{\"id\":7,\"result\":{}}\n", "an answer to another request"),
                         (b"{\"id\":1,\"error\":1}\n", "an error without code or message")):
        daemon.answers = {"dev.show": lambda connection, _: daemon.send(connection, answer)}
        assert vdpa.complaint("dev") == (
            f"vdpad at {vdpa.socket} answers dev.show with nonsense: {what} "
            "(is it vdpad, and of the same version as vdpa?)\n")


# A method, a result that is fine, and what may not be otherwise in its first item.
SHAPES = [
    ("mgmtdev show", "mgmtdev.show", {"handle": [None, 1], "classes": ["net", [1]],
                                      "max_vqs": ["3", -1, 1.5],
                                      "features": ["MAC", [True], [-1]]}),
    ("mgmtdev status show", "mgmtdev.show", {"state": [1], "reason": [[]], "uplink": [1],
                                             "uplink_state": [False], "devices": ["2", -1],
                                             "pid": [-1, "812"], "restarts": [0.5]}),
    ("dev show", "dev.show", {"name": [None, 1], "type": [None, 1], "mgmtdev": [None, []],
                              "vendor_id": [None, "x", -1], "max_vqs": [None, 0.5],
                              "max_vq_size": [None, {}]}),
    ("dev config show", "dev.config", {"name": [None, 1], "mac": [1], "link_up": ["up", 1],
                                       "link_announce": [0], "max_vqp": ["1", -1],
                                       "mtu": [1500.0], "negotiated_features": [{}, [{}]]}),
    ("dev vstats show vm1", "dev.vstats", {"qidx": [None, "0"], "queue_type": [None, 1],
                                           "stats": [None, [], {"x": "1"}, {"x": -1}]}),
    ("dev status show", "dev.status", {"name": [None, 1], "state": [None, 1], "mgmtdev": [None],
                                       "features": ["x", [[]]], "counters": [[], {"x": None}],
                                       "queues": [{}, [1], [{"qidx": "x"}]]}),
]


@pytest.mark.parametrize("command, method, key, value", [
    (command, method, key, value) for command, method, keys in SHAPES
    for key, values in keys.items() for value in values])
def test_what_has_the_wrong_shape_is_named(vdpa, daemon, command, method, key, value):
    (name, items), = samples.ANSWERS[method].items()
    wrong = {k: v for k, v in (items[0] | {key: value}).items() if v is not None}
    daemon.answers = {method: {name: [items[0], wrong]}}
    err = vdpa.complaint(*command.split())
    assert err.startswith(f"vdpad at {vdpa.socket} answers {method} with nonsense: {name}[1].{key}")
    assert err.endswith(" is missing or of the wrong kind (are vdpa and vdpad of the same "
                        "version?)\n")


def test_where_the_shape_is_wrong_is_named_exactly(vdpa, daemon):
    queue = samples.STATUS[0]["queues"][0]
    daemon.answers = {"dev.status": {"devs": [samples.STATUS[0] | {
        "queues": [queue, queue | {"running": 1}]}]}}
    assert ": devs[0].queues[1].running is missing or" in vdpa.complaint("dev", "status")


@pytest.mark.parametrize("answer", [
    b"", b"{\"id\":1,\"res", b"{\"id\":1,\"result\":{\"devs\":[]}}"])
@pytest.mark.parametrize("command", ["dev show", "dev del vm1", "monitor"])
def test_the_daemon_hangs_up(vdpa, daemon, command, answer):
    def hang_up(connection, _):
        daemon.send(connection, answer)
        connection.shutdown(socket.SHUT_RDWR)

    method = command.replace(" vm1", "").replace(" ", ".")
    daemon.answers = {method: hang_up}
    when = "in the middle of its answer to" if answer else "without an answer to"
    assert vdpa.complaint(*command.split()) == (
        f"vdpad at {vdpa.socket} hung up {when} {method} "
        "(it may have ended or been restarted: try again, and see its log)\n")


def test_the_daemon_hangs_up_before_it_is_asked(vdpa, daemon):
    daemon.greeting = b""
    for _ in range(20):
        assert "hung up without an answer to dev.show" in vdpa.complaint("dev")


def test_an_answer_without_end_is_given_up(vdpa, daemon):
    def flood(connection, _):
        while True:
            connection.sendall(b"x" * 1000000)

    daemon.answers = {"dev.show": flood}
    assert "nonsense: more than 64 MiB without an end" in vdpa.complaint("dev")


def test_a_request_that_is_too_long_is_not_sent(vdpa, daemon):
    # A byte each here, and six each in the request.
    words = ["dev", "add", "mgmtdev", "nic0"]
    for keyword in ("name", "vm", "socket"):
        words += [keyword, "/" + "\x01" * 4000]
    assert vdpa.complaint(*words) == (
        "that is too long for a request to vdpad: 72089 bytes, at most 65536\n")
    assert daemon.requests == []


def test_what_hangs_is_given_up_after_ten_seconds_and_a_change_after_more(vdpa, daemon, folder):
    def answer_late(connection, _):
        time.sleep(11)
        return {}

    def trickle(connection, _):
        while not daemon.over.wait(0.001):
            connection.sendall(b" ")

    def be_silent(connection, _):
        daemon.over.wait()

    daemon.answers = {"dev.show": be_silent, "dev.config": trickle, "monitor": be_silent} | (
        dict.fromkeys(["dev.add", "dev.del", "dev.set", "dev.upgrade"], answer_late))
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(f"{folder}/full")
        full.listen(0)
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(f"{folder}/full")
        began = time.monotonic()
        given_up = {words: vdpa.start(*words.split()) for words in (
            "dev show", "dev config show", "monitor", f"--socket {folder}/full dev show")}
        waited_for = [vdpa.start(*change.split()) for change in CHANGES[:4]]
        time.sleep(max(0, began + 8 - time.monotonic()))
        assert all(process.poll() is None for process in given_up.values())
        said = {words: process.communicate(timeout=60)[1].decode()
                for words, process in given_up.items()}
        assert 9.9 < time.monotonic() - began < 40
        for process in waited_for:
            assert process.communicate(timeout=60) == (b"", b"")
            assert process.returncode == 0
        assert time.monotonic() - began >= 11
        for one in crowd:
            one.close()
    assert [process.returncode for process in given_up.values()] == [1] * 4
    late = ("vdpad at {} did not answer {} within 10 s (it hangs or is overloaded: see its log); "
            "what was asked for may still happen\n")
    assert said["dev show"] == late.format(vdpa.socket, "dev.show")
    assert said["dev config show"] == late.format(vdpa.socket, "dev.config")
    assert said["monitor"] == late.format(vdpa.socket, "monitor")
    assert said[f"--socket {folder}/full dev show"] == (
        f"vdpad at {folder}/full accepts no connection (it hangs or is overloaded: see its log)\n")


def test_several_ask_at_once(vdpa, daemon, golden):
    all_asked = threading.Barrier(8, timeout=60)

    def answer(*_):
        all_asked.wait()
        return samples.ANSWERS["dev.show"]

    daemon.answers = {"dev.show": answer}
    processes = [vdpa.start("dev", "show") for _ in range(8)]
    for process in processes:
        golden(process.communicate(timeout=60)[0], "dev.txt")
