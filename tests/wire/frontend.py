# SPDX-License-Identifier: BSD-2-Clause
"""A vhost-user front-end that sends bytes, and a small guest driver for split and packed rings."""
import contextlib
import ctypes
import mmap
import os
import select
import socket
import struct
import time

DEADLINE = 60
REPLY, NEED_REPLY = 4, 8
NO_FD = 0x100

NAMES = """NONE GET_FEATURES SET_FEATURES SET_OWNER RESET_OWNER SET_MEM_TABLE SET_LOG_BASE SET_LOG_FD
SET_VRING_NUM SET_VRING_ADDR SET_VRING_BASE GET_VRING_BASE SET_VRING_KICK SET_VRING_CALL
SET_VRING_ERR GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_QUEUE_NUM SET_VRING_ENABLE SEND_RARP
NET_SET_MTU SET_BACKEND_REQ_FD IOTLB_MSG SET_VRING_ENDIAN GET_CONFIG SET_CONFIG
CREATE_CRYPTO_SESSION CLOSE_CRYPTO_SESSION POSTCOPY_ADVISE POSTCOPY_LISTEN POSTCOPY_END
GET_INFLIGHT_FD SET_INFLIGHT_FD GPU_SET_SOCKET RESET_DEVICE VRING_KICK GET_MAX_MEM_SLOTS ADD_MEM_REG
REM_MEM_REG SET_STATUS GET_STATUS GET_SHARED_OBJECT SET_DEVICE_STATE_FD CHECK_DEVICE_STATE
GET_SHMEM_CONFIG""".split()
ID = {name: number for number, name in enumerate(NAMES)}

PF = {"MQ": 0, "LOG_SHMFD": 1, "RARP": 2, "REPLY_ACK": 3, "MTU": 4, "BACKEND_REQ": 5, "PAGEFAULT": 8,
      "CONFIG": 9, "INFLIGHT_SHMFD": 12, "RESET_DEVICE": 13, "INBAND_NOTIFICATIONS": 14,
      "CONFIGURE_MEM_SLOTS": 15, "STATUS": 16, "DEVICE_STATE": 19}
OFFERED_PF_SHUFFLED = sum(1 << bit for bit in PF.values())  # by a device that completes in any order
OFFERED_PF = OFFERED_PF_SHUFFLED & ~(1 << PF["INFLIGHT_SHMFD"])
NEED_ACKS = 1 << PF["REPLY_ACK"] | 1 << PF["INBAND_NOTIFICATIONS"]  # what goes without acknowledgements
MAC = b"\x52\x54\0\0\0\1"  # of a function, unless told otherwise
F_LOG_ALL = 1 << 26
F_PROTOCOL, F_VERSION_1, F_PACKED, F_IN_ORDER = 1 << 30, 1 << 32, 1 << 34, 1 << 35
F_ACCESS_PLATFORM = 1 << 33
F_MRG_RXBUF, F_MQ, F_INDIRECT, F_EVENT_IDX = 1 << 15, 1 << 22, 1 << 28, 1 << 29


# By a device with two pairs.
RINGS_NOT_THERE = [4, 5, 255, 256, 65535, 65536, 0xffffffff]


class Closed(Exception):
    """The back-end ended the connection."""


class Hopeless(Exception):
    """Nothing will be completed in this ring."""


class Memory:
    """Guest memory: one file, one region unless said otherwise."""

    def __init__(self, size=4 << 20, gpa=0x40000000):
        self.size, self.gpa = size, gpa
        self.uva = 0x7f0000000000 + gpa
        self.fd = os.memfd_create("guest", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)

    def region(self):
        return struct.pack("=QQQQ", self.gpa, self.size, self.uva, 0)

    def close(self):
        self.map.close()
        os.close(self.fd)


def eventfd(count=0):
    return os.eventfd(count, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


class FrontEnd:
    def __init__(self, path, offered=OFFERED_PF):
        self.offered = offered
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Connect first: with a timeout Python's socket is non-blocking, and
        # then a full backlog is an error instead of a wait.
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", DEADLINE, 0)
        )
        self.sock.connect(path)
        self.sock.settimeout(DEADLINE)
        self.acks = False

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- bytes

    def raw(self, data, fds=()):
        try:
            socket.send_fds(self.sock, [data], list(fds))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def message(self, name, payload=b"", flags=1, size=None):
        request = ID[name] if isinstance(name, str) else name
        return struct.pack("=III", request, flags, len(payload) if size is None else size) + payload

    def send(self, name, payload=b"", fds=(), flags=1, size=None):
        self.raw(self.message(name, payload, flags, size), fds)

    def receive(self, size):
        data = b""
        while len(data) < size:
            try:
                part = self.sock.recv(size - len(data))
            except ConnectionResetError as error:
                raise Closed from error
            if not part:
                raise Closed
            data += part
        return data

    def reply(self, name):
        """The body of the reply to a message."""
        request, flags, size = struct.unpack("=III", self.receive(12))
        assert request == (ID[name] if isinstance(name, str) else name)
        assert flags == 1 | REPLY
        return self.receive(size)

    def silent(self, seconds=0.05):
        """True when nothing comes."""
        return not select.select([self.sock], [], [], seconds)[0]

    def is_closed(self):
        """Wait for the end of the connection; anything else but that is a failure."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def together(self):
        """A context for a message and its answer, where others send, too."""
        return contextlib.nullcontext()

    # ---- messages

    def ask(self, name, payload=b"", fds=()):
        """A message with a reply of its own."""
        with self.together():
            self.send(name, payload, fds)
            return self.reply(name)

    def ask_u64(self, name):
        return struct.unpack("=Q", self.ask(name))[0]

    def tell(self, name, payload=b"", fds=()):
        """A message that is answered by an acknowledgement. Return: true when it was accepted."""
        assert self.acks, "REPLY_ACK was not negotiated"
        with self.together():
            self.send(name, payload, fds, flags=1 | NEED_REPLY)
            body = self.reply(name)
        assert len(body) == 8
        return struct.unpack("=Q", body)[0] == 0

    def accepted(self, name, payload=b"", fds=()):
        assert self.tell(name, payload, fds), f"{name} was refused"

    def refused(self, name, payload=b"", fds=()):
        assert not self.tell(name, payload, fds), f"{name} was accepted"

    def negotiate(self, pf=None):
        """What every front-end does first; it takes all that is offered, unless told otherwise."""
        pf = self.offered if pf is None else pf
        self.features = self.ask_u64("GET_FEATURES")
        assert self.features & F_PROTOCOL
        assert self.ask_u64("GET_PROTOCOL_FEATURES") == self.offered
        self.send("SET_PROTOCOL_FEATURES", u64(pf))
        self.acks = bool(pf & 1 << PF["REPLY_ACK"])
        self.send("SET_OWNER")
        assert self.ask_u64("GET_FEATURES") == self.features  # all before it has taken effect

    def vring_base(self, index):
        ring, num = struct.unpack("=II", self.ask("GET_VRING_BASE", state(index, 0)))
        assert ring == index
        return num


def u64(value):
    return struct.pack("=Q", value)


def state(index, num):
    return struct.pack("=II", index, num)


def table(*memories):
    return struct.pack("=II", len(memories), 0) + b"".join(m.region() for m in memories)


def config(offset, size, flags=0, data=None):
    return struct.pack("=III", offset, size, flags) + (bytes(size) if data is None else data)


def single(memory):
    return bytes(8) + memory.region()


class Ring:
    """A split or packed ring in guest memory, driven from the guest's side, no event index.

    hopeless: a function that is asked now and then, while nothing comes, whether that is the end
    """

    hopeless = None

    def __init__(self, memory, index, at, size=64, packed=False, start=0):
        self.memory, self.index, self.size, self.packed = memory, index, size, packed
        self.desc = at
        self.avail = at + 16 * size
        self.used = (self.avail + 4 + 2 * size + 2 + 4095) // 4096 * 4096
        self.buffers = self.used + (4 + 8 * size + 2 + 4095) // 4096 * 4096
        self.kick, self.call, self.err = eventfd(), eventfd(), eventfd()
        self.next_avail = self.next_used = start if not packed else 0
        self.avail_wrap = self.used_wrap = True
        if not packed:
            self._put("=H", self.avail + 2, start & 0xffff)
            self._put("=H", self.used + 2, start & 0xffff)
        self.base = 0x80008000 if packed else start

    def close(self):
        for fd in (self.kick, self.call, self.err):
            os.close(fd)

    def _put(self, form, at, *values):
        """Without the zeros that struct.pack_into() puts there first, which a device may see."""
        data = struct.pack(form, *values)
        self.memory.map[at:at + len(data)] = data

    def _get(self, form, at):
        return struct.unpack_from(form, self.memory.map, at)

    def addr(self, flags=0, log=0):
        base = self.memory.uva
        return struct.pack("=IIQQQQ", self.index, flags, base + self.desc, base + self.used,
                           base + self.avail, log)

    def slot(self, number):
        return self.buffers + 2048 * (number % self.size)

    def offer(self, data=b"", writable=0, number=None):
        """One buffer for the device: bytes to send, or room to receive. `number`: which buffer, and
        descriptor, where they do not come back in order."""
        place = self.next_avail % self.size
        number = place if number is None else number
        at = self.slot(number)
        if data:
            self.memory.map[at:at + len(data)] = data
        length = len(data) or writable
        if self.packed:
            flags = (2 if writable else 0) | (0x80 if self.avail_wrap else 0x8000)
            self._put("=QIH", self.desc + 16 * place, self.memory.gpa + at, length, number)
            self._put("=H", self.desc + 16 * place + 14, flags)
            self.next_avail += 1
            if self.next_avail == self.size:
                self.next_avail, self.avail_wrap = 0, not self.avail_wrap
        else:
            self._put("=QIHH", self.desc + 16 * number, self.memory.gpa + at, length,
                      2 if writable else 0, 0)
            self._put("=H", self.avail + 4 + 2 * place, number)
            self.next_avail = (self.next_avail + 1) & 0xffff
            self._put("=H", self.avail + 2, self.next_avail)

    def notify(self):
        os.eventfd_write(self.kick, 1)

    def take(self):
        """One completed buffer: its bytes' number, or None."""
        if self.packed:
            at = self.desc + 16 * self.next_used
            flags, = self._get("=H", at + 14)  # before what they say is there
            if bool(flags & 0x80) != self.used_wrap or bool(flags & 0x8000) != self.used_wrap:
                return None
            length, number = self._get("=IH", at + 8)
            self.next_used += 1
            if self.next_used == self.size:
                self.next_used, self.used_wrap = 0, not self.used_wrap
            return number, length
        if self._get("=H", self.used + 2)[0] == self.next_used & 0xffff:
            return None
        number, length = self._get("=II", self.used + 4 + 8 * (self.next_used % self.size))
        self.next_used = (self.next_used + 1) & 0xffff
        return number, length

    def wait(self, deadline=DEADLINE):
        begin = asked = time.monotonic()
        while True:
            done = self.take()
            if done:
                return done
            now = time.monotonic()
            assert now < begin + deadline, f"ring {self.index}: nothing was completed"
            if self.hopeless and now > asked + 1:
                if self.hopeless():
                    raise Hopeless
                asked = now
            time.sleep(0.001)

    def data(self, number, length):
        at = self.slot(number)
        return bytes(self.memory.map[at:at + length])

    def position(self):
        """The position word that GET_VRING_BASE has to answer when nothing is under way."""
        if not self.packed:
            return self.next_used & 0xffff
        half = self.next_used | (0x8000 if self.used_wrap else 0)
        return half | half << 16


class Guest:
    """A front-end with rings that run: pairs of receive and transmit rings."""

    def __init__(self, path, pairs=1, packed=False, size=64, pf=None, start=0, extra=0,
                 offered=OFFERED_PF, mac=MAC):
        self.fe = FrontEnd(path, offered)
        self.mac = mac
        self.memory = Memory(size=(1 << 20) * 2 * pairs + (1 << 20))
        self.packed = packed
        self.rings = [Ring(self.memory, i, (1 << 20) * i, size, packed, start)
                      for i in range(2 * pairs)]
        self.features = F_PROTOCOL | F_VERSION_1 | F_MRG_RXBUF | extra
        self.features |= F_MQ if pairs > 1 else 0
        self.features |= F_PACKED if packed else 0
        self.pf = offered if pf is None else pf

    def close(self):
        self.fe.close()
        self.memory.close()
        for ring in self.rings:
            ring.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def setup_steps(self):
        """(name, payload, fds) of all messages from SET_FEATURES to running rings, as QEMU."""
        yield "SET_FEATURES", u64(self.features), []
        yield "SET_STATUS", u64(0xb), []
        yield "SET_MEM_TABLE", table(self.memory), [self.memory.fd]
        for ring in self.rings:
            yield "SET_VRING_NUM", state(ring.index, ring.size), []
            yield "SET_VRING_BASE", state(ring.index, ring.base), []
            yield "SET_VRING_ADDR", ring.addr(), []
            yield "SET_VRING_ERR", u64(ring.index), [ring.err]
            yield "SET_VRING_CALL", u64(ring.index), [ring.call]
            yield "SET_VRING_KICK", u64(ring.index), [ring.kick]
            yield "SET_VRING_ENABLE", state(ring.index, 1), []
        yield "SET_STATUS", u64(0xf), []

    def setup(self):
        self.fe.negotiate(self.pf)
        for name, payload, fds in self.setup_steps():
            self.fe.accepted(name, payload, fds)
        return self

    def exchange(self, n=1, tx=1, rx=0, payload=b"", frame_size=100):
        """Send frames through a NIC that returns them, and check each byte that comes back."""
        for i in range(n):
            body = (payload or bytes([i & 0xff])) * frame_size
            frame = b"\2\0\0\0\0\x99" + self.mac + b"\x88\xb5" + body[:frame_size]
            self.rings[rx].offer(writable=2048)
            self.rings[rx].notify()
            self.rings[tx].offer(bytes(12) + frame)
            self.rings[tx].notify()
            self.rings[tx].wait()
            number, length = self.rings[rx].wait()
            got = self.rings[rx].data(number, length)[12:]
            assert got[12:] == frame[12:], (got, frame)

    def transmit(self, n=1, tx=1):
        """Send frames that nobody needs; wait until the device took them."""
        for _ in range(n):
            self.rings[tx].offer(bytes(12) + b"\x52\x54\0\0\0\2\x52\x54\0\0\0\1\x88\xb5" + bytes(50))
            self.rings[tx].notify()
            self.rings[tx].wait()
