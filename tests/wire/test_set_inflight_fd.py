# SPDX-License-Identifier: BSD-2-Clause
"""SET_INFLIGHT_FD: what a device had in flight is done again by the next one. On a simnic that completes in any
order."""
import os
import random
import struct

import pytest
from dirty import Log
from frontend import F_LOG_ALL, F_PACKED, FrontEnd, u64
from hostile import hostile
from inflight_area import AREA, SIZE, Area, area, begin, get_area, go_on, guest, packed, part_size
from slow_file import slow_file
from unchanged import unchanged
from waiting import wait_for

BAD = {
    "no-ring": {"rings": 0},
    "too-many-rings": {"rings": 5},
    "most-rings": {"rings": 65535},
    "no-descriptor": {"ring_size": 0},
    "too-many-descriptors": {"ring_size": 32769},
    "too-small": {"size": 64},
    "wraps": {"offset": 2**64 - 8},
    "beyond-the-file": {"offset": 1 << 20},
    "not-aligned": {"offset": 4},
}


@hostile(127, 128)
@pytest.mark.parametrize("what", BAD)
def test_an_area_that_can_t_be_is_refused(shuffled_stand, guest, area, what):
    with unchanged(shuffled_stand.shim):
        guest.fe.refused("SET_INFLIGHT_FD", area.payload(**BAD[what]), [area.fd])


@hostile(128)
def test_what_is_no_memory_is_refused(shuffled_stand, guest, area):
    read, write = os.pipe()
    short = os.memfd_create("short")
    os.ftruncate(short, area.size - 1)
    with unchanged(shuffled_stand.shim):
        for fd in (read, short, os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)):
            guest.fe.refused("SET_INFLIGHT_FD", area.payload(), [fd])
            os.close(fd)
    os.close(write)


@hostile(40)
def test_an_area_whose_pages_may_be_slow_to_come_is_refused(shuffled_stand, guest, area):
    with slow_file(area.size + area.offset) as file, unchanged(shuffled_stand.shim):
        guest.fe.refused("SET_INFLIGHT_FD", area.payload(), [file.fileno()])
    assert "the inflight area is in a file that does not live in memory" in shuffled_stand.shim.log()
    go_on(guest)
    guest.exchange(3)


def test_another_area_while_rings_run_is_refused(shuffled_stand, guest, area):
    go_on(guest)
    with unchanged(shuffled_stand.shim):
        guest.fe.refused("SET_INFLIGHT_FD", area.payload(), [area.fd])
    guest.exchange(3)


def test_an_area_need_not_begin_where_its_file_does(guest, packed):
    size = 2 * part_size(packed)
    fd = os.memfd_create("area")
    os.ftruncate(fd, 4096 + 64 + size)
    area = Area(fd, size, 4096 + 64, 2, packed)
    guest.fe.accepted("SET_INFLIGHT_FD", area.payload(), [fd])
    go_on(guest)
    guest.rings[0].offer(writable=2048)
    guest.rings[0].notify()
    wait_for(lambda: area.marks(0) == 1, "the note")
    area.close()


def lose_everything(stand, guest):
    """The worker dies, whoever kept its state, and the device. Nothing is said before."""
    stand.shim.kill()
    guest.fe.close()
    stand.close_now()


def come_back(stand, guest, area, packed):
    """As a front-end does: where a packed ring stands it does not know, a split one says it itself."""
    guest.fe = FrontEnd(stand.path, stand.offered)
    begin(guest)
    guest.fe.accepted("SET_INFLIGHT_FD", area.payload(), [area.fd])
    for ring in guest.rings:
        ring.base = 0x80008000 if packed else ring._get("=H", ring.used + 2)[0]
    go_on(guest)


FRAME = b"\2\0\0\0\0\x99" + b"\x52\x54\0\0\0\1" + b"\x88\xb5" + bytes(50)


class Receiver:
    """Buffers that are out, each with a number, and come back in any order."""

    def __init__(self, guest):
        self.guest, self.ring, self.out = guest, guest.rings[0], set()

    def fill(self, n):
        while len(self.out) < n:
            number = min(set(range(SIZE)) - self.out)
            self.ring.offer(writable=2048, number=number)
            self.out.add(number)
        self.ring.notify()

    def receive(self, n):
        """Have frames fill `n` of them; each comes back once."""
        for _ in range(n):
            self.guest.rings[1].offer(bytes(12) + FRAME)
            self.guest.rings[1].notify()
            self.guest.rings[1].wait()
            number, length = self.ring.wait()
            assert number in self.out, f"{number} is not out"
            assert length == 12 + len(FRAME)
            assert self.ring.data(number, length)[24:] == FRAME[12:]
            self.out.remove(number)


def test_chains_in_flight_are_noted_and_struck_out(guest, area):
    go_on(guest)
    receiver = Receiver(guest)
    receiver.fill(8)
    wait_for(lambda: area.marks(0) == 8, "all notes")
    for _ in range(20):
        receiver.receive(3)
        receiver.fill(8)
    wait_for(lambda: area.marks(0) == 8 and area.marks(1) == 0, "the notes of those in flight")


def test_a_new_back_end_goes_on_with_what_the_lost_one_had_in_flight(make_shuffled_stand, shuffled_stand,
                                                                      guest, area, packed):
    """Again and again; those in flight are not the last ones, since the device takes any."""
    rng = random.Random(7)
    stand = shuffled_stand
    go_on(guest)
    receiver = Receiver(guest)
    for _ in range(6):
        receiver.fill(40)
        receiver.receive(rng.randrange(1, 40))
        wait_for(lambda: area.marks(0) == len(receiver.out) and area.marks(1) == 0, "the notes")
        lose_everything(stand, guest)
        stand = make_shuffled_stand(pairs=2)
        come_back(stand, guest, area, packed)
        wait_for(lambda: area.marks(0) == len(receiver.out), "the same notes")
    receiver.receive(len(receiver.out))


def test_a_worker_that_is_killed_goes_on_with_the_area(shuffled_stand, guest, area):
    go_on(guest)
    receiver = Receiver(guest)
    for _ in range(4):
        receiver.fill(30)
        receiver.receive(11)
        shuffled_stand.shim.kill()
        shuffled_stand.shim.start()
    receiver.receive(len(receiver.out))
    wait_for(lambda: area.marks(0) == area.marks(1) == 0, "an empty area")


def test_a_front_end_that_leaves_finds_nothing_in_flight(shuffled_stand, guest, area, packed):
    """What the device had of its rings was given back, or is in them still."""
    go_on(guest)
    receiver = Receiver(guest)
    receiver.fill(20)
    receiver.receive(5)
    guest.fe.close()
    wait_for(lambda: shuffled_stand.shim.has_event("disconnected"), "the end")
    wait_for(lambda: area.marks(0) == area.marks(1) == 0, "an empty area")
    empty = 0
    while done := receiver.ring.take():
        assert done[1] == 0 and done[0] in receiver.out
        receiver.out.remove(done[0])
        empty += 1
    assert empty < 15, "none was left for the next one"
    come_back(shuffled_stand, guest, area, packed)
    receiver.receive(len(receiver.out))


@hostile(129)
def test_rings_that_are_not_as_large_as_their_part_run_without(guest, area):
    for step in guest.setup_steps():
        if step[0] == "SET_VRING_NUM" and step[1][:4] == bytes(4):
            step = (step[0], step[1][:4] + (SIZE // 2).to_bytes(4, "little"), [])
            guest.rings[0].size = SIZE // 2
        guest.fe.accepted(*step)
    guest.rings[0].offer(writable=2048)
    guest.rings[0].notify()
    guest.rings[1].offer(bytes(12) + FRAME)
    guest.rings[1].notify()
    assert guest.rings[0].wait()[1] == 12 + len(FRAME)
    assert area.marks(0) == 0


@hostile(130)
def test_an_area_that_says_anything_does_no_harm(make_shuffled_stand, shuffled_stand, guest, area, packed):
    """The ring may fail, or be given what it never held; the device works on, and the next one does."""
    rng = random.Random(3)
    go_on(guest)
    lose_everything(shuffled_stand, guest)
    stand = make_shuffled_stand(pairs=2)
    for i in range(30):
        data = bytearray(rng.randbytes(area.size))
        for ring in range(2):
            at = ring * part_size(packed)
            data[at + 8:at + 12] = struct.pack("=HH", 1, SIZE)
            if packed and i % 3:
                for entry in range(SIZE):
                    struct.pack_into("=H", data, at + 32 + 32 * entry + 2, rng.randrange(SIZE + 1))
                    struct.pack_into("=H", data, at + 32 + 32 * entry + 6, rng.randrange(3))
                struct.pack_into("=HHHHHH", data, at + 12, *[rng.randrange(SIZE) for _ in range(6)])
        area.map[:] = bytes(data)
        come_back(stand, guest, area, packed)
        area.map[:] = rng.randbytes(area.size)
        guest.fe.ask_u64("GET_FEATURES")
        guest.fe.close()
    wait_for(lambda: len(stand.shim.kept()) < 8, "everything given up")
    stand.guest(packed=packed).setup().exchange(3)


@hostile(132)
def test_an_area_that_is_cut_short_fails_its_device_only(shuffled_stand, guest, packed):
    fd = os.memfd_create("area")
    os.ftruncate(fd, 2 * part_size(packed))
    guest.fe.accepted("SET_INFLIGHT_FD", AREA.pack(2 * part_size(packed), 0, 2, SIZE, 0), [fd])
    go_on(guest)
    os.ftruncate(fd, 0)
    guest.rings[0].offer(writable=2048)
    guest.rings[0].notify()
    wait_for(lambda: shuffled_stand.shim.dump()["device"]["failed"], "the failure")
    assert shuffled_stand.shim.dump()["device"]["reason"] == "the inflight area became shorter"
    os.close(fd)
    guest.fe.close()
    shuffled_stand.guest(packed=packed).setup().exchange(3)


MARKS_AND_SHUFFLES = pytest.mark.parametrize(
    "own_nic_stand", [dict(dirty_log=True, shuffled=True)], indirect=True, ids=["marks"])


@MARKS_AND_SHUFFLES
def test_with_the_area_of_another_ring_layout_its_relay_ends_and_the_device_marks_pages(own_nic_stand):
    guest = own_nic_stand.guest(packed=True)
    log = Log(guest)
    guest.fe.negotiate()
    guest.fe.accepted("SET_FEATURES", u64(guest.features & ~F_PACKED))
    os.close(get_area(guest.fe)[2][0])
    guest.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])
    guest.fe.accepted("SET_FEATURES", u64(guest.features & ~F_PACKED | F_LOG_ALL))
    guest.features |= F_LOG_ALL
    go_on(guest)
    assert own_nic_stand.shim.dump()["device"]["datapath"] == "direct"
    guest.exchange()
    assert (guest.memory.gpa + guest.rings[0].slot(0)) >> 12 in log.marked()
    os.close(log.fd)


@MARKS_AND_SHUFFLES
def test_with_an_area_that_a_new_worker_can_t_map_pages_are_marked_still(own_nic_stand):
    """Rings are relayed for their notes, so the device was not told of the log."""
    guest = own_nic_stand.guest()
    log = Log(guest)
    guest.fe.negotiate()
    os.close(get_area(guest.fe)[2][0])
    fd = os.memfd_create("area")
    os.ftruncate(fd, 2 * part_size(False))
    guest.fe.accepted("SET_INFLIGHT_FD", AREA.pack(2 * part_size(False), 0, 2, SIZE, 0), [fd])
    log.begin(guest)
    guest.features |= F_LOG_ALL
    go_on(guest)
    guest.exchange(3)
    own_nic_stand.shim.kill()
    os.ftruncate(fd, 0)
    own_nic_stand.shim.start()
    guest.fe.ask_u64("GET_FEATURES")
    os.pwrite(log.fd, bytes(log.size), log.offset)
    guest.exchange(3)
    assert log.marked()
    assert own_nic_stand.shim.dump()["device"]["datapath"] == "relay"
    os.close(fd)
    os.close(log.fd)
