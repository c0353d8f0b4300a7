# SPDX-License-Identifier: BSD-2-Clause
"""What simnic may do once it runs, and what one tenant can do to another."""
import errno
import os
import random
import struct

import pytest

import simnic_client as sim
from hostile import hostile
from open_files import open_files
from simnic_client import bits
from waiting import wait_for

BASE = bits(sim.F_VERSION_1, sim.F_MRG_RXBUF)


def status_of(nic, task=None):
    path = f"/proc/{nic.process.pid}" + (f"/task/{task}" if task else "")
    with open(f"{path}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def has_filter():
    """Builds with sanitizers have no filter of system calls."""
    with open(os.path.join(sim.BUILD, "tools/simnic/simnic"), "rb") as f:
        return b"built without the filter" not in f.read()


def test_all_threads_run_without_privileges_as_the_user_given(make_nic):
    nic = make_nic("--uid", "812345", "--gid", "812346", "--threads", "2")
    tasks = os.listdir(f"/proc/{nic.process.pid}/task")
    assert len(tasks) >= 3
    for task in tasks:
        status = status_of(nic, task)
        assert status["Uid"].split() == ["812345"] * 4
        assert status["Gid"].split() == ["812346"] * 4
        assert status["Groups"].strip() == ""
        for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            assert int(status[name], 16) == 0, name
        if has_filter():  # both reach the threads of DPDK with it only
            assert status["NoNewPrivs"] == "1"
            assert status["Seccomp"] == "2"
    assert os.stat(f"/proc/{nic.process.pid}/mem").st_uid == 0, "not dumpable"


def test_the_main_thread_keeps_no_capability_when_the_user_stays(nic):
    status = status_of(nic)
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_no_descriptor_is_open_that_is_not_its_own(nic):
    kinds = open_files(nic.process.pid).values()
    assert kinds
    allowed = ("/dev/null", nic.log_path, "socket:", "anon_inode:[event", "anon_inode:[signalfd]",
               "anon_inode:[timerfd]", "/memfd:", "pipe:")
    assert [k for k in kinds if not k.startswith(allowed)] == []


# ------------------------------------------------------------------------- hostile rings

def neighbours(nic, make_guest, layout, **kwargs):
    """A hostile guest and two who must not notice."""
    return [make_guest(nic.add(f"f{i}", mac=sim.mac(i)), BASE | bits(sim.F_INDIRECT) | layout,
                       **kwargs) for i in (1, 2, 3)]


def assert_others_work(b, c):
    c.offer()
    sent = sim.frame(sim.mac(3), sim.mac(2), os.urandom(20))
    b.send(sent)
    b.sent()
    assert c.receive()[1] == sent


def assert_queue_error(guest, index, reason):
    assert guest.function.channel.next_event() == (sim.EVENT_QUEUE_ERROR, index)
    registers = guest.function.queue(index)
    assert (registers["status"], registers["errors"]) == (sim.QUEUE_ERROR, 1)
    assert guest.queues[index].failed() == 1
    wait_for(lambda: reason in guest.function.nic.log(), f"the reason in the log: {reason}")


def desc_at(ring, n):
    return ring.desc + 16 * n


def split_head_beyond(g, ring, at):
    ring.publish_head(ring.size)
    ring.expose()


def split_index_far_ahead(g, ring, at):
    g.memory.put("<H", ring.driver + 2, ring.avail + ring.size + 1)


def split_next_beyond(g, ring, at):
    ring.write_desc(desc_at(ring, 0), at, 100, sim.DESC_NEXT, ring.size)
    ring.publish_head(0)
    ring.expose()


def split_chain_that_never_ends(g, ring, at):
    ring.write_desc(desc_at(ring, 0), at, 1, sim.DESC_NEXT, 1)
    ring.write_desc(desc_at(ring, 1), at, 1, sim.DESC_NEXT, 0)
    ring.publish_head(0)
    ring.expose()


def one_desc(flags, size=None, iova=None):
    def make(g, ring, at):
        place, n = (at if iova is None else iova), (100 if size is None else size)
        if isinstance(ring, sim.SplitRing):
            ring.write_desc(desc_at(ring, 0), place, n, flags, 0)
            ring.publish_head(0)
            ring.expose()
        else:
            g.memory.put("<QIHH", desc_at(ring, 0), place, n, 0, flags | sim.DESC_AVAIL)
    return make


def table(entries, flags=sim.DESC_INDIRECT, cut=0):
    """An indirect table with (size, flags, next) entries; a packed one ignores next."""
    def make(g, ring, at):
        place = g.memory.take(16 * len(entries), 16)
        for i, (size, entry_flags, following) in enumerate(entries):
            if isinstance(ring, sim.SplitRing):
                g.memory.put("<QIHH", place + 16 * i, at, size, entry_flags, following)
            else:
                g.memory.put("<QIHH", place + 16 * i, at, size, 0, entry_flags)
        one_desc(flags, 16 * len(entries) - cut, place)(g, ring, at)
    return make


def packed_chain_that_never_ends(g, ring, at):
    for i in range(ring.size):
        g.memory.put("<QIHH", desc_at(ring, i), at, 1, 0, sim.DESC_NEXT | sim.DESC_AVAIL)


SPLIT, PACKED = 0, bits(sim.F_PACKED)
HOSTILE = [
    (SPLIT, split_head_beyond, "beyond the ring"),
    (SPLIT, split_index_far_ahead, "further ahead"),
    (SPLIT, split_next_beyond, "beyond the table"),
    (SPLIT, split_chain_that_never_ends, "longer than its table"),
    (SPLIT, table([(10, sim.DESC_NEXT, 7), (10, 0, 0)]), "beyond the table"),
    (SPLIT, table([(10, sim.DESC_NEXT, 1), (10, sim.DESC_NEXT, 0)]), "longer than its table"),
    (PACKED, packed_chain_that_never_ends, "longer than the ring"),
]
for both in (SPLIT, PACKED):
    HOSTILE += [
        (both, one_desc(0, iova=0), "not in mapped memory"),
        (both, one_desc(0, iova=0x100000000 - 1), "not in mapped memory"),
        (both, one_desc(0, iova=0x100000000 + (8 << 20) - 99), "not in mapped memory"),
        (both, one_desc(0, size=2**32 - 1), "not in mapped memory"),
        (both, one_desc(0, iova=2**64 - 50), "not in mapped memory"),
        (both, one_desc(sim.DESC_WRITE), "is for writing"),
        (both, one_desc(sim.DESC_INDIRECT, size=0), "wrong size"),
        (both, one_desc(sim.DESC_INDIRECT, size=15), "wrong size"),
        (both, one_desc(sim.DESC_INDIRECT, size=16 * 1025), "wrong size"),
        (both, one_desc(sim.DESC_INDIRECT, size=2**32 - 16), "wrong size"),
        (both, one_desc(sim.DESC_INDIRECT, size=16, iova=8), "table is not in mapped memory"),
        (both, table([(10, 0, 0)], sim.DESC_INDIRECT | sim.DESC_NEXT), "with a next one"),
        (both, table([(10, sim.DESC_INDIRECT, 0)]), "where none may be"),
        (both, table([(10, sim.DESC_WRITE, 0)]), "is for writing"),
    ]


@hostile(169, 170)
@pytest.mark.parametrize("ring_layout,make,reason", HOSTILE)
def test_a_ring_that_breaks_the_rules_stops_that_queue_only(
        nic, make_guest, ring_layout, make, reason):
    a, b, c = neighbours(nic, make_guest, ring_layout)
    make(a, a.queues[1].ring, a.memory.take(4096))
    a.queues[1].notify()
    assert_queue_error(a, 1, reason)
    assert_others_work(b, c)
    refused_start(a)
    position, = a.function.stop(1)
    assert position == (0x80008000 if ring_layout else 0)
    assert a.function.queue(1)["status"] == sim.QUEUE_PREPARED


def refused_start(guest):
    with pytest.raises(sim.Refused) as info:
        guest.function.start(1)
    assert info.value.errno == errno.EINVAL


@hostile(170)
@pytest.mark.parametrize("ring_layout", [SPLIT, PACKED])
@pytest.mark.parametrize("make,reason", [
    (one_desc(0), "is not for writing"),
    (one_desc(sim.DESC_WRITE, iova=0), "not in mapped memory"),
    (one_desc(sim.DESC_WRITE, iova=0x100000000 + (8 << 20) - 99), "not in mapped memory"),
])
@hostile(170)
def test_a_bad_receive_ring_stops_when_a_frame_comes(nic, make_guest, ring_layout, make, reason):
    a, b, c = neighbours(nic, make_guest, ring_layout)
    make(a, a.queues[0].ring, a.memory.take(4096))
    b.send(sim.frame(sim.mac(1), sim.mac(2)))
    b.sent()
    assert_queue_error(a, 0, reason)
    assert_others_work(b, c)


def test_indirect_descriptors_need_to_be_negotiated(nic, make_guest, layout):
    guest = make_guest(nic.add("a"), BASE | layout)
    guest.send(sim.frame(sim.mac(9), sim.mac(1)), indirect=True)
    assert_queue_error(guest, 1, "not negotiated")


def test_memory_mapped_to_read_is_not_written_and_to_write_not_read(nic, make_guest, layout):
    a, b = (make_guest(nic.add(f"f{i}", mac=sim.mac(i)), BASE | layout) for i in (1, 2))
    extra = sim.Memory(base=0x200000000)
    for guest, perm in ((a, sim.WRITE), (b, sim.READ)):
        guest.function.map(extra.base, extra.size, extra.fd, 0, perm)
    b.queues[0].ring.add([(extra.base, 2048, True)])
    a.send(sim.frame(sim.mac(2), sim.mac(1)))
    a.sent()
    assert_queue_error(b, 0, "not in mapped memory")
    assert extra.read(extra.base, 2048) == bytes(2048)
    a.queues[1].ring.add([(extra.base, 100, False)])
    a.queues[1].notify()
    assert_queue_error(a, 1, "not in mapped memory")
    extra.close()


def test_buffers_may_span_regions_that_touch(nic, make_guest, layout):
    a = make_guest(nic.add("a", mac=sim.mac(1)), BASE | layout | bits(sim.F_INDIRECT))
    b = make_guest(nic.add("b", mac=sim.mac(2)), BASE | layout)
    high, low = sim.Memory(0x3000), sim.Memory(0x3000)
    for guest in (a, b):
        guest.function.map(0x500000, 0x3000, low.fd)
        guest.function.map(0x503000, 0x3000, high.fd)
    sent = sim.frame(sim.mac(2), sim.mac(1), bytes(range(200)))
    data = bytes(12) + sent
    for cut in (1, 11, 12, 13, 26, 100, len(data) - 1):
        low.write(low.base + 0x3000 - cut, data[:cut])
        high.write(high.base, data[cut:])
        b.offer()  # first: a NIC that is awake takes the frame as soon as it is there
        a.queues[1].ring.add([(0x503000 - cut, len(data), False)])
        a.queues[1].notify()
        assert b.receive()[1] == sent
        a.sent()

        b.queues[0].ring.add([(0x503000 - cut, 2048, True)])
        a.send(sent)
        a.sent()
        _, size = b.queues[0].wait_used()
        assert low.read(low.base + 0x3000 - cut, cut) + high.read(high.base, size - cut) == \
            bytes(10) + b"\1\0" + sent
    low.close()
    high.close()


def test_an_indirect_table_may_span_regions_that_touch(nic, make_guest, layout):
    a = make_guest(nic.add("a", mac=sim.mac(1)), BASE | layout | bits(sim.F_INDIRECT))
    b = make_guest(nic.add("b", mac=sim.mac(2)), BASE | layout)
    b.offer()
    high, low = sim.Memory(0x1000), sim.Memory(0x1000)
    a.function.map(0x500000, 0x1000, low.fd)
    a.function.map(0x501000, 0x1000, high.fd)
    sent = sim.frame(sim.mac(2), sim.mac(1), b"spread")
    at = a.memory.take(100)
    a.memory.write(at, bytes(12) + sent)
    entries = [struct.pack("<QIHH", at, 12, *((sim.DESC_NEXT, 1) if not layout else (0, 0))),
               struct.pack("<QIHH", at + 12, len(sent), 0, 0)]
    blob = b"".join(entries)
    low.write(low.base + 0x1000 - 20, blob[:20])
    high.write(high.base, blob[20:])
    one_desc(sim.DESC_INDIRECT, 32, 0x501000 - 20)(a, a.queues[1].ring, 0)
    a.queues[1].notify()
    assert b.receive()[1] == sent


@hostile(169, 173)
def test_random_rings_never_hurt_the_others(nic, make_guest, layout):
    rng = random.Random(4)
    a, b, c = neighbours(nic, make_guest, layout, size=16)
    for guest in (b, c):
        guest.ring_size = 16
    for _ in range(300):
        ring = a.queues[1].ring
        for area, size in ((ring.desc, 16 * ring.size), (ring.driver, 38)):
            a.memory.write(area, bytes(rng.choice((0, 0, 1, 2, 4, 0x80, rng.randrange(256)))
                                       for _ in range(min(size, 4 if layout and area ==
                                                          ring.driver else size))))
        if not layout:
            a.memory.put("<H", ring.driver + 2, rng.randrange(20))
        for i in range(ring.size):  # some addresses that exist
            if rng.random() < 0.7:
                a.memory.put("<Q", ring.desc + 16 * i, a.memory.base + rng.randrange(8 << 20))
                a.memory.put("<H", ring.desc + 16 * i + 8 + 2, 0)
        a.function.stop(1)
        a.queues[1].prepare(rng.choice((0, 0x80008000)) if layout else 0)
        a.function.start(1)
        a.queues[1].notify()
    assert_others_work(b, c)
    assert nic.process.poll() is None


@hostile(86)
def test_a_truncated_memory_file_fails_that_function_only(nic, make_guest, layout):
    a, b, c = neighbours(nic, make_guest, layout)
    a.offer()
    wait_for(a.queues[1].ring.wants_kicks, "sleep")
    os.ftruncate(a.memory.fd, 0)
    b.send(sim.frame(sim.mac(1), sim.mac(2)))
    b.sent()
    wait_for(lambda: a.function.register("status") == 1, "the function to fail")
    assert a.function.channel.next_event() == (sim.EVENT_FUNCTION_FAILED, 0)
    assert_others_work(b, c)
    a.function.stop(0, 1)
    with pytest.raises(sim.Refused) as info:
        a.function.start(0, 1)
    assert info.value.errno in (errno.EIO, errno.EINVAL)
    a.function.call(sim.RESET)
    assert a.function.register("status") == 0
    fresh = make_guest(a.function, BASE | layout)
    fresh.offer()
    sent = sim.frame(sim.mac(1), sim.mac(2), b"again")
    b.send(sent)
    assert fresh.receive()[1] == sent


@hostile(86)
def test_a_memory_file_truncated_under_the_transmit_queue_fails_that_function_only(
        nic, make_guest, layout):
    a, b, c = neighbours(nic, make_guest, layout)
    a.send(sim.frame(sim.mac(9), sim.mac(1)), notify=False)
    os.ftruncate(a.memory.fd, 0)
    a.queues[1].notify()
    assert a.function.channel.next_event() == (sim.EVENT_FUNCTION_FAILED, 0)
    assert_others_work(b, c)


@hostile(86)
def test_a_truncated_file_is_survived_by_the_control_thread_too(nic, make_guest, layout):
    a, b, c = neighbours(nic, make_guest, layout, start=False)
    for guest in (b, c):
        guest.function.start(0, 1)
    os.ftruncate(a.memory.fd, 0)
    a.function.start(0, 1)
    assert a.function.channel.next_event() == (sim.EVENT_FUNCTION_FAILED, 0)
    assert_others_work(b, c)


# --------------------------------------------------------------------------------- sleep

def test_nothing_wakes_an_idle_nic(make_nic, make_guest, layout):
    nic = make_nic("--threads", "2")
    guests = [make_guest(nic.add(f"f{i}", mac=sim.mac(i), pairs=2), BASE | layout, pairs=2)
              for i in (1, 2, 3)]
    for pair in (0, 1):
        guests[0].send(sim.frame(sim.mac(2), sim.mac(1)), pair)
        guests[0].sent(pair)
    for guest in guests:
        for pair in (0, 1):
            wait_for(guest.queues[2 * pair + 1].ring.wants_kicks, "sleep")

    wait_for(lambda: nic.quiet(0.5), "half a second without a wake-up")
    guests[0].send(sim.frame(sim.mac(9), sim.mac(1)))
    guests[0].sent()
    assert not nic.process.poll()


def test_polling_never_sleeps(make_nic, make_guest):
    nic = make_nic("--poll")
    guest = make_guest(nic.add("a"))
    for _ in range(5):
        guest.send(sim.frame(sim.mac(9), sim.mac(1)), notify=False)
        guest.sent()
    assert not guest.queues[1].ring.wants_kicks()
