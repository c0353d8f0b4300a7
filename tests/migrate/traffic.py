# SPDX-License-Identifier: BSD-2-Clause
"""A guest that sends frames, gets each of them back, and looks at every byte.

What is on the other side returns each frame to its sender with both addresses swapped. A frame
carries its flow, its number in that flow, its length and a checksum. A flow stays in order, so a
number that was left out is a frame that was lost, and a smaller one than before came twice.

Receive buffers are written by the guest once, before any device sees them: what changes in their
pages later was written by a device.
"""
import struct
import time
import zlib
from collections import deque

from memory import HIGH_REGION, IOVA_BASE, LOW_REGION, PAGE, PLUGGED, GuestRam
from rings import MAX_PIECES, PackedRing, SplitRing

SLOT = 2200              # bytes of memory for one frame: some lie in two pages
HEADER = 12              # struct virtio_net_hdr_v1
N_BUFFERS = struct.Struct("<H")
FIELDS = struct.Struct("<2sHHQ")  # after both addresses: type, flow, length, number
TYPE = b"\x88\xb5"
FIRST_BYTE = 12          # of what the checksum is about: the addresses change
SMALLEST, GREATEST = 60, 1514
SMALLEST_CHAIN = 512     # bytes of room in a receive chain
CHAINS_A_FRAME = -(-(HEADER + GREATEST) // SMALLEST_CHAIN)
FLOWS_A_QUEUE = 4
MAC = b"\x52\x54\0\0\0\1"
NAMELESS = bytes(3)
DEADLINE = 60
MARK_AGAIN = 0.1  # seconds


def build_frame(flow, number, size, filler, name=NAMELESS):
    head = b"\2\x0f" + name + bytes([flow]) + MAC + FIELDS.pack(TYPE, flow, size, number)
    at = number * 61 % 1024
    body = head + filler[at:at + size - len(head) - 4]
    return body + zlib.crc32(body[FIRST_BYTE:]).to_bytes(4, "little")


def parse_frame(frame):
    """(flow, number); fails for a frame that is not as it was sent."""
    assert len(frame) >= SMALLEST, f"a frame of {len(frame)} bytes was received"
    kind, flow, size, number = FIELDS.unpack_from(frame, FIRST_BYTE)
    assert kind == TYPE and size == len(frame), f"a frame of {len(frame)} bytes: {frame[:40].hex()}"
    checksum = zlib.crc32(frame[FIRST_BYTE:-4]).to_bytes(4, "little")
    assert checksum == frame[-4:], f"frame {number} of flow {flow} is damaged"
    return flow, number


class Flow:
    """Frames with the same addresses.

    doubtful: those before this number were under way when a device stopped, and may be lost
    marked:   when another frame was sent since; when that comes back, nothing is doubtful any more. It
              may find no buffer either
    hurried:  a relay has no room for all buffers of all tables: some are handed over a moment after the
              guest offered them, and the loop answers in less; a frame that finds none is dropped, as
              it is by any NIC. n_missed counts those. A real function also drops what it was just
              about to receive when it is stopped, for a relay that begins as for any other reason
    missing:  the lost ones, where they may come yet: the wire keeps frames for a device that is stopped, or
              the rings of several pairs start and stop one by one, and the flow goes to others meanwhile
    """

    def __init__(self, number, hurried=False, overtakes=False):
        self.number = number
        self.missing = set() if overtakes else None
        self.hurried = hurried
        self.n_sent = self.expected = self.under_way_at_stop = self.n_missed = 0
        self.marked = 0

    @property
    def doubtful(self):
        return self.n_sent if self.hurried else self.under_way_at_stop

    def device_stops(self):
        self.under_way_at_stop = self.n_sent
        self.marked = 0

    def arrived(self, number):
        """Return: how many before it were lost."""
        assert number < self.n_sent, f"flow {self.number}: frame {number} was never sent"
        if self.missing and number in self.missing:
            self.missing.remove(number)
            return -1
        assert number >= self.expected, (
            f"flow {self.number}: frame {number} came twice or too late, the next one would be "
            f"{self.expected}")
        lost = number - self.expected
        assert lost == 0 or number <= self.doubtful, (
            f"flow {self.number}: frames {self.expected} to {number - 1} were lost, and only those "
            f"before {self.doubtful} were under way when a device stopped")
        if number > self.under_way_at_stop:
            self.n_missed += lost
        if self.missing is not None:
            self.missing.update(range(self.expected, number))
        self.expected = number + 1
        return lost


def cut_into_chains(rng, gpa, size):
    """Receive chains of 1 to 3 pieces from anywhere in an area, with unused bytes around each."""
    pieces = []
    at = gpa + rng.randrange(64)
    while at + 1100 < gpa + size:
        length = rng.randrange(64, 900)
        pieces.append((at, length, True))
        at += length + rng.randrange(1, 200)
    rng.shuffle(pieces)
    while len(pieces) >= 3:
        n = rng.randrange(1, 4)
        while sum(size for _, size, _ in pieces[-n:]) < SMALLEST_CHAIN and n < MAX_PIECES:
            n += 1
        chain = pieces[-n:]
        del pieces[-n:]
        if sum(size for _, size, _ in chain) >= SMALLEST_CHAIN:
            yield chain


class ReceiveQueue:
    def __init__(self, guest, ring):
        self.guest, self.ring = guest, ring
        self.spare = deque()
        self.add_buffers(2048 * ring.size, ring.region)

    def add_buffers(self, size, region):
        """They are used before those that there were."""
        ram = self.guest.ram
        gpa = ram.take(size, "receive buffers", self.ring.index, PAGE, region)
        self.spare.extendleft(cut_into_chains(self.guest.rng, gpa, size))

    def devices_own(self):
        return [(gpa, size) for chain in self.ring.chains.values()
                for gpa, size, _ in chain.pieces]

    def refill(self):
        """When less than half of the ring is with the device, as drivers do."""
        if self.ring.n_free < self.ring.size // 2:
            return
        while self.spare and self.ring.has_room(len(self.spare[0])):
            pieces = self.spare.popleft()
            self.ring.offer(pieces, pieces)

    def _take(self):
        done = self.ring.take()
        if not done:
            return None
        chain, length = done
        self.spare.append(chain.buffer)
        data = b""
        for gpa, size, _ in chain.pieces:
            data += self.guest.ram.read(gpa, min(size, length - len(data)))
            self.guest.ram.accept(gpa, size)
        return data

    def frames(self):
        """All that have arrived. Parts of a frame come together."""
        while True:
            data = self._take()
            if data is None:
                return
            n_buffers, = N_BUFFERS.unpack_from(data, HEADER - 2)
            for i in range(1, n_buffers):
                part = self._take()
                assert part, (f"queue {self.ring.index}: {i} of the {n_buffers} parts of a frame "
                              "were returned")
                data += part
            yield data[HEADER:]


class TransmitQueue:
    def __init__(self, guest, ring, flows):
        self.guest, self.ring, self.flows = guest, ring, flows
        n = ring.size
        gpa = guest.ram.take(SLOT * n, "transmit buffers", ring.index, PAGE, ring.region)
        self.spare = deque(gpa + SLOT * i for i in range(n))

    def devices_own(self):
        return []

    def send(self, flow, size=None):
        """One frame, of any size unless said, in any number of pieces, if there is room."""
        rng = self.guest.rng
        n = rng.randrange(1, MAX_PIECES + 1)
        if not self.spare or not self.ring.has_room(n):
            return False
        size = size or rng.randrange(SMALLEST, 200 if rng.random() < 0.5 else GREATEST + 1)
        data = bytes(HEADER) + build_frame(flow.number, flow.n_sent, size, self.guest.filler,
                                          self.guest.name)
        slot = self.spare.popleft()
        cuts = sorted(rng.sample(range(HEADER, len(data)), n - 1))
        pieces = []
        for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(data)])):
            gpa = slot + a + 32 * i
            self.guest.ram.write(gpa, data[a:b])
            pieces.append((gpa, b - a, False))
        flow.n_sent += 1
        self.ring.offer(pieces, slot)
        return True

    def collect(self):
        while done := self.ring.take():
            chain, length = done
            assert length == 0, f"queue {self.ring.index}: {length} bytes were written"
            self.spare.append(chain.buffer)


class Shape:
    """What kind of guest: the axes of the matrix that a guest sees; `largest` is what a ring may have, and
    with an `iommu` it tells devices other addresses than its own."""

    def __init__(self, packed=False, indirect=False, event_idx=False, pairs=1, largest=512, iommu=False):
        self.packed, self.indirect, self.event_idx, self.pairs = packed, indirect, event_idx, pairs
        self.iommu = iommu
        self.sizes = [size for size in ((128, 200, 300, 512) if packed else (128, 256, 512))
                      if size <= largest]

    def __str__(self):
        words = ["packed" if self.packed else "split"]
        words += ["indirect"] if self.indirect else []
        words += ["event-index"] if self.event_idx else []
        words += ["iommu"] if self.iommu else []
        return "-".join(words + [f"{self.pairs}-pairs" if self.pairs > 1 else "1-pair"])


class Guest:
    """`device` is what serves it now; None while it doesn't run.

    patient: the wire keeps frames for a device that is stopped: they come later, another guest's too
    """

    def __init__(self, shape, memory, rng, hurried=False, patient=False):
        self.shape, self.rng = shape, rng
        self.name = rng.randbytes(3) if patient else NAMELESS
        self.ram = GuestRam(memory, rng, IOVA_BASE if shape.iommu else 0)
        self.filler = rng.randbytes(1024 + GREATEST)
        overtakes = patient or shape.iommu and shape.pairs > 1
        self.flows = [Flow(i, hurried, overtakes) for i in range(FLOWS_A_QUEUE * shape.pairs)]
        self.receive, self.transmit = [], []
        for pair in range(shape.pairs):
            ring = self._make_ring(2 * pair)
            self.receive.append(ReceiveQueue(self, ring))
            ring = self._make_ring(2 * pair + 1)
            flows = self.flows[FLOWS_A_QUEUE * pair:][:FLOWS_A_QUEUE]
            self.transmit.append(TransmitQueue(self, ring, flows))
        self.queues = [queue for pair in zip(self.receive, self.transmit) for queue in pair]
        self.rings = [queue.ring for queue in self.queues]
        self.scratch = self.ram.take(32 * PAGE, "the guest's own data", None, PAGE)
        self.device = None
        self.n_received = self.n_lost = 0

    def _make_ring(self, index):
        kind = PackedRing if self.shape.packed else SplitRing
        size = self.rng.choice(self.shape.sizes)
        high = bool(index & 2) if self.shape.pairs > 1 else self.rng.random() < 0.5
        ring = kind(self.ram, self.rng, index, size, self.shape.indirect, self.shape.event_idx,
                    HIGH_REGION if high else LOW_REGION)
        ring.want_calls(self.rng.random() < 0.5)
        return ring

    def n_under_way(self):
        """Frames that were sent and neither came back nor are known to be lost."""
        return sum(flow.n_sent - flow.expected for flow in self.flows)

    def n_that_fit(self):
        """Frames that come back for sure, even if one receive queue gets them all."""
        return min(len(queue.ring.chains) for queue in self.receive) // CHAINS_A_FRAME

    def pages_of_devices(self):
        """Where devices have something to write."""
        return self.ram.pages_with(
            "receive buffers", *{kind for ring in self.rings for kind in ring.DEVICES_OWN})

    def can_plug(self):
        return self.ram.n_plugged < len(PLUGGED)

    def plug(self):
        """More memory is there, and soon receive buffers are in it."""
        region = PLUGGED[self.ram.n_plugged - 1]
        part = region.size // len(self.receive)
        for queue in self.receive:
            queue.add_buffers(part, region)

    # ---- what it does while it runs

    def _publish(self, queue):
        if queue.ring.publish():
            self.device.kick(queue.ring.index)

    def offer_frames(self, n):
        """Offer up to `n` frames to transmit queues, but don't say so yet. Return: how many."""
        return self._offer(max(0, min(n, self.n_that_fit() - self.n_under_way())))

    def _offer(self, n):
        queues = [self.rng.choice(self.transmit) for _ in range(n)]
        return sum(queue.send(self.rng.choice(queue.flows)) for queue in queues)

    def publish(self):
        for queue in self.transmit:
            self._publish(queue)

    def collect(self):
        """Take what was returned; offer nothing."""
        for queue in self.transmit:
            queue.collect()
        for queue in self.receive:
            for frame in queue.frames():
                if self.name != NAMELESS and frame[8:11] != self.name:
                    continue
                flow, number = parse_frame(frame)
                assert flow < len(self.flows), f"there is no flow {flow}"
                self.n_lost += self.flows[flow].arrived(number)
                self.n_received += 1

    def refill(self):
        for queue in self.receive:
            queue.refill()
            self._publish(queue)

    def refill_before_start(self):
        """Its driver fills the rings before it tells the device that it is there."""
        for queue in self.receive:
            queue.refill()
            queue.ring.publish()

    def write_elsewhere(self):
        """Programs in the guest write, too."""
        self.ram.write(self.scratch + PAGE * self.rng.randrange(32), self.rng.randbytes(100))

    def run(self, n):
        """A moment of life: `n` frames for each pair, and all that comes back meanwhile."""
        n *= self.shape.pairs
        end = time.monotonic() + DEADLINE
        while n > 0:
            self.collect()
            self.refill()
            offered = self.offer_frames(min(n, 16))
            self.publish()
            n -= offered
            if self.rng.random() < 0.1:
                self.rng.choice(self.rings).want_calls(self.rng.random() < 0.5)
            if not offered:
                self.mark_doubtful_flows()
                self.check_time(end)
                time.sleep(0)
        self.collect()

    def settle(self):
        """Wait until nothing is under way; then each frame has come back or was lost."""
        end = time.monotonic() + DEADLINE
        while self.n_under_way() > 0 or any(queue.ring.chains for queue in self.transmit):
            self.collect()
            self.refill()
            self.mark_doubtful_flows()
            self.check_time(end)
            time.sleep(0)  # there may be one processor for us and the device

    def check_time(self, end):
        assert time.monotonic() < end, (
            f"nothing more came in {DEADLINE} s: {self.n_under_way()} frames are under way; " +
            ", ".join(f"queue {ring.index}: {len(ring.chains)} chains with the device, "
                      f"{ring.n_returned} returned" for ring in self.rings))

    def mark_doubtful_flows(self):
        """What was sent before a frame that comes back has come back, or never will.

        The receive queues have room for the marks when nothing else is sent any more.
        """
        if any(queue.ring.chains for queue in self.transmit):
            return
        for queue in self.transmit:
            for flow in queue.flows:
                if (flow.expected < flow.doubtful and time.monotonic() - flow.marked > MARK_AGAIN
                        and queue.send(flow, SMALLEST)):
                    flow.marked = time.monotonic()
                    flow.under_way_at_stop = flow.n_sent  # what took all buffers may be under way yet
        self.publish()

    def last_burst(self):
        """Its device is about to be stopped, in the middle of work: more frames than fit."""
        if self.rng.random() < 0.5:
            self._offer(self.rng.randrange(200))
        else:
            self.offer_frames(self.rng.randrange(16))
        self.publish()

    def stopped(self):
        """Its device is stopped: what is under way may get lost."""
        for flow in self.flows:
            flow.device_stops()

    def check_canaries(self):
        self.ram.check_canaries([area for ring in self.rings for area in ring.devices_own()] +
                                [area for queue in self.queues for area in queue.devices_own()])
