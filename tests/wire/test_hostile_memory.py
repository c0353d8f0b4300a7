# SPDX-License-Identifier: BSD-2-Clause
"""Memory that is not what it was said to be, or does not stay it."""
import ctypes
import os
import struct

import pytest
from frontend import F_LOG_ALL, Memory, single, table, u64
from hostile import hostile
from test_set_log_base import Log, answer
from unchanged import unchanged
from waiting import wait_for

PAGE = 4096
PUNCH_HOLE, KEEP_SIZE = 2, 1
libc = ctypes.CDLL(None, use_errno=True)
HOW = ["direct", "relayed"]


def regions(*parts):
    return struct.pack("=II", len(parts), 0) + b"".join(struct.pack("=QQQQ", *part) for part in parts)


def start(stand, how, packed=False):
    guest = stand.guest(packed=packed).setup()
    if how == "relayed":
        log = Log(guest)
        assert answer(guest.fe, log) == 0
        guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
        os.close(log.fd)
    guest.exchange(3)
    return guest


def failed(stand):
    return stand.shim.dump()["device"]["failed"]


def nudge(guest):
    for ring in guest.rings:
        ring.notify()


# ---- cut short

@hostile(86)
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("keep", ["nothing", "descriptors", "rings", "one-byte-less"])
@pytest.mark.parametrize("how", HOW)
def test_memory_that_is_cut_short_fails_its_device_only(stand, how, keep, packed):
    """Whoever touches it first: for descriptors, for a ring's index, for a buffer."""
    guest = start(stand, how, packed)
    receive, transmit = guest.rings
    receive.offer(writable=2048)
    transmit.offer(bytes(12) + b"\2\0\0\0\0\x99" + guest.mac + b"\x88\xb5" + bytes(80))
    size = {"nothing": 0, "descriptors": transmit.desc + PAGE, "rings": transmit.buffers,
            "one-byte-less": guest.memory.size - PAGE}[keep]
    os.ftruncate(guest.memory.fd, size)
    nudge(guest)
    if keep != "one-byte-less":  # nothing is there at all
        wait_for(lambda: failed(stand), "the failure")
    stand.shim.dump()


@hostile(86)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("message", [
    ("GET_VRING_BASE", struct.pack("=II", 0, 0)), ("SET_STATUS", u64(0)), ("RESET_DEVICE", b""),
    ("SET_VRING_ENABLE", struct.pack("=II", 0, 0)), ("SET_FEATURES", None), ("SET_MEM_TABLE", None), ("close", b"")],
    ids=lambda message: message[0])
def test_memory_that_is_cut_short_before_a_message_harms_nobody(stand, how, message):
    name, payload = message
    guest = start(stand, how)
    os.ftruncate(guest.memory.fd, 0)
    if name == "SET_FEATURES":
        payload = u64(guest.features | (F_LOG_ALL if how == "direct" else 0))
    if name == "close":
        return
    guest.fe.send(name, table(guest.memory) if payload is None else payload,
                  [guest.memory.fd] if name == "SET_MEM_TABLE" else [], flags=9)
    guest.fe.reply(name)
    guest.fe.ask_u64("GET_FEATURES")


@hostile(86)
@pytest.mark.parametrize("step", range(2, 16))
def test_memory_that_is_cut_short_at_any_moment_of_a_start_harms_nobody(stand, step):
    guest = stand.guest()
    guest.fe.negotiate()
    for i, (name, payload, fds) in enumerate(guest.setup_steps()):
        if i == step:
            os.ftruncate(guest.memory.fd, 0)
        if not guest.fe.tell(name, payload, fds):
            assert i >= step
    nudge(guest)
    stand.shim.dump()


@hostile(86)
@pytest.mark.parametrize("how", HOW)
def test_memory_that_is_cut_short_and_made_longer_by_turns_harms_nobody(stand, how):
    guest = start(stand, how)
    for _ in range(20):
        os.ftruncate(guest.memory.fd, 0)
        nudge(guest)
        os.ftruncate(guest.memory.fd, guest.memory.size)
        nudge(guest)
        assert guest.fe.ask_u64("GET_FEATURES")


@hostile(87)
@pytest.mark.parametrize("how", HOW)
def test_holes_in_memory_are_zeros(stand, how):
    """All of a ring becomes zeros: to both sides it looks like a new one."""
    guest = start(stand, how)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    assert libc.fallocate(guest.memory.fd, PUNCH_HOLE | KEEP_SIZE, 0, guest.memory.size) == 0
    nudge(guest)
    stand.shim.dump()
    assert stand.shim.process.poll() is None


# ---- tables

@hostile(89)
def test_one_file_may_be_two_regions(stand):
    guest = stand.guest()
    memory = guest.memory
    both = regions((memory.gpa, memory.size, memory.uva, 0),
                   (memory.gpa + (1 << 40), memory.size, memory.uva + (1 << 40), 0))
    guest.fe.negotiate()
    for name, payload, fds in guest.setup_steps():
        if name == "SET_MEM_TABLE":
            payload, fds = both, fds * 2
        guest.fe.accepted(name, payload, fds)
    guest.exchange(3)


@hostile(90)
@pytest.mark.parametrize("gpa, offset, size", [(0x40000001, 0, PAGE), (0x40000000, 1, PAGE), (0x40000000, 0, 100),
                                               (0x40000800, 0x800, 0x1800), (1, 1, 1)])
def test_regions_that_are_no_whole_pages_are_mapped_or_refused(stand, fe, gpa, offset, size):
    memory = Memory(1 << 20)
    if not fe.tell("SET_MEM_TABLE", regions((gpa, size, 0x10000 + gpa, offset)), [memory.fd]):
        assert stand.shim.dump()["device"]["memory"] == []
    memory.close()


@hostile(92)
@pytest.mark.parametrize("bits", [45, 46, 47, 62])
def test_more_memory_than_there_is_is_refused(stand, fe, bits):
    fd = os.memfd_create("huge")
    os.ftruncate(fd, 1 << bits)
    with unchanged(stand.shim):
        fe.refused("SET_MEM_TABLE", regions(*((i << bits, 1 << bits, i << bits, 0) for i in range(1 if bits > 46 else 3))),
                   [fd] * (1 if bits > 46 else 3))
        if bits > 46:
            fe.refused("ADD_MEM_REG", bytes(8) + struct.pack("=QQQQ", 0, 1 << bits, 0, 0), [fd])
    os.close(fd)


@hostile(94)
def test_a_table_of_which_one_region_can_not_be_mapped_leaves_the_old_one(stand, tmp_path):
    guest = stand.guest().setup()
    guest.exchange(2)
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    disk = os.open(tmp_path / "file", os.O_RDWR)  # correct, but not to simnic
    more = Memory(1 << 20)
    parts = [guest.memory.region()] + [struct.pack("=QQQQ", i << 40, 1 << 20, i << 40, 0) for i in (1, 2, 3)]
    for bad in (1, 2, 3):
        fds = [guest.memory.fd, more.fd, more.fd, more.fd]
        fds[bad] = disk
        with unchanged(stand.shim):
            guest.fe.refused("SET_MEM_TABLE", struct.pack("=II", 4, 0) + b"".join(parts), fds)
        guest.exchange(2)
    os.close(disk)
    more.close()


@hostile(95)
def test_the_same_table_of_another_file_is_another_memory(stand):
    guest = stand.guest().setup()
    guest.exchange(2)
    other = Memory(guest.memory.size, guest.memory.gpa)
    bases = [guest.fe.vring_base(ring.index) for ring in guest.rings]
    other.map[:] = guest.memory.map[:]
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [other.fd])
    old, guest.memory = guest.memory, other
    before = bytes(old.map)
    for ring, base in zip(guest.rings, bases):
        ring.memory = other
        guest.fe.accepted("SET_VRING_BASE", struct.pack("=II", ring.index, base))
        guest.fe.accepted("SET_VRING_KICK", u64(ring.index), [ring.kick])
        guest.fe.accepted("SET_VRING_CALL", u64(ring.index), [ring.call])
    guest.exchange(5)
    assert bytes(old.map) == before
    old.close()


@hostile(96)
def test_tables_that_follow_one_another_while_rings_run_leave_nothing(stand):
    guest = stand.guest().setup()
    more = Memory(1 << 20, gpa=0x80000000)
    for _ in range(200):
        guest.fe.accepted("SET_MEM_TABLE", table(guest.memory, more), [guest.memory.fd, more.fd])
        guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
    more.close()
    guest.exchange(3)
    assert len(stand.shim.dump()["device"]["memory"]) == 1


@hostile(100)
def test_a_region_and_the_end_at_once_leave_nothing_mapped(stand):
    more = Memory(1 << 20, gpa=0x80000000)
    for _ in range(30):
        wait_for(lambda: not stand.shim.dump()["session"]["connected"], "the end")
        fe = stand.front_end()
        fe.send("ADD_MEM_REG", single(more), [more.fd])
        fe.close()
    more.close()


@hostile(101)
def test_tables_and_single_regions_by_turns_are_what_came_last(stand):
    guest = stand.guest().setup()
    more = [Memory(1 << 20, gpa=0x80000000 + (i << 30)) for i in range(3)]
    for i in range(50):
        guest.fe.accepted("ADD_MEM_REG", single(more[i % 3]), [more[i % 3].fd])
        guest.exchange(1)
        if i % 2:
            guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
            guest.fe.refused("REM_MEM_REG", single(more[i % 3]))
        else:
            guest.fe.accepted("REM_MEM_REG", single(more[i % 3]))
        assert len(stand.shim.dump()["device"]["memory"]) == 1
    for memory in more:
        memory.close()


@hostile(102)
@pytest.mark.parametrize("error", [12, 11, 28])
def test_memory_that_the_device_can_not_map_is_refused(bad_stand, error):
    guest = bad_stand.guest().setup()
    more = Memory(1 << 20, gpa=0x80000000)
    bad_stand.order("fail", command="MAP", errno=error)
    with unchanged(bad_stand.shim):
        guest.fe.refused("SET_MEM_TABLE", table(guest.memory, more), [guest.memory.fd, more.fd])
    guest.exchange(3)
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory, more), [guest.memory.fd, more.fd])
    guest.exchange(3)
    more.close()


@hostile(209)
def test_the_log_may_lie_in_the_guest_s_memory_and_spoils_that_guest_only(stand):
    guest = stand.guest().setup()
    log = Log(guest)
    reply = guest.fe.ask("SET_LOG_BASE", struct.pack("=QQ", log.size, 0), [guest.memory.fd])
    assert reply == u64(0)
    guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    for ring in guest.rings:
        for _ in range(20):
            ring.offer(**({"writable": 2048} if ring.index == 0 else {"data": bytes(100)}))
        ring.notify()
    stand.shim.dump()
    os.close(log.fd)
