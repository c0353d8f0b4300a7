# SPDX-License-Identifier: BSD-2-Clause
"""SET_MEM_TABLE while the front-end listens: answered with the device's addresses, which it then
acknowledges. From there on pages come when they are asked for."""
import fcntl
import os
import struct
import time

import pytest
from arrival import PAGE, UFFDIO_WAKE, Arrival, advise, footprint, offer_frame
from stand import BUILD, Stand
from frontend import table, u64
from hostile import hostile
from simnic import Simnic
from waiting import wait_for

F_ADD_SEALS, F_SEAL_WRITE = 1033, 8


@pytest.fixture
def make_arrival():
    arrivals = []

    def make(stand, deaf=False, **facts):
        arrivals.append(Arrival(stand.guest(**facts), deaf))
        return arrivals[-1]

    yield make
    for arrival in arrivals:
        arrival.close()


@pytest.fixture
def arrival(stand, make_arrival):
    return make_arrival(stand)


@pytest.fixture(params=[False, True], ids=["split", "packed"])
def packed(request):
    return request.param


# ---- what ought to happen

def test_rings_run_in_memory_that_comes_later(stand, make_arrival, packed):
    arrival = make_arrival(stand, packed=packed)
    offer_frame(arrival.guest)
    arrival.start()
    arrival.guest.rings[1].notify()
    wait_for(lambda: arrival.guest.rings[1].desc in arrival.asked, "the ring to be asked for")
    wait_for(lambda: stand.shim.dump()["device"]["rings"][1]["device"]["completed"] == 1,
             "the frame to be sent")
    assert arrival.n_pages() < 20  # of some hundred
    arrival.land()
    arrival.guest.rings[1].wait()
    assert stand.shim.dump()["device"]["postcopy"] == 0


def test_the_answer_has_addresses_of_the_process_that_faults(stand, arrival):
    arrival.listen()
    address = arrival.tell_memory()
    with open(f"/proc/{stand.nic.process.pid}/maps", encoding="ascii") as maps:
        assert any(line.startswith(f"{address:x}-") for line in maps)


def test_no_ring_runs_before_the_acknowledgement(stand, arrival):
    """All that makes a ring run comes first."""
    offer_frame(arrival.guest)
    arrival.listen()
    steps = [step for step in arrival.guest.setup_steps() if step[0] != "SET_MEM_TABLE"]
    for name, payload, fds in steps:
        arrival.guest.fe.accepted(name, payload, fds)
    arrival.tell_memory()
    assert not any(ring["running"] for ring in stand.shim.dump()["device"]["rings"])
    arrival.acknowledge()
    assert arrival.guest.fe.ask_u64("GET_FEATURES")
    assert stand.shim.dump()["device"]["rings"][1]["running"]


def test_the_same_table_again_has_the_same_addresses(stand, arrival):
    offer_frame(arrival.guest)
    arrival.start()
    address = arrival.address
    arrival.deaf = True
    for ring in arrival.guest.rings:
        arrival.guest.fe.vring_base(ring.index)
    assert arrival.tell_memory() == address
    arrival.acknowledge()
    arrival.deaf = False
    arrival.land()


@pytest.mark.parametrize("before", [0, 1000, 65535])
def test_what_the_source_returned_is_not_sent_again(stand, make_arrival, before):
    """The used index of a split ring is in the ring, which is not there when the ring starts."""
    arrival = make_arrival(stand, start=before)
    ring = arrival.guest.rings[1]
    offer_frame(arrival.guest)
    ring.offer(bytes(100))
    first, second = ((before + n) & 0xffff for n in (1, 2))
    arrival.guest.memory.map[ring.used + 2:ring.used + 4] = struct.pack("=H", first)
    ring.next_used = ring.base = first
    arrival.start()
    wait_for(lambda: stand.shim.dump()["device"]["rings"][1]["device"]["used"] == second,
             "the second frame to be sent")
    arrival.land()
    assert arrival.guest.fe.vring_base(1) == second
    assert stand.shim.dump()["device"]["rings"][1]["device"]["completed"] == 1


# ---- a front-end that does something else

WRONG = {
    "another request": ("GET_FEATURES", b"", 0),
    "another one that looks the same": ("SET_STATUS", u64(0), 0),
    "an empty one": ("SET_MEM_TABLE", b"", 0),
    "too long": ("SET_MEM_TABLE", u64(0) + bytes(8), 0),
    "not zero": ("SET_MEM_TABLE", u64(1 << 32), 0),
    "with a descriptor": ("SET_MEM_TABLE", u64(0), 1),
    "the whole table": ("SET_MEM_TABLE", None, 1),
}


@hostile(137)
@pytest.mark.parametrize("what", WRONG)
def test_137_anything_but_the_acknowledgement_ends_the_connection(stand, arrival, what):
    before = footprint(stand.nic)
    name, payload, n_fds = WRONG[what]
    arrival.listen()
    arrival.tell_memory()
    payload = table(arrival.memory) if payload is None else payload
    arrival.guest.fe.send(name, payload, [arrival.memory.fd] * n_fds, flags=9)
    assert arrival.guest.fe.is_closed()
    wait_for(lambda: footprint(stand.nic) == before, "simnic to forget it")
    assert arrival.n_pages() == 0


@hostile(137)
def test_137_no_acknowledgement_ends_it_after_five_seconds(stand, arrival):
    before = footprint(stand.nic)
    arrival.listen()
    begun = time.monotonic()
    arrival.tell_memory()
    assert arrival.guest.fe.is_closed()
    assert 4.5 < time.monotonic() - begun < 30
    wait_for(lambda: footprint(stand.nic) == before, "simnic to forget it")


@hostile(137)
def test_137_the_deadline_holds_for_the_next_worker_too(stand, arrival):
    arrival.listen()
    begun = time.monotonic()
    arrival.tell_memory()
    assert stand.shim.dump()["device"]["postcopy"] == 3  # and nothing is under way
    stand.shim.restart()
    assert arrival.guest.fe.is_closed()
    assert 4 < time.monotonic() - begun < 30


@hostile(137)
@pytest.mark.parametrize("when", ["listening", "told", "arriving", "waiting for a page"])
def test_137_a_disconnect_leaves_nothing_behind(stand, make_arrival, when):
    before = footprint(stand.nic)
    arrival = make_arrival(stand, deaf=True)
    offer_frame(arrival.guest)
    if when == "listening":
        arrival.listen()
    elif when == "told":
        arrival.listen()
        arrival.tell_memory()
    else:
        arrival.start()
    if when == "waiting for a page":
        wait_for(lambda: arrival.asked, "a page to be asked for")
    arrival.guest.fe.close()
    wait_for(lambda: footprint(stand.nic) == before, "simnic to forget it")
    assert arrival.n_pages() == 0
    stand.guest().setup().exchange(3)


# ---- memory of other kinds

def sealed(_):
    fd = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 20)
    fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)
    return fd


def on_disk(tmp_path):
    path = tmp_path / "memory"
    path.write_bytes(bytes(1 << 20))
    return os.open(path, os.O_RDWR)


@hostile(138)
@pytest.mark.parametrize("make", [sealed, on_disk])
def test_138_memory_that_can_not_be_waited_for_ends_the_connection(stand, arrival, tmp_path, make):
    before = footprint(stand.nic)
    fd = make(tmp_path)
    arrival.listen()
    payload = struct.pack("=QQQQQ", 1, 0x40000000, 1 << 20, 1 << 30, 0)
    arrival.guest.fe.send("SET_MEM_TABLE", payload, [fd])
    assert arrival.guest.fe.is_closed()
    wait_for(lambda: footprint(stand.nic) == before, "simnic to forget it")
    os.close(fd)
    stand.guest().setup().exchange(3)


@hostile(138)
def test_138_one_bad_region_refuses_all_of_them(stand, arrival):
    before = footprint(stand.nic)
    fd = sealed(None)
    arrival.listen()
    payload = struct.pack("=Q", 2) + arrival.memory.region() + struct.pack(
        "=QQQQ", 1 << 40, 1 << 20, 1 << 40, 0)
    arrival.guest.fe.send("SET_MEM_TABLE", payload, [arrival.memory.fd, fd])
    assert arrival.guest.fe.is_closed()
    wait_for(lambda: footprint(stand.nic) == before, "simnic to forget it")
    os.close(fd)


# ---- a front-end that does not answer

@hostile(139)
def test_139_a_front_end_that_provides_nothing_stops_nobody_else(simnic, stand, make_stand, make_arrival):
    """Its queues wait; other tenants' frames, and commands for it, do not."""
    before = footprint(simnic)
    arrival = make_arrival(stand, deaf=True)
    other = make_stand().guest().setup()
    offer_frame(arrival.guest)
    arrival.start()
    wait_for(lambda: arrival.asked, "a page to be asked for")
    begun = time.monotonic()
    while time.monotonic() - begun < 2:
        arrival.guest.rings[1].notify()
        other.exchange(5)
        assert arrival.guest.fe.ask_u64("GET_STATUS") == 0xf
    assert len(arrival.asked) <= 2 and arrival.n_pages() == 0
    arrival.guest.fe.close()
    wait_for(lambda: footprint(simnic)[:2] == before[:2], "simnic to forget it")
    other.exchange(5)
    assert arrival.n_pages() == 0


def cpu_seconds(nic):
    with open(f"/proc/{nic.process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_139_a_queue_that_waits_costs_no_time(own_nic_stand, make_arrival):
    """Neither for its ring nor, with frames to send in it, for a buffer."""
    arrival = make_arrival(own_nic_stand, deaf=True)
    rings = arrival.guest.rings
    offer_frame(arrival.guest)
    for ring in rings:
        for offset in range(ring.desc, ring.buffers, PAGE):
            os.pwrite(arrival.memory.fd, arrival.guest.memory.map[offset:offset + PAGE], offset)
    arrival.start()
    wait_for(lambda: rings[1].buffers in arrival.asked, "a buffer to be asked for")
    before, begun = cpu_seconds(own_nic_stand.nic), time.monotonic()
    wait_for(lambda: time.monotonic() - begun > 1, "a second to pass")
    assert cpu_seconds(own_nic_stand.nic) - before < 0.2


@hostile(139)
@pytest.mark.parametrize("stop", ["GET_VRING_BASE", "SET_STATUS", "RESET_DEVICE"])
def test_139_its_rings_stop_at_once(stand, make_arrival, stop):
    arrival = make_arrival(stand, deaf=True)
    offer_frame(arrival.guest)
    arrival.start()
    wait_for(lambda: arrival.asked, "a page to be asked for")
    fe = arrival.guest.fe
    if stop == "GET_VRING_BASE":
        assert [fe.vring_base(ring) for ring in (0, 1)] == [0, 0]
    elif stop == "SET_STATUS":
        fe.accepted("SET_STATUS", u64(0))
    else:
        fe.accepted("RESET_DEVICE")
    assert not any(ring["running"] for ring in stand.shim.dump()["device"]["rings"])
    assert arrival.n_pages() == 0
    arrival.land()


@hostile(139)
def test_139_a_page_that_is_taken_away_again_fails_this_device_only(stand, make_stand, make_arrival):
    """Between the look at a page and its use; here simply later."""
    arrival = make_arrival(stand)
    other = make_stand().guest().setup()
    offer_frame(arrival.guest)
    arrival.start()
    arrival.guest.rings[1].notify()
    wait_for(lambda: stand.shim.dump()["device"]["rings"][1]["device"]["completed"] == 1,
             "the frame to be sent")
    arrival.deaf = True
    os.truncate(arrival.memory.fd, 0)
    os.truncate(arrival.memory.fd, arrival.memory.size)
    arrival.guest.rings[1].notify()
    wait_for(lambda: stand.shim.dump()["device"]["failed"], "the device to fail")
    other.exchange(5)
    arrival.guest.fe.close()
    stand.guest().setup().exchange(3)


def test_a_file_that_is_cut_short_fails_this_device_only(stand, make_stand, make_arrival):
    arrival = make_arrival(stand, deaf=True)
    other = make_stand().guest().setup()
    offer_frame(arrival.guest)
    arrival.start()
    wait_for(lambda: arrival.asked, "a page to be asked for")
    os.truncate(arrival.memory.fd, 0)
    fcntl.ioctl(arrival.uffd, UFFDIO_WAKE, struct.pack("=QQ", arrival.address, arrival.memory.size))
    wait_for(lambda: stand.shim.dump()["device"]["failed"], "the device to fail")
    other.exchange(5)


# ---- deaths

@pytest.mark.parametrize("asked", [False, True], ids=["at-work", "waiting-for-a-page"])
def test_the_next_worker_goes_on(stand, make_arrival, packed, asked):
    arrival = make_arrival(stand, deaf=asked, packed=packed)
    offer_frame(arrival.guest)
    arrival.start()
    if asked:
        wait_for(lambda: arrival.asked, "a page to be asked for")
    stand.shim.dump()  # from now on nothing is under way
    stand.shim.restart()
    if asked:
        arrival.deaf = False
        arrival.give(arrival.asked[0])
    arrival.guest.rings[1].notify()
    wait_for(lambda: stand.shim.dump()["device"]["rings"][1]["device"]["completed"] == 1,
             "the frame to be sent")
    arrival.land()
    arrival.guest.rings[1].wait()


@pytest.mark.parametrize("when", ["advised", "listening", "arriving"])
def test_a_device_that_is_replaced_gets_the_memory_when_it_is_complete(own_nic_stand, make_arrival, when):
    stand = own_nic_stand
    arrival = make_arrival(stand, deaf=True)
    guest = arrival.guest
    offer_frame(guest)
    steps = list(guest.setup_steps())
    if when == "arriving":
        arrival.start()
        wait_for(lambda: arrival.asked, "a page to be asked for")
        stand.replace_device()
    else:
        if when == "advised":
            guest.fe.negotiate()
            arrival.uffd = advise(guest.fe)
            stand.replace_device()
            assert guest.fe.ask("POSTCOPY_LISTEN") == u64(0)
        else:
            arrival.listen()
            stand.replace_device()
        for name, payload, fds in steps:
            if name == "SET_MEM_TABLE":
                assert arrival.tell_memory() == arrival.memory.uva
                arrival.acknowledge()
            else:
                guest.fe.accepted(name, payload, fds)
    guest.fe.accepted("SET_OWNER")
    device = stand.shim.dump()["device"]
    assert device["blind"] == 1 and not any(ring["running"] for ring in device["rings"])
    assert arrival.n_pages() == 0
    for offset in range(0, arrival.memory.size, PAGE):
        os.pwrite(arrival.memory.fd, guest.memory.map[offset:offset + PAGE], offset)
    arrival.end()
    arrival.move_guest()
    guest.rings[1].wait()
    assert stand.shim.dump()["device"]["blind"] == 0
    assert footprint(stand.nic)[0] == 0


def test_a_ring_that_needs_a_relay_waits_for_the_end():
    nic = Simnic(BUILD)
    nic.options = ["--start-position", "initial"]
    nic.start()
    stand = Stand(nic)
    stand.shim.start()
    arrival = Arrival(stand.guest())
    ring = arrival.guest.rings[1]
    offer_frame(arrival.guest)
    ring.offer(bytes(100))
    arrival.guest.memory.map[ring.used + 2:ring.used + 4] = b"\1\0"
    ring.next_used = ring.base = 1
    arrival.start()
    arrival.guest.fe.accepted("SET_OWNER")
    rings = stand.shim.dump()["device"]["rings"]
    assert rings[0]["running"] and not rings[1]["running"] and not rings[1]["failed"]
    assert "need a relay wait for the end of postcopy" in stand.shim.log()
    arrival.land()
    ring.wait()
    arrival.close()
    stand.close_now()
    nic.stop()
