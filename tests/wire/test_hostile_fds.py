# SPDX-License-Identifier: BSD-2-Clause
"""Descriptors: too many, of the wrong kind, at the wrong place, or when none can be opened."""
import array
import ctypes
import fcntl
import os
import resource
import select
import socket
import struct
import time

import pytest
from frontend import F_LOG_ALL, ID, Closed, FrontEnd, eventfd, u64
from hostile import hostile
from open_files import open_files
from shimside import REFRESH
from rows import ROWS
from test_hostile_framing import cpu_seconds
from test_set_log_base import Log, answer
from unchanged import unchanged
from waiting import wait_for

SCM_MAX_FD = 253
O_CLOEXEC = 0o2000000
F_SETPIPE_SZ = 1031
F_ADD_SEALS, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE = 1033, 8, 16
TAKE_NONE = [name for name in sorted(ID) if name in ROWS and ROWS[name]["fds"] in ("", "0", "none")]


def number_of_fds(stand):
    return len(os.listdir(f"/proc/{stand.shim.process.pid}/fd"))


@hostile(23)
@pytest.mark.parametrize("name", TAKE_NONE)
def test_descriptors_with_a_message_that_takes_none_are_closed(stand, name):
    fds = [eventfd() for _ in range(8)]
    fe = stand.front_end()
    for i in range(100):
        try:
            fe.send(name, empty_payload(name), fds[:i % 8 + 1], flags=9)
            fe.reply(name)
        except Closed:
            fe.close()
            fe = stand.front_end()
    fe.accepted("SET_OWNER")
    assert number_of_fds(stand) <= len(stand.before[0].fds.keys()) + sum(stand.before[0].fds.values())
    for fd in fds:
        os.close(fd)


def empty_payload(name):
    return bytes(ROWS[name]["size"])


def test_there_are_messages_that_take_none():
    assert len(TAKE_NONE) > 15


def send_blocks(sock, data, *blocks):
    """With each of @blocks as control message of its own."""
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds)) for fds in blocks])


@hostile(26)
def test_any_number_of_descriptors_ends_in_none_that_is_kept(stand):
    fd = eventfd()
    for count in [*range(1, 20), 31, 32, 33, 63, 64, 65, 127, 128, 200, 252, SCM_MAX_FD]:
        fe = stand.front_end()
        before = number_of_fds(stand)
        try:
            fe.send("SET_MEM_TABLE", bytes(8), [fd] * count, flags=9)
            assert fe.reply("SET_MEM_TABLE") == u64(1) and count <= 8
            fe.accepted("SET_OWNER")
            assert number_of_fds(stand) <= before
        except Closed:
            assert count > 8
        fe.close()
    os.close(fd)


@hostile(26)
@pytest.mark.parametrize("blocks", [(1, 1), (4, 4), (1,) * 8, (5, 4), (1,) * 9, (100, 153)])
def test_several_blocks_of_descriptors_count_together(stand, blocks):
    fd = eventfd()
    fe = stand.front_end()
    try:
        send_blocks(fe.sock, fe.message("SET_MEM_TABLE", bytes(8), flags=9), *[[fd] * n for n in blocks])
        assert fe.reply("SET_MEM_TABLE") == u64(1) and sum(blocks) <= 8
    except Closed:
        assert sum(blocks) > 8
    os.close(fd)


@hostile(27, 29)
@pytest.mark.parametrize("name", ["SET_VRING_KICK", "SET_OWNER", 200])
def test_descriptors_that_come_with_a_later_byte_are_never_kept(stand, name):
    fd = eventfd()
    for cut in range(1, 20):
        fe = stand.front_end()
        data = fe.message(name, u64(0), flags=9)
        fe.raw(data[:cut])
        wait_for(lambda: select.select([], [fe.sock], [], 0), "room")
        try:
            fe.raw(data[cut:], [fd])
            fe.reply(name)
        except Closed:
            pass
        fe.close()
    os.close(fd)


@hostile(29)
@pytest.mark.parametrize("payload", [b"", u64(200), u64(1 << 32), bytes(7), bytes(300)])
def test_descriptors_of_a_message_with_something_else_wrong_are_closed(stand, payload):
    fds = [eventfd() for _ in range(3)]
    fe = stand.front_end()
    for name in ("SET_VRING_KICK", "SET_VRING_CALL", "SET_VRING_ERR", "SET_MEM_TABLE", "SET_LOG_BASE",
                 "ADD_MEM_REG", "SET_INFLIGHT_FD", "SET_DEVICE_STATE_FD", 44, 45, 0xffffffff):
        for n in range(4):
            try:
                fe.send(name, payload, fds[:n], flags=9)
                fe.reply(name)
            except Closed:
                fe.close()
                fe = stand.front_end()
    for fd in fds:
        os.close(fd)


@hostile(30)
@pytest.mark.parametrize("end", ["close", "wait"])
def test_descriptors_of_a_header_without_its_payload_go_with_the_connection(stand, end):
    fe = stand.front_end()
    fds = [eventfd() for _ in range(8)]
    fe.raw(fe.message("SET_MEM_TABLE", bytes(264))[:12], fds)
    for fd in fds:
        os.close(fd)
    if end == "wait":
        assert fe.is_closed()


def limit_fds(stand, n):
    resource.prlimit(stand.shim.process.pid, resource.RLIMIT_NOFILE, (n, 4096))


def let_none_be_opened(stand):
    used = set(map(int, os.listdir(f"/proc/{stand.shim.process.pid}/fd")))
    limit_fds(stand, min(set(range(len(used) + 1)) - used))


@hostile(31)
def test_a_worker_without_a_descriptor_left_ends_the_connection_and_works_again_later(stand):
    guest = stand.guest().setup()
    fd = eventfd()
    let_none_be_opened(stand)
    with pytest.raises(Closed):
        guest.fe.tell("SET_VRING_CALL", u64(0), [fd])
    os.close(fd)
    limit_fds(stand, 4096)
    guest.fe.close()
    stand.guest().setup().exchange(2)


@hostile(31)
def test_a_worker_that_can_accept_nobody_does_not_spin(stand):
    stand.shim.request(REFRESH)
    let_none_be_opened(stand)
    before = cpu_seconds(stand.shim.process)
    lines = stand.shim.log().count("\n")
    waiting = FrontEnd(stand.path)
    time.sleep(2)
    spent = cpu_seconds(stand.shim.process) - before
    lines = stand.shim.log().count("\n") - lines
    assert stand.shim.request(REFRESH) == 0
    limit_fds(stand, 4096)
    assert spent < 0.5 and lines < 50, f"{spent} s, {lines} lines"
    waiting.negotiate()
    waiting.close()


# ---- wrong kinds

libc = ctypes.CDLL(None, use_errno=True)


def made(fd):
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return fd


def kinds(folder):
    """name: descriptor"""
    pair, listener = socket.socketpair(), socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "listener"))
    listener.listen(1)
    (folder / "file").write_bytes(bytes(1 << 16))
    memory = os.memfd_create("kind", os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, 1 << 16)
    sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(sealed, 1 << 16)
    fcntl.fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE)
    return {
        "pipe for reading": os.pipe()[0], "pipe for writing": os.pipe()[1],
        "folder": os.open(folder, os.O_RDONLY), "file": os.open(folder / "file", os.O_RDWR),
        "file to read": os.open(folder / "file", os.O_RDONLY),
        "path": os.open(folder / "file", os.O_PATH),
        "memory by path": os.open(f"/proc/self/fd/{memory}", os.O_PATH),
        "memory to read": os.open(f"/proc/self/fd/{memory}", os.O_RDONLY),
        "sealed memory": sealed, "zero": os.open("/dev/zero", os.O_RDWR),
        "null": os.open("/dev/null", os.O_RDWR), "full": os.open("/dev/full", os.O_RDWR),
        "mem": os.open("/dev/mem", os.O_RDONLY) if os.path.exists("/dev/mem") else os.open("/proc/self/mem", os.O_RDONLY),
        "terminal": os.openpty()[0], "epoll": made(libc.epoll_create1(0)),
        "stream": pair[0].detach(), "listener": listener.detach(),
        "datagram": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(),
        "tcp": socket.socket().detach(),
        "signalfd": made(libc.signalfd(-1, bytes(128), 0)), "timerfd": made(libc.timerfd_create(1, 0)),
        "inotify": made(libc.inotify_init()), "pidfd": os.pidfd_open(os.getpid()),
        "process": os.open("/proc/self/status", os.O_RDONLY), "event": eventfd(),
    }


# (message, payload, what it may take)
TAKERS = {
    "SET_VRING_KICK": (u64(2), {"event"}),
    "SET_VRING_CALL": (u64(2), {"event"}),
    "SET_VRING_ERR": (u64(2), {"event"}),
    "SET_MEM_TABLE": (struct.pack("=IIQQQQ", 1, 0, 0, 4096, 1 << 20, 0), set()),
    "ADD_MEM_REG": (struct.pack("=QQQQQ", 0, 1 << 40, 4096, 1 << 40, 0), set()),
    "SET_LOG_BASE": (struct.pack("=QQ", 1 << 16, 0), {"file"}),
    "SET_BACKEND_REQ_FD": (b"", {"stream", "listener"}),
    "SET_DEVICE_STATE_FD": (struct.pack("=II", 1, 0),
                            {"pipe for reading", "pipe for writing", "stream", "listener", "datagram", "tcp"}),
    "SET_INFLIGHT_FD": (struct.pack("=QQHHI", 4096, 0, 2, 64, 0), set()),
}


@hostile(32, 37, 39)
@pytest.mark.parametrize("name", TAKERS)
def test_a_descriptor_of_the_wrong_kind_is_refused_whatever_it_is(stand, tmp_path, name):
    payload, taken = TAKERS[name]
    fe = stand.front_end()
    found = kinds(tmp_path)
    for what, fd in found.items():
        if what in taken:
            continue
        with unchanged(stand.shim):
            fe.send(name, payload, [fd], flags=9)
            word = struct.unpack("=Q", fe.reply(name))[0]
            assert word & 0xff == 1, f"{name} took a {what}"
    for fd in found.values():
        os.close(fd)


@hostile(32, 113)
def test_a_log_descriptor_of_any_kind_is_of_no_consequence(stand, tmp_path):
    guest = stand.guest().setup()
    found = kinds(tmp_path)
    full = os.eventfd(0)  # a blocking one
    os.eventfd_write(full, 2**64 - 2)
    read, write = os.pipe()
    fcntl.fcntl(write, F_SETPIPE_SZ, 4096)
    os.write(write, bytes(4096))
    for fd in [*found.values(), full, read, write]:
        guest.fe.accepted("SET_LOG_FD", b"", [fd])
        os.close(fd)
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    guest.exchange(3)
    os.close(log.fd)


@hostile(32, 37, 203)
@pytest.mark.parametrize("name", ["SET_BACKEND_REQ_FD", "SET_DEVICE_STATE_FD", "SET_VRING_CALL"])
def test_the_front_end_s_own_end_of_the_connection_harms_itself_only(stand, name):
    from test_backend_channel import set_link
    fe = stand.front_end()
    payload = {"SET_VRING_CALL": u64(0), "SET_DEVICE_STATE_FD": bytes(8), "SET_BACKEND_REQ_FD": b""}[name]
    try:
        fe.send(name, payload, [fe.sock.fileno()], flags=9)
        for up in (0, 1):
            set_link(stand, up)
            fe.sock.settimeout(2)
            fe.reply(name)
    except (Closed, AssertionError, TimeoutError):
        pass


@hostile(34)
@pytest.mark.parametrize("how", ["direct", "relayed"])
def test_a_kick_descriptor_that_nobody_else_has_costs_nothing(stand, how):
    guest = stand.guest().setup()
    if how == "relayed":
        log = Log(guest)
        assert answer(guest.fe, log) == 0
        guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
        os.close(log.fd)
    guest.exchange(2)
    for ring in guest.rings:
        ring.notify()  # and it stays readable
        os.close(ring.kick)
        ring.kick = eventfd()
    stand.shim.request(REFRESH)
    before = cpu_seconds(stand.shim.process)
    time.sleep(1)
    assert cpu_seconds(stand.shim.process) - before < 0.3


@hostile(36, 204)
def test_one_descriptor_for_everything_rings_all_the_same(stand):
    """Kick of all rings, and call as well: each signal wakes the device once, for nothing."""
    guest = stand.guest()
    for ring in guest.rings:
        for fd in (ring.kick, ring.call, ring.err):
            os.close(fd)
    shared = eventfd()
    for ring in guest.rings:
        ring.kick, ring.call, ring.err = os.dup(shared), os.dup(shared), os.dup(shared)
    os.close(shared)
    guest.setup()
    guest.exchange(50)


@hostile(38)
def test_a_thousand_back_end_channels_are_one(stand, fe):
    before = len(stand.shim.kept())
    for _ in range(1000):
        ours, theirs = socket.socketpair()
        fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
        ours.close()
        theirs.close()
    assert len(stand.shim.kept()) == before + 1


def flags_of_fds(pid):
    for fd, target in open_files(pid).items():
        try:
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as f:
                yield fd, target, int(next(line for line in f if line.startswith("flags:")).split()[1], 8)
        except FileNotFoundError:
            pass  # closed meanwhile


@hostile(41)
def test_no_descriptor_would_pass_on_to_another_program(stand):
    guest = stand.guest().setup()
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    channel = socket.socketpair()
    guest.fe.accepted("SET_BACKEND_REQ_FD", fds=[channel[1].fileno()])
    guest.exchange(2)
    for process, given in ((stand.shim.process, 1), (stand.nic.process, 0)):
        received = [(fd, what, flags) for fd, what, flags in flags_of_fds(process.pid)
                    if what.startswith(("socket:", "/memfd:guest", "/memfd:log", "anon_inode:[eventfd]"))]
        assert len(received) > 4
        open_ones = [(fd, what) for fd, what, flags in received if not flags & O_CLOEXEC]
        assert len(open_ones) == given, open_ones  # what the worker was started with: the shim's socket
    os.close(log.fd)
    for sock in channel:
        sock.close()


@hostile(205)
@pytest.mark.parametrize("size", [5, 12])
def test_a_connection_that_is_sent_over_itself_ends_nevertheless(stand, size):
    """Its queue holds its other end, which is so never closed."""
    fe = stand.front_end()
    fe.raw(fe.message("SET_OWNER")[:size], [fe.sock.fileno()])
    fe.close()
    wait_for(lambda: stand.shim.dump()["session"]["connected"] == 0, "the end")


def let_it_wait(fd):
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)


@hostile(206)
@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("direction", [0, 1], ids=["save", "load"])
def test_a_state_descriptor_that_is_made_to_wait_is_not_waited_for(stand, fe, kind, direction):
    """The worker sets O_NONBLOCK, which is the front-end's to clear. The pipe is full, or empty."""
    if kind == "pipe":
        ends = os.pipe()
        fcntl.fcntl(ends[1], F_SETPIPE_SZ, 4096)
    else:
        ends = [sock.detach() for sock in socket.socketpair()]
    theirs = ends[1 - direction]
    if direction == 0:
        os.set_blocking(theirs, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(theirs, bytes(4096))
    fe.send("SET_DEVICE_STATE_FD", struct.pack("=II", direction, 0), [theirs])
    assert fe.reply("SET_DEVICE_STATE_FD") == u64(0x100)
    let_it_wait(theirs)
    assert fe.ask("CHECK_DEVICE_STATE") == u64(1)
    for fd in ends:
        os.close(fd)
