# SPDX-License-Identifier: BSD-2-Clause
"""A device that can what a plain virtio function can: begin in fresh rings only, all of them at once, and
not say where it stopped. What is missing, the core makes up for."""
import pytest
from frontend import state
from looks import rings
from simnic import Simnic
from stand import BUILD, Stand

PLAIN = ["--start-position", "initial", "--positions", "ring", "--queues", "together"]
DIRECT, RELAY = "direct", "relay"


@pytest.fixture(scope="module")
def plain_nic():
    nic = Simnic(BUILD)
    nic.options = PLAIN
    nic.start()
    yield nic
    nic.stop()


@pytest.fixture
def plain(plain_nic):
    stands = []

    def make(**facts):
        stand = Stand(plain_nic, **facts)
        stands.append(stand)
        stand.shim.start()
        return stand

    yield make
    for stand in stands:
        stand.close_now()


def path(stand):
    return stand.shim.dump()["device"]["datapath"]


def go_on(guest):
    """Where each ring stood, it begins again."""
    for ring in guest.rings:
        word = guest.fe.vring_base(ring.index)
        assert word == ring.position()
        guest.fe.accepted("SET_VRING_BASE", state(ring.index, word))
        guest.fe.accepted("SET_VRING_KICK", (ring.index).to_bytes(8, "little"), [ring.kick])


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_a_split_ring_runs_directly_and_its_used_ring_tells_where_it_stood(plain, n):
    stand = plain()
    guest = stand.guest().setup()
    assert path(stand) == DIRECT
    guest.exchange(n)
    assert [ring["position"]["used"] for ring in rings(stand)] == [ring.position() for ring in guest.rings]
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
    assert not any(ring["running"] for ring in rings(stand))


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 200])
def test_a_packed_ring_is_relayed_from_the_first_start_on(plain, n):
    stand = plain()
    guest = stand.guest(packed=True).setup()
    assert path(stand) == RELAY
    guest.exchange(n)
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_ring_that_moved_goes_on_by_relay(plain, packed):
    stand = plain()
    guest = stand.guest(packed=packed).setup()
    for lap in range(3):
        guest.exchange(lap + 5)
        go_on(guest)
        assert path(stand) == RELAY
    guest.exchange(100)


def test_a_ring_that_did_not_move_goes_on_directly(plain):
    stand = plain()
    guest = stand.guest().setup()
    go_on(guest)
    assert path(stand) == DIRECT
    guest.exchange(5)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_pair_that_is_added_stops_the_others_only_for_the_moment(plain, packed):
    stand = plain(pairs=2)
    guest = stand.guest(pairs=2, packed=packed).setup()
    for index in (2, 3):
        guest.fe.accepted("SET_VRING_ENABLE", state(index, 0))
    assert [ring["running"] for ring in rings(stand)[:4]] == [True, True, False, False]
    guest.exchange(10)
    for index in (2, 3):
        guest.fe.accepted("SET_VRING_ENABLE", state(index, 1))
    assert all(ring["running"] for ring in rings(stand)[:4])
    guest.exchange(10)
    guest.transmit(10, tx=3)


def test_a_lone_ring_that_stops_leaves_the_others_where_they_were(plain):
    stand = plain()
    guest = stand.guest().setup()
    guest.exchange(7)
    assert guest.fe.vring_base(1) == 7
    assert [ring["running"] for ring in rings(stand)[:2]] == [True, False]
    assert path(stand) == RELAY
    guest.fe.accepted("SET_VRING_BASE", state(1, 7))
    guest.fe.accepted("SET_VRING_KICK", (1).to_bytes(8, "little"), [guest.rings[1].kick])
    guest.exchange(70)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_another_worker_goes_on(plain, packed):
    stand = plain()
    guest = stand.guest(packed=packed).setup()
    guest.exchange(9)
    stand.shim.restart()
    guest.exchange(9)
    for ring in guest.rings:
        assert guest.fe.vring_base(ring.index) == ring.position()
