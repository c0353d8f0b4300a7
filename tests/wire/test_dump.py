# SPDX-License-Identifier: BSD-2-Clause
"""What a dump of the worker says for support, beyond what other tests see in it."""
import os
import struct

import pytest
from arrival import Arrival
from control import MAC, OK, PROMISC, RX, TABLE_SET, VLAN, ControlGuest
from dirty import Log
from frontend import F_LOG_ALL, u64
from inflight_area import SIZE, begin, get_area, go_on
from iommu import IommuGuest
from test_set_log_base import answer
from waiting import wait_for


def ring(stand, index=1):
    return stand.shim.dump()["device"]["rings"][index]


def test_the_words_of_a_ring_are_those_in_the_guest_s_memory(stand):
    guest = stand.guest().setup()
    guest.transmit(3)
    guest.rings[1]._put("=H", guest.rings[1].avail, 1)  # no calls, please
    words = {"avail_flags": 1, "avail": 3, "used_flags": 0, "used": 3}
    wait_for(lambda: ring(stand)["guest"] == words, "the NIC to rest, and ask for kicks")
    guest.rings[1]._put("=H", guest.rings[1].avail + 2, 0x4567)  # whatever it may be
    assert ring(stand)["guest"]["avail"] == 0x4567
    assert ring(stand, 3)["guest"] is None


def test_the_words_of_a_packed_ring_are_its_event_areas(stand):
    guest = stand.guest(packed=True).setup()
    guest.rings[1]._put("=HH", guest.rings[1].avail, 0x8001, 2)
    words = ring(stand)["guest"]
    assert (words["driver_event"], words["driver_flags"]) == (0x8001, 2)
    assert words["device_flags"] in (0, 1, 2)


def test_a_guest_s_memory_is_not_looked_at_while_it_arrives(stand):
    """A page that was read would be made of zeros, and could not come any more."""
    arrival = Arrival(stand.guest())
    arrival.start()
    assert ring(stand)["running"] and ring(stand)["guest"] is None
    arrival.close()


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_relay_and_its_migration_are_told(stand, packed):
    guest = stand.guest(packed=packed).setup()
    log = Log(guest)
    dump = stand.shim.dump()
    assert dump["device"]["rings"][1]["relay"] is None and dump["device"]["dirty_log"] is None
    assert dump["migration"]["number"] == 0
    assert answer(guest.fe, log) == 0
    guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))
    guest.transmit(5)
    dump = stand.shim.dump()
    relay = dump["device"]["rings"][1]["relay"]
    assert (relay["offered"], relay["returned"], relay["in_flight"]) == (5, 5, 0)
    assert relay["iova"] >= guest.memory.gpa + guest.memory.size
    assert dump["device"]["dirty_log"] == {"offset": 0, "size": log.size} and dump["device"]["logging"]
    assert (dump["migration"]["phase"], dump["migration"]["method"]) == ("logging", "relay")
    for index in range(2):
        guest.fe.vring_base(index)
    guest.fe.close()
    wait_for(lambda: not stand.shim.dump()["session"]["connected"], "the end of the connection")
    record = stand.shim.dump()["migration"]
    assert (record["number"], record["phase"], record["outcome"]) == (1, "none", "handed over")
    times = [record[f"{name}_ns"] for name in ("asked", "logged", "stop", "stopped", "ended")]
    assert 0 < times[0] and times == sorted(times)
    os.close(log.fd)


def test_an_inflight_area_is_told(shuffled_stand):
    guest = shuffled_stand.guest()
    begin(guest)
    assert shuffled_stand.shim.dump()["device"]["inflight"] is None
    get_area(guest.fe)
    go_on(guest)
    assert shuffled_stand.shim.dump()["device"]["inflight"] == {"rings": 2, "ring_size": SIZE, "offset": 0}


def test_translations_are_told(logging_stand):
    guest = IommuGuest(logging_stand)
    guest.silent = True
    guest.configure()
    dump = logging_stand.shim.dump()
    assert dump["iotlb"]["entries"] == 0
    wanted = {guest.view.gpa + ring.desc for ring in guest.rings}
    assert wanted <= {asked["iova"] for asked in dump["iotlb"]["asked"]}
    for page in wanted:
        assert guest.tell(guest.update(page))
    dump = logging_stand.shim.dump()
    assert dump["iotlb"]["entries"] == len(wanted)
    assert not wanted & {asked["iova"] for asked in dump["iotlb"]["asked"]}


def test_what_a_driver_set_by_its_control_queue_is_told(make_stand):
    stand = make_stand(pairs=1, control=True)
    assert stand.shim.dump()["device"]["control"] is None
    guest = ControlGuest(stand.path)
    stand.opened.append(guest)
    guest.setup()
    multicast = bytes.fromhex("010000000005")
    assert guest.control.command(RX, PROMISC, b"\1") == OK
    assert guest.control.command(MAC, TABLE_SET, bytes(4) + struct.pack("<I", 1) + multicast) == OK
    assert guest.control.command(VLAN, 0, struct.pack("<H", 7)) == OK
    control = stand.shim.dump()["device"]["control"]
    assert control["flags"] & 1 and control["vlans"] == [7]
    assert (control["unicast"], control["multicast"]) == ([], ["01:00:00:00:00:05"])
