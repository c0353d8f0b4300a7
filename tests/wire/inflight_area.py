# SPDX-License-Identifier: BSD-2-Clause
"""Inflight areas, and guests that have one; the fixtures go with `from inflight_area import ...`."""
import mmap
import os
import socket
import struct

import pytest
from frontend import Guest, u64

AREA = struct.Struct("=QQHHI")
SIZE = 64


def part_size(packed, size=SIZE):
    head, entry = (32, 32) if packed else (16, 16)
    return -(-(head + entry * size) // 64) * 64


class Area:
    def __init__(self, fd, size, offset, rings, packed):
        self.fd, self.size, self.offset, self.rings, self.packed = fd, size, offset, rings, packed
        self.map = mmap.mmap(fd, offset + size)

    def payload(self, **changes):
        facts = {"size": self.size, "offset": self.offset, "rings": self.rings, "ring_size": SIZE} | changes
        return AREA.pack(facts["size"], facts["offset"], facts["rings"], facts["ring_size"], 0)

    def marks(self, ring):
        """Chains in flight, by what is noted."""
        head, entry = (32, 32) if self.packed else (16, 16)
        at = self.offset + ring * part_size(self.packed)
        return sum(self.map[at + head + entry * i] for i in range(SIZE))

    def close(self):
        self.map.close()
        os.close(self.fd)


def get_area(fe, rings=2, ring_size=SIZE, head=AREA.size):
    """Return: (size, offset, descriptors, rings, ring size) of the reply."""
    fe.send("GET_INFLIGHT_FD", AREA.pack(0, 0, rings, ring_size, 0)[:head])
    data, fds, _, _ = socket.recv_fds(fe.sock, 12 + AREA.size, 4)
    request, flags, size = struct.unpack_from("=III", data)
    assert (request, flags, size, len(data)) == (31, 5, head, 12 + head)
    size, offset, rings, ring_size = struct.unpack_from("=QQHH", data, 12)
    return size, offset, fds, rings, ring_size


def begin(guest):
    guest.fe.negotiate()
    guest.fe.accepted("SET_FEATURES", u64(guest.features))


def go_on(guest):
    for step in guest.setup_steps():
        guest.fe.accepted(*step)


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def packed(request):
    return request.param


@pytest.fixture
def guest(shuffled_stand, packed):
    """It outlives the stand."""
    with Guest(shuffled_stand.path, packed=packed, offered=shuffled_stand.offered) as guest:
        begin(guest)
        yield guest


@pytest.fixture
def area(guest, packed):
    size, offset, (fd,), rings, _ = get_area(guest.fe)
    guest.fe.ask_u64("GET_FEATURES")  # the reply, and its descriptor, are kept until the next message
    area = Area(fd, size, offset, rings, packed)
    yield area
    area.close()
