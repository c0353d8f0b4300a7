# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_NUM, _ADDR, _BASE, _ENABLE, GET_VRING_BASE: each has its section."""
import struct

import pytest
from frontend import F_PACKED, F_PROTOCOL, F_VERSION_1, Ring, state, u64
from hostile import hostile
from unchanged import unchanged
from waiting import wait_for

RINGS_NOT_THERE = [4, 5, 255, 256, 65535, 65536, 0xffffffff]


def rings(stand):
    return stand.shim.dump()["device"]["rings"]


# ---- any message that names a ring

@hostile(55)
@pytest.mark.parametrize("index", RINGS_NOT_THERE)
@pytest.mark.parametrize("name", ["SET_VRING_NUM", "SET_VRING_BASE", "SET_VRING_ENABLE"])
def test_refuses_rings_that_are_not_there(stand, fe, name, index):
    with unchanged(stand.shim):
        fe.refused(name, state(index, 1))


@hostile(55)
@pytest.mark.parametrize("index", RINGS_NOT_THERE)
def test_set_vring_addr_refuses_rings_that_are_not_there(stand, fe, index):
    with unchanged(stand.shim):
        fe.refused("SET_VRING_ADDR", struct.pack("=IIQQQQ", index, 0, 0, 0, 0, 0))


@hostile(55)
@pytest.mark.parametrize("index", RINGS_NOT_THERE)
def test_get_vring_base_of_a_ring_that_is_not_there_closes_the_connection(stand, index):
    fe = stand.front_end()
    fe.send("GET_VRING_BASE", state(index, 0))
    assert fe.is_closed()


# ---- SET_VRING_NUM

def test_set_vring_num_accepts_powers_of_two(stand, fe):
    for bit in range(16):
        fe.accepted("SET_VRING_NUM", state(0, 1 << bit))
    assert rings(stand)[0]["size"] == 32768


@hostile(57, 60)
def test_set_vring_num_refuses_bad_sizes_and_leaves_the_ring_alone(stand, fe):
    fe.accepted("SET_FEATURES", u64(F_PROTOCOL | F_VERSION_1))
    fe.accepted("SET_VRING_NUM", state(0, 64))
    with unchanged(stand.shim):
        for num in (0, 3, 100, 32769, 65536, 0xffffffff):
            fe.refused("SET_VRING_NUM", state(0, num))


def test_set_vring_num_accepts_any_size_for_packed_rings(fe):
    fe.accepted("SET_FEATURES", u64(F_PROTOCOL | F_VERSION_1 | F_PACKED))
    fe.accepted("SET_VRING_NUM", state(0, 100))
    fe.refused("SET_VRING_NUM", state(0, 0))
    fe.refused("SET_VRING_NUM", state(0, 32769))


@hostile(59)
def test_a_running_ring_keeps_size_base_and_addresses(stand):
    guest = stand.guest().setup()
    ring = guest.rings[0]
    with unchanged(stand.shim):
        guest.fe.refused("SET_VRING_NUM", state(0, 128))
        guest.fe.refused("SET_VRING_BASE", state(0, 7))
        elsewhere = Ring(guest.memory, 0, ring.desc + 4096)
        guest.fe.refused("SET_VRING_ADDR", elsewhere.addr())
        elsewhere.close()
    guest.exchange()


# ---- SET_VRING_ADDR

@hostile(69)
def test_set_vring_addr_refuses_flags_that_nobody_knows(stand, fe):
    with unchanged(stand.shim):
        for flags in (2, 0x80000000):
            fe.refused("SET_VRING_ADDR", struct.pack("=IIQQQQ", 0, flags, 0, 0, 0, 0))


def test_set_vring_addr_accepts_a_change_of_the_log_while_running(stand):
    guest = stand.guest().setup()
    guest.fe.accepted("SET_VRING_ADDR", guest.rings[0].addr(flags=1, log=0x1000))
    guest.exchange()


@hostile(66)
@pytest.mark.parametrize("which", ["desc", "avail", "used"])
@pytest.mark.parametrize("where", [0, 1, 0xffffffffffffff00, "end"])
def test_a_ring_outside_memory_never_runs(stand, which, where):
    guest = stand.guest()
    ring = guest.rings[0]
    last = guest.memory.size - 16  # the first bytes are inside, the rest is not
    setattr(ring, which, last if where == "end" else where - guest.memory.uva)
    packed = [getattr(ring, name) + guest.memory.uva & 2**64 - 1
              for name in ("desc", "used", "avail")]
    ring.addr = lambda: struct.pack("=IIQQQQ", 0, 0, *packed, 0)
    guest.setup()
    assert not rings(stand)[0]["running"]
    assert rings(stand)[1]["running"]


# ---- SET_VRING_BASE, GET_VRING_BASE

@hostile(61)
def test_set_vring_base_refuses_more_than_16_bits_for_split_rings(stand, fe):
    fe.accepted("SET_FEATURES", u64(F_PROTOCOL | F_VERSION_1))
    with unchanged(stand.shim):
        fe.refused("SET_VRING_BASE", state(0, 0x10000))


@hostile(72)
def test_a_ring_that_never_ran_answers_the_base_it_was_given(fe):
    fe.accepted("SET_VRING_BASE", state(1, 77))
    assert fe.vring_base(1) == 77


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_get_vring_base_tells_where_the_ring_stands(stand, packed, n):
    guest = stand.guest(packed=packed).setup()
    guest.exchange(n)
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
    assert not any(ring["running"] for ring in rings(stand))


@pytest.mark.parametrize("packed", [False, True])
def test_rings_go_on_from_where_they_stopped(stand, packed):
    guest = stand.guest(packed=packed).setup()
    for n in (5, 100, 64):
        guest.exchange(n)
        bases = [guest.fe.vring_base(ring.index) for ring in guest.rings]
        for ring, base in zip(guest.rings, bases):
            guest.fe.accepted("SET_VRING_BASE", state(ring.index, base))
            guest.fe.accepted("SET_VRING_KICK", u64(ring.index), [ring.kick])
            guest.fe.accepted("SET_VRING_CALL", u64(ring.index), [ring.call])
    guest.exchange(3)


def test_a_split_ring_goes_on_across_the_end_of_16_bits(stand):
    guest = stand.guest(start=65500).setup()
    guest.exchange(100)
    assert guest.fe.vring_base(1) == (65500 + 100) & 0xffff


def test_a_packed_base_may_come_in_the_short_form(stand):
    guest = stand.guest(packed=True)
    for ring in guest.rings:
        ring.base = 0x8000
    guest.setup().exchange(70)


@hostile(72)
def test_get_vring_base_ignores_what_its_request_says_and_works_twice(stand):
    guest = stand.guest().setup()
    guest.exchange(4)
    assert guest.fe.ask("GET_VRING_BASE", state(1, 256)) == state(1, 4)
    assert guest.fe.ask("GET_VRING_BASE", state(1, 256)) == state(1, 4)


def test_a_split_base_behind_the_used_index_means_that_index(stand):
    """The device went on after the front-end had looked."""
    guest = stand.guest(start=10)
    for ring in guest.rings:
        ring.base = 3
    guest.setup()
    guest.exchange(5)
    assert guest.fe.vring_base(1) == 15


@hostile(62)
def test_a_base_that_the_ring_can_t_have_is_not_started(stand):
    guest = stand.guest()
    guest.rings[0].base = 65  # of 64 entries, with nothing used
    guest.setup()
    ring = rings(stand)[0]
    assert ring["failed"] and not ring["running"]


@hostile(61)
@pytest.mark.parametrize("base", [64 | 64 << 16, 0x8040, 0x80, 5 | 64 << 16, 0x7fff7fff])
def test_a_packed_base_beyond_the_ring_is_not_started(stand, base):
    guest = stand.guest(packed=True)
    guest.rings[0].base = base
    guest.setup()
    ring = rings(stand)[0]
    assert ring["failed"] and not ring["running"]
    assert "queue 0: can't start" in stand.shim.log()  # the device was not even asked
    assert rings(stand)[1]["running"]


@hostile(61)
def test_a_base_of_more_than_16_bits_comes_before_the_features_and_does_not_start_a_split_ring(stand):
    guest = stand.guest()
    guest.fe.negotiate()
    guest.fe.accepted("SET_VRING_BASE", state(0, 0x10000))
    for name, payload, fds in guest.setup_steps():
        if name != "SET_VRING_BASE":
            guest.fe.accepted(name, payload, fds)
    assert [(ring["running"], ring["failed"]) for ring in rings(stand)[:2]] == [(0, 1), (1, 0)]


@pytest.mark.parametrize("packed", [False, True])
def test_positions_survive_a_status_of_0(stand, packed):
    guest = stand.guest(packed=packed).setup()
    guest.exchange(9)
    guest.fe.accepted("SET_STATUS", u64(0))
    assert not any(ring["running"] for ring in rings(stand))
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()


# ---- SET_VRING_ENABLE

def test_set_vring_enable_comes_before_everything_else(stand, fe):
    fe.accepted("SET_VRING_ENABLE", state(0, 1))
    assert rings(stand)[0]["enabled"] == 1


@hostile(71)
def test_set_vring_enable_refuses_other_numbers(stand, fe):
    with unchanged(stand.shim):
        for num in (2, 0x100, 0xffffffff):
            fe.refused("SET_VRING_ENABLE", state(0, num))


@hostile(51)
def test_set_vring_enable_is_refused_by_rule_without_protocol_features(stand, fe):
    fe.accepted("SET_FEATURES", u64(F_VERSION_1))
    with unchanged(stand.shim):
        fe.refused("SET_VRING_ENABLE", state(0, 0))


def test_a_disabled_ring_rests_and_goes_on(stand):
    guest = stand.guest().setup()
    guest.exchange(3)
    guest.fe.accepted("SET_VRING_ENABLE", state(1, 0))
    guest.rings[1].offer(bytes(12) + bytes(60))
    guest.rings[1].notify()
    assert not rings(stand)[1]["running"]
    assert guest.rings[1].take() is None
    guest.fe.accepted("SET_VRING_ENABLE", state(1, 1))
    guest.rings[1].wait()
    wait_for(lambda: rings(stand)[1]["running"], "the ring to run")


@hostile(54)
def test_a_second_pair_runs_only_with_multiqueue(stand):
    guest = stand.guest(pairs=2)
    guest.features &= ~(1 << 22)
    guest.setup()
    assert [ring["running"] for ring in rings(stand)] == [1, 1, 0, 0]


def test_two_pairs_carry_traffic(stand):
    guest = stand.guest(pairs=2).setup()
    assert [ring["running"] for ring in rings(stand)] == [1, 1, 1, 1]
    guest.transmit(5, tx=1)
    guest.transmit(5, tx=3)
