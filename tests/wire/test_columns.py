# SPDX-License-Identifier: BSD-2-Clause
"""Every column of the table of messages, for every row: a message that is right but for one thing is
refused, and leaves the device as it was. The rows come from the program that prints them."""
import os
import socket
import struct

import pytest
from arrival import reply_with_fd
from frontend import (F_ACCESS_PLATFORM, NEED_ACKS, NO_FD, OFFERED_PF, PF, Closed, eventfd, single,
                      state, table, u64)
from hostile import hostile
from rows import BUILT, NOT_BUILT, ROWS
from shimside import REFRESH
from unchanged import unchanged
from waiting import wait_for

MAC = bytes.fromhex("525400000001")
F_MTU = 1 << 3
REST_RING = 2  # there, and not running


LOG_BYTES = 1 << 16  # of a log that reaches beyond the guest's memory
GATED = [name for name in BUILT if ROWS[name]["needs"]]


SHUFFLED = ["GET_INFLIGHT_FD", "SET_INFLIGHT_FD"]  # offered where chains come back in any order
IOMMU = ["IOTLB_MSG"]  # of guests whose addresses need translations; no ring runs before there are any
BEFORE = [*SHUFFLED, "SET_DEVICE_STATE_FD", "CHECK_DEVICE_STATE", "POSTCOPY_LISTEN"]  # not while rings run


class Good:
    """A payload and descriptors for each message, accepted by a device that runs."""

    def __init__(self, guest):
        self.event = eventfd()
        self.log = os.memfd_create("log", os.MFD_CLOEXEC)
        os.ftruncate(self.log, LOG_BYTES)
        self.pair = socket.socketpair()
        self.pipe = os.pipe()
        memory, event, channel = guest.memory.fd, self.event, self.pair[1].fileno()
        addr = struct.pack("=IIQQQQ", REST_RING, 0, *[guest.memory.uva] * 3, 0)
        self.messages = {
            "SET_FEATURES": (u64(guest.features), []),
            "SET_MEM_TABLE": (table(guest.memory), [memory]),
            "SET_LOG_BASE": (struct.pack("=QQ", LOG_BYTES, 0), [self.log]),
            "SET_LOG_FD": (b"", [event]),
            "SET_VRING_NUM": (state(REST_RING, 64), []),
            "SET_VRING_ADDR": (addr, []),
            "SET_VRING_BASE": (state(REST_RING, 0), []),
            "GET_VRING_BASE": (state(REST_RING, 0), []),
            "SET_VRING_KICK": (u64(REST_RING), [event]),
            "SET_VRING_CALL": (u64(REST_RING), [event]),
            "SET_VRING_ERR": (u64(REST_RING), [event]),
            "SET_PROTOCOL_FEATURES": (u64(guest.pf), []),
            "SET_VRING_ENABLE": (state(REST_RING, 1), []),
            "VRING_KICK": (state(REST_RING, 0), []),
            "SEND_RARP": (MAC + b"\0\0", []),
            "NET_SET_MTU": (u64(1500), []),
            "SET_BACKEND_REQ_FD": (b"", [channel]),
            "GET_CONFIG": (struct.pack("=III", 0, 6, 0) + bytes(6), []),
            "SET_CONFIG": (struct.pack("=III", 0, 6, 1) + MAC, []),
            "SET_STATUS": (u64(0xf), []),
            "ADD_MEM_REG": (bytes(8) + struct.pack("=QQQQ", 1 << 40, 4096, 1 << 40, 0), [memory]),
            "REM_MEM_REG": (single(guest.memory), []),
            "IOTLB_MSG": (struct.pack("=QQQBB6x", 4096, 4096, guest.memory.uva, 3, 2), []),
            "SET_DEVICE_STATE_FD": (struct.pack("=II", 0, 0), [self.pipe[1]]),
            "GET_INFLIGHT_FD": (struct.pack("=QQHHI", 0, 0, 4, 64, 0), []),
            "SET_INFLIGHT_FD": (struct.pack("=QQHHI", LOG_BYTES, 0, 4, 64, 0), [self.log]),
        }

    def __getitem__(self, name):
        return self.messages.get(name, (b"", []))

    def close(self):
        os.close(self.event)
        os.close(self.log)
        for fd in self.pipe:
            os.close(fd)
        for sock in self.pair:
            sock.close()


@pytest.fixture
def stand(request, make_stand):
    """Of the kind that the row is for."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if params.get("name") in SHUFFLED:
        return request.getfixturevalue("shuffled_stand")
    if params.get("name") in IOMMU:
        return request.getfixturevalue("logging_stand")
    return make_stand(pairs=2)


@pytest.fixture
def good(request, stand):
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    guest = stand.guest(extra=F_ACCESS_PLATFORM if params.get("name") in IOMMU else 0)
    messages = Good(guest)
    messages.guest = guest
    yield messages
    messages.close()


def ready(good, name):
    """A device that runs, or one that does not yet where the message comes before. Return: its front-end."""
    if name not in BEFORE:
        return good.guest.setup().fe
    good.guest.fe.negotiate()
    good.guest.fe.accepted("SET_FEATURES", *good["SET_FEATURES"])
    if name == "CHECK_DEVICE_STATE":
        assert takes(good.guest.fe, "SET_DEVICE_STATE_FD", *good["SET_DEVICE_STATE_FD"])
    if name == "POSTCOPY_LISTEN":
        assert takes(good.guest.fe, "POSTCOPY_ADVISE", b"", [])
        good.guest.fe.accepted("SET_OWNER")  # what the last reply came with is not kept any more
    return good.guest.fe


def answered(fe, name, payload, fds):
    """Whether a reply that may be empty is one: it has a body, or a descriptor."""
    fe.send(name, payload, fds)
    body, got = reply_with_fd(fe, name)
    for fd in got:
        os.close(fd)
    return len(body) > 0 or len(got) > 0


def takes(fe, name, payload, fds):
    """Send it. Return: whether it was accepted; a message whose refusal ends the connection ends it."""
    reply = ROWS[name]["reply"]
    if reply in ("ack", "ack or own"):
        return fe.tell(name, payload, fds)
    if reply.startswith("ack, "):
        word = struct.unpack("=Q", fe.ask(name, payload, fds))[0]
        assert word & 0x100 == (0x100 if reply == "ack, no fd" else 0)
        return word & 0xff == 0
    try:
        if name == "POSTCOPY_ADVISE":  # it has no body, but a descriptor
            return answered(fe, name, payload, fds)
        body = fe.ask(name, payload, fds)
        return any(body) if reply == "own or zeros" else len(body) > 0
    except Closed:
        assert reply == "own"
        return False


def refuses(shim, fe, name, payload, fds):
    """It is refused. Return: whether the connection is still there."""
    if ROWS[name]["reply"] == "own":
        fe.send(name, payload, fds)
        assert fe.is_closed()
        return False
    with unchanged(shim):
        try:
            assert not takes(fe, name, payload, fds), f"{name} was accepted"
        except Closed:
            return False
    return True


@pytest.mark.parametrize("name", BUILT)
def test_what_is_right_is_accepted(stand, good, name):
    assert takes(ready(good, name), name, *good[name])


@hostile(9)
@pytest.mark.parametrize("name", BUILT)
def test_another_size_is_refused(stand, good, name):
    payload, fds = good[name]
    size = len(payload)
    for wrong in sorted({0, size - 1, size + 1, size + 4, 4096} - {-1, size}):
        if not refuses(stand.shim, ready(good, name), name, (payload + bytes(4096))[:wrong], fds):
            good.guest.fe = stand.front_end(negotiate=False)


@hostile(24, 25, 111, 128)
@pytest.mark.parametrize("name", BUILT)
def test_another_number_of_descriptors_is_refused(stand, good, name):
    payload, fds = good[name]
    extra = fds or [good.event]
    if ROWS[name]["fds"] == "1 or none":
        extra, fds = [good.event], [good.event]
    for wrong in [fds[:-1]] if good[name][1] else []:
        assert refuses(stand.shim, ready(good, name), name, payload, wrong)
    refuses(stand.shim, ready(good, name), name, payload, fds + extra[:1])


@pytest.mark.parametrize("name", [n for n in BUILT if ROWS[n]["fds"] == "1 or 0"])
def test_a_word_that_says_no_descriptor_comes_with_none(stand, good, name):
    fe = good.guest.setup().fe
    with unchanged(stand.shim):
        fe.refused(name, u64(REST_RING | NO_FD), [good.event])


@hostile(16, 111, 146, 148, 149)
@pytest.mark.parametrize("name", GATED)
def test_without_its_protocol_feature_it_is_refused(stand, good, name):
    needed = ROWS[name]["needs"]
    fe = good.guest.fe
    fe.negotiate(stand.offered & ~(1 << PF[needed]) & ~(1 << PF["INBAND_NOTIFICATIONS"]))
    fe.accepted("SET_FEATURES", *good["SET_FEATURES"])
    refuses(stand.shim, fe, name, *good[name])


@hostile(55)
@pytest.mark.parametrize("index", [4, 255, 256, 0xffffffff])
@pytest.mark.parametrize("name", [n for n in BUILT if ROWS[n]["ring"]])
def test_a_ring_that_is_not_there_is_refused(stand, good, name, index):
    payload, fds = good[name]
    good.guest.setup()
    refuses(stand.shim, good.guest.fe, name, struct.pack("=I", index) + payload[4:], fds)


@hostile(59)
@pytest.mark.parametrize("name", [n for n in BUILT if ROWS[n]["stopped"]])
def test_a_ring_that_runs_is_refused(stand, good, name):
    payload, fds = good[name]
    good.guest.setup()
    assert refuses(stand.shim, good.guest.fe, name, struct.pack("=I", 0) + payload[4:], fds)
    good.guest.exchange()


@hostile(146)
@pytest.mark.parametrize("name", [n for n in BUILT if ROWS[n]["virtio"] >= 0])
def test_what_the_device_does_not_offer_is_refused(simnic, make_stand, good, name):
    assert 1 << ROWS[name]["virtio"] == F_MTU
    stand = make_stand(pairs=1, features=simnic.features() & ~F_MTU)
    fe = stand.front_end()
    fe.accepted("SET_OWNER")
    assert refuses(stand.shim, fe, name, *good[name])


# ---- messages that are not built

@hostile(16, 78, 151, 152)
@pytest.mark.parametrize("name", NOT_BUILT)
def test_what_is_not_built_is_refused(stand, good, name):
    fe = good.guest.setup().fe
    with unchanged(stand.shim):
        fe.refused(name)
        fe.refused(name, bytes(8))
        fe.refused(name, bytes(8), [good.event])
    assert stand.shim.dump()["session"]["last_refusal"] == f"{name}: not served: {ROWS[name]['why']}"
    good.guest.exchange()


@hostile(16)
@pytest.mark.parametrize("name", [*NOT_BUILT, 0, 45, 0xffffffff])
def test_what_is_not_built_ends_the_connection_when_no_answer_is_asked_for(stand, name):
    fe = stand.front_end()
    fe.send(name)
    assert fe.is_closed()
    assert stand.front_end().features


@pytest.mark.parametrize("name", [*NOT_BUILT, 0, 45, 0xffffffff])
def test_what_is_not_built_ends_the_connection_when_answers_were_not_negotiated(stand, name):
    fe = stand.front_end(negotiate=False)
    fe.negotiate(OFFERED_PF & ~NEED_ACKS)
    fe.send(name, flags=9)
    assert fe.is_closed()


# ---- a device that failed

def failed(bad_stand):
    guest = bad_stand.guest().setup()
    bad_stand.order("fail", command="STOP", errno=5, times=1000)
    guest.fe.refused("SET_VRING_ENABLE", state(0, 0))
    assert bad_stand.shim.dump()["device"]["failed"]
    return guest


# A function with one pair has no ring at rest.
RINGS = [n for n in BUILT if ROWS[n]["ring"]]


# REM_MEM_REG: the rings lie in the only region, and a failed device can't be told to leave it.
@hostile(162)
@pytest.mark.parametrize("name", [n for n in BUILT if n not in [*RINGS, *BEFORE, *IOMMU, "REM_MEM_REG"]])
def test_a_failed_device_is_asked_nothing(bad_stand, name):
    guest = failed(bad_stand)
    messages = Good(guest)
    if ROWS[name]["failed"] == "refused":
        assert refuses(bad_stand.shim, guest.fe, name, *messages[name])
        refusal = bad_stand.shim.dump()["session"]["last_refusal"]
        assert refusal == f"{name}: the device has failed"
    else:
        assert takes(guest.fe, name, *messages[name])
    messages.close()


@hostile(162)
def test_a_failed_device_still_tells_its_rings_positions(bad_stand):
    guest = failed(bad_stand)
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == 0


@hostile(162)
def test_a_device_that_fails_while_it_stops_still_tells_where_it_stood(bad_stand):
    guest = bad_stand.guest().setup()
    guest.exchange(5)
    bad_stand.order("fail", command="STOP", errno=5)
    assert guest.fe.vring_base(1) == 5
    device = bad_stand.shim.dump()["device"]
    assert device["failed"] and "stop queues" in device["reason"]


RESETS = {"SET_STATUS": u64(0), "RESET_DEVICE": b""}


@pytest.mark.parametrize("reset", RESETS)
def test_a_failed_device_works_again_after_a_reset(bad_stand, reset):
    guest = failed(bad_stand)
    assert guest.fe.ask_u64("GET_STATUS") == 0x4f  # needs reset
    guest.fe.accepted(reset, RESETS[reset])
    assert guest.fe.ask_u64("GET_STATUS") == 0
    assert not bad_stand.shim.dump()["device"]["failed"]
    fresh = bad_stand.guest()
    fresh.fe.close()
    fresh.fe = guest.fe
    for step in fresh.setup_steps():
        fresh.fe.accepted(*step)
    fresh.exchange(3)
    wait_for(lambda: bad_stand.shim.has_event("recovered"), "the event")


@pytest.mark.parametrize("command", ["RESET", "SET_FEATURES", "MAP"])
@pytest.mark.parametrize("reset", RESETS)
def test_a_device_whose_reset_fails_stays_failed_and_says_so(bad_stand, reset, command):
    guest = failed(bad_stand)
    bad_stand.order("fail", command=command, errno=22)
    guest.fe.refused(reset, RESETS[reset])
    assert bad_stand.shim.dump()["device"]["failed"]
    guest.fe.accepted(reset, RESETS[reset])
    assert not bad_stand.shim.dump()["device"]["failed"]


def test_a_device_that_failed_while_nobody_used_it_works_for_who_comes(bad_stand):
    """As when somebody looks at its status while the NIC does not answer."""
    bad_stand.order("fail", command="GET_CONFIG", errno=5)
    bad_stand.shim.request(REFRESH)
    assert bad_stand.shim.dump()["device"]["failed"]
    guest = bad_stand.guest().setup()
    assert not bad_stand.shim.dump()["device"]["failed"]
    guest.exchange(3)


@hostile(162)
def test_a_failed_device_works_again_for_the_next_front_end(bad_stand):
    guest = failed(bad_stand)
    guest.fe.close()
    bad_stand.order("clear")
    again = bad_stand.guest().setup()
    again.exchange(3)
