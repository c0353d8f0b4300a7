# SPDX-License-Identifier: BSD-2-Clause
"""SET_STATUS: rings run when the guest's driver is ready."""
import pytest
from frontend import OFFERED_PF, PF, state, u64
from hostile import hostile
from looks import running
from unchanged import unchanged


@hostile(143)
@pytest.mark.parametrize("status", [0x100, 0x10f, 1 << 63])
def test_more_than_8_bits_are_refused(stand, fe, status):
    with unchanged(stand.shim):
        fe.refused("SET_STATUS", u64(status))


def test_rings_run_when_the_driver_is_ready_and_not_before(stand):
    guest = stand.guest()
    guest.fe.negotiate()
    *steps, last = guest.setup_steps()
    for name, payload, fds in steps:
        guest.fe.accepted(name, payload, fds)
    assert not any(running(stand))
    guest.fe.accepted(*last)
    assert running(stand) == [1, 1, 0, 0]


def test_without_the_status_feature_rings_run_when_they_are_complete(stand):
    guest = stand.guest(pf=OFFERED_PF & ~(1 << PF["STATUS"]))
    guest.fe.negotiate(guest.pf)
    for name, payload, fds in guest.setup_steps():
        if name != "SET_STATUS":
            guest.fe.accepted(name, payload, fds)
    assert running(stand) == [1, 1, 0, 0]
    guest.exchange()


@hostile(144)
def test_a_reset_by_status_stops_and_a_second_start_runs(stand):
    guest = stand.guest().setup()
    guest.exchange(2)
    guest.fe.accepted("SET_STATUS", u64(0))
    assert not any(running(stand))
    for ring in guest.rings:
        guest.fe.vring_base(ring.index)
    for name, payload, fds in guest.setup_steps():
        if name == "SET_VRING_BASE":
            payload = payload[:4] + state(0, 2)[4:]
        guest.fe.accepted(name, payload, fds)
    guest.exchange(2)
