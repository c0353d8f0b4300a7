# SPDX-License-Identifier: BSD-2-Clause
"""simnic's interface in Python: admin socket, mailbox, BAR, and a guest with rings of its own.

Nothing here shares code with the driver or with simnic: sizes and layouts are written down again
from drivers/sim/mailbox.h and the virtio specification.
"""
import array
import errno
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import time

from logs import assert_clean
from waiting import wait_for

BUILD = os.environ.get("VDPAD_BUILD", "build")

(HELLO, MAP, UNMAP, SET_FEATURES, PREPARE, START, STOP, SET_FDS, GET_CONFIG, SET_MTU, ANNOUNCE,
 DOORBELL, RESET, SET_LOG, POSTCOPY_ADVISE, POSTCOPY_MAP, POSTCOPY_REGISTER,
 POSTCOPY_END, IOTLB_UPDATE, IOTLB_INVALIDATE) = range(1, 21)
SET_CONTROL = 32
INFO, ADD, ATTACH, DEL, SET, LIST = range(64, 70)
EVENT = 128

QUEUE_DISABLED, QUEUE_PREPARED, QUEUE_RUNNING, QUEUE_ERROR = range(4)
EVENT_CONFIG, EVENT_QUEUE_ERROR, EVENT_FUNCTION_FAILED = 1, 2, 3
READ, WRITE = 1, 2
CAN_LOG, SHUFFLED, START_INITIAL = 1, 2, 4
LOGS_BUFFERS = 512
KICK, CALL, ERR = 1, 2, 4
SPOOF_CHECK, LINK_UP = 1, 2

F_CSUM, F_GUEST_CSUM, F_MTU, F_MAC = 0, 1, 3, 5
F_GUEST_TSO4, F_GUEST_TSO6, F_HOST_TSO4, F_HOST_TSO6 = 7, 8, 11, 12
F_MRG_RXBUF, F_STATUS, F_GUEST_ANNOUNCE, F_MQ = 15, 16, 21, 22
F_ANY_LAYOUT, F_INDIRECT, F_EVENT_IDX, F_VERSION_1, F_PACKED, F_IN_ORDER = 27, 28, 29, 32, 34, 35
F_ACCESS_PLATFORM = 33

# What functions of the tests offer unless they are to have a control queue as well.
OFFERED = sum(1 << f for f in (
    F_CSUM, F_GUEST_CSUM, F_MTU, F_MAC, F_GUEST_TSO4, F_GUEST_TSO6, F_HOST_TSO4, F_HOST_TSO6,
    F_MRG_RXBUF, F_STATUS, F_GUEST_ANNOUNCE, F_MQ, F_ANY_LAYOUT, F_INDIRECT, F_EVENT_IDX,
    F_VERSION_1, F_PACKED, F_IN_ORDER, F_ACCESS_PLATFORM))

F_CTRL_GUEST_OFFLOADS, F_CTRL_VQ, F_CTRL_RX, F_CTRL_VLAN, F_CTRL_RX_EXTRA, F_CTRL_MAC_ADDR = \
    2, 17, 18, 19, 20, 23
CONTROL = sum(1 << f for f in (F_CTRL_GUEST_OFFLOADS, F_CTRL_VQ, F_CTRL_RX, F_CTRL_VLAN,
                               F_CTRL_RX_EXTRA, F_CTRL_MAC_ADDR))

DESC_NEXT, DESC_WRITE, DESC_INDIRECT, DESC_AVAIL, DESC_USED = 1, 2, 4, 1 << 7, 1 << 15

BAR_SIZE, REGS, QUEUE_REGS = 32768, 4096, 4096 + 128
CONTROL_REGS, CONTROL_SIZE = 16384, 24 + 512 + 2 * 64 * 6
DEADLINE = 60


def bits(*features):
    return sum(1 << f for f in features)


class Refused(Exception):
    """A request was answered with an error."""

    def __init__(self, code):
        super().__init__(errno.errorcode.get(code, str(code)))
        self.errno = code


class Channel:
    """One SOCK_SEQPACKET socket that carries requests and replies."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(DEADLINE)
        self.seq = 0
        self.events = []

    def send_raw(self, data, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], ancillary)

    def receive(self):
        data, ancillary, _, _ = self.sock.recvmsg(8192, socket.CMSG_SPACE(16))
        fds = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[:len(content) - len(content) % 4])
        return data, list(fds)

    def send(self, command, payload=b"", fds=(), size=None):
        self.seq += 1
        size = len(payload) if size is None else size
        self.send_raw(struct.pack("<IIiI", command, self.seq, 0, size) + payload, fds)
        return self.seq

    def reply(self, command, seq):
        while True:
            data, fds = self.receive()
            if not data:
                raise EOFError("the other side closed the channel")
            got, got_seq, status, size = struct.unpack_from("<IIiI", data)
            assert size == len(data) - 16
            if got == EVENT and got_seq == 0:
                self.events.append(struct.unpack("<II", data[16:]))
                continue
            assert (got, got_seq) == (command, seq)
            if status:
                assert status < 0 and size == 0 and not fds
                raise Refused(-status)
            return data[16:], fds

    def call(self, command, payload=b"", fds=(), size=None):
        return self.reply(command, self.send(command, payload, fds, size))

    def next_event(self):
        while not self.events:
            data, _ = self.receive()
            if not data:
                raise EOFError("the other side closed the channel")
            command, _, _, _ = struct.unpack_from("<IIiI", data)
            assert command == EVENT
            self.events.append(struct.unpack("<II", data[16:]))
        return self.events.pop(0)

    def is_closed(self):
        ready = select.select([self.sock], [], [], DEADLINE)[0]
        return bool(ready) and self.sock.recv(1, socket.MSG_PEEK) == b""

    def close(self):
        self.sock.close()


def pack_function(name, mac=b"\x52\x54\0\0\0\1", mtu=1500, pairs=1, flags=LINK_UP,
                  features=OFFERED):
    return struct.pack("<64s6sHHHIQ", name.encode(), mac, mtu, pairs, 0, flags, features)


class Nic:
    """A simnic process and its admin socket."""

    def __init__(self, directory, *options, name="nic0", build=BUILD):
        self.path = os.path.join(directory, f"{name}.sock")
        self.log_path = os.path.join(directory, f"{name}.log")
        self.test_path = os.path.join(directory, f"{name}.test")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(build, "tools/simnic/simnic"), "--name", name, "--listen",
                 self.path, "--log-level", "debug", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.admin = Channel(self.connect())
        self.functions = []
        self.expected = 0  # exit status; None: any
        self.admin.call(INFO)  # answered once it is up

    def connect(self):
        def attempt():
            assert self.process.poll() is None, self.log()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                sock.connect(self.path)
                return sock
            except (FileNotFoundError, ConnectionRefusedError):
                sock.close()
                return None
        return wait_for(attempt, "simnic's socket")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def add(self, name, **kwargs):
        _, (fd,) = self.admin.call(ADD, pack_function(name, **kwargs))
        function = Function(self, name, fd, kwargs)
        self.functions.append(function)
        return function

    def attach(self, function):
        _, (fd,) = self.admin.call(ATTACH, pack_function(function.name))
        return fd

    def thread_switches(self):
        """Voluntary context switches of all its threads."""
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/status") as f:
                total += int(next(l for l in f if l.startswith("voluntary")).split()[1])
        return total

    def quiet(self, seconds):
        """Whether none of its threads woke up for so long: the property is that nothing happens."""
        before = self.thread_switches()
        time.sleep(seconds)
        return self.thread_switches() == before

    def busy_ms(self, seconds):
        """Processor time it takes in so long."""
        def taken():
            with open(f"/proc/{self.process.pid}/stat") as f:
                user, system = f.read().rsplit(")", 1)[1].split()[11:13]
            return (int(user) + int(system)) * 1000 / os.sysconf("SC_CLK_TCK")
        before = taken()
        time.sleep(seconds)
        return taken() - before

    def forget(self):
        """A test ended the process itself, however it liked."""
        self.expected = None

    def close(self):
        for function in self.functions:
            function.close()
        self.admin.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert_clean(self.log())
        return status if self.expected == 0 else 0


class Function:
    """A function as its driver sees it: mailbox and BAR."""

    def __init__(self, nic, name, fd, kwargs):
        self.nic = nic
        self.name = name
        self.mac = kwargs.get("mac", b"\x52\x54\0\0\0\1")
        self.features = 0
        self.channel = Channel(socket.socket(fileno=fd))
        self.bar = None
        self.hello()

    def hello(self):
        data, (fd,) = self.channel.call(HELLO)
        self.version, self.n_queues, self.max_queue_size, self.flags, self.offered = \
            struct.unpack("<IIIIQ", data)
        self.bar = mmap.mmap(fd, BAR_SIZE)
        os.close(fd)

    def call(self, command, *args, **kwargs):
        return self.channel.call(command, *args, **kwargs)

    def u64(self, command, value):
        self.call(command, struct.pack("<Q", value))

    def set_features(self, features):
        self.u64(SET_FEATURES, features)
        self.features = features

    def map(self, iova, size, fd, offset=0, perm=READ | WRITE):
        self.call(MAP, struct.pack("<QQQII", iova, size, offset, perm, 0), [fd])

    def unmap(self, iova, size):
        self.call(UNMAP, struct.pack("<QQQII", iova, size, 0, 0, 0))

    def set_log(self, size, fd, offset=0):
        """@fd None: no log any more."""
        self.call(SET_LOG, struct.pack("<QQ", offset, size), [] if fd is None else [fd])

    def prepare(self, queue, size, desc, driver, device, position, fds):
        self.prepare_all([(queue, size, desc, driver, device, position, fds)])

    def prepare_all(self, setups):
        """In one command; each as prepare() has it."""
        payload, given = b"", []
        for *facts, fds in setups:
            have = sum(bit for bit, fd in zip((KICK, CALL, ERR), fds) if fd is not None)
            payload += struct.pack("<IIQQQII", *facts, have)
            given += [fd for fd in fds if fd is not None]
        self.call(PREPARE, payload, given)

    @staticmethod
    def pack_set(queues):
        value = sum(1 << q for q in queues)
        return struct.pack("<QQ", value & (2**64 - 1), value >> 64)

    def start(self, *queues):
        self.call(START, self.pack_set(queues))

    def stop(self, *queues):
        data, _ = self.call(STOP, self.pack_set(queues))
        positions = struct.unpack("<128I", data)
        return [positions[q] for q in queues]

    def set_fds(self, queue, change, have, fds):
        self.call(SET_FDS, struct.pack("<IIII", queue, change, have, 0), fds)

    def config(self):
        mac, mtu, pairs, link, flags = struct.unpack("<6sHHHI", self.call(GET_CONFIG)[0])
        return {"mac": mac, "mtu": mtu, "pairs": pairs, "link": link, "announce": flags & 1}

    def control(self):
        """What the control queue has set, as the registers have it: the bytes of SET_CONTROL."""
        current, = struct.unpack_from("<I", self.bar, CONTROL_REGS)
        at = CONTROL_REGS + 8 + current * CONTROL_SIZE
        return self.bar[at:at + CONTROL_SIZE]

    def register(self, name):
        names = ["version", "status", "link_up", "config_generation"]
        wide = ["rx_frames", "rx_bytes", "tx_frames", "tx_bytes", "spoof_drops", "flood_drops",
                "no_queue_drops", "last_spoof_mac", "filter_drops"]
        if name in names:
            return struct.unpack_from("<I", self.bar, REGS + 4 * names.index(name))[0]
        return struct.unpack_from("<Q", self.bar, REGS + 16 + 8 * wide.index(name))[0]

    def queue(self, index):
        names = ("status", "position", "next_position", "in_flight", "received_desc", "completed_desc",
                 "bytes", "drops", "errors", "calls")
        return dict(zip(names, struct.unpack_from("<IIIIQQQQQQ", self.bar,
                                                  QUEUE_REGS + 64 * index)))

    def close(self):
        self.channel.close()


class Memory:
    """Guest memory: a memfd, and an allocator that never gives back."""

    def __init__(self, size=8 << 20, base=0x100000000):
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        self.base, self.size, self.next = base, size, 0

    def take(self, size, align=64):
        at = -(-self.next // align) * align
        assert at + size <= self.size, "guest memory is used up"
        self.next = at + size
        return self.base + at

    def write(self, iova, data):
        at = iova - self.base
        self.map[at:at + len(data)] = data

    def read(self, iova, size):
        at = iova - self.base
        return self.map[at:at + size]

    def put(self, layout, iova, *values):
        """Without the zeros that struct.pack_into() puts there first, which a device may see."""
        self.write(iova, struct.pack(layout, *values))

    def get(self, layout, iova):
        return struct.unpack_from(layout, self.map, iova - self.base)

    def close(self):
        self.map.close()
        os.close(self.fd)


class SplitRing:
    """A driver's side of a split ring. A chain is a list of (iova, size, for_device_to_write)."""

    def __init__(self, memory, size, start=0):
        self.memory, self.size = memory, size
        self.desc = memory.take(16 * size, 16)
        self.driver = memory.take(6 + 2 * size)
        self.device = memory.take(6 + 8 * size)
        self.free = list(range(size))
        self.avail = self.used = start
        memory.put("<HH", self.driver, 0, start)
        memory.put("<HH", self.device, 0, start)
        self.chains = {}

    def initial_position(self):
        return self.avail | self.used << 16

    def write_desc(self, at, iova, size, flags, following=0):
        self.memory.put("<QIHH", at, iova, size, flags, following)

    def publish_head(self, head):
        self.memory.put("<H", self.driver + 4 + 2 * (self.avail % self.size), head)
        self.avail = (self.avail + 1) & 0xffff

    def expose(self):
        self.memory.put("<H", self.driver + 2, self.avail)

    def add(self, chain, indirect=False, expose=True):
        if indirect:
            table = self.memory.take(16 * len(chain), 16)
            for i, (iova, size, write) in enumerate(chain):
                flags = (DESC_WRITE if write else 0) | (DESC_NEXT if i + 1 < len(chain) else 0)
                self.write_desc(table + 16 * i, iova, size, flags, i + 1)
            heads = [self.free.pop(0)]
            self.write_desc(self.desc + 16 * heads[0], table, 16 * len(chain), DESC_INDIRECT)
        else:
            heads = [self.free.pop(0) for _ in chain]
            for i, (iova, size, write) in enumerate(chain):
                last = i + 1 == len(chain)
                flags = (DESC_WRITE if write else 0) | (0 if last else DESC_NEXT)
                self.write_desc(self.desc + 16 * heads[i], iova, size, flags,
                                0 if last else heads[i + 1])
        self.chains[heads[0]] = (heads, chain)
        self.publish_head(heads[0])
        if expose:
            self.expose()
        return heads[0]

    def has_used(self):
        return self.memory.get("<H", self.device + 2)[0] != self.used

    def next_used(self):
        """The next used entry: (number of its chain, bytes written), or None."""
        if not self.has_used():
            return None
        return self.memory.get("<II", self.device + 4 + 8 * (self.used % self.size))

    def retire(self, head):
        """That chain came back."""
        self.used = (self.used + 1) & 0xffff
        heads, chain = self.chains.pop(head)
        self.free += heads
        return chain

    def take_used(self):
        """The next used chain: (its chain, bytes written), or None."""
        used = self.next_used()
        return used and (self.retire(used[0]), used[1])

    def suppress_calls(self):
        self.memory.put("<H", self.driver, 1)

    def wants_kicks(self, event_idx=False):
        if event_idx:
            event, = self.memory.get("<H", self.device + 4 + 8 * self.size)
            return event == self.avail
        return self.memory.get("<H", self.device)[0] == 0

    def set_used_event(self, value):
        self.memory.put("<H", self.driver + 4 + 2 * self.size, value)


class PackedRing:
    """A driver's side of a packed ring."""

    def __init__(self, memory, size, start=0):
        self.memory, self.size = memory, size
        self.desc = memory.take(16 * size, 16)
        self.driver = memory.take(4)
        self.device = memory.take(4)
        self.avail, self.avail_wrap = start, 1
        self.used, self.used_wrap = start, 1
        self.ids = list(range(size))
        self.n_free = size
        self.chains = {}

    def initial_position(self):
        return self.word()

    def word(self):
        return self.used | self.used_wrap << 15 | self.used << 16 | self.used_wrap << 31

    def flags(self, write, following):
        own = DESC_AVAIL if self.avail_wrap else DESC_USED
        return own | (DESC_WRITE if write else 0) | (DESC_NEXT if following else 0)

    def step(self):
        self.avail += 1
        if self.avail == self.size:
            self.avail, self.avail_wrap = 0, self.avail_wrap ^ 1

    def add(self, chain, indirect=False, expose=True):
        ident = self.ids.pop(0)
        first = self.desc + 16 * self.avail
        if indirect:
            table = self.memory.take(16 * len(chain), 16)
            for i, (iova, size, write) in enumerate(chain):
                self.memory.put("<QIHH", table + 16 * i, iova, size, 0, DESC_WRITE if write else 0)
            self.memory.put("<QIH", first, table, 16 * len(chain), ident)
            first_flags, n = self.flags(False, False) | DESC_INDIRECT, 1
            self.step()
        else:
            n = len(chain)
            for i, (iova, size, write) in enumerate(chain):
                flags = self.flags(write, i + 1 < n)
                at = self.desc + 16 * self.avail
                self.memory.put("<QIH", at, iova, size, ident)
                if i == 0:
                    first_flags = flags
                else:
                    self.memory.put("<H", at + 14, flags)
                self.step()
        self.chains[ident] = (n, chain)
        self.n_free -= n
        assert self.n_free >= 0
        self.memory.put("<H", first + 14, first_flags)
        return ident

    def expose(self):
        pass

    def has_used(self):
        flags, = self.memory.get("<H", self.desc + 16 * self.used + 14)
        return (bool(flags & DESC_AVAIL), bool(flags & DESC_USED)) == (self.used_wrap == 1,) * 2

    def next_used(self):
        if not self.has_used():
            return None
        size, ident = self.memory.get("<IH", self.desc + 16 * self.used + 8)
        return ident, size

    def retire(self, ident):
        n, chain = self.chains.pop(ident)
        self.ids.append(ident)
        self.n_free += n
        self.used += n
        if self.used >= self.size:
            self.used, self.used_wrap = self.used - self.size, self.used_wrap ^ 1
        return chain

    def take_used(self):
        used = self.next_used()
        return used and (self.retire(used[0]), used[1])

    def suppress_calls(self):
        self.memory.put("<HH", self.driver, 0, 1)

    def wants_kicks(self, event_idx=False):
        return self.memory.get("<HH", self.device)[1] == 0

    def set_used_event(self, value):
        self.memory.put("<HH", self.driver, value, 2)


class Queue:
    """A ring with its eventfds, prepared for one queue of a function."""

    def __init__(self, guest, index, size=64, ring=None, fds=(True, True, True), at=0):
        self.guest, self.index = guest, index
        packed = guest.function.features & bits(F_PACKED)
        self.ring = ring or (PackedRing if packed else SplitRing)(guest.memory, size, at)
        self.kick, self.call, self.err = (
            os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) if want else None for want in fds)
        self.prepare()

    def setup(self, position=None):
        ring = self.ring
        position = ring.initial_position() if position is None else position
        return (self.index, ring.size, ring.desc, ring.driver, ring.device, position,
                (self.kick, self.call, self.err))

    def prepare(self, position=None):
        self.guest.function.prepare(*self.setup(position))

    def notify(self):
        os.eventfd_write(self.kick, 1)

    def called(self):
        try:
            return os.eventfd_read(self.call)
        except BlockingIOError:
            return 0

    def failed(self):
        try:
            return os.eventfd_read(self.err)
        except BlockingIOError:
            return 0

    def wait_used(self):
        return wait_for(self.ring.take_used, f"a used chain in queue {self.index}")

    def close(self):
        for fd in (self.kick, self.call, self.err):
            if fd is not None:
                os.close(fd)


class Guest:
    """A guest that drives pairs of queues of one function."""

    HEADER = 12

    def __init__(self, function, features=bits(F_VERSION_1, F_MRG_RXBUF), pairs=1, size=64,
                 memory=None, start=True, at=0):
        self.function = function
        self.memory = memory or Memory()
        function.set_features(features)
        function.map(self.memory.base, self.memory.size, self.memory.fd)
        self.queues = [Queue(self, i, size, at=at) for i in range(2 * pairs)]
        if start:
            function.start(*range(2 * pairs))

    def offer(self, pair=0, sizes=(2048,), indirect=False):
        """One receive chain."""
        chain = [(self.memory.take(size), size, True) for size in sizes]
        self.queues[2 * pair].ring.add(chain, indirect)

    def send(self, frame, pair=0, header=bytes(12), split=(), indirect=False, notify=True):
        """One transmit chain of header and frame, cut at the offsets of @split."""
        data = header + frame
        cuts = [0, *split, len(data)]
        chain = []
        for a, b in zip(cuts, cuts[1:]):
            iova = self.memory.take(b - a)
            self.memory.write(iova, data[a:b])
            chain.append((iova, b - a, False))
        queue = self.queues[2 * pair + 1]
        queue.ring.add(chain, indirect)
        if notify:
            queue.notify()

    def sent(self, pair=0):
        return self.queues[2 * pair + 1].wait_used()

    def take(self, pair=0):
        """Bytes of the next used receive chain."""
        chain, size = self.queues[2 * pair].wait_used()
        data = b""
        for iova, room, _ in chain:
            part = min(room, size - len(data))
            data += self.memory.read(iova, part)
        assert len(data) == size
        return data

    def receive(self, pair=0):
        """(header, frame), mergeable buffers joined."""
        data = self.take(pair)
        count, = struct.unpack_from("<H", data, 10)
        for _ in range(count - 1):
            data += self.take(pair)
        return data[:self.HEADER], data[self.HEADER:]

    def nothing_received(self, pair=0):
        return not self.queues[2 * pair].ring.has_used()

    def close(self):
        for queue in self.queues:
            queue.close()
        self.memory.close()


class ControlQueue(Queue):
    """The control queue of a guest whose function has one. Chains are given back in order, so room
    for the next command is taken once."""

    ROOM = 32768

    def __init__(self, guest, start=True, **facts):
        super().__init__(guest, guest.function.n_queues, **facts)
        guest.queues.append(self)
        self.at, self.verdict_at = guest.memory.take(self.ROOM), guest.memory.take(8)
        if start:
            guest.function.start(self.index)

    def offer(self, data, split=(2,), verdict=1, indirect=False):
        """A command, cut at the offsets of @split, and @verdict bytes of room."""
        self.guest.memory.write(self.at, data)
        self.guest.memory.write(self.verdict_at, b"\xee" * 8)
        cuts = [0, *(at for at in split if at < len(data)), len(data)]
        chain = [(self.at + a, b - a, False) for a, b in zip(cuts, cuts[1:]) if b > a]
        chain += [(self.verdict_at, verdict, True)] if verdict else []
        self.ring.add(chain, indirect)
        self.notify()

    def command(self, kind, number, data=b"", **facts):
        """Return: the verdict."""
        return self.bytes(bytes([kind, number]) + data, **facts)

    def bytes(self, data, **facts):
        self.offer(data, **facts)
        _, size = self.wait_used()
        verdict = self.guest.memory.read(self.verdict_at, 8)
        assert size == 1 and verdict[1:] == b"\xee" * 7, (size, verdict)
        return verdict[0]


def frame(to, source, payload=b"", kind=0x88b5):
    """An Ethernet frame of at least 60 bytes, of a kind that nobody else uses."""
    return (to + source + struct.pack(">H", kind) + payload).ljust(60, b"\0")


def mac(n):
    return b"\x52\x54\0\0\0" + bytes([n])


BROADCAST = b"\xff" * 6
