# SPDX-License-Identifier: BSD-2-Clause
"""The end of a connection, of a function or of a device at any moment, and a front-end that stands still."""
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
from frontend import F_LOG_ALL, NEED_ACKS, Closed, FrontEnd, Memory, eventfd, single, state, u64
from hostile import hostile
from shimside import REFRESH
from test_backend_channel import CONFIG_CHANGE, comes, set_link
from test_set_log_base import Log
from waiting import wait_for


def life(guest, log, channel):
    """All that a front-end says in its life, in QEMU's order: (name, payload, descriptors), or a function."""
    yield "GET_FEATURES", b"", []
    yield "GET_PROTOCOL_FEATURES", b"", []
    yield "SET_PROTOCOL_FEATURES", u64(guest.pf), []
    yield "GET_QUEUE_NUM", b"", []
    yield "SET_OWNER", b"", []
    yield "GET_MAX_MEM_SLOTS", b"", []
    yield "SET_BACKEND_REQ_FD", b"", [channel.fileno()]
    yield "GET_CONFIG", struct.pack("=III", 0, 6, 0) + bytes(6), []
    yield from guest.setup_steps()
    yield "NET_SET_MTU", u64(1500), []
    yield "ADD_MEM_REG", single(guest.more), [guest.more.fd]
    yield lambda: guest.exchange(3)
    yield "SET_LOG_BASE", log.payload(), [log.fd]
    yield "SET_FEATURES", u64(guest.features | F_LOG_ALL), []
    for ring in guest.rings:
        yield "SET_VRING_ADDR", ring.addr(1, guest.memory.gpa + ring.used), []
    yield lambda: guest.exchange(3)
    for ring in guest.rings:
        yield "SET_VRING_ENABLE", state(ring.index, 0), []
    for ring in guest.rings:
        yield "GET_VRING_BASE", state(ring.index, 0), []
    yield "SET_DEVICE_STATE_FD", struct.pack("=II", 0, 0), [guest.pipe[1]]
    yield "CHECK_DEVICE_STATE", b"", []
    yield "SET_FEATURES", u64(guest.features), []
    yield "REM_MEM_REG", single(guest.more), []
    yield "SEND_RARP", guest.mac + b"\0\0", []
    yield "RESET_DEVICE", b"", []
    yield "SET_STATUS", u64(0), []


class Life:
    def __init__(self, stand, packed=False):
        self.guest = stand.guest(packed=packed)
        self.guest.more = Memory(1 << 20, gpa=0x80000000)
        self.guest.pipe = os.pipe()
        self.log = Log(self.guest, missing=-(1 << 16))
        self.channel = socket.socketpair()
        self.steps = list(life(self.guest, self.log, self.channel[1]))

    def play(self, n):
        """The first @n steps; the last one is sent, and its answer not awaited."""
        for i, step in enumerate(self.steps[:n]):
            if callable(step):
                step()
                continue
            name, payload, fds = step
            self.guest.fe.send(name, payload, fds, flags=9 if i > 3 else 1)
            if i + 1 < n:
                self.answer(i, name)

    def answer(self, i, name):
        if i > 3 or name.startswith("GET_"):
            self.guest.fe.reply(name)

    def close(self):
        self.guest.fe.close()
        self.guest.more.close()
        os.close(self.log.fd)
        for fd in self.guest.pipe:
            os.close(fd)
        for sock in self.channel:
            sock.close()


STEPS = 45  # of a life with one pair of rings


def test_all_steps_of_a_life_are_played(stand):
    life = Life(stand)
    assert len(life.steps) == STEPS
    life.play(STEPS)
    life.close()


@hostile(159)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("n", range(1, STEPS + 1))
def test_the_end_after_any_message_leaves_nothing(stand, n, packed):
    life = Life(stand, packed)
    life.play(n)
    life.close()


@hostile(159)
@pytest.mark.parametrize("n", range(1, STEPS + 1, 3))
def test_the_end_after_any_message_and_the_worker_s_end_leave_nothing(stand, n):
    """The successor finds a connection that is over, and perhaps a message that was handled by half."""
    life = Life(stand)
    life.play(n)
    stand.shim.kill()
    life.close()
    stand.shim.start()


@hostile(160)
@pytest.mark.parametrize("command", ["MAP", "PREPARE", "START", "STOP", "SET_FEATURES", "RESET"])
def test_the_end_while_the_device_is_at_work_waits_for_it(bad_stand, command):
    guest = bad_stand.guest()
    guest.fe.negotiate()
    bad_stand.order("delay", command=command, ms=300)
    for name, payload, fds in guest.setup_steps():
        guest.fe.send(name, payload, fds)
    for ring in guest.rings:
        guest.fe.send("SET_VRING_ENABLE", state(ring.index, 0))
    guest.fe.close()


def begun(stand, n):
    """A life whose messages before the n-th were sent and answered."""
    life = Life(stand)
    life.play(n - 1)
    last = life.steps[n - 2]
    if not callable(last):
        life.answer(n - 2, last[0])
    return life


def go_on(life, n):
    """Its other messages, for as long as anyone answers; and its end."""
    try:
        for step in life.steps[n - 1:]:
            if not callable(step):
                life.guest.fe.send(*step, flags=9)
                life.guest.fe.reply(step[0])
    except Closed:
        pass
    life.close()


@hostile(162)
@pytest.mark.parametrize("n", range(5, STEPS + 1, 2))
def test_a_device_that_goes_before_any_message_is_survived(bad_stand, n):
    life = begun(bad_stand, n)
    bad_stand.order("vanish")
    go_on(life, n)
    bring_back(bad_stand, 1)


def bring_back(stand, pairs):
    """Another function of the same name, as vdpad makes one."""
    wait_for(lambda: stand.shim.has_event("failed"), "the loss")
    _, mailbox = stand.nic.add(pairs=pairs, name=stand.name)
    stand.shim.device_changed(mailbox)
    wait_for(lambda: stand.shim.has_event("recovered"), "the device at work")


@hostile(163)
@pytest.mark.parametrize("n", [5, 12, 20, 27, 30, 33, 40])
def test_a_function_that_is_deleted_before_any_message_is_survived(stand, n):
    life = begun(stand, n)
    assert stand.nic.delete(stand.name) == 0
    go_on(life, n)
    bring_back(stand, 2)


FROZEN = """
import sys
sys.path[:0] = sys.argv[2:]
from frontend import Guest, OFFERED_PF
guest = Guest(sys.argv[1], offered=int(sys.argv[3])).setup()
print("up", flush=True)
while True:
    guest.exchange(1)
"""


@hostile(164)
def test_a_front_end_that_stands_still_holds_nobody_up(stand):
    here = os.path.dirname(os.path.abspath(__file__))
    code = FROZEN.replace("sys.argv[2:]", f"{[here, os.path.join(here, '../common')]}").replace(
        "int(sys.argv[3])", "int(sys.argv[2])")
    process = subprocess.Popen([sys.executable, "-c", code, stand.path, str(stand.offered)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    for up in (0, 1) * 20:
        set_link(stand, up)
        assert stand.shim.request(REFRESH) == 0
    assert time.monotonic() - begun < 20
    process.kill()
    process.wait()
    process.stdout.close()


@hostile(165)
def test_a_thousand_connections_at_once_are_served_one_by_one_or_turned_away(stand):
    fe = stand.front_end()
    many, refused = [], 0
    for _ in range(1000):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        many.append(sock)
        try:
            sock.connect(stand.path)
        except BlockingIOError:
            refused += 1
    assert fe.ask_u64("GET_FEATURES") == fe.features
    for sock in many:
        sock.close()
    assert fe.ask_u64("GET_FEATURES") == fe.features


# ---- the back-end channel

@pytest.fixture
def channel(stand):
    pair = socket.socketpair()
    fe = stand.front_end()
    fe.accepted("SET_BACKEND_REQ_FD", fds=[pair[1].fileno()])
    yield fe, pair[0]
    for sock in pair:
        sock.close()


@hostile(155, 157)
@pytest.mark.parametrize("flags", [1, 5, 9, 0xffffffff])
def test_what_the_front_end_says_on_the_channel_is_not_read(stand, channel, flags):
    fe, ours = channel
    ours.setblocking(False)
    fd = eventfd()
    n = 0
    try:
        while True:
            socket.send_fds(ours, [struct.pack("=IIIQ", 2, flags, 8, 0)], [fd] if n < 200 else [])
            n += 1
    except (BlockingIOError, OSError):
        pass
    os.close(fd)
    assert n > 100
    set_link(stand, 0)
    assert comes(ours) and ours.recv(100) == CONFIG_CHANGE
    assert fe.ask_u64("GET_FEATURES") == fe.features
    set_link(stand, 1)


@hostile(158)
@pytest.mark.parametrize("acks", [False, True])
def test_no_request_on_the_channel_asks_for_an_answer(stand, acks):
    ours, theirs = socket.socketpair()
    fe = FrontEnd(stand.path, stand.offered)
    stand.opened.append(fe)
    fe.negotiate(stand.offered & ~(0 if acks else NEED_ACKS))
    fe.send("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
    fe.ask_u64("GET_FEATURES")
    set_link(stand, 0)
    assert comes(ours)
    assert struct.unpack_from("=III", ours.recv(100))[1] == 1
    set_link(stand, 1)
    ours.close()
    theirs.close()


@hostile(156)
def test_a_channel_that_is_closed_again_and_again_costs_nothing(stand):
    guest = stand.guest().setup()
    for i in range(50):
        ours, theirs = socket.socketpair()
        guest.fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
        ours.close()
        theirs.close()
        set_link(stand, i % 2)
    guest.fe.accepted("SET_OWNER")
    set_link(stand, 1)


@hostile(210)
def test_messages_sent_ahead_of_all_answers_are_handled_in_order(stand):
    """The whole life in one go, without reading anything meanwhile."""
    life = Life(stand)
    for i, step in enumerate(life.steps):
        if not callable(step):
            life.guest.fe.send(*step, flags=9 if i > 3 else 1)
    for i, step in enumerate(life.steps):
        if not callable(step):
            life.answer(i, step[0])
    life.close()

