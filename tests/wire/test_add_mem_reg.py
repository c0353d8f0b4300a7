# SPDX-License-Identifier: BSD-2-Clause
"""ADD_MEM_REG: the guest's memory, one region after the other."""
import os
import struct

import pytest
from frontend import F_LOG_ALL, Memory, eventfd, single, table, u64
from hostile import hostile
from looks import mapped
from test_set_mem_table import BAD, region
from unchanged import unchanged


def one(**facts):
    return bytes(8) + region(**facts)


def number(i, **facts):
    """The i-th of many that touch nobody."""
    return one(gpa=i << 20, uva=i + 1 << 24, **facts)


# One by one: half of it stays, or it counts once more.
TAKEN = ("one good, one bad", "twice the same")


@hostile(83, 85, 88)
@pytest.mark.parametrize("what", [what for what in BAD if what not in TAKEN])
def test_refuses_regions_that_make_no_sense(stand, fe, memory, what):
    *first, last = BAD[what]
    for good in first:
        fe.accepted("ADD_MEM_REG", bytes(8) + good, [memory.fd])
    with unchanged(stand.shim):
        fe.refused("ADD_MEM_REG", bytes(8) + last, [memory.fd])


@hostile(39)
def test_refuses_what_is_no_memory(stand, fe):
    with unchanged(stand.shim):
        for fd in (eventfd(), os.open("/dev/zero", os.O_RDWR)):
            fe.refused("ADD_MEM_REG", one(), [fd])
            os.close(fd)


@hostile(97)
def test_what_is_not_quite_the_same_is_not_added_once_more(stand, fe, memory):
    other = Memory(1 << 20)
    fe.accepted("ADD_MEM_REG", number(1), [memory.fd])
    with unchanged(stand.shim):
        fe.refused("ADD_MEM_REG", number(1), [other.fd])
        fe.refused("ADD_MEM_REG", number(1, offset=4096), [memory.fd])
        fe.refused("ADD_MEM_REG", number(1, size=8192), [memory.fd])
    for _ in range(4):
        fe.accepted("ADD_MEM_REG", number(1), [memory.fd])
    with unchanged(stand.shim):
        fe.refused("ADD_MEM_REG", number(1), [memory.fd])  # more often than there are rings
    other.close()


def test_a_guest_runs_in_memory_that_came_in_parts(stand):
    guest = stand.guest()
    guest.fe.negotiate()
    for name, payload, fds in guest.setup_steps():
        if name == "SET_MEM_TABLE":
            name, payload = "ADD_MEM_REG", single(guest.memory)
        guest.fe.accepted(name, payload, fds)
    guest.exchange(3)
    assert guest.fe.vring_base(1) == 3


def test_rings_go_on_while_memory_comes_and_goes(stand):
    guest = stand.guest().setup()
    more = [Memory(1 << 20, gpa=0x80000000 + (i << 20)) for i in range(4)]
    for _ in range(5):
        for memory in more:
            guest.fe.accepted("ADD_MEM_REG", single(memory), [memory.fd])
            guest.exchange()
        for memory in reversed(more):
            guest.fe.accepted("REM_MEM_REG", single(memory))
            guest.exchange()
    assert all(ring["running"] for ring in stand.shim.dump()["device"]["rings"][:2])
    for memory in more:
        memory.close()


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_relayed_rings_go_on_too_with_buffers_under_way(bad_stand, packed):
    """Also where their shadows were, where the device refuses it, and when a worker is lost right after."""
    guest = bad_stand.guest(packed=packed).setup()
    log = os.memfd_create("log", os.MFD_CLOEXEC)
    os.ftruncate(log, 1 << 20)
    guest.fe.ask("SET_LOG_BASE", struct.pack("=QQ", 1 << 20, 0), [log])
    guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    for _ in range(10):
        guest.rings[0].offer(writable=2048)
    guest.rings[0].notify()
    more = [Memory(1 << 20, gpa=gpa) for gpa in (0x50000000, 0x80000000, 0xc0000000)]
    for _ in range(2):
        for memory in more:
            bad_stand.order("fail", command="MAP", errno=22, times=1)
            guest.fe.refused("ADD_MEM_REG", single(memory), [memory.fd])
            guest.transmit()
            guest.fe.accepted("ADD_MEM_REG", single(memory), [memory.fd])
            bad_stand.shim.restart()
            guest.transmit()
        for memory in reversed(more):
            guest.fe.accepted("REM_MEM_REG", single(memory))
            guest.transmit()
    for ring in guest.rings:
        base = guest.fe.vring_base(ring.index)
        while ring.take():
            pass
        assert base == ring.position()
    for memory in more:
        memory.close()
    os.close(log)


@hostile(101)
def test_a_table_takes_the_place_of_all_regions(stand, fe, memory):
    before = len(stand.shim.kept())
    for i in range(20):
        fe.accepted("ADD_MEM_REG", number(i), [memory.fd])
    fe.accepted("SET_MEM_TABLE", table(memory), [memory.fd])
    assert [part["gpa"] for part in mapped(stand)] == [memory.gpa]
    assert len(stand.shim.kept()) == before + 1
    fe.accepted("ADD_MEM_REG", number(1), [memory.fd])
    assert len(mapped(stand)) == 2


def test_a_worker_that_is_replaced_knows_all_regions(stand, fe, memory):
    for i in range(100):
        fe.accepted("ADD_MEM_REG", number(i), [memory.fd])
    before = mapped(stand)
    stand.shim.restart()
    assert mapped(stand) == before
    fe.accepted("REM_MEM_REG", number(99))
    fe.accepted("ADD_MEM_REG", number(100), [memory.fd])
    assert len(mapped(stand)) == 100
