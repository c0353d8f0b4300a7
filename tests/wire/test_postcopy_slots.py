# SPDX-License-Identifier: BSD-2-Clause
"""ADD_MEM_REG, REM_MEM_REG while the front-end listens: each region that is added is answered with the
device's address of it; all of them are acknowledged at once."""
import struct

import pytest
from arrival import Arrival, advise, offer_frame
from frontend import Memory, single, u64
from waiting import wait_for


class SlotArrival(Arrival):
    """Its memory comes as a region."""

    ack = "ADD_MEM_REG"

    def add(self, memory):
        self.guest.fe.send("ADD_MEM_REG", single(memory), [memory.fd])
        body = self.guest.fe.reply("ADD_MEM_REG")
        _, gpa, size, address, offset = struct.unpack("=QQQQQ", body)
        assert (gpa, size, offset) == (memory.gpa, memory.size, 0)
        return address

    def tell_memory(self):
        self.address = self.add(self.memory)
        return self.address

    def acknowledge(self):
        self.guest.fe.send(self.ack, u64(0))


@pytest.fixture
def arrival(stand):
    arrival = SlotArrival(stand.guest())
    yield arrival
    arrival.close()


def running(stand):
    return [ring["running"] for ring in stand.shim.dump()["device"]["rings"][:2]]


def arrives(stand, arrival):
    arrival.guest.rings[1].notify()
    wait_for(lambda: stand.shim.dump()["device"]["rings"][1]["device"]["completed"] == 1,
             "the frame to be sent")
    arrival.land()
    arrival.guest.rings[1].wait()
    assert stand.shim.dump()["device"]["postcopy"] == 0


def test_rings_run_in_a_region_that_comes_later(stand, arrival):
    offer_frame(arrival.guest)
    arrival.start()
    arrives(stand, arrival)


def test_regions_come_and_go_before_one_acknowledgement(stand, arrival):
    offer_frame(arrival.guest)
    more = [Memory(1 << 20, gpa=0x80000000 + (i << 20)) for i in range(3)]
    arrival.listen()
    for name, payload, fds in arrival.guest.setup_steps():
        if name != "SET_MEM_TABLE":
            arrival.guest.fe.accepted(name, payload, fds)
    addresses = {arrival.add(memory) for memory in more} | {arrival.tell_memory()}
    assert len(addresses) == 4
    arrival.guest.fe.send("REM_MEM_REG", single(more[1]))
    assert running(stand) == [0, 0]
    arrival.ack = "REM_MEM_REG"
    arrival.acknowledge()
    assert arrival.guest.fe.ask_u64("GET_FEATURES")
    assert running(stand) == [1, 1]
    arrival.serve()
    arrives(stand, arrival)
    for memory in more:
        memory.close()


def test_the_same_region_once_more_has_the_same_address(stand, arrival):
    """As by a front-end that says it for each pair of queues."""
    offer_frame(arrival.guest)
    arrival.start()
    assert arrival.add(arrival.memory) == arrival.address
    assert running(stand) == [0, 0]
    arrival.acknowledge()
    arrives(stand, arrival)


def test_a_descriptor_that_comes_next_is_not_the_acknowledgements(stand, arrival):
    """A front-end that sends ahead: the acknowledgement, and a message with a descriptor."""
    arrival.listen()
    arrival.tell_memory()
    ring = arrival.guest.rings[0]
    arrival.guest.fe.raw(arrival.guest.fe.message("ADD_MEM_REG", u64(0)))
    for _ in range(3):
        arrival.guest.fe.send("SET_VRING_KICK", u64(0), [ring.kick])
    assert arrival.guest.fe.ask_u64("GET_FEATURES")
    assert stand.shim.dump()["device"]["postcopy"] == 4


@pytest.mark.parametrize("name", ["NONE", "ADD_MEM_REG", "REM_MEM_REG"])
def test_what_acknowledges_nothing_is_no_harm(stand, arrival, name):
    arrival.listen()
    arrival.guest.fe.send(name, u64(0))
    assert arrival.guest.fe.ask_u64("GET_FEATURES")
    assert stand.shim.dump()["device"]["postcopy"] == 2


WRONG = {
    "another request": ("GET_FEATURES", b""),
    "not zero": ("ADD_MEM_REG", u64(1)),
    "too long": ("ADD_MEM_REG", bytes(16)),
    "an empty one": ("REM_MEM_REG", b""),
}


@pytest.mark.parametrize("what", WRONG)
def test_anything_else_ends_the_connection(stand, arrival, what):
    arrival.listen()
    arrival.tell_memory()
    arrival.guest.fe.send(*WRONG[what])
    assert arrival.guest.fe.is_closed()
    stand.guest().setup().exchange(3)


def test_a_region_that_is_refused_changes_nothing(stand, arrival):
    arrival.listen()
    arrival.tell_memory()
    arrival.acknowledge()
    fe = arrival.guest.fe
    fe.send("ADD_MEM_REG", bytes(8) + struct.pack("=QQQQ", arrival.memory.gpa, 8192, 1 << 40, 0),
            [arrival.memory.fd])
    assert fe.is_closed()  # a reply of its own has no way to say no
    fresh = stand.front_end()
    assert advise(fresh) is not None
