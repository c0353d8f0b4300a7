# SPDX-License-Identifier: BSD-2-Clause
"""A worker is killed at every edge of every system call that a message makes it do. Its successor
answers the message exactly once and has the same state as if nothing had happened; or it closes the
connection, but only where nobody can know whether the front-end got its answer."""
import os
import socket
import struct
from functools import partial

import pytest
from arrival import Arrival
from device_state import SAVE, save, stopped
from frontend import F_LOG_ALL, F_PACKED, Closed, Memory, eventfd, single, state, table, u64
from iommu import INVALIDATE, PAGE, IommuGuest, iotlb
from rows import BUILT
from shimside import SPEC_RELAY
from tracer import Tracer
from unchanged import facts

NEED_REPLY = 9
NO_REPLY = None  # whatever is asked for


def normal(shim):
    """The facts, without what differs from run to run."""
    device, rings, features, kept = facts(shim)
    for region in device["memory"]:
        region.pop("ino")
    return device, rings, features, len(kept)


class Case:
    """A message, what comes before it, and what it needs."""

    def __init__(self, stand, name):
        self.stand, self.name = stand, name
        make_guest = partial(IommuGuest, stand) if "iotlb" in name else stand.guest
        self.guest = make_guest(packed=name.endswith("packed"))
        self.things = []
        self.settle = lambda: None  # until all has come of the message that is to come

    def memory(self):
        memory = Memory(1 << 20, gpa=0x80000000)
        self.things.append(memory.close)
        return memory

    def fd(self):
        fd = eventfd()
        self.things.append(lambda: os.close(fd))
        return fd

    def close(self):
        for thing in self.things:
            thing()


def running(case):
    case.guest.setup()
    case.guest.exchange(3)


def log(case):
    """(payload, descriptors) of a log that reaches beyond the guest's memory."""
    fd = os.memfd_create("log", os.MFD_CLOEXEC)
    os.ftruncate(fd, 1 << 16)
    case.things.append(lambda: os.close(fd))
    return struct.pack("=QQ", 1 << 16, 0), [fd]


def with_log(case):
    running(case)
    assert case.guest.fe.ask("SET_LOG_BASE", *log(case)) == u64(0)


def logging(case):
    with_log(case)
    case.guest.fe.accepted("SET_FEATURES", u64(case.guest.features | F_LOG_ALL))
    case.guest.exchange(3)


def advised(case):
    case.guest.fe.negotiate()
    assert case.guest.fe.ask("POSTCOPY_ADVISE") == b""
    case.guest.fe.accepted("SET_OWNER")  # the userfaultfd, which we dropped, is no longer kept


def listening(case):
    case.arrival = Arrival(case.guest)
    case.things.append(case.arrival.close)
    case.arrival.listen()
    steps = {name: (payload, fds) for name, payload, fds in case.guest.setup_steps()}
    case.guest.fe.accepted("SET_FEATURES", *steps["SET_FEATURES"])


def told(case):
    """All that makes rings run, but the acknowledgement."""
    listening(case)
    for name, payload, fds in case.guest.setup_steps():
        if name != "SET_MEM_TABLE":
            case.guest.fe.accepted(name, payload, fds)
    case.arrival.tell_memory()
    case.stand.shim.dump()  # from now on nothing is under way


def arriving(case):
    case.arrival = Arrival(case.guest)
    case.things.append(case.arrival.close)
    case.arrival.start()


def negotiated(case):
    case.guest.fe.negotiate()


def with_features(case):
    negotiated(case)
    case.guest.fe.accepted("SET_FEATURES", u64(case.guest.features))


def without_ring_1(case):
    running(case)
    case.guest.fe.accepted("SET_VRING_ENABLE", state(1, 0))


def all_stopped(case):
    running(case)
    stopped(case.guest)


def saved(case):
    all_stopped(case)
    save(case.guest.fe)


def with_more_memory(case):
    running(case)
    case.more = case.memory()
    case.guest.fe.accepted("ADD_MEM_REG", single(case.more), [case.more.fd])


def without_eventfds(case):
    """A frame waits, and its kick is to come."""
    case.guest.fe.negotiate()
    for name, payload, fds in case.guest.setup_steps():
        if name not in ("SET_VRING_KICK", "SET_VRING_CALL"):
            case.guest.fe.accepted(name, payload, fds)
    case.guest.rings[1].offer(bytes(100))
    case.settle = case.guest.rings[1].wait


def all_run(case):
    rings = case.stand.shim.dump()["device"]["rings"]
    return all(ring["running"] for ring in rings)


def untranslated(case):
    """All but one page of the rings is."""
    guest = case.guest
    guest.silent = True
    guest.configure()
    pages = [guest.view.gpa + at for ring in guest.rings for at in (ring.desc, ring.used)]
    for page in pages[:-1]:
        assert guest.tell(guest.update(page))
    case.page = pages[-1]
    case.settle = lambda: translate(case)


def translate(case):
    """Another worker may have to ask again."""
    case.guest.silent = False
    case.guest.serve_until(lambda: all_run(case), "rings to run")


def translated(case):
    untranslated(case)
    translate(case)
    case.guest.exchange(3)
    case.guest.silent = True
    case.settle = lambda: None


def almost(case):
    """All but DRIVER_OK."""
    case.guest.fe.negotiate()
    for name, payload, fds in list(case.guest.setup_steps())[:-1]:
        case.guest.fe.accepted(name, payload, fds)


def with_memory(case):
    case.guest.fe.negotiate()
    for name, payload, fds in list(case.guest.setup_steps())[:3]:
        case.guest.fe.accepted(name, payload, fds)


def backend(case):
    pair = socket.socketpair()
    case.things += [pair[0].close, pair[1].close]
    return b"", [pair[1].fileno()]


def more(case):
    memory = case.memory()
    return single(memory), [memory.fd]


def grown(case):
    more = case.memory()
    return table(case.guest.memory, more), [case.guest.memory.fd, more.fd]


def pipe(case):
    read, write = os.pipe()
    case.things += [lambda: os.close(read), lambda: os.close(write)]
    return struct.pack("=II", SAVE, 0), [write]


def area(case):
    """An inflight area of a back-end before, of which nothing was in flight."""
    fd = os.memfd_create("inflight", os.MFD_CLOEXEC)
    os.ftruncate(fd, 1 << 16)
    case.things.append(lambda: os.close(fd))
    return struct.pack("=QQHHI", 1 << 16, 0, 2, 64, 0), [fd]


def moved(case):
    more = case.memory()
    return table(more), [more.fd]


# name: (message, the state before, a function that returns (payload, descriptors), own reply; or
# NO_REPLY)
CASES = {
    "get_features": ("GET_FEATURES", negotiated, lambda c: (b"", []), True),
    "get_protocol_features": ("GET_PROTOCOL_FEATURES", negotiated, lambda c: (b"", []), True),
    "set_protocol_features": ("SET_PROTOCOL_FEATURES", negotiated,
                              lambda c: (u64(c.guest.pf & ~4), []), False),
    "set_owner": ("SET_OWNER", negotiated, lambda c: (b"", []), False),
    "reset_owner": ("RESET_OWNER", running, lambda c: (b"", []), False),
    "unknown": (255, running, lambda c: (b"", []), False),
    "set_features": ("SET_FEATURES", negotiated, lambda c: (u64(c.guest.features), []), False),
    "set_features_packed": ("SET_FEATURES", negotiated,
                            lambda c: (u64(c.guest.features | F_PACKED), []), False),
    "set_features_refused": ("SET_FEATURES", negotiated, lambda c: (u64(1 << 26), []), False),
    "set_mem_table": ("SET_MEM_TABLE", negotiated,
                      lambda c: (table(c.guest.memory), [c.guest.memory.fd]), False),
    "set_mem_table_refused": ("SET_MEM_TABLE", negotiated,
                              lambda c: (table(c.guest.memory), [c.fd()]), False),
    "set_mem_table_grown": ("SET_MEM_TABLE", running, grown, False),
    "set_mem_table_moved": ("SET_MEM_TABLE", running, moved, False),
    "set_log_base": ("SET_LOG_BASE", running, log, True),
    "set_log_base_replaced": ("SET_LOG_BASE", logging, log, True),
    "set_features_log": ("SET_FEATURES", with_log,
                         lambda c: (u64(c.guest.features | F_LOG_ALL), []), False),
    "set_features_log_packed": ("SET_FEATURES", with_log,
                                lambda c: (u64(c.guest.features | F_LOG_ALL), []), False),
    "set_features_log_off": ("SET_FEATURES", logging, lambda c: (u64(c.guest.features), []), False),
    "set_features_log_off_packed": ("SET_FEATURES", logging,
                                    lambda c: (u64(c.guest.features), []), False),
    "get_vring_base_logging": ("GET_VRING_BASE", logging, lambda c: (state(1, 0), []), True),
    "get_vring_base_logging_packed": ("GET_VRING_BASE", logging, lambda c: (state(1, 0), []), True),
    "set_status_reset_logging": ("SET_STATUS", logging, lambda c: (u64(0), []), False),
    "set_mem_table_moved_logging": ("SET_MEM_TABLE", logging, moved, False),
    "set_vring_num": ("SET_VRING_NUM", negotiated, lambda c: (state(0, 64), []), False),
    "set_vring_addr": ("SET_VRING_ADDR", with_memory, lambda c: (c.guest.rings[0].addr(), []),
                       False),
    "set_vring_base": ("SET_VRING_BASE", with_memory, lambda c: (state(0, 5), []), False),
    "set_vring_kick": ("SET_VRING_KICK", with_memory, lambda c: (u64(0), [c.fd()]), False),
    "set_vring_call": ("SET_VRING_CALL", with_memory, lambda c: (u64(0), [c.fd()]), False),
    "set_vring_call_running": ("SET_VRING_CALL", running, lambda c: (u64(1), [c.fd()]), False),
    "set_vring_err": ("SET_VRING_ERR", with_memory, lambda c: (u64(0), [c.fd()]), False),
    "set_vring_enable_off": ("SET_VRING_ENABLE", running, lambda c: (state(1, 0), []), False),
    "get_vring_base": ("GET_VRING_BASE", running, lambda c: (state(1, 0), []), True),
    "get_vring_base_packed": ("GET_VRING_BASE", running, lambda c: (state(1, 0), []), True),
    "set_status_driver_ok": ("SET_STATUS", almost, lambda c: (u64(0xf), []), False),
    "set_status_driver_ok_packed": ("SET_STATUS", almost, lambda c: (u64(0xf), []), False),
    "set_status_reset": ("SET_STATUS", running, lambda c: (u64(0), []), False),
    "get_status": ("GET_STATUS", running, lambda c: (b"", []), True),
    "reset_device": ("RESET_DEVICE", running, lambda c: (b"", []), False),
    "send_rarp": ("SEND_RARP", running, lambda c: (bytes.fromhex("5254000000010000"), []), False),
    "net_set_mtu": ("NET_SET_MTU", running, lambda c: (u64(1400), []), False),
    "set_backend_req_fd": ("SET_BACKEND_REQ_FD", negotiated, backend, False),
    "get_config": ("GET_CONFIG", negotiated, lambda c: (bytes(4) + b"\6" + bytes(13), []), True),
    "set_config": ("SET_CONFIG", negotiated,
                   lambda c: (bytes(4) + b"\6\0\0\0\1\0\0\0\x52\x54\0\0\0\1", []), False),
    "postcopy_advise": ("POSTCOPY_ADVISE", negotiated, lambda c: (b"", []), True),
    "postcopy_advise_again": ("POSTCOPY_ADVISE", advised, lambda c: (b"", []), True),
    "postcopy_listen": ("POSTCOPY_LISTEN", advised, lambda c: (b"", []), True),
    "set_mem_table_listening": ("SET_MEM_TABLE", listening,
                                lambda c: (table(c.arrival.memory), [c.arrival.memory.fd]), True),
    "add_mem_reg_listening": ("ADD_MEM_REG", listening,
                              lambda c: (single(c.arrival.memory), [c.arrival.memory.fd]), True),
    "set_mem_table_acknowledged": ("SET_MEM_TABLE", told, lambda c: (u64(0), []), NO_REPLY),
    "set_mem_table_acknowledged_packed": ("SET_MEM_TABLE", told, lambda c: (u64(0), []), NO_REPLY),
    "get_vring_base_arriving": ("GET_VRING_BASE", arriving, lambda c: (state(1, 0), []), True),
    "postcopy_end": ("POSTCOPY_END", arriving, lambda c: (b"", []), True),
    "set_log_fd": ("SET_LOG_FD", running, lambda c: (b"", [c.fd()]), False),
    "set_vring_enable_on": ("SET_VRING_ENABLE", without_ring_1, lambda c: (state(1, 1), []), False),
    "vring_kick": ("VRING_KICK", without_eventfds, lambda c: (state(1, 0), []), False),
    "get_max_mem_slots": ("GET_MAX_MEM_SLOTS", negotiated, lambda c: (b"", []), True),
    "add_mem_reg": ("ADD_MEM_REG", running, more, False),
    "rem_mem_reg": ("REM_MEM_REG", with_more_memory, lambda c: (single(c.more), []), False),
    "get_inflight_fd": ("GET_INFLIGHT_FD", with_features,
                        lambda c: (struct.pack("=QQHHI", 0, 0, 2, 64, 0), []), True),
    "set_inflight_fd": ("SET_INFLIGHT_FD", with_features, area, False),
    "set_device_state_fd": ("SET_DEVICE_STATE_FD", all_stopped, pipe, True),
    "check_device_state": ("CHECK_DEVICE_STATE", saved, lambda c: (b"", []), True),
    "iotlb_update": ("IOTLB_MSG", untranslated, lambda c: (c.guest.update(c.page), []), True),
    "iotlb_update_packed": ("IOTLB_MSG", untranslated, lambda c: (c.guest.update(c.page), []), True),
    "iotlb_invalidate": ("IOTLB_MSG", translated, lambda c: (iotlb(INVALIDATE, c.page, PAGE), []), True),
    "get_queue_num": ("GET_QUEUE_NUM", negotiated, lambda c: (b"", []), True),
}


# In front of another NIC than most, by a part of the case's name.
OTHER_STANDS = {"inflight": "make_shuffled_stand", "iotlb": "make_logging_stand"}


@pytest.fixture
def make_case_stand(request):
    """Makes stands in front of the NIC that a case needs."""
    name = request.node.callspec.params["name"]
    return request.getfixturevalue(next((make for part, make in OTHER_STANDS.items() if part in name),
                                        "make_stand"))


def test_each_message_that_is_served_has_a_case():
    assert {case[0] for case in CASES.values()} - {255} == set(BUILT)


def prepare(make_stand, name):
    case = Case(make_stand(pairs=1), name)
    message, before, make, own = CASES[name]
    before(case)
    payload, fds = make(case)
    return case, message, payload, fds, own


def outcome(case, message, own):
    """(reply, facts) of a message that was sent and has to be answered once."""
    body = case.guest.fe.reply(message) if own is not NO_REPLY else b""
    if message in ("SET_MEM_TABLE", "ADD_MEM_REG") and len(body) > 8:
        body = body[:24] + body[32:]  # the device's address is anywhere
        case.arrival.acknowledge()    # nothing else may come next
    assert case.guest.fe.ask_u64("GET_FEATURES") == case.guest.fe.features
    case.settle()
    return body, normal(case.stand.shim)


def flags_of(own):
    return NEED_REPLY if own is False else 1


def run_killed(case, message, payload, fds, own, edge):
    """Kill at the edge. Return: (name of the call, outcome or None when the connection closed), or
    None when the message was over before."""
    tracer = Tracer(case.stand.shim.process.pid)
    case.guest.fe.send(message, payload, fds, flags=flags_of(own))
    # The first edge is the end of the wait that the worker was in. When the message was taken out
    # of the socket (recvfrom) and the worker waits again, all is over.
    taken = over = False
    for _ in range(edge + 1):
        call, begins = tracer.next_edge()
        taken = taken or call == "recvfrom"
        over = taken and begins and call == "epoll_wait"
        if over:
            break
    where = f"{call} {'begins' if begins else 'ended'}"
    case.stand.shim.kill()
    case.stand.shim.start()
    try:
        return where, over, outcome(case, message, own)
    except Closed:
        return where, over, None


@pytest.mark.parametrize("name", CASES)
def test_killed_anywhere_a_message_is_answered_once(make_case_stand, name):
    case, message, payload, fds, own = prepare(make_case_stand, name)
    case.guest.fe.send(message, payload, fds, flags=flags_of(own))
    expected = outcome(case, message, own)
    case.close()
    case.stand.close_now()

    closed, edge, over = [], 0, False
    while not over:
        case, message, payload, fds, own = prepare(make_case_stand, name)
        where, over, got = run_killed(case, message, payload, fds, own, edge)
        if got is None:
            closed.append(where)
        else:
            assert got == expected, f"killed where {where} (edge {edge})"
        case.close()
        case.stand.close_now()
        edge += 1
    assert edge > 8, "this walked over nothing"
    assert set(closed) <= {f"{call} {edge}" for call in ("sendto", "sendmsg")
                           for edge in ("begins", "ended")}, closed


def told_how_to_serve(stand, guest, flags, edge):
    """The worker is told, and killed. Return: whether it was over before."""
    stand.shim.dump()  # from now on nothing is under way
    told = stand.shim.log().count("is wanted")
    tracer = Tracer(stand.shim.process.pid)
    stand.shim.datapath(flags)
    over = tracer.over_before(edge, lambda: stand.shim.log().count("is wanted") > told)
    stand.shim.kill()
    stand.shim.start()
    guest.exchange(2)
    return over


@pytest.mark.parametrize("packed", [False, True])
def test_killed_anywhere_rings_go_on_in_the_way_that_is_wished(make_stand, packed):
    """No message is done again then: an operator asked for it."""
    stand = make_stand()
    guest = stand.guest(packed=packed).setup()
    guest.exchange(3)
    for flags in (SPEC_RELAY, 0):
        edge = 0
        while not told_how_to_serve(stand, guest, flags, edge):
            edge += 1
            stand.shim.datapath(SPEC_RELAY - flags)
            guest.exchange(1)
        assert edge > 20, "this walked over nothing"
