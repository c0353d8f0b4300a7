# SPDX-License-Identifier: BSD-2-Clause
"""A control queue behind an IOMMU: commands and verdicts are translated when asked for, as all buffers."""
import os
import struct

import pytest
from control import ADDR_SET, ERR, MAC, OK, PROMISC, RX, TABLE_SET, ControlRing
from dirty import Log
from frontend import F_MQ, config
from hostile import hostile
from iommu import ACCESS_FAIL, BASE, INVALIDATE, MISS, PAGE, READ, WRITE, IommuGuest, ScatteredRing, iotlb
from looks import running
from simnic import CONTROL
from waiting import wait_for

CHOSEN = b"\x52\x54\0\0\0\7"


class ScatteredControl(ScatteredRing, ControlRing):
    pass


class Guest(IommuGuest):
    def __init__(self, stand, packed):
        super().__init__(stand, pairs=2, packed=packed, extra=CONTROL | F_MQ)
        self.control = ScatteredControl(self.view, 4, 4 << 20, 16, packed)
        self.rings.append(self.control)

    def verdict(self):
        _, length = self.serve_until(self.control.take, "a verdict")
        assert length == 1
        return self.control.written_verdict()

    def command(self, kind, number, data=b""):
        self.control.offer_command(bytes([kind, number]) + data)
        self.control.notify()
        return self.verdict()

    def mac_in_config(self):
        return self.fe.ask("GET_CONFIG", config(0, 6))[12:]


@pytest.fixture
def stand(make_logging_stand):
    return make_logging_stand(pairs=2, control=True)


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def guest(stand, request):
    guest = Guest(stand, request.param)
    guest.configure()
    guest.serve_until(lambda: all(running(stand)[:5]), "rings to run")
    guest.asked.clear()
    return guest


def test_commands_and_verdicts_are_asked_for(guest):
    command, verdict = guest.control.places()
    assert guest.command(MAC, ADDR_SET, CHOSEN) == OK
    assert guest.mac_in_config() == CHOSEN
    assert guest.asked == [(MISS, BASE + command, READ), (MISS, BASE + verdict, WRITE)]
    assert guest.command(RX, 77, b"\0") == ERR
    for _ in range(20):  # around the ring; its pages come again
        assert guest.command(RX, PROMISC, b"\0") == OK
    assert guest.fe.vring_base(4) == guest.control.position()


def test_a_command_waits_alone(stand, guest):
    """Another worker asks for what it waits for."""
    guest.exchange(64)  # each slot: what frames need is there
    guest.silent = True
    places = guest.control.places()
    guest.control.offer_command(bytes([MAC, ADDR_SET]) + CHOSEN)
    guest.control.notify()
    guest.serve_until(lambda: (MISS, BASE + places[0], READ) in guest.asked, "the miss")
    guest.exchange(3)
    assert guest.control.take() is None and guest.mac_in_config() != CHOSEN
    guest.asked.clear()
    stand.shim.restart()
    guest.serve_until(lambda: (MISS, BASE + places[0], READ) in guest.asked, "the next worker's question")
    guest.silent = False
    for at in places:
        assert guest.tell(guest.update(BASE + at))
    assert guest.verdict() == OK and guest.mac_in_config() == CHOSEN


def test_what_was_taken_back_is_not_read_or_written(guest):
    for _ in range(guest.control.size):
        assert guest.command(RX, PROMISC, b"\0") == OK
    command, verdict = guest.control.places()
    for at in (command, verdict):
        assert guest.tell(iotlb(INVALIDATE, BASE + at))
    guest.asked.clear()
    assert guest.command(MAC, ADDR_SET, CHOSEN) == OK
    assert guest.asked == [(MISS, BASE + command, READ), (MISS, BASE + verdict, WRITE)]


@hostile(121)
def test_a_verdict_that_may_not_be_written_stops_that_queue(stand, guest):
    guest.exchange(2)
    command, verdict = guest.control.places()
    assert guest.tell(guest.update(BASE + command))
    assert guest.tell(guest.update(BASE + verdict, perm=READ))
    guest.control.offer_command(bytes([MAC, ADDR_SET]) + CHOSEN)
    guest.control.notify()
    guest.serve_until(lambda: (ACCESS_FAIL, BASE + verdict, WRITE) in guest.asked, "the news")
    wait_for(lambda: stand.shim.has_event("queue error"), "the queue's end")
    assert guest.control.written_verdict() == 0xee and guest.mac_in_config() != CHOSEN
    assert running(stand)[:4] == [1] * 4
    guest.exchange(3)


def test_the_log_has_a_verdict_where_it_is(guest):
    assert guest.command(RX, PROMISC, b"\0") == OK
    log = Log(guest)
    guest.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])
    guest.log_all()
    _, verdict = guest.control.places()
    assert guest.command(MAC, TABLE_SET, struct.pack("<I6sI", 1, CHOSEN, 0)) == OK
    assert guest.fe.vring_base(4) == guest.control.position()
    page = (guest.memory.gpa + guest.view.map.pages[verdict // PAGE] * PAGE) // PAGE
    assert page in log.marked()
    os.close(log.fd)
