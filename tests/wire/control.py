# SPDX-License-Identifier: BSD-2-Clause
"""A guest whose driver uses the control queue of the device. Source: virtio 1.2, 5.1.2 and 5.1.6.5."""
import struct

from frontend import DEADLINE, F_MQ, Guest, Ring, u64
from simnic import CONTROL

F_GUEST_ANNOUNCE = 1 << 21
OK, ERR = 0, 1
RX, MAC, VLAN, ANNOUNCE, MQ, OFFLOADS = range(6)
PROMISC, ALLMULTI, ALLUNI, NOMULTI, NOUNI, NOBCAST = range(6)
TABLE_SET, ADDR_SET = 0, 1


class ControlRing(Ring):
    """Each chain is two descriptors: what the driver writes, and a page of its own for the verdict."""

    def command(self, kind, number, data=b""):
        """Return: the verdict."""
        return self.bytes(bytes([kind, number]) + data)

    def bytes(self, data):
        self.offer_command(data)
        self.notify()
        return self.verdict()

    def places(self):
        at = self.buffers + 4096 * (self.next_avail % self.size)
        return at, at + 4096

    def offer_command(self, data, verdict=1):
        at, self.verdict_at = self.places()
        self.memory.map[at:at + len(data)] = data
        self.memory.map[self.verdict_at:self.verdict_at + 1] = b"\xee"
        first, second = self.memory.gpa + at, self.memory.gpa + self.verdict_at
        if self.packed:
            place, flags = self.next_avail, 0x80 if self.avail_wrap else 0x8000
            self._put("=QIHH", self.desc + 16 * (place + 1), second, verdict, place, flags | 2)
            self._put("=QIH", self.desc + 16 * place, first, len(data), place)
            self._put("=H", self.desc + 16 * place + 14, flags | 1)
            self.next_avail += 2
            if self.next_avail == self.size:
                self.next_avail, self.avail_wrap = 0, not self.avail_wrap
            return
        place = 2 * self.next_avail % self.size
        self._put("=QIHH", self.desc + 16 * place, first, len(data), 1, place + 1)
        self._put("=QIHH", self.desc + 16 * (place + 1), second, verdict, 2, 0)
        self._put("=H", self.avail + 4 + 2 * (self.next_avail % self.size), place)
        self.next_avail = (self.next_avail + 1) & 0xffff
        self._put("=H", self.avail + 2, self.next_avail)

    def take(self):
        done = super().take()
        if done and self.packed:
            self.next_used += 1
            if self.next_used == self.size:
                self.next_used, self.used_wrap = 0, not self.used_wrap
        return done

    def verdict(self, deadline=DEADLINE):
        _, length = self.wait(deadline)
        assert length == 1
        return self.written_verdict()

    def written_verdict(self):
        return self.memory.map[self.verdict_at:self.verdict_at + 1][0]

    def begin_anew(self):
        """The ring of a driver that was just loaded."""
        self.memory.map[self.desc:self.buffers] = bytes(self.buffers - self.desc)
        self.next_avail = self.next_used = 0
        self.avail_wrap = self.used_wrap = True


class ControlGuest(Guest):
    """`guest.control` is the control queue, behind all pairs, or behind the first one without MQ."""

    def __init__(self, path, pairs=1, of=None, extra=0, size=16, **facts):
        super().__init__(path, pairs, extra=extra | CONTROL | F_GUEST_ANNOUNCE, **facts)
        many = self.features & F_MQ
        self.control = ControlRing(self.memory, 2 * (of or pairs) if many else 2,
                                   (1 << 20) * 2 * pairs, size, self.packed)
        self.rings.append(self.control)

    def again(self, bases):
        """Describe and start all rings once more, at these positions."""
        self.fe.accepted("SET_STATUS", u64(0xb))
        for name, payload, fds in self.setup_steps():
            if name in ("SET_FEATURES", "SET_STATUS", "SET_MEM_TABLE"):
                continue
            if name == "SET_VRING_BASE":
                index, = struct.unpack_from("=I", payload)
                payload = struct.pack("=II", index, bases[index])
            self.fe.accepted(name, payload, fds)
        self.fe.accepted("SET_STATUS", u64(0xf))

    def stopped(self):
        """Return: the position of each ring."""
        return {ring.index: self.fe.vring_base(ring.index) for ring in self.rings}
