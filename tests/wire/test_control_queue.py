# SPDX-License-Identifier: BSD-2-Clause
"""The control queue, where the front-end leaves it to us: where it is, what it does, how long it holds."""
import os
import struct

import pytest
from arrival import Arrival
from control import (ADDR_SET, ALLUNI, ANNOUNCE, ERR, MAC, MQ, NOBCAST, OK, PROMISC, RX, TABLE_SET, VLAN,
                     ControlGuest)
from device_state import HEAD, SECTION, load, pack, save
from frontend import F_MQ, config, eventfd, state, u64
from hostile import hostile
from inflight_area import Area, get_area
from looks import running
from shimside import SLOT_DEVICE
from simnic import CONTROL, Simnic
from stand import BUILD, Stand
from test_set_log_base import Log, answer, log_all
from unchanged import unchanged
from waiting import wait_for

CTRL_VQ = 1 << 17
OWN, CHOSEN = b"\x52\x54\0\0\0\1", b"\x52\x54\0\0\0\7"


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def packed(request):
    return request.param


@pytest.fixture
def make_guest(make_stand, packed):
    """Return: (stand, guest); `running` ones are set up."""
    def make(pairs=1, stand=None, **facts):
        stand = stand or make_stand(pairs=pairs, control=True)
        guest = ControlGuest(stand.path, pairs, packed=packed, **facts)
        stand.opened.append(guest)
        return stand, guest.setup()

    return make


def mac_of(guest):
    return guest.fe.ask("GET_CONFIG", config(0, 6))[12:]


def status_of(guest):
    return struct.unpack("=H", guest.fe.ask("GET_CONFIG", config(6, 2))[12:])[0]


def set_much(guest):
    assert guest.control.command(RX, PROMISC, b"\0") == OK
    assert guest.control.command(VLAN, 0, b"\5\0") == OK
    assert guest.control.command(MAC, TABLE_SET, struct.pack("<I6sI", 1, CHOSEN, 0)) == OK
    assert guest.control.command(MAC, ADDR_SET, CHOSEN) == OK
    assert mac_of(guest) == CHOSEN


# ---- where it is

def test_nothing_of_it_is_offered_to_those_who_did_not_ask_for_it(make_stand):
    fe = make_stand(pairs=2).front_end()
    assert fe.features & CONTROL == 0
    assert fe.ask_u64("GET_QUEUE_NUM") == 2
    fe.refused("SET_VRING_NUM", state(4, 64))


def test_without_the_queue_nothing_is_offered_that_needs_it(make_stand):
    stand = make_stand(start=False, control=True)
    stand.shim.features &= ~CTRL_VQ
    stand.shim.start()
    assert stand.front_end().features & CONTROL == 0


def test_it_does_not_count_as_a_queue(make_stand):
    fe = make_stand(pairs=2, control=True).front_end()
    assert fe.features & CONTROL == CONTROL
    assert fe.ask_u64("GET_QUEUE_NUM") == 2
    assert struct.unpack("=H", fe.ask("GET_CONFIG", config(8, 2))[12:])[0] == 2
    fe.accepted("SET_VRING_NUM", state(4, 64))
    fe.refused("SET_VRING_NUM", state(5, 64))


def test_it_is_behind_all_pairs(make_guest):
    stand, guest = make_guest(pairs=3)
    assert guest.control.index == 6
    assert running(stand) == [1] * 7
    assert guest.control.command(MQ, 0, b"\2\0") == OK
    guest.exchange()


def test_without_mq_it_is_behind_the_first_pair(make_stand, packed):
    stand = make_stand(pairs=3, control=True)
    guest = ControlGuest(stand.path, 1, packed=packed)
    stand.opened.append(guest)
    assert guest.control.index == 2 and not guest.features & F_MQ
    guest.setup()
    assert running(stand) == [1, 1, 1, 0, 0, 0, 0]
    assert guest.control.command(RX, PROMISC, b"\0") == OK
    guest.exchange()
    assert guest.fe.vring_base(2) == guest.control.position()
    rings = stand.shim.dump()["device"]["rings"]
    assert rings[2]["device"]["completed"] == 1
    assert [ring["device"]["completed"] for ring in rings[3:]] == [0] * 4


def test_a_driver_that_does_not_know_it_has_none(make_stand):
    """The place behind the pairs is a ring that never runs."""
    stand = make_stand(pairs=2, control=True)
    guest = ControlGuest(stand.path, 2)
    stand.opened.append(guest)
    guest.features &= ~CTRL_VQ
    guest.setup()
    assert running(stand) == [1, 1, 1, 1, 0]
    guest.exchange()


def test_it_is_enabled_and_disabled_as_any_ring(make_guest):
    stand, guest = make_guest()
    assert guest.control.command(RX, PROMISC, b"\0") == OK
    guest.fe.accepted("SET_VRING_ENABLE", state(2, 0))
    assert running(stand) == [1, 1, 0]
    guest.control.offer_command(bytes([RX, PROMISC, 1]))
    guest.control.notify()
    guest.exchange()
    assert guest.control.take() is None
    guest.fe.accepted("SET_VRING_ENABLE", state(2, 1))
    assert guest.control.verdict() == OK


def test_its_eventfds_are_replaced_while_it_runs(make_guest):
    _, guest = make_guest()
    for name, attribute in (("SET_VRING_KICK", "kick"), ("SET_VRING_CALL", "call"),
                            ("SET_VRING_ERR", "err")):
        fd = eventfd()
        guest.fe.accepted(name, u64(2), [fd])
        os.close(getattr(guest.control, attribute))
        setattr(guest.control, attribute, fd)
        assert guest.control.command(RX, PROMISC, b"\0") == OK
    wait_for(lambda: os.eventfd_read(guest.control.call), "the call")


# ---- what it does

def test_an_address_that_is_set_shows_in_the_configuration(make_guest):
    _, guest = make_guest()
    assert mac_of(guest) == OWN
    assert guest.control.command(MAC, ADDR_SET, CHOSEN) == OK
    assert mac_of(guest) == CHOSEN
    guest.exchange()


@hostile(174)
def test_a_refusal_is_the_commands_and_not_the_rings(make_guest):
    stand, guest = make_guest()
    for command in (b"", b"\1", bytes([99, 0]), bytes([MQ, 0, 1, 0]), bytes([RX, PROMISC, 7]),
                    bytes([MAC, TABLE_SET]) + b"\xff" * 8, bytes([RX, PROMISC]) + bytes(4000)):
        assert guest.control.bytes(command or b"\0") == ERR
    assert guest.control.command(RX, PROMISC, b"\0") == OK
    assert running(stand) == [1, 1, 1]


@hostile(174)
def test_a_ring_that_breaks_the_rules_is_given_up_alone(make_guest):
    """There is no room for the verdict."""
    stand, guest = make_guest()
    guest.control.offer_command(bytes([RX, PROMISC, 0]), verdict=0)
    guest.control.notify()
    wait_for(lambda: stand.shim.has_event("queue error"), "the error")
    wait_for(lambda: os.eventfd_read(guest.control.err), "its err eventfd")
    assert [ring["failed"] for ring in stand.shim.dump()["device"]["rings"]] == [0, 0, 1]
    guest.exchange(3)


# ---- how long it holds

def test_what_was_set_survives_the_worker(make_guest):
    stand, guest = make_guest()
    set_much(guest)
    stand.shim.restart()
    assert mac_of(guest) == CHOSEN
    assert guest.control.command(RX, ALLUNI, b"\1") == OK
    guest.exchange()


def begin_anew(guest):
    """As front-ends do when the guest's driver is loaded again."""
    guest.control.begin_anew()
    guest.again({ring.index: ring.base if ring is guest.control else ring.position()
                 for ring in guest.rings})


def test_a_pause_leaves_it_as_it_is(make_guest):
    """Front-ends set status 0 for it, as for a reset."""
    _, guest = make_guest()
    set_much(guest)
    guest.fe.accepted("SET_STATUS", u64(0))
    guest.again(guest.stopped())
    assert mac_of(guest) == CHOSEN
    assert guest.control.command(RX, ALLUNI, b"\1") == OK


def test_another_driver_finds_nothing_set(make_guest):
    stand, guest = make_guest()
    set_much(guest)
    guest.fe.accepted("SET_STATUS", u64(0))
    guest.stopped()
    begin_anew(guest)
    assert mac_of(guest) == OWN
    assert guest.control.command(RX, ALLUNI, b"\1") == OK
    guest.exchange()


def test_other_features_are_another_drivers(make_guest):
    _, guest = make_guest()
    set_much(guest)
    guest.stopped()
    guest.fe.accepted("SET_FEATURES", u64(guest.features & ~(1 << 18)))
    assert mac_of(guest) == OWN


@pytest.mark.parametrize("order", ["RESET_DEVICE", "leave"])
def test_a_reset_leaves_nothing_set(make_guest, order):
    stand, guest = make_guest()
    set_much(guest)
    if order == "leave":
        guest.fe.close()
        wait_for(lambda: stand.shim.has_event("disconnected"), "the end")
        guest.fe = stand.front_end()
    else:
        guest.stopped()
        guest.fe.accepted("RESET_DEVICE")
    assert mac_of(guest) == OWN


@pytest.fixture
def own_stand():
    """Its simnic is nobody else's."""
    with Simnic(BUILD) as nic:
        stand = Stand(nic, control=True)
        stand.shim.start()
        yield stand
        stand.close_now()


def replace_device(stand):
    stand.nic.stop()
    wait_for(lambda: stand.shim.has_event("failed"), "the loss of the device")
    stand.nic.start()
    _, mailbox = stand.nic.add(name=stand.name, control=True)
    stand.shim.device_changed(mailbox)
    wait_for(lambda: stand.shim.has_event("recovered"), "the new device at work")


def replace_device_and_worker(stand):
    """The worker that comes finds a device that it has never seen."""
    stand.shim.dump()  # it is between two messages then, see restart()
    stand.shim.kill()
    stand.nic.stop()
    stand.nic.start()
    os.close(stand.shim.slots[SLOT_DEVICE])
    _, stand.shim.slots[SLOT_DEVICE] = stand.nic.add(name=stand.name, control=True)
    stand.shim.start()


@pytest.mark.parametrize("replace", [replace_device, replace_device_and_worker])
def test_what_was_set_survives_the_device(own_stand, make_guest, replace):
    _, guest = make_guest(stand=own_stand)
    set_much(guest)
    replace(own_stand)
    wait_for(lambda: running(own_stand) == [1, 1, 1], "rings")
    assert mac_of(guest) == CHOSEN
    assert guest.control.command(RX, ALLUNI, b"\1") == OK


# ---- migration

def test_commands_are_relayed_and_their_verdicts_are_logged(make_guest):
    stand, guest = make_guest()
    log = Log(guest)
    set_much(guest)
    assert answer(guest.fe, log) == 0
    log_all(guest)
    for _ in range(40):  # around the ring
        assert guest.control.command(RX, ALLUNI, b"\1") == OK
        page = (guest.memory.gpa + guest.control.verdict_at) >> 12
        wait_for(lambda: page in log.marked(), "the verdict's mark")
        os.pwrite(log.fd, bytes(log.size), 0)
    assert guest.control.command(MQ, 0, b"\1\0") == ERR
    assert mac_of(guest) == CHOSEN, "a relay begins in a fresh ring, and is no other driver"
    guest.exchange(3)
    log_all(guest, False)
    assert guest.control.command(RX, NOBCAST, b"\1") == OK
    assert mac_of(guest) == CHOSEN
    assert guest.stopped()[2] == guest.control.position()
    os.close(log.fd)


def test_a_relayed_queue_goes_on_behind_a_dead_worker(make_guest):
    stand, guest = make_guest()
    log = Log(guest)
    assert answer(guest.fe, log) == 0
    log_all(guest)
    for _ in range(3):
        assert guest.control.command(RX, ALLUNI, b"\1") == OK
        stand.shim.restart()
    assert guest.control.command(RX, ALLUNI, b"\1") == OK
    os.close(log.fd)


def test_a_guest_takes_along_what_it_set(make_guest, make_stand, packed):
    _, source = make_guest()
    set_much(source)
    source.fe.accepted("SET_STATUS", u64(0))
    bases = source.stopped()
    data = save(source.fe)
    source.fe.close()

    other = make_stand(control=True)
    guest = ControlGuest(other.path, packed=packed)
    other.opened.append(guest)
    guest.fe.negotiate(guest.pf)
    assert load(guest.fe, data)
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    guest.fe.accepted("SET_MEM_TABLE", struct.pack("=II", 1, 0) + guest.memory.region(), [guest.memory.fd])
    ring, was = guest.control, source.control
    guest.memory.map[ring.desc:ring.buffers] = source.memory.map[ring.desc:ring.buffers]
    for name in ("next_avail", "next_used", "avail_wrap", "used_wrap"):
        setattr(ring, name, getattr(was, name))
    bases[0] = bases[1] = guest.rings[0].base
    guest.again(bases)
    assert mac_of(guest) == CHOSEN
    assert status_of(guest) == 3, "it is to announce itself"
    assert guest.control.command(ANNOUNCE, 0) == OK
    assert status_of(guest) == 1
    assert save_stopped(guest)[HEAD.size:].count(CHOSEN) == data.count(CHOSEN)


def save_stopped(guest):
    guest.stopped()
    return save(guest.fe)


def control_section(data):
    """Return: (offset of its payload, bytes of it)."""
    at, (_, _, n, _) = HEAD.size, HEAD.unpack_from(data)
    for _ in range(n):
        kind, flags, size = SECTION.unpack_from(data, at)
        at += SECTION.size
        if kind == 3:
            assert flags == 1, "who does not know it must not go on without"
            return at, size
        at += size
    raise AssertionError("there is none")


def test_a_state_that_no_driver_could_set_is_refused(make_guest, make_stand):
    _, guest = make_guest()
    set_much(guest)
    data = save_stopped(guest)
    at, size = control_section(data)
    other = make_stand(control=True)
    fe = other.front_end()
    with unchanged(other.shim):
        for offset, value in ((3, 0x80), (5, 1), (6, 65), (8, 65), (10, 1), (16, 1)):
            bad = bytearray(data)
            bad[at + offset] |= value
            assert not load(fe, bytes(bad)), offset
        assert not load(fe, pack((3, 1, data[at:at + size - 8])))
    assert load(fe, data)


def test_a_state_with_a_control_queue_is_refused_where_there_is_none(make_guest, make_stand):
    _, guest = make_guest()
    set_much(guest)
    data = save_stopped(guest)
    other = make_stand()
    fe = other.front_end()
    with unchanged(other.shim):
        assert not load(fe, data)


def test_states_of_before_are_taken(make_stand):
    fe = make_stand(control=True).front_end()
    assert load(fe, pack((1, 0, bytes(56)), (2, 0, bytes(96))))


def test_a_guest_that_never_used_it_has_a_state_as_before(make_stand):
    stand = make_stand(control=True)
    guest = stand.guest().setup()
    guest.exchange(2)
    for ring in guest.rings:
        guest.fe.vring_base(ring.index)
    assert HEAD.unpack_from(save(guest.fe))[2] == 2


@pytest.mark.parametrize("deaf", [False, True], ids=["pages-come", "pages-come-late"])
def test_a_command_waits_for_pages_of_a_guest_that_arrives(make_stand, packed, deaf):
    stand = make_stand(control=True)
    guest = ControlGuest(stand.path, packed=packed)
    stand.opened.append(guest)
    arrival = Arrival(guest, deaf)
    guest.control.offer_command(bytes([RX, PROMISC, 0]))
    arrival.start()
    guest.control.notify()

    def completed():
        return stand.shim.dump()["device"]["rings"][2]["device"]["completed"]

    wait_for(lambda: arrival.asked, "a page to be asked for")
    if deaf:
        guest.fe.ask_u64("GET_FEATURES")  # nobody waits for the pages
        assert completed() == 0
    else:
        wait_for(lambda: completed() == 1, "the command")
        assert guest.control.desc in arrival.asked
    arrival.land()
    assert guest.control.verdict() == OK
    assert guest.control.command(RX, ALLUNI, b"\1") == OK
    arrival.close()


def test_its_chains_are_noted_in_flight_as_all_others(make_shuffled_stand, packed):
    stand = make_shuffled_stand(control=True)
    guest = ControlGuest(stand.path, packed=packed, offered=stand.offered)
    stand.opened.append(guest)
    guest.fe.negotiate()
    guest.fe.accepted("SET_FEATURES", u64(guest.features))
    size, offset, (fd,), rings, _ = get_area(guest.fe, rings=3)
    assert rings == 3
    area = Area(fd, size, offset, rings, packed)
    for step in guest.setup_steps():
        guest.fe.accepted(*step)
    assert stand.shim.dump()["device"]["rings"][2]["running"] == 1
    for _ in range(20):
        assert guest.control.command(RX, PROMISC, b"\0") == OK
        wait_for(lambda: area.marks(2) == 0, "the note to be struck out")
    guest.exchange(3)
    area.close()
