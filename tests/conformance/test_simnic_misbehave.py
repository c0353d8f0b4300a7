# SPDX-License-Identifier: BSD-2-Clause
"""The test interface: what it orders happens, so many times, and to nobody else."""
import errno
import json
import os
import socket
import time

import pytest

import simnic_client as sim
from waiting import wait_for


class Orders:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(sim.DEADLINE)
        self.sock.connect(path)
        self.file = self.sock.makefile("rw")

    def order(self, **order):
        self.file.write(json.dumps(order) + "\n")
        self.file.flush()
        return json.loads(self.file.readline())

    def close(self):
        self.file.close()
        self.sock.close()


@pytest.fixture
def bad(make_nic, tmp_path):
    path = str(tmp_path / "test.sock")
    nic = make_nic("--test-socket", path)
    nic.tester = Orders(path)
    yield nic
    nic.tester.close()


def test_a_command_fails_so_many_times(bad):
    f, g = bad.add("f"), bad.add("g")
    assert bad.tester.order(do="fail", function="f", command="GET_CONFIG", errno=errno.EIO,
                            times=2) == {"ok": True}
    for _ in range(2):
        with pytest.raises(sim.Refused) as info:
            f.config()
        assert info.value.errno == errno.EIO
        g.config()
        f.u64(sim.SET_MTU, 1400)
    assert f.config()["mtu"] == 1400


def test_a_command_hangs_and_is_not_done(bad):
    f = bad.add("f")
    bad.tester.order(do="hang", function="f", command="SET_MTU")
    f.channel.send(sim.SET_MTU, (1400).to_bytes(8, "little"))
    assert f.config()["mtu"] == 1500


def test_a_delayed_command_is_done_late_and_others_go_on(bad):
    f, g = bad.add("f"), bad.add("g")
    bad.tester.order(do="delay", command="MAP", ms=2000)
    memory = sim.Memory()
    begin = time.monotonic()
    seq = f.channel.send(sim.MAP, sim.struct.pack("<QQQII", 0, 0x1000, 0, 3, 0), [memory.fd])
    wait_for(lambda: bad.tester.order(do="stats")["functions"]["f"]["waiting"], "it to wait")
    g.config()
    f.channel.reply(sim.MAP, seq)
    assert time.monotonic() - begin >= 2
    assert bad.tester.order(do="stats")["functions"]["f"]["regions"] == 1
    f.config()
    memory.close()


def test_a_function_may_go_while_its_command_waits(bad):
    f = bad.add("f")
    n = len(os.listdir(f"/proc/{bad.process.pid}/fd"))
    bad.tester.order(do="delay", ms=60000)
    f.channel.send(sim.GET_CONFIG)
    wait_for(lambda: bad.tester.order(do="stats")["functions"]["f"]["waiting"], "it to wait")
    bad.admin.call(sim.DEL, sim.pack_function("f"))
    assert f.channel.is_closed()
    assert len(os.listdir(f"/proc/{bad.process.pid}/fd")) == n - 2


def test_a_function_vanishes(bad):
    f = bad.add("f")
    assert bad.tester.order(do="vanish", function="f")["ok"]
    assert f.channel.is_closed()
    with pytest.raises(sim.Refused):
        bad.admin.call(sim.DEL, sim.pack_function("f"))
    assert bad.tester.order(do="vanish", function="f") == {"ok": False, "error":
                                                           "no such function"}


def test_a_used_index_is_wrong_once(bad, make_guest):
    guest = make_guest(bad.add("f"))
    bad.tester.order(do="wrong-index", function="f", queue=1, by=7)
    guest.send(sim.frame(sim.mac(9), sim.mac(1)))
    ring = guest.queues[1].ring
    wait_for(ring.has_used, "a used index")
    assert guest.memory.get("<H", ring.device + 2)[0] == 8
    guest.send(sim.frame(sim.mac(9), sim.mac(1)))
    wait_for(lambda: guest.memory.get("<H", ring.device + 2)[0] == 2, "the right one")


def test_orders_are_cleared_and_nonsense_is_refused(bad):
    f = bad.add("f")
    bad.tester.order(do="fail", times=1000)
    assert bad.tester.order(do="stats")["orders"] == 1
    bad.tester.order(do="clear")
    f.config()
    assert not bad.tester.order(do="dance")["ok"]
    assert not bad.tester.order(do="fail", times=0)["ok"]
    bad.tester.file.write("[]\n")
    bad.tester.file.flush()
    assert json.loads(bad.tester.file.readline())["error"] == "not a JSON object"


def test_no_frame_is_lost_in_the_switch(bad, make_guest):
    """All packet memory comes back, whatever becomes of a frame."""
    a = make_guest(bad.add("a", mac=sim.mac(1)))
    b = make_guest(bad.add("b", mac=sim.mac(2)))
    for _ in range(20):
        b.offer()
        for to in (sim.mac(2), sim.mac(9), sim.BROADCAST, sim.mac(1)):
            a.send(sim.frame(to, sim.mac(1)))
            a.sent()
    wait_for(lambda: bad.tester.order(do="stats")["frames_in_use"] == 0, "all memory back")
