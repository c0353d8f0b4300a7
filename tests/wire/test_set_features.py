# SPDX-License-Identifier: BSD-2-Clause
import os

import pytest
from dirty import Log
from frontend import F_LOG_ALL, F_PACKED, F_PROTOCOL, F_VERSION_1, Memory, state, table, u64
from hostile import hostile
from unchanged import unchanged
from waiting import wait_for

GOOD = F_PROTOCOL | F_VERSION_1


def test_accepts_a_subset_and_the_same_again_while_rings_run(stand):
    guest = stand.guest().setup()
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    guest.exchange()


@hostile(53)
@pytest.mark.parametrize("features", [GOOD | 1 << 63, GOOD | 1 << 33, F_PROTOCOL])
def test_refuses_what_was_not_offered_and_a_legacy_driver(stand, fe, features):
    with unchanged(stand.shim):
        fe.refused("SET_FEATURES", u64(features))


@hostile(46)
def test_refuses_a_change_while_rings_run_and_they_go_on(stand):
    guest = stand.guest().setup()
    with unchanged(stand.shim):
        guest.fe.refused("SET_FEATURES", u64(guest.features & ~(1 << 15)))
        guest.fe.refused("SET_FEATURES", u64(guest.features & ~F_PROTOCOL))
    guest.exchange()


def test_a_log_that_does_not_reach_refuses_the_features_that_came_with_the_wish_for_it(stand):
    """And the device has never heard of them."""
    guest = stand.guest()
    guest.fe.negotiate()
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    log, more = Log(guest), Memory(1 << 20, gpa=0x80000000)
    guest.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])
    guest.fe.accepted("SET_MEM_TABLE", table(guest.memory, more), [guest.memory.fd, more.fd])
    with unchanged(stand.shim):
        guest.fe.refused("SET_FEATURES", u64(guest.features | F_PACKED | F_LOG_ALL))
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    guest.exchange(3)
    with unchanged(stand.shim):
        guest.fe.refused("SET_FEATURES", u64(guest.features & ~(1 << 15) | F_LOG_ALL))
    more.close()
    os.close(log.fd)


def test_a_change_that_is_refused_turns_no_log_on(logging_stand):
    """Nor off: the device marks pages itself."""
    guest = logging_stand.guest().setup()
    log = Log(guest)
    guest.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])
    other = guest.features & ~(1 << 15)
    guest.fe.refused("SET_FEATURES", u64(other | F_LOG_ALL))
    guest.exchange(3)
    guest.fe.vring_base(0)
    assert log.marked() == set()
    guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    guest.fe.refused("SET_FEATURES", u64(other))
    guest.transmit()
    wait_for(log.marked, "the used ring's mark")
    os.close(log.fd)


@hostile(145)
def test_after_a_refusal_features_are_not_ok(fe):
    fe.refused("SET_FEATURES", u64(1 << 26))
    fe.accepted("SET_STATUS", u64(0xb))
    assert fe.ask_u64("GET_STATUS") == 0x3
    fe.accepted("SET_FEATURES", u64(GOOD))
    fe.accepted("SET_STATUS", u64(0xb))
    assert fe.ask_u64("GET_STATUS") == 0xb


@hostile(48)
def test_another_ring_layout_forgets_what_was_said_of_the_rings(stand, fe):
    fe.accepted("SET_FEATURES", u64(GOOD))
    fe.accepted("SET_VRING_NUM", state(0, 64))
    fe.accepted("SET_FEATURES", u64(GOOD | F_PACKED))
    assert stand.shim.dump()["device"]["rings"][0]["size"] == 0


def test_without_protocol_features_all_rings_are_on(stand, fe):
    fe.accepted("SET_FEATURES", u64(F_VERSION_1))
    assert all(ring["enabled"] for ring in stand.shim.dump()["device"]["rings"])
