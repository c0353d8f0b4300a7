# SPDX-License-Identifier: BSD-2-Clause
"""The control socket: roles, events, and peers that do not behave. See docs/control-socket.md."""
import json
import os
import random
import socket
import time

import pytest

from hostile import hostile
from waiting import wait_for

ADD = ["dev", "add", "mgmtdev", "sim/nic0", "name"]
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}
OPERATOR = {"user": 65533, "group": 65533, "extra_groups": [54321]}


class Peer:
    """One connection to the control socket."""

    def __init__(self, vdpad):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(vdpad.run_dir / "control.sock"))
        self.sock.settimeout(60)
        self.data = b""
        self.n = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        """The next line; None at the end of the connection."""
        while b"\n" not in self.data:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self.data += more
        line, self.data = self.data.split(b"\n", 1)
        return json.loads(line)

    def call(self, method, **params):
        self.n += 1
        self.send(json.dumps({"id": self.n, "method": method, "params": params}).encode() + b"\n")
        answer = self.line()
        assert answer["id"] == self.n
        return answer


# ---- roles

@hostile(167)
def test_strangers_are_turned_away(vdpad):
    done = vdpad.try_cli("dev", "show", **NOBODY)
    assert done.returncode == 1 and "admin_group" in done.stderr


@pytest.mark.parametrize("config, who", [("readonly_group = all", NOBODY),
                                         ("readonly_group = 54321", OPERATOR),
                                         ("readonly_group = 65533", OPERATOR)])
def test_readers_look_and_do_not_touch(make_vdpad, config, who):
    vdpad = make_vdpad(config=f"[vdpad]\n{config}\n")
    vdpad.cli(*ADD, "a")
    for words in (["mgmtdev", "show"], ["dev", "show"], ["dev", "config", "show"],
                  ["dev", "vstats", "show", "a"], ["dev", "status", "show"]):
        assert vdpad.try_cli(*words, **who).returncode == 0, words
    for words in ([*ADD, "b"], ["dev", "del", "a"], ["dev", "upgrade", "a"],
                  ["dev", "dump", "a", "file", "-"], ["dev", "set", "name", "a", "link", "down"]):
        done = vdpad.try_cli(*words, **who)
        assert done.returncode == 1 and "for admins" in done.stderr, words
    assert list(vdpad.json("dev", "show")["dev"]) == ["a"]


def test_a_group_may_administer_and_the_log_says_who_did(make_vdpad):
    vdpad = make_vdpad(config="[vdpad]\nadmin_group = 54321\n")
    assert vdpad.try_cli(*ADD, "a", **OPERATOR).returncode == 0
    assert vdpad.try_cli("dev", "show", **NOBODY).returncode == 1
    lines = [line for line in vdpad.log_text().splitlines() if "dev.add" in line]
    assert len(lines) == 1 and "uid 65533, process " in lines[0] and '"name":"a"' in lines[0]


# ---- events

def test_a_monitor_sees_what_happens(vdpad):
    with Peer(vdpad) as all_of_it, Peer(vdpad) as only_b:
        vdpad.cli(*ADD, "b")
        assert "result" in all_of_it.call("monitor")
        assert "result" in only_b.call("monitor", name="b")
        vdpad.cli(*ADD, "a")
        with socket.socket(socket.AF_UNIX) as front_end:
            front_end.connect(str(vdpad.run_dir / "vhost/a.sock"))
            vdpad.wait_status("a", lambda status: status["connected"])
        vdpad.wait_status("a", lambda status: not status["connected"])
        os.kill(vdpad.worker_pid("a"), 9)
        vdpad.wait_status("a", lambda status: status["worker_restarts"] == 1)
        vdpad.cli("dev", "set", "name", "a", "link", "down")
        os.kill(vdpad.simnic_pid(), 9)
        wait_for(lambda: vdpad.log_text().count("sim/nic0: nic-up") == 2, "simnic to come back", tell=vdpad.log_text)
        vdpad.cli("dev", "del", "a")
        vdpad.cli("dev", "del", "b")
        seen = []
        while ("removed", "b") not in seen:
            event = all_of_it.line()
            assert abs(event["time_ms"] / 1000 - time.time()) < 100 and "text" in event
            seen.append((event["event"], event.get("dev") or event.get("mgmtdev")))
        wanted = [("worker-started", "a"), ("added", "a"), ("connected", "a"),
                  ("disconnected", "a"), ("worker-died", "a"), ("worker-started", "a"),
                  ("changed", "a"), ("nic-died", "sim/nic0"), ("nic-up", "sim/nic0"),
                  ("removed", "a"), ("removed", "b")]
        left = iter(seen)
        assert all(event in left for event in wanted), seen
        while True:
            event = only_b.line()
            assert event["dev"] == "b"
            if event["event"] == "removed":
                break


def test_a_slow_monitor_is_told_how_much_it_missed(vdpad):
    vdpad.cli(*ADD, "a")
    with Peer(vdpad) as slow:
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        assert "result" in slow.call("monitor")
        with Peer(vdpad) as admin:
            for level in ("warning", "info") * 3000:
                assert "result" in admin.call("dev.set", name="a", log_level=level)
            seen = more = 0
            while (event := slow.line())["event"] != "lost":
                seen += 1
                if seen % 100 == 0:  # one more event makes room known
                    assert "result" in admin.call("dev.set", name="a", log_level="info")
                    more += 1
        assert abs(event["time_ms"] / 1000 - time.time()) < 100  # as each event has it
        assert event["count"] > 0 and 6000 <= seen + event["count"] <= 6000 + more
    assert vdpad.process.poll() is None


# ---- peers that do not behave

@pytest.mark.parametrize("data, names", [
    (b"hello\n", "not a request"),
    (b"{}\n", "method"),
    (b"[]\n", "method"),
    (b"\"x\"\n", "not a request"),
    (b'{"method":"dev.show","params":{"name":"x\\u0000y"}}\n', "not a request"),
    (b'{"method":1}\n', "method"),
    (b'{"method":"hello","id":"x"}\n', "integer"),
    (b'{"method":"hello","params":[]}\n', "object"),
    (b'{"method":"hello","method":"hello"}\n', "not a request"),
    (b"\xff\xfe\n", "not a request"),
    (b"\0\n", "not a request"),
    (b"[" * 60000 + b"\n", "not a request"),
    (b"x" * 70000, "65536"),
])
def test_what_is_no_request_ends_the_connection_with_a_reason(vdpad, data, names):
    with Peer(vdpad) as peer:
        try:
            peer.send(data)
        except BrokenPipeError:
            pass
        answer = peer.line()
        assert answer["error"]["code"] == "invalid" and names in answer["error"]["message"]
        assert peer.line() is None
    assert vdpad.try_cli("dev", "show").returncode == 0


def test_wrong_parameters_are_refused_and_the_connection_goes_on(vdpad):
    with Peer(vdpad) as peer:
        for method, params, code, names in [
                ("nonsense", {}, "not-found", "nonsense"),
                ("dev.show", {"name": 1}, "invalid", "string"),
                ("dev.show", {"colour": "x"}, "invalid", "colour"),
                ("dev.add", {"name": "x"}, "invalid", "mgmtdev is missing"),
                ("dev.add", {"name": "x", "mgmtdev": "sim/nic0", "mtu": "1500"}, "invalid", "mtu"),
                ("dev.add", {"name": "x", "mgmtdev": "sim/nic0", "mtu": 2**63 - 1}, "invalid",
                 "mtu"),
                ("dev.add", {"name": "x", "mgmtdev": "sim/nic0", "mtu": 1.5}, "invalid", "mtu"),
                ("dev.add", {"name": "x", "mgmtdev": "sim/nic0", "features": "0x" + "f" * 40},
                 "invalid", "features"),
                ("dev.add", {"name": "\u00e9" * 40, "mgmtdev": "sim/nic0"}, "invalid", "name"),
                ("dev.set", {"name": "x"}, "not-found", "x"),
                ("dev.vstats", {"name": "x", "qidx": -1}, "not-found", "x")]:
            answer = peer.call(method, **params)
            assert answer["error"]["code"] == code, (method, params, answer)
            assert names in answer["error"]["message"]
        assert peer.call("hello")["result"]["role"] == "admin"


def test_requests_of_one_connection_are_answered_in_order(vdpad):
    vdpad.cli(*ADD, "a")
    with Peer(vdpad) as peer:
        peer.send(b"".join(json.dumps({"id": i, "method": method}).encode() + b"\n" for i, method in
                           enumerate(["dev.status", "hello", "dev.config", "dev.show"] * 50)))
        assert [peer.line()["id"] for _ in range(200)] == list(range(200))


def test_requests_wait_for_who_does_not_read_the_answers(vdpad):
    """And are all answered when that goes on."""
    request, sent = b'{"method":"dev.show"}\n', 0
    for name in "abc":
        vdpad.cli(*ADD, name)
    with Peer(vdpad) as peer:
        peer.sock.settimeout(2)
        with pytest.raises(TimeoutError):  # sockets are full then, and what vdpad keeps
            while sent < len(request) * 50000:
                sent += peer.sock.send(request * 1000)
        assert vdpad.try_cli("dev", "show").returncode == 0
        peer.sock.settimeout(60)
        for _ in range(sent // len(request)):
            assert "result" in peer.line()
    assert vdpad.try_cli("dev", "show").returncode == 0


def test_a_peer_that_sends_no_more_gets_its_answers(vdpad):
    vdpad.cli(*ADD, "a")
    with Peer(vdpad) as peer:
        peer.send(b'{"method":"dev.status"}\n{"method":"hello"}\n')
        peer.sock.shutdown(socket.SHUT_WR)
        assert "devs" in peer.line()["result"] and "version" in peer.line()["result"]
        assert peer.line() is None


def test_a_peer_that_leaves_before_its_answer_disturbs_nobody(vdpad):
    vdpad.cli(*ADD, "a")
    for method, params in [("dev.status", {}), ("dev.upgrade", {"name": "a"}),
                           ("dev.dump", {"name": "a"}),
                           ("dev.add", {"name": "b", "mgmtdev": "sim/nic0"}),
                           ("dev.del", {"name": "b"}),
                           ("dev.set", {"name": "a", "link": "down"})]:
        with Peer(vdpad) as peer:
            peer.send(json.dumps({"method": method, "params": params}).encode() + b"\n")
        vdpad.wait_status("a", lambda status: status["state"] == "idle")
        if method == "dev.add":
            wait_for(lambda: "b" in vdpad.json("dev", "show")["dev"], "b")
            vdpad.wait_status("b", lambda status: status["state"] == "idle")
    wait_for(lambda: list(vdpad.json("dev", "show")["dev"]) == ["a"], "b to go")


def test_too_many_peers_are_told_so_and_the_rest_is_served(vdpad):
    peers = [Peer(vdpad) for _ in range(300)]
    try:
        assert "result" in peers[0].call("hello")
        assert peers[-1].line()["error"]["code"] == "unavailable"
    finally:
        for peer in peers:
            peer.sock.close()
    wait_for(lambda: vdpad.try_cli("dev", "show").returncode == 0, "room")


def test_readers_leave_room_for_admins(make_vdpad):
    vdpad = make_vdpad(config="[vdpad]\nreadonly_group = all\n")
    os.seteuid(NOBODY["user"])
    try:
        peers = [Peer(vdpad) for _ in range(300)]
    finally:
        os.seteuid(0)
    assert peers[0].call("hello")["result"]["role"] == "read-only"
    assert peers[-1].line()["error"]["code"] == "unavailable"
    vdpad.cli(*ADD, "a")
    for peer in peers:
        peer.sock.close()


def test_bytes_that_trickle_in_are_a_request_too(vdpad):
    with Peer(vdpad) as peer:
        for byte in b'{"id":7,"method":"hello"}\n':
            peer.send(bytes([byte]))
        assert peer.line()["id"] == 7


def test_random_bytes_do_no_harm(vdpad):
    chance = random.Random(9)
    for _ in range(100):
        with Peer(vdpad) as peer:
            try:
                peer.send(bytes(chance.choices(b'{}[]":,0123456789abcdehlomtv.\n\\ ',
                                               k=chance.randrange(1, 2000))) + b"\n")
                peer.line()
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert vdpad.process.poll() is None and vdpad.try_cli("dev", "show").returncode == 0
