# SPDX-License-Identifier: BSD-2-Clause
"""The control queue: each command has its effect, and a hostile one none beyond its own function."""
import errno
import os
import struct
import time

import pytest

import simnic_client as sim
from simnic_client import bits, frame, mac
from waiting import wait_for

OK, ERR = 0, 1
RX, MAC, VLAN, ANNOUNCE, MQ, OFFLOADS = range(6)
PROMISC, ALLMULTI, ALLUNI, NOMULTI, NOUNI, NOBCAST = range(6)
TABLE_SET, ADDR_SET = 0, 1
ADD, DEL = 0, 1
BASE = bits(sim.F_VERSION_1, sim.F_MRG_RXBUF)
CONTROL = BASE | sim.CONTROL
GROUP, OTHER_GROUP = b"\1\0\x5e\0\0\1", b"\1\0\x5e\0\0\2"


@pytest.fixture
def pair(nic, make_guest, layout):
    """(a peer, a guest with a control queue, its control queue)."""
    def make(features=CONTROL, pairs=1, flags=sim.LINK_UP, **facts):
        a = make_guest(nic.add("a", mac=mac(1)))
        b = make_guest(nic.add("b", mac=mac(2), pairs=pairs, flags=flags,
                               features=sim.OFFERED | sim.CONTROL), features | layout, pairs)
        return a, b, sim.ControlQueue(b, **facts)

    return make


def tagged(to, vlan, payload=b""):
    return to + mac(1) + struct.pack(">HHH", 0x8100, vlan, 0x88b5) + payload.ljust(60, b"\0")


def arrives(a, b, sent, own=mac(2)):
    """Whether a frame of a's comes to b. A frame to its own address follows, which surely comes: what
    is not before that one was not wanted."""
    last = frame(own, mac(1), os.urandom(16))
    for data in (sent, last):
        b.offer()
        a.send(data)
        a.sent()
    _, got = b.receive()
    if got == last:
        return False
    assert got == sent
    assert b.receive()[1] == last
    return True


def arrives_at(sender, receiver, to, source):
    receiver.offer()
    sender.send(frame(to, source, b"here"))
    return receiver.receive()[1][:6] == to


def table(*macs):
    return struct.pack("<I", len(macs)) + b"".join(macs)


# ------------------------------------------------------------------------------------ modes

def test_before_the_driver_says_anything_all_comes(pair):
    a, b, _ = pair()
    for to in (mac(2), mac(9), GROUP, sim.BROADCAST):
        assert arrives(a, b, frame(to, mac(1)))


def test_a_driver_gets_its_address_and_broadcasts_once_it_has_left_promiscuous_mode(pair):
    a, b, control = pair()
    assert control.command(RX, PROMISC, b"\0") == OK
    for to, wanted in ((mac(2), True), (sim.BROADCAST, True), (mac(9), False), (GROUP, False)):
        assert arrives(a, b, frame(to, mac(1))) == wanted
    assert b.function.register("filter_drops") == 2


@pytest.mark.parametrize("mode,to,before,after", [
    (PROMISC, mac(9), False, True), (PROMISC, GROUP, False, True),
    (ALLMULTI, GROUP, False, True), (ALLMULTI, mac(9), False, False),
    (ALLUNI, mac(9), False, True), (ALLUNI, GROUP, False, False),
    (NOBCAST, sim.BROADCAST, True, False),
])
def test_a_mode_is_switched_on_and_off(pair, mode, to, before, after):
    a, b, control = pair()
    assert control.command(RX, PROMISC, b"\0") == OK
    assert arrives(a, b, frame(to, mac(1))) == before
    assert control.command(RX, mode, b"\1") == OK
    assert arrives(a, b, frame(to, mac(1))) == after
    assert control.command(RX, mode, b"\0") == OK
    assert arrives(a, b, frame(to, mac(1))) == before


def test_what_suppresses_is_stronger_than_what_lets_all_pass_but_not_than_promiscuous_mode(pair):
    a, b, control = pair()
    for mode in (ALLMULTI, NOMULTI):
        assert control.command(RX, mode, b"\1") == OK
    assert not arrives(a, b, frame(GROUP, mac(1)))
    assert control.command(RX, PROMISC, b"\1") == OK
    assert arrives(a, b, frame(GROUP, mac(1)))


def test_unicast_can_be_suppressed_too(pair):
    a, b, control = pair()
    for mode in (ALLUNI, NOUNI):
        assert control.command(RX, mode, b"\1") == OK
    b.offer()
    b.offer()
    a.send(frame(mac(2), mac(1)))
    a.sent()
    a.send(frame(sim.BROADCAST, mac(1)))
    a.sent()
    assert b.receive()[1][:6] == sim.BROADCAST


# ----------------------------------------------------------------------------------- tables

def test_addresses_of_the_tables_come_and_others_do_not(pair):
    a, b, control = pair()
    assert control.command(MAC, TABLE_SET, table(mac(9)) + table(GROUP)) == OK
    for to, wanted in ((mac(9), True), (mac(8), False), (GROUP, True), (OTHER_GROUP, False),
                       (mac(2), True)):
        assert arrives(a, b, frame(to, mac(1))) == wanted
    assert control.command(MAC, TABLE_SET, table() + table(OTHER_GROUP)) == OK
    for to, wanted in ((mac(9), False), (GROUP, False), (OTHER_GROUP, True)):
        assert arrives(a, b, frame(to, mac(1))) == wanted


def test_a_table_that_is_longer_than_the_devices_lets_all_of_its_kind_pass(pair):
    a, b, control = pair()
    many = [b"\2\0\0\0" + struct.pack(">H", i) for i in range(65)]
    assert control.command(MAC, TABLE_SET, table(*many) + table()) == OK
    assert arrives(a, b, frame(mac(9), mac(1)))
    assert not arrives(a, b, frame(GROUP, mac(1)))
    assert control.command(MAC, TABLE_SET, table(*many[:64]) + table()) == OK
    assert not arrives(a, b, frame(mac(9), mac(1)))
    assert arrives(a, b, frame(many[63], mac(1)))


def test_vlans_are_added_and_taken_away(pair):
    a, b, control = pair(BASE | bits(sim.F_CTRL_VQ, sim.F_CTRL_VLAN, sim.F_CTRL_RX))
    assert not arrives(a, b, tagged(mac(2), 5))
    assert control.command(VLAN, ADD, struct.pack("<H", 5)) == OK
    assert arrives(a, b, tagged(mac(2), 5))
    assert arrives(a, b, tagged(mac(2), 0x2005)), "the priority is no part of the number"
    assert not arrives(a, b, tagged(mac(2), 6))
    assert arrives(a, b, tagged(mac(2), 0)), "a priority tag"
    assert control.command(VLAN, DEL, struct.pack("<H", 5)) == OK
    assert not arrives(a, b, tagged(mac(2), 5))
    assert control.command(VLAN, ADD, struct.pack("<H", 4095)) == OK
    assert arrives(a, b, tagged(mac(2), 4095))
    assert control.command(RX, PROMISC, b"\1") == OK
    assert arrives(a, b, tagged(mac(2), 5))


def test_a_driver_that_knows_no_vlan_filter_gets_all_vlans(pair):
    a, b, control = pair(CONTROL & ~bits(sim.F_CTRL_VLAN))
    assert control.command(RX, PROMISC, b"\0") == OK
    assert arrives(a, b, tagged(mac(2), 5))


# -------------------------------------------------------------------------------- address

def test_an_address_that_the_driver_sets_is_the_functions(pair):
    a, b, control = pair()
    assert control.command(MAC, ADDR_SET, mac(7)) == OK
    assert b.function.config()["mac"] == mac(7)
    assert control.command(RX, PROMISC, b"\0") == OK
    b.offer()
    a.send(frame(mac(7), mac(1)))
    assert b.receive()[1][:6] == mac(7)
    b.offer()
    a.send(frame(mac(2), mac(1)))
    a.sent()
    wait_for(lambda: b.function.register("filter_drops") == 1, "the frame to the address of before")
    assert control.command(MAC, ADDR_SET, mac(2)) == OK
    assert b.function.config()["mac"] == mac(2)


def test_an_address_is_not_the_drivers_to_set_while_sources_are_checked(pair):
    a, b, control = pair(flags=sim.LINK_UP | sim.SPOOF_CHECK)
    assert control.command(MAC, ADDR_SET, mac(7)) == ERR
    assert b.function.config()["mac"] == mac(2)
    assert control.command(MAC, ADDR_SET, mac(2)) == OK, "its own is no change"
    b.send(frame(mac(1), mac(7)))
    b.sent()
    wait_for(lambda: b.function.register("spoof_drops") == 1, "the count")


def test_an_address_that_is_anothers_is_refused(nic, make_guest, pair):
    a, b, control = pair()
    assert control.command(MAC, ADDR_SET, mac(1)) == ERR
    assert b.function.config()["mac"] == mac(2)
    c = make_guest(nic.add("c", mac=mac(3)))
    assert arrives_at(c, a, mac(1), mac(3))
    assert arrives_at(c, b, mac(2), mac(3))


def test_an_address_that_was_chosen_gives_way_to_one_that_is_given(nic, make_guest, pair):
    a, b, control = pair()
    assert control.command(MAC, ADDR_SET, mac(7)) == OK
    c = make_guest(nic.add("c", mac=mac(7)))
    assert arrives_at(a, c, mac(7), mac(1))
    b.function.stop(0, 1)  # among equals the one that was started last has it
    b.function.start(0, 1)
    assert arrives_at(a, c, mac(7), mac(1))
    assert b.nothing_received()


def test_the_operators_change_takes_the_drivers_back(nic, pair):
    _, b, control = pair()
    assert control.command(MAC, ADDR_SET, mac(7)) == OK
    changed = sim.pack_function("b", mac=mac(2), flags=sim.LINK_UP,
                                features=sim.OFFERED | sim.CONTROL)
    nic.admin.call(sim.SET, changed)
    assert b.function.config()["mac"] == mac(7), "it is what it was for the operator"
    nic.admin.call(sim.SET, sim.pack_function("b", mac=mac(2), flags=sim.LINK_UP | sim.SPOOF_CHECK,
                                              features=sim.OFFERED | sim.CONTROL))
    assert b.function.config()["mac"] == mac(2)
    nic.admin.call(sim.SET, changed)
    assert b.function.config()["mac"] == mac(7)
    nic.admin.call(sim.SET, sim.pack_function("b", mac=mac(3), flags=sim.LINK_UP,
                                              features=sim.OFFERED | sim.CONTROL))
    assert b.function.config()["mac"] == mac(3)


# --------------------------------------------------------------------- pairs and offloads

def flow(to, number):
    """UDP over IPv4 from a port of its own."""
    ip = bytes.fromhex("4500002e000040004011") + b"\0\0" + b"\n\0\0\1\n\0\0\2"
    udp = struct.pack(">HHHH", 1000 + number, 9, 26, 0)
    return to + mac(1) + b"\x08\0" + ip + udp + bytes(18)


def queues_used(a, b, pairs, n=64):
    """The receive queues that get frames of many flows."""
    before = [b.function.queue(2 * i)["completed_desc"] for i in range(pairs)]
    for i in range(pairs):
        for _ in range(n):
            b.offer(i, (256,))
    for i in range(n):
        a.send(flow(mac(2), i))
        a.sent()
    def completed():
        return [b.function.queue(2 * i)["completed_desc"] for i in range(pairs)]
    wait_for(lambda: sum(completed()) >= sum(before) + n, "all frames")
    after = completed()
    while any(b.queues[2 * i].ring.take_used() for i in range(pairs)):
        pass
    assert sum(after) - sum(before) == n
    return {i for i in range(pairs) if after[i] > before[i]}


def test_flows_spread_over_as_many_pairs_as_the_driver_sets(nic, make_guest, layout):
    a = make_guest(nic.add("a", mac=mac(1)))
    b = make_guest(nic.add("b", mac=mac(2), pairs=4, features=sim.OFFERED | sim.CONTROL),
                   CONTROL | bits(sim.F_MQ) | layout, 4, size=256)
    control = sim.ControlQueue(b)
    assert queues_used(a, b, 4, 32) == {0}, "one pair before the driver says more"
    for pairs in (4, 2, 3, 1):
        assert control.command(MQ, 0, struct.pack("<H", pairs)) == OK
        assert queues_used(a, b, 4, 32) == set(range(pairs))
    for pairs in (0, 5, 0x8000, 0xffff):
        assert control.command(MQ, 0, struct.pack("<H", pairs)) == ERR
    assert queues_used(a, b, 4, 32) == {0}


def test_without_a_control_queue_flows_spread_over_all_that_run(nic, make_guest):
    a = make_guest(nic.add("a", mac=mac(1)))
    b = make_guest(nic.add("b", mac=mac(2), pairs=4, features=sim.OFFERED | sim.CONTROL),
                   BASE | bits(sim.F_MQ), 4, size=256)
    assert queues_used(a, b, 4) == {0, 1, 2, 3}


def test_offloads_towards_the_guest_are_switched_while_it_runs(pair, make_guest):
    offloads = bits(sim.F_GUEST_CSUM, sim.F_GUEST_TSO4)
    a, b, control = pair(CONTROL | offloads)
    a.function.stop(0, 1)
    a.function.set_features(BASE | bits(sim.F_CSUM, sim.F_HOST_TSO4))
    for queue in a.queues:
        queue.prepare()
    a.function.start(0, 1)
    header = struct.pack("<BBHHHHH", 1, 0, 0, 0, 34, 6, 0)  # a UDP checksum is to be computed

    def flags():
        b.offer()
        a.send(flow(mac(2), 1), header=header)
        a.sent()
        got, data = b.receive()
        assert (data[40:42] != b"\0\0") == (got[0] == 0), "computed, or asked for"
        return got[0]

    assert flags() == 1, "what was negotiated is on"
    assert control.command(OFFLOADS, 0, struct.pack("<Q", 0)) == OK
    assert flags() == 0
    assert control.command(OFFLOADS, 0, struct.pack("<Q", offloads)) == OK
    assert flags() == 1
    for wrong in (bits(sim.F_GUEST_TSO6), bits(sim.F_MQ), 2**64 - 1):
        assert control.command(OFFLOADS, 0, struct.pack("<Q", wrong)) == ERR
    assert flags() == 1


# ------------------------------------------------------------------------------- the state

def test_an_announcement_is_acknowledged(pair):
    _, b, control = pair(CONTROL | bits(sim.F_GUEST_ANNOUNCE))
    assert control.command(ANNOUNCE, 0) == OK, "one that nobody asked for is fine"
    state = bytearray(b.function.control())
    state[1] |= 8
    b.function.call(sim.SET_CONTROL, bytes(state))
    assert b.function.config()["announce"] == 1
    assert control.command(ANNOUNCE, 0, b"\0") == ERR, "it has no data"
    assert b.function.config()["announce"] == 1
    assert control.command(ANNOUNCE, 0) == OK
    assert b.function.config()["announce"] == 0


def set_much(control):
    assert control.command(RX, PROMISC, b"\0") == OK
    assert control.command(MAC, TABLE_SET, table(mac(9)) + table(GROUP)) == OK
    assert control.command(VLAN, ADD, struct.pack("<H", 5)) == OK
    assert control.command(MAC, ADDR_SET, mac(7)) == OK


def has_effect(a, b, own=mac(2)):
    return [arrives(a, b, data, own) for data in (
        *(frame(to, mac(1)) for to in (mac(9), GROUP, mac(8))), tagged(own, 5), tagged(own, 6))]


def test_the_state_survives_a_stop_and_ends_with_a_reset(pair):
    a, b, control = pair()
    assert not any(b.function.control())
    set_much(control)
    assert control.command(MAC, ADDR_SET, mac(2)) == OK
    effect = has_effect(a, b)
    assert effect == [True, True, False, True, False]
    b.function.stop(0, 1, 2)
    b.function.start(0, 1, 2)
    assert has_effect(a, b) == effect
    b.function.call(sim.RESET)
    assert not any(b.function.control())
    assert b.function.config()["mac"] == mac(2)


def test_a_state_is_given_to_another_function(nic, make_guest, pair):
    a, b, control = pair()
    set_much(control)
    state = b.function.control()
    nic.admin.call(sim.DEL, sim.pack_function("b"))
    c = make_guest(nic.add("c", mac=mac(2), features=sim.OFFERED | sim.CONTROL), CONTROL)
    c.function.call(sim.SET_CONTROL, state)
    assert c.function.control() == state
    assert c.function.config()["mac"] == mac(7)
    assert has_effect(a, c, mac(7)) == [True, True, False, True, False]


def test_a_state_that_no_driver_could_set_is_refused(pair):
    _, b, control = pair()
    set_much(control)
    before = b.function.control()
    for at, value in ((2, 0x100), (4, 0), (5, 1), (6, 2), (8, 65), (10, 65), (12, 1), (24, 1)):
        state = bytearray(before)
        if at == 2:  # a flag that there is not
            state[1] |= 0x10
        elif at == 4:  # pairs
            struct.pack_into("<H", state, 4, 2)
        elif at in (8, 10):
            struct.pack_into("<H", state, at - 2, value)
        elif at == 12:  # a group's address
            state[10] |= 1
        elif at == 24:  # an offload that is none
            state[16] |= 1
        else:
            continue
        with pytest.raises(sim.Refused) as info:
            b.function.call(sim.SET_CONTROL, bytes(state))
        assert info.value.errno == errno.EINVAL, at
        assert b.function.control() == before


def test_a_function_without_a_control_queue_has_none(nic, make_guest):
    guest = make_guest(nic.add("f"))
    assert guest.function.offered & sim.CONTROL == 0
    with pytest.raises(sim.Refused) as info:
        guest.function.call(sim.SET_CONTROL, bytes(sim.CONTROL_SIZE))
    assert info.value.errno == errno.EOPNOTSUPP
    with pytest.raises(sim.Refused):
        guest.function.prepare(2, 8, guest.memory.base, guest.memory.base + 4096,
                               guest.memory.base + 8192, 0, (None, None, None))


def test_as_many_pairs_as_leave_a_place_for_the_control_queue(nic):
    with pytest.raises(sim.Refused) as info:
        nic.add("f", pairs=64, features=sim.OFFERED | sim.CONTROL)
    assert info.value.errno == errno.EINVAL
    assert nic.add("f", pairs=63, features=sim.OFFERED | sim.CONTROL).n_queues == 126


# ------------------------------------------------------------------------------------ rings

@pytest.mark.parametrize("indirect", [False, True])
@pytest.mark.parametrize("split", [(), (1,), (2,), (1, 2, 3, 4)])
def test_a_command_may_lie_in_any_pieces(pair, indirect, split):
    _, b, control = pair(CONTROL | bits(sim.F_INDIRECT))
    data = bytes([MAC, TABLE_SET]) + table(mac(9)) + table()
    assert control.bytes(data, split=split, indirect=indirect) == OK
    assert struct.unpack_from("<HH", b.function.control(), 6) == (1, 0)


def test_a_control_queue_needs_no_kick_descriptor(pair):
    _, b, control = pair(fds=(None, True, True), start=False)
    b.function.start(control.index)
    control.kick = os.eventfd(0)  # nobody has it
    assert control.command(RX, PROMISC, b"\0") == OK
    assert control.command(RX, PROMISC, b"\1") == OK


def test_a_kick_descriptor_is_replaced(pair):
    _, b, control = pair()
    assert control.command(RX, PROMISC, b"\0") == OK
    other = os.eventfd(0, os.EFD_NONBLOCK)
    b.function.set_fds(control.index, sim.KICK, sim.KICK, [other])
    os.close(control.kick)
    control.kick = other
    for _ in range(3):
        assert control.command(RX, PROMISC, b"\1") == OK


def test_an_idle_control_queue_wakes_nobody(nic, pair):
    _, _, control = pair()
    assert control.command(RX, PROMISC, b"\0") == OK
    wait_for(lambda: nic.quiet(0.3), "an idle NIC")


def test_the_driver_is_called(pair):
    _, _, control = pair()
    control.called()
    assert control.command(RX, PROMISC, b"\0") == OK
    wait_for(control.called, "the call")
    assert control.command(RX, PROMISC, b"\1", ) == OK


def test_the_verdict_is_marked_in_a_dirty_log(make_nic, make_guest, layout):
    nic = make_nic("--dirty-log", "yes")
    guest = make_guest(nic.add("f", features=sim.OFFERED | sim.CONTROL), CONTROL | layout)
    control = sim.ControlQueue(guest)
    control.at, control.verdict_at = guest.memory.take(4096, 4096), guest.memory.take(8, 4096)
    log = os.memfd_create("log")
    size = (guest.memory.base + guest.memory.size) // 4096 // 8
    os.ftruncate(log, size)
    guest.function.set_log(size, log)
    assert control.command(RX, PROMISC, b"\0") == OK

    def marked(at):
        byte = os.pread(log, 1, at // 4096 // 8)[0]
        return byte >> (at // 4096) % 8 & 1

    wait_for(lambda: marked(control.ring.device) or marked(control.ring.desc), "the ring's mark")
    assert marked(control.verdict_at)
    assert not marked(control.at), "what the driver wrote is not written"
    os.close(log)


# ---------------------------------------------------------------------------------- hostile

WRONG = {
    "nothing": b"", "half a head": b"\0", "no data": bytes([RX, PROMISC]),
    "a mode that is no switch": bytes([RX, PROMISC, 2]), "more data": bytes([RX, PROMISC, 1, 1]),
    "an unknown class": bytes([99, 0, 1]), "an unknown mode": bytes([RX, 6, 1]),
    "an unknown command": bytes([MAC, 2]) + bytes(6), "half an address": bytes([MAC, ADDR_SET]) + bytes(5),
    "a zero address": bytes([MAC, ADDR_SET]) + bytes(6),
    "a group's address": bytes([MAC, ADDR_SET]) + GROUP,
    "a VLAN beyond all": bytes([VLAN, ADD]) + struct.pack("<H", 4096),
    "half a VLAN": bytes([VLAN, ADD, 1]), "half an offload": bytes([OFFLOADS, 0]) + bytes(7),
    "one table": bytes([MAC, TABLE_SET]) + table(mac(9)),
    "half a count": bytes([MAC, TABLE_SET]) + table(mac(9)) + b"\1\0",
    "more than two tables": bytes([MAC, TABLE_SET]) + table() + table() + b"\0",
    "a table of all addresses": bytes([MAC, TABLE_SET]) + b"\xff" * 4 + mac(9) + table(),
    "a second table of all addresses": bytes([MAC, TABLE_SET]) + table() + b"\xff" * 4,
    "a table whose size wraps": bytes([MAC, TABLE_SET]) + struct.pack("<I", 0x2aaaaaab) + bytes(2) + table(),
    "pairs without MQ": bytes([MQ, 0, 1, 0]), "a long command": bytes([RX, PROMISC]) + bytes(20000),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_command_that_makes_no_sense_is_answered_and_changes_nothing(pair, what):
    """Hostile input 174."""
    _, b, control = pair()
    set_much(control)
    before = b.function.control()
    assert control.bytes(WRONG[what]) == ERR
    assert b.function.control() == before
    assert b.function.queue(control.index)["status"] == sim.QUEUE_RUNNING
    assert b.function.queue(control.index)["drops"] == 1
    assert control.command(RX, ALLUNI, b"\1") == OK


@pytest.mark.parametrize("needs,command", [
    (sim.F_CTRL_RX, (RX, PROMISC, b"\1")), (sim.F_CTRL_RX_EXTRA, (RX, ALLUNI, b"\1")),
    (sim.F_CTRL_RX, (MAC, TABLE_SET, table() + table())), (sim.F_CTRL_MAC_ADDR, (MAC, ADDR_SET, mac(2))),
    (sim.F_CTRL_VLAN, (VLAN, ADD, b"\1\0")), (sim.F_CTRL_GUEST_OFFLOADS, (OFFLOADS, 0, bytes(8))),
    (sim.F_GUEST_ANNOUNCE, (ANNOUNCE, 0, b"")), (sim.F_MQ, (MQ, 0, b"\1\0")),
])
def test_a_command_needs_its_feature(pair, needs, command):
    _, _, control = pair((CONTROL | bits(sim.F_GUEST_ANNOUNCE, sim.F_MQ)) & ~bits(needs))
    assert control.command(*command) == ERR


@pytest.mark.parametrize("needs,command", [
    (sim.F_GUEST_ANNOUNCE, (ANNOUNCE, 0, b"")), (sim.F_MQ, (MQ, 0, b"\1\0")),
])
def test_a_command_whose_feature_is_there_is_taken(pair, needs, command):
    _, _, control = pair(CONTROL | bits(needs))
    assert control.command(*command) == OK


def room_for_the_verdict_first(control):
    chain = [(control.verdict_at, 1, True), (control.at, 3, False)]
    control.ring.add(chain)
    control.notify()


def a_loop(control):
    """Split: a chain that never ends; packed has none, and gets one as long as the ring."""
    n = control.ring.size
    chain = [(control.at, 1, False)] * n
    if isinstance(control.ring, sim.SplitRing):
        control.ring.add(chain, expose=False)
        control.ring.write_desc(control.ring.desc + 16 * (n - 1), control.at, 1, sim.DESC_NEXT, 0)
        control.ring.expose()
    else:
        control.ring.add(chain)
    control.notify()


BROKEN = {
    "no room for the verdict": lambda c: c.offer(b"\0\0\1", verdict=0),
    "no room, in two pieces": lambda c: c.offer(b"\0\0\1", verdict=0, split=(2,)),
    "room first": room_for_the_verdict_first,
    "memory that is not there": lambda c: (c.ring.add([(1 << 50, 8, False), (c.verdict_at, 1, True)]),
                                           c.notify()),
    "a command as long as the memory": lambda c: (
        c.ring.add([(c.guest.memory.base, 4 << 20, False), (c.verdict_at, 1, True)]), c.notify()),
    "a chain without end": a_loop,
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_ring_that_breaks_the_rules_is_given_up_alone(pair, what):
    """Hostile input 174."""
    a, b, control = pair()
    set_much(control)
    before = b.function.control()
    BROKEN[what](control)
    assert b.function.channel.next_event() == (sim.EVENT_QUEUE_ERROR, control.index)
    assert control.failed()
    assert b.function.queue(control.index)["status"] == sim.QUEUE_ERROR
    assert b.function.control() == before
    assert arrives(a, b, frame(mac(9), mac(1)), own=mac(7))
    b.function.stop(control.index)
    again = sim.ControlQueue(b)
    assert again.command(RX, ALLUNI, b"\1") == OK


def test_room_for_a_long_verdict_gets_one_byte(pair):
    _, _, control = pair()
    assert control.command(RX, PROMISC, b"\0", verdict=8) == OK


def send_without_end(control, n):
    """As many commands as the ring takes, all of them there at once."""
    for i in range(n):
        control.ring.add([(control.at, 3, False), (control.verdict_at, 1, True)], expose=False)
    control.ring.expose()
    control.notify()


def test_commands_without_end_leave_the_others_their_share(nic, make_guest, layout):
    """Hostile input 174: each command makes all data threads stand still."""
    a, b = (make_guest(nic.add(name, mac=mac(n))) for n, name in ((1, "a"), (2, "b")))
    c = make_guest(nic.add("c", mac=mac(3), features=sim.OFFERED | sim.CONTROL), CONTROL | layout)
    control = sim.ControlQueue(c, size=1024)
    c.memory.write(control.at, bytes([RX, PROMISC, 1]))
    began = time.monotonic()
    send_without_end(control, 500)
    for n in range(50):
        assert arrives(a, b, frame(mac(2), mac(1)))
        c.function.config()  # its own mailbox is served as well
    wait_for(lambda: control.ring.take_used() and c.function.queue(control.index)["completed_desc"] == 500,
             "all commands")
    # 128 at once, and 500 a second: this can't be faster, however fast the machine is
    assert time.monotonic() - began > (500 - 128) / 500 * 0.9


def test_kicks_without_end_cost_little(nic, pair):
    """Hostile input 174."""
    _, _, control = pair()
    assert control.command(RX, PROMISC, b"\0") == OK
    before = nic.thread_switches()
    n = 200000
    for _ in range(n):
        os.eventfd_write(control.kick, 1)
    os.eventfd_read(control.kick)
    assert nic.thread_switches() - before < n / 40, "each kick woke somebody"
    assert control.command(RX, PROMISC, b"\1") == OK
    wait_for(lambda: nic.quiet(0.3), "an idle NIC")
