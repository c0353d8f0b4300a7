# SPDX-License-Identifier: BSD-2-Clause
"""Features, status and configuration that do not go together."""
import os
import struct

import pytest
from frontend import F_LOG_ALL, F_PACKED, OFFERED_PF, PF, Closed, eventfd, state, u64
from hostile import hostile
from test_set_log_base import Log, answer, log_all
from unchanged import unchanged

INBAND = 14


@hostile(44)
@pytest.mark.parametrize("missing", ["REPLY_ACK", "BACKEND_REQ"])
def test_in_band_notifications_without_what_they_need_are_refused(stand, missing):
    fe = stand.front_end()
    try:
        fe.refused("SET_PROTOCOL_FEATURES", u64(OFFERED_PF & ~(1 << PF[missing]) | 1 << INBAND))
    except Closed:
        pass


@hostile(47)
def test_logging_goes_on_and_off_hundreds_of_times(stand):
    guest = stand.guest().setup()
    log = Log(guest)
    with unchanged(stand.shim):
        guest.fe.refused("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    assert answer(guest.fe, log) == 0
    for i in range(200):
        log_all(guest, i % 2 == 0)
    guest.exchange(5)
    os.close(log.fd)


@hostile(48)
@pytest.mark.parametrize("packed", [False, True], ids=["split-first", "packed-first"])
def test_another_layout_after_rings_were_described_starts_none(stand, packed):
    guest = stand.guest(packed=packed)
    guest.fe.negotiate()
    *steps, last = guest.setup_steps()
    for name, payload, fds in steps:
        guest.fe.accepted(name, payload, fds)
    guest.fe.accepted("SET_FEATURES", u64(guest.features ^ F_PACKED))
    guest.fe.accepted(*last)
    assert not any(ring["running"] for ring in stand.shim.dump()["device"]["rings"])


@hostile(50)
def test_messages_about_rings_before_anything_else_touch_nothing(stand):
    fe = stand.front_end(negotiate=False)
    fds = [eventfd() for _ in range(3)]
    for name, payload, some in (
            ("SET_VRING_NUM", state(0, 64), []), ("SET_VRING_BASE", state(0, 7), []),
            ("SET_VRING_ADDR", struct.pack("=IIQQQQ", 0, 0, 0x1000, 0x2000, 0x3000, 0), []),
            ("SET_VRING_KICK", u64(0), fds[:1]), ("SET_VRING_CALL", u64(0), fds[1:2]),
            ("SET_VRING_ERR", u64(0), fds[2:])):
        fe.send(name, payload, some)
    assert fe.vring_base(0) == 7
    assert not any(ring["running"] for ring in stand.shim.dump()["device"]["rings"])
    for fd in fds:
        os.close(fd)


@hostile(144)
def test_driver_ok_twice_starts_once_and_without_rings_nothing(stand):
    guest = stand.guest()
    guest.fe.negotiate()
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    guest.fe.accepted("SET_STATUS", u64(0xf))
    assert not any(ring["running"] for ring in stand.shim.dump()["device"]["rings"])
    for name, payload, fds in guest.setup_steps():
        guest.fe.accepted(name, payload, fds)
    guest.exchange(2)
    for _ in range(100):
        guest.fe.accepted("SET_STATUS", u64(0xf))
    guest.exchange(2)


@hostile(144)
def test_status_0_and_on_again_while_frames_go_round(stand):
    guest = stand.guest().setup()
    for _ in range(20):
        guest.exchange(2)
        guest.fe.accepted("SET_STATUS", u64(0))
        bases = {ring.index: guest.fe.vring_base(ring.index) for ring in guest.rings}
        for name, payload, fds in guest.setup_steps():
            if name == "SET_VRING_BASE":
                index, = struct.unpack_from("=I", payload)
                payload = state(index, bases[index])
            guest.fe.accepted(name, payload, fds)
    guest.exchange(2)


@hostile(148)
def test_reset_device_twice_while_frames_go_round(stand):
    guest = stand.guest().setup()
    for ring in guest.rings:
        for _ in range(16):
            ring.offer(**({"writable": 2048} if ring.index == 0 else {"data": bytes(100)}))
        ring.notify()
    guest.fe.accepted("RESET_DEVICE")
    before = bytes(guest.memory.map)
    guest.fe.accepted("RESET_DEVICE")
    for ring in guest.rings:
        ring.notify()
    stand.shim.dump()
    assert bytes(guest.memory.map) == before


@hostile(141)
def test_what_the_configuration_does_not_say_is_zero(fe):
    """A long message is sent before: nothing of it comes back."""
    fe.refused("SET_CONFIG", struct.pack("=III", 0, 24, 7) + b"\xee" * 24)
    body = fe.ask("GET_CONFIG", struct.pack("=III", 0, 24, 0) + b"\xdd" * 24)
    config = body[12:]
    assert config[12:16] == b"\xff" * 4 and config[16] == 0xff  # speed and duplex: unknown
    assert config[17:] == bytes(7)


@hostile(142)
@pytest.mark.parametrize("flags", [0, 2, 3, 0x80000000, 0xffffffff])
def test_the_configuration_is_set_with_no_other_flags(stand, fe, flags):
    mac = fe.ask("GET_CONFIG", struct.pack("=III", 0, 6, 0) + bytes(6))[12:]
    with unchanged(stand.shim):
        fe.refused("SET_CONFIG", struct.pack("=III", 0, 6, flags) + mac)


@hostile(152)
@pytest.mark.parametrize("key", [0, 1, 512, 513, 4000, 0xffffffff])
def test_a_crypto_session_of_any_length_is_refused(stand, fe, key):
    with unchanged(stand.shim):
        for name in ("CREATE_CRYPTO_SESSION", "CLOSE_CRYPTO_SESSION"):
            fe.refused(name, struct.pack("=QIIIIIII", 0, 1, 1, key, key, key, key, key) + bytes(1024))
