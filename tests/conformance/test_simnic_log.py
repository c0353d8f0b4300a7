# SPDX-License-Identifier: BSD-2-Clause
"""The dirty log: what is taken for one, and that it names the pages that were written, no others."""
import errno
import os
import random
import socket
import struct

import pytest

import simnic_client as sim
from hostile import hostile
from simnic_client import bits
from slow_file import slow_file
from test_simnic_mailbox import refused
from waiting import wait_for

BASE = bits(sim.F_VERSION_1, sim.F_MRG_RXBUF)
PAGE = 4096
MEMORY_BASE, MEMORY_SIZE = 0x100000000, 8 << 20
NEEDED = (MEMORY_BASE + MEMORY_SIZE) // PAGE // 8  # bytes of a log that covers a guest's memory


class Log:
    def __init__(self, size=NEEDED, offset=0):
        self.fd = os.memfd_create("log")
        os.ftruncate(self.fd, offset + size)
        self.size, self.offset = size, offset

    def set(self, function):
        function.set_log(self.size, self.fd, self.offset)

    def pages(self):
        """Numbers of the marked pages."""
        data = os.pread(self.fd, self.size, self.offset)
        return {8 * i + bit for i, byte in enumerate(data) if byte
                for bit in range(8) if byte >> bit & 1}

    def clear(self):
        os.pwrite(self.fd, bytes(self.size), self.offset)

    def close(self):
        os.close(self.fd)


@pytest.fixture
def log():
    log = Log()
    yield log
    log.close()


@pytest.fixture
def nic(make_nic):
    return make_nic("--dirty-log", "yes", "--threads", "2")


@pytest.fixture
def function(nic):
    """With a guest's memory mapped."""
    function, memory = nic.add("f"), sim.Memory()
    function.map(memory.base, memory.size, memory.fd)
    yield function
    memory.close()


def mapped(nic):
    with open(f"/proc/{nic.process.pid}/maps") as maps:
        return maps.read().count("memfd:log")


# --------------------------------------------------------------------- what is taken for one

@pytest.mark.parametrize("option,flag", [((), 0), (("--dirty-log", "no"), 0),
                                         (("--dirty-log", "yes"), sim.CAN_LOG),
                                         (("--dirty-log", "buffers"), sim.CAN_LOG | sim.LOGS_BUFFERS)])
def test_hello_says_whether_there_is_a_log(make_nic, log, option, flag):
    function = make_nic(*option).add("f")
    assert function.flags & (sim.CAN_LOG | sim.LOGS_BUFFERS) == flag
    if flag:
        log.set(function)
    else:
        refused(errno.EOPNOTSUPP, function.set_log, 1, log.fd)
        refused(errno.EOPNOTSUPP, function.set_log, 0, None)


@pytest.mark.parametrize("what,size,offset", [
    ("nothing", 0, 0),
    ("less than covers the memory", NEEDED - 1, 0),
    ("one byte", 1, 0),
    ("more than the file", NEEDED + 1, 0),
    ("beyond the file's end by an offset", NEEDED, 1),
    ("an offset at the file's end", NEEDED, NEEDED),
    ("an offset that wraps", NEEDED, 2**64 - NEEDED),
    ("an offset that wraps to zero's right", NEEDED, 2**64 - NEEDED + 1),
    ("an offset that is negative", NEEDED, 2**63),
    ("a size that is negative", 2**63, 0),
    ("the largest size", 2**64 - 1, 0),
    ("more than any file", 2**42 + 1, 0),
])
def test_a_log_of_a_wrong_range_is_refused(nic, function, log, what, size, offset):
    refused(errno.EINVAL, function.set_log, size, log.fd, offset)
    assert mapped(nic) == 0
    log.set(function)
    refused(errno.EINVAL, function.set_log, size, log.fd, offset)
    assert mapped(nic) == 1


def test_no_log_has_neither_size_nor_offset(function):
    refused(errno.EINVAL, function.set_log, 1, None)
    refused(errno.EINVAL, function.set_log, 0, None, 1)
    function.set_log(0, None)


def test_descriptors_that_are_no_memory_are_refused(nic, function):
    r, w = os.pipe()
    fds = [os.eventfd(0), r, w, os.open("/dev/zero", os.O_RDWR), os.open("/", os.O_RDONLY),
           os.open("/proc/self/maps", os.O_RDONLY), socket.socket().detach()]
    before = len(os.listdir(f"/proc/{nic.process.pid}/fd"))
    for fd in fds:
        refused(errno.EINVAL, function.set_log, NEEDED, fd)
        os.close(fd)
    assert len(os.listdir(f"/proc/{nic.process.pid}/fd")) == before


def test_a_file_that_may_not_be_written_is_refused(function, log):
    fd = os.open(f"/proc/self/fd/{log.fd}", os.O_RDONLY)
    refused(errno.EINVAL, function.set_log, log.size, fd)
    os.close(fd)


@hostile(40)
def test_a_file_whose_pages_may_be_slow_to_come_is_refused(function):
    with slow_file(NEEDED) as f:
        refused(errno.EINVAL, function.set_log, NEEDED, f.fileno())


def test_a_log_is_unmapped_when_it_is_not_needed_any_more(nic, function, log):
    fds = len(os.listdir(f"/proc/{nic.process.pid}/fd"))
    for _ in range(3):
        log.set(function)
        assert mapped(nic) == 1
    function.set_log(0, None)
    assert mapped(nic) == 0
    log.set(function)
    function.call(sim.RESET)
    assert mapped(nic) == 0
    log.set(function)
    nic.admin.call(sim.DEL, sim.pack_function("f"))
    assert mapped(nic) == 0
    assert len(os.listdir(f"/proc/{nic.process.pid}/fd")) == fds - 2  # mailbox and BAR


def test_memory_beyond_the_log_is_not_mapped_for_writing(nic, log):
    function, memory = nic.add("f"), sim.Memory()
    end = log.size * 8 * PAGE
    log.set(function)
    for iova, size in ((end, 1), (end - 1, 2), (2**64 - 0x1000, 0x1000), (0, MEMORY_SIZE)):
        code = 0 if iova + size <= end else errno.EINVAL
        if code:
            refused(code, function.map, iova, size, memory.fd)
            function.map(iova, size, memory.fd, perm=sim.READ)
        else:
            function.map(iova, size, memory.fd)
        function.unmap(iova, size)
    memory.close()


@hostile(106)
def test_a_log_that_is_truncated_under_the_control_thread_is_survived(nic, make_guest, log, layout):
    guest = make_guest(nic.add("f"), BASE | layout, start=False)
    log.set(guest.function)
    os.ftruncate(log.fd, 0)
    guest.function.start(0, 1)
    assert guest.function.channel.next_event() == (sim.EVENT_FUNCTION_FAILED, 0)
    nic.admin.call(sim.INFO)


# ---------------------------------------------------------------------------------- pages

MOST_FRAMES = 6  # of a round; each may take three buffers


def pages_of(iova, size):
    return set(range(iova // PAGE, (iova + size - 1) // PAGE + 1)) if size else set()


def areas_written(guest):
    """Pages of rings that the device may write."""
    pages = set()
    for queue in guest.queues:
        ring = queue.ring
        if isinstance(ring, sim.PackedRing):
            pages |= pages_of(ring.desc, 16 * ring.size) | pages_of(ring.device, 4)
        else:
            pages |= pages_of(ring.device, 6 + 8 * ring.size)
    return pages


def random_cut(rng, size, pieces):
    cuts = sorted(rng.sample(range(1, size), min(pieces, size) - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, size])]


def offer_randomly(guest, rng, pair):
    """Receive buffers of any shape, somewhere in a page, for all frames of a round."""
    while len(guest.queues[2 * pair].ring.chains) < 3 * MOST_FRAMES:
        guest.memory.take(rng.randrange(1, PAGE))
        size = rng.choice((2000, 6000))
        guest.offer(pair, random_cut(rng, size, rng.randrange(1, 4)), rng.random() < 0.3)


def send_randomly(guest, rng, pair, to, source, n):
    for _ in range(n):
        size = rng.choice((60, 100, 1514, 5000))
        cut = sorted(rng.sample(range(1, size), rng.randrange(0, 4)))
        guest.send(sim.frame(to, source, rng.randbytes(size - 14)), pair, split=cut,
                   indirect=rng.random() < 0.3, notify=False)


def changed(guest, before):
    after, first = guest.memory.map[:], guest.memory.base // PAGE
    return {first + i for i in range(MEMORY_SIZE // PAGE)
            if before[i * PAGE:(i + 1) * PAGE] != after[i * PAGE:(i + 1) * PAGE]}


def received(guest, n):
    """Pages of the bytes that were written into receive buffers by @n frames, of any pair."""
    pages = set()

    def pages_written(chain, size):
        for iova, room, _ in chain:
            pages.update(pages_of(iova, min(room, size)))
            size -= min(room, size)

    for _ in range(n):
        queue = wait_for(lambda: next((q for q in guest.queues[::2] if q.ring.has_used()), None),
                         "a frame")
        chain, size = queue.wait_used()
        header = b"".join(guest.memory.read(iova, room) for iova, room, _ in chain)
        pages_written(chain, size)
        for _ in range(struct.unpack_from("<H", header, 10)[0] - 1):
            pages_written(*queue.wait_used())
    return pages


def take_all(queue):
    """All chains of a queue, in order: one used entry may stand for those before as well."""
    ring = queue.ring
    while ring.chains:
        last, _ = wait_for(ring.next_used, f"used chains in queue {queue.index}")
        while last in ring.chains:
            ring.retire(next(iter(ring.chains)))


@pytest.mark.parametrize("pairs", [1, 4])
@pytest.mark.parametrize("more", [0, bits(sim.F_EVENT_IDX), bits(sim.F_IN_ORDER)],
                         ids=["plain", "event-idx", "in-order"])
@pytest.mark.parametrize("size,at", [(64, 0), (1024, 0), (1024, 700), (1024, 1022)])
def test_marked_is_what_was_written_and_nothing_else(
        nic, make_guest, log, layout, more, size, at, pairs):
    rng = random.Random(f"{layout} {more} {size} {at} {pairs}")
    features = BASE | layout | more | bits(sim.F_INDIRECT)
    a = make_guest(nic.add("a", mac=sim.mac(1), pairs=pairs, mtu=6000), features, pairs=pairs,
                   size=size, start=False, at=at)
    b = make_guest(nic.add("b", mac=sim.mac(2), mtu=6000), BASE | bits(sim.F_INDIRECT), size=512)
    everyone = range(2 * pairs)
    log.set(a.function)
    for _ in range(6):
        for pair in range(pairs):
            offer_randomly(a, rng, pair)
            send_randomly(a, rng, pair, sim.mac(2), sim.mac(1), rng.randrange(5))
        log.clear()
        before = a.memory.map[:]
        n = rng.randrange(1, MOST_FRAMES + 1)
        send_randomly(b, rng, 0, sim.mac(1), sim.mac(2), n)
        a.function.start(*everyone)
        b.queues[1].notify()
        for _ in range(n):
            b.sent()
        for queue in a.queues[1::2]:
            take_all(queue)
        buffers = received(a, n)
        a.function.stop(*everyone)
        marked = log.pages()
        assert changed(a, before) <= marked
        assert buffers <= marked
        assert marked <= buffers | areas_written(a)
    assert a.function.register("rx_frames") >= 6


def test_the_index_at_which_kicks_are_wanted_is_marked(nic, make_guest, log):
    """At the end of a ring of two pages, where nothing else is written meanwhile."""
    guest = make_guest(nic.add("f"), BASE | bits(sim.F_EVENT_IDX), size=512, start=False)
    ring = guest.queues[1].ring
    event = (ring.device + 4 + 8 * ring.size) // PAGE
    assert event != ring.device // PAGE
    log.set(guest.function)
    guest.function.start(1)
    wait_for(lambda: event in log.pages(), "the mark")
    assert log.pages() == {event}
