# SPDX-License-Identifier: BSD-2-Clause
import os
import struct

import pytest
from dirty import Log
from frontend import F_LOG_ALL, Memory, eventfd, state, table, u64
from hostile import hostile
from looks import running
from unchanged import unchanged
from waiting import wait_for


def region(gpa=0, size=4096, uva=0x10000, offset=0):
    return struct.pack("=QQQQ", gpa, size, uva, offset)


def regions(*parts):
    return struct.pack("=II", len(parts), 0) + b"".join(parts)


def test_accepts_one_to_eight_regions(stand, fe, memory):
    for n in range(1, 9):
        fe.accepted("SET_MEM_TABLE",
                    regions(*(region(gpa=i << 20, uva=i + 1 << 24) for i in range(n))),
                    [memory.fd] * n)
        assert len(stand.shim.dump()["device"]["memory"]) == n


BAD = {
    "size 0": [region(size=0)],
    "half of all addresses": [region(size=1 << 63)],
    "offset is minus the size": [region(size=8192, offset=2**64 - 8192)],
    "twice the same": [region(), region()],
    "guest address wraps": [region(gpa=2**64 - 4096, size=8192)],
    "user address wraps": [region(uva=2**64 - 4096, size=8192)],
    "offset wraps": [region(offset=2**64 - 4096, size=8192)],
    "beyond the file": [region(size=(1 << 20) + 4096)],
    "offset beyond the file": [region(offset=1 << 20)],
    "guest addresses overlap": [region(), region(gpa=2048, uva=0x100000)],
    "user addresses overlap": [region(), region(gpa=1 << 20, uva=0x10800)],
    "one good, one bad": [region(), region(gpa=1 << 20, uva=1 << 30, size=1 << 40)],
}


@hostile(83, 85, 88)
@pytest.mark.parametrize("what", BAD)
def test_refuses_regions_that_make_no_sense(stand, fe, memory, what):
    fe.accepted("SET_MEM_TABLE", table(memory), [memory.fd])
    with unchanged(stand.shim):
        fe.refused("SET_MEM_TABLE", regions(*BAD[what]), [memory.fd] * len(BAD[what]))


@hostile(81)
def test_refuses_a_count_that_does_not_fit_size_or_descriptors(stand, fe, memory):
    with unchanged(stand.shim):
        fe.refused("SET_MEM_TABLE", regions(region()) + region(), [memory.fd])
        fe.refused("SET_MEM_TABLE", regions(region()), [memory.fd] * 2)
        fe.refused("SET_MEM_TABLE", regions(region()))
        fe.refused("SET_MEM_TABLE", struct.pack("=II", 9, 0) + region() * 9, [memory.fd] * 8)
        fe.refused("SET_MEM_TABLE", struct.pack("=II", 0xffffffff, 0) + region(), [memory.fd])
        fe.refused("SET_MEM_TABLE", b"\1\0\0\0")


@hostile(39)
def test_refuses_what_is_no_memory(stand, fe, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    read_only = os.open(path, os.O_RDONLY)
    pipe = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    zero = os.open("/dev/zero", os.O_RDWR)
    event = eventfd()
    with unchanged(stand.shim):
        for fd in (read_only, *pipe, folder, zero, event):
            fe.refused("SET_MEM_TABLE", regions(region()), [fd])
    for fd in (read_only, *pipe, folder, zero, event):
        os.close(fd)


@hostile(82)
def test_an_empty_table_is_accepted_only_while_nothing_runs(stand):
    guest = stand.guest().setup()
    with unchanged(stand.shim):
        guest.fe.refused("SET_MEM_TABLE", regions())
    for ring in (0, 1):
        guest.fe.vring_base(ring)
    guest.fe.accepted("SET_MEM_TABLE", regions())
    assert stand.shim.dump()["device"]["memory"] == []


def test_rings_go_on_while_memory_grows(stand):
    guest = stand.guest().setup()
    guest.exchange(3)
    more = Memory(1 << 20, gpa=0x80000000)
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory, more), [guest.memory.fd, more.fd])
    guest.exchange(3)
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
    guest.exchange(3)
    more.close()


@hostile(93)
def test_a_ring_whose_memory_goes_stops_and_runs_again_when_it_is_back(stand):
    guest = stand.guest().setup()
    guest.exchange(3)
    other = Memory(1 << 20, gpa=0x80000000)
    guest.fe.accepted("SET_MEM_TABLE", table(other), [other.fd])
    assert not any(r["running"] for r in stand.shim.dump()["device"]["rings"])
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
    wait_for(lambda: stand.shim.dump()["device"]["rings"][0]["running"], "the ring to run")
    guest.exchange(3)
    other.close()


def test_the_same_region_grows_while_rings_run(stand):
    """What DPDK's virtio-user does when it needs more memory: the same addresses, a larger file."""
    guest = stand.guest().setup()
    guest.exchange(2)
    os.ftruncate(guest.memory.fd, guest.memory.size * 2)
    for ring in guest.rings:
        guest.fe.accepted("SET_VRING_ENABLE", state(ring.index, 0))
    guest.memory.size *= 2
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
    for ring in guest.rings:
        guest.fe.accepted("SET_VRING_ENABLE", state(ring.index, 1))
    guest.exchange(2)


@pytest.mark.parametrize("logged", [False, True], ids=["direct", "relayed"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_ring_whose_memory_has_other_addresses_runs_when_it_is_described_by_them(stand, packed, logged):
    guest = stand.guest(packed=packed).setup()
    guest.exchange(3)
    log = Log(guest)
    guest.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])
    guest.fe.accepted("SET_FEATURES", u64(guest.features | (F_LOG_ALL if logged else 0)))
    guest.exchange(3)
    guest.memory.uva += 1 << 32
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
    assert not any(running(stand))
    for ring in guest.rings:
        guest.fe.accepted("SET_VRING_ADDR", ring.addr())
    guest.exchange(3)
    stand.shim.restart()
    guest.exchange(3)
    os.close(log.fd)


def test_kept_descriptors_are_as_many_as_regions(stand, fe, memory):
    registers = len(stand.shim.kept())
    for _ in range(50):
        fe.accepted("SET_MEM_TABLE", table(memory), [memory.fd])
    assert len(stand.shim.kept()) == registers + 1
