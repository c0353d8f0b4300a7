# SPDX-License-Identifier: BSD-2-Clause
"""A driver's side of split and packed rings, each of their areas in pages of its own.

A chain is a list of (address, size, for_device_to_write). offer() makes one available, publish()
shows the device what was offered and says whether it wants to be kicked, take() gives back what the
device has used. Source: virtio 1.2, 2.7 and 2.8.
"""
import struct

from dirtylog import SEQ_CST, libatomic
from memory import PAGE

NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 1 << 7, 1 << 15
EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC = 0, 1, 2
MAX_PIECES = 4  # of a chain, and so of an indirect table

U16 = struct.Struct("<H")
TWO_U16 = struct.Struct("<HH")
USED_ELEMENT = struct.Struct("<II")
SPLIT_DESC = struct.Struct("<QIHH")
PACKED_DESC = struct.Struct("<QIHH")
PACKED_BODY = struct.Struct("<QIH")
PACKED_USED = struct.Struct("<IH")


class RingError(AssertionError):
    """The device did what it must not."""


class Chain:
    """One that was offered; `buffer` is whatever the caller wants back with it."""

    def __init__(self, pieces, slots, buffer):
        self.pieces, self.slots, self.buffer = pieces, slots, buffer


class Ring:
    """What both kinds have. Its memory lies in `region`."""

    def __init__(self, ram, rng, index, size, indirect, event_idx, region):
        self.ram, self.rng, self.index, self.size = ram, rng, index, size
        self.indirect, self.event_idx, self.region = indirect, event_idx, region
        self.chains = {}  # offered and not used, by id
        self.n_free = size
        self.n_returned = 0
        if indirect:
            self.tables = self._take(16 * MAX_PIECES * size, 16, "indirect tables")

    def _take(self, size, align, kind, first=0):
        """An area that shares no page with another one, anywhere in its pages.

        first: bytes of its beginning that lie in another page than the rest now and then
        """
        skip = align * self.rng.randrange(PAGE // align)
        if first and self.rng.random() < 0.5:
            skip = PAGE - first
        self.ram.take(skip, "gap before a ring", self.index, PAGE, self.region)
        gpa = self.ram.take(size, kind, self.index, align, self.region)
        skip = 2 * PAGE - (skip + size) % PAGE
        self.ram.take(skip, "gap behind a ring", self.index, 1, self.region)
        return gpa

    def has_room(self, pieces):
        return self.n_free >= (1 if self.indirect else pieces)

    def _give_back(self, ident):
        chain = self.chains.pop(ident, None)
        if chain is None:
            raise RingError(f"queue {self.index}: chain {ident} was returned, but the device does "
                            "not have it")
        self.n_free += chain.slots
        self.n_returned += 1
        return chain

    def check_written(self, chain, length):
        room = sum(size for _, size, write in chain.pieces if write)
        if length > room:
            raise RingError(f"queue {self.index}: {length} bytes were written into room for {room}")


def barrier():
    """What was stored before is seen by others before what follows is loaded."""
    libatomic.atomic_thread_fence(SEQ_CST)


class SplitRing(Ring):
    DEVICES_OWN = ("used ring",)

    def __init__(self, ram, rng, index, size, indirect, event_idx, region):
        super().__init__(ram, rng, index, size, indirect, event_idx, region)
        self.desc = self._take(16 * size, 16, "descriptors")
        self.driver = self._take(4 + 2 * size + 2, 2, "available ring")
        self.device_size = 4 + 8 * size + 2
        self.device = self._take(self.device_size, 4, "used ring",
                                 first=rng.choice((4, 4 + 8 * size)) % PAGE)
        for area, length in ((self.desc, 16 * size), (self.driver, 4 + 2 * size + 2),
                             (self.device, self.device_size)):
            ram.write(area, bytes(length))
        self.free = list(range(size))
        self.next_avail = self.shown = self.next_used = 0

    def base(self):
        """The position where a device that has nothing goes on."""
        return self.next_used

    def areas(self):
        """(address, size) of all that a device has to reach of the ring itself."""
        event = 2 if self.event_idx else 0  # without it nobody looks behind the entries
        return [(self.desc, 16 * self.size), (self.driver, 4 + 2 * self.size + event),
                (self.device, 4 + 8 * self.size + event)]

    def devices_own(self):
        return [(self.device, self.device_size)]

    def offer(self, pieces, buffer=None):
        heads = [self.free.pop() for _ in (pieces[:1] if self.indirect else pieces)]
        table = self.desc
        places = heads
        if self.indirect:
            table = self.tables + 16 * MAX_PIECES * heads[0]
            places = range(len(pieces))
            self.ram.put(SPLIT_DESC, self.desc + 16 * heads[0], self.ram.iova_of(table),
                         16 * len(pieces), INDIRECT, 0)
        for i, (gpa, size, write) in enumerate(pieces):
            last = i + 1 == len(pieces)
            flags = (WRITE if write else 0) | (0 if last else NEXT)
            self.ram.put(SPLIT_DESC, table + 16 * places[i], self.ram.iova_of(gpa), size, flags,
                         0 if last else places[i + 1])
        self.chains[heads[0]] = Chain(pieces, len(heads), buffer)
        self.chains[heads[0]].heads = heads
        self.n_free -= len(heads)
        self.ram.put_u16(self.driver + 4 + 2 * (self.next_avail % self.size), heads[0])
        self.next_avail = (self.next_avail + 1) & 0xffff

    def publish(self):
        old, new = self.shown, self.next_avail
        if old == new:
            return False
        self.ram.put_u16(self.driver + 2, new)
        self.shown = new
        barrier()
        if not self.event_idx:
            return self.ram.get(U16, self.device)[0] & 1 == 0
        event, = self.ram.get(U16, self.device + 4 + 8 * self.size)
        return (new - event - 1) & 0xffff < (new - old) & 0xffff

    def want_calls(self, want):
        if self.event_idx:
            behind = 0 if want else self.size
            self.ram.put_u16(self.driver + 4 + 2 * self.size, (self.next_used + behind) & 0xffff)
        else:
            self.ram.put_u16(self.driver, 0 if want else 1)

    def take(self):
        """(chain, bytes written), or None."""
        used, = self.ram.get(U16, self.device + 2)
        n = (used - self.next_used) & 0xffff
        if n == 0:
            return None
        if n > len(self.chains):
            raise RingError(f"queue {self.index}: {n} chains returned, the device has "
                            f"{len(self.chains)}")
        head, length = self.ram.get(USED_ELEMENT,
                                    self.device + 4 + 8 * (self.next_used % self.size))
        self.next_used = (self.next_used + 1) & 0xffff
        chain = self._give_back(head)
        self.free += chain.heads
        self.check_written(chain, length)
        return chain, length


class PackedRing(Ring):
    DEVICES_OWN = ("descriptor ring", "device event area")

    def __init__(self, ram, rng, index, size, indirect, event_idx, region):
        super().__init__(ram, rng, index, size, indirect, event_idx, region)
        self.desc = self._take(16 * size, 16, "descriptor ring")
        self.driver = self._take(4, 4, "driver event area")
        self.device = self._take(4, 4, "device event area")
        for area, length in ((self.desc, 16 * size), (self.driver, 4), (self.device, 4)):
            ram.write(area, bytes(length))
        self.ids = list(range(size))
        self.next_avail = self.next_used = 0
        self.avail_wrap = self.used_wrap = 1
        self.n_new = 0

    def base(self):
        half = self.next_used | self.used_wrap << 15
        return half | half << 16

    def areas(self):
        return [(self.desc, 16 * self.size), (self.driver, 4), (self.device, 4)]

    def devices_own(self):
        return [(self.desc, 16 * self.size), (self.device, 4)]

    def _flags(self, write, following):
        own = AVAIL if self.avail_wrap else USED
        return own | (WRITE if write else 0) | (NEXT if following else 0)

    def _step(self):
        self.next_avail += 1
        if self.next_avail == self.size:
            self.next_avail, self.avail_wrap = 0, self.avail_wrap ^ 1

    def offer(self, pieces, buffer=None):
        ident = self.ids.pop(0)
        first = self.desc + 16 * self.next_avail
        if self.indirect:
            table = self.tables + 16 * MAX_PIECES * ident
            for i, (gpa, size, write) in enumerate(pieces):
                self.ram.put(PACKED_DESC, table + 16 * i, self.ram.iova_of(gpa), size, 0,
                             WRITE if write else 0)
            self.ram.put(PACKED_BODY, first, self.ram.iova_of(table), 16 * len(pieces), ident)
            first_flags, slots = self._flags(False, False) | INDIRECT, 1
            self._step()
        else:
            slots = len(pieces)
            for i, (gpa, size, write) in enumerate(pieces):
                at = self.desc + 16 * self.next_avail
                flags = self._flags(write, i + 1 < slots)
                self.ram.put(PACKED_BODY, at, self.ram.iova_of(gpa), size, ident)
                if i == 0:
                    first_flags = flags
                else:
                    self.ram.put_u16(at + 14, flags)
                self._step()
        self.chains[ident] = Chain(pieces, slots, buffer)
        self.n_free -= slots
        self.n_new += slots
        self.ram.put_u16(first + 14, first_flags)

    def publish(self):
        n, self.n_new = self.n_new, 0
        if n == 0:
            return False
        barrier()
        word, flags = self.ram.get(TWO_U16, self.device)
        if not self.event_idx or flags & 3 != EVENT_DESC:
            return flags & 3 != EVENT_DISABLE
        event = word & 0x7fff
        if word >> 15 != self.avail_wrap:
            event -= self.size
        return (self.next_avail - event - 1) & 0xffff < n

    def want_calls(self, want):
        if self.event_idx and want:
            self.ram.put_u16(self.driver, self.next_used | self.used_wrap << 15)
        flags = EVENT_DESC if self.event_idx else EVENT_ENABLE
        self.ram.put_u16(self.driver + 2, flags if want else EVENT_DISABLE)

    def take(self):
        at = self.desc + 16 * self.next_used
        flags, = self.ram.get(U16, at + 14)
        if flags & (AVAIL | USED) != (AVAIL | USED if self.used_wrap else 0):
            return None
        if not self.chains:
            raise RingError(f"queue {self.index}: something was returned, the device has nothing")
        length, ident = self.ram.get(PACKED_USED, at + 8)
        chain = self._give_back(ident)
        self.ids.append(ident)
        self.next_used += chain.slots
        if self.next_used >= self.size:
            self.next_used, self.used_wrap = self.next_used - self.size, self.used_wrap ^ 1
        if not flags & WRITE:  # the length means nothing
            length = 0
        self.check_written(chain, length)
        return chain, length
