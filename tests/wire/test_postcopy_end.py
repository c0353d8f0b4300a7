# SPDX-License-Identifier: BSD-2-Clause
"""POSTCOPY_END: answered always; all memory is complete."""
import os

import pytest
from arrival import Arrival, advise, footprint, offer_frame
from frontend import table, u64
from hostile import hostile
from unchanged import unchanged
from waiting import wait_for


@hostile(136)
@pytest.mark.parametrize("flags", [1, 9], ids=["not-asked-for", "asked-for"])
def test_136_without_listen_it_has_no_effect(stand, flags):
    guest = stand.guest().setup()
    with unchanged(stand.shim):
        guest.fe.send("POSTCOPY_END", flags=flags)
        assert guest.fe.reply("POSTCOPY_END") == u64(0)
    guest.exchange(3)


def test_after_it_all_is_as_ever(stand):
    """Tables are acknowledged as ever, pages can be logged, and it may all come once more."""
    before = footprint(stand.nic)
    arrival = Arrival(stand.guest())
    offer_frame(arrival.guest)
    arrival.start()
    arrival.guest.rings[1].notify()
    arrival.land()
    wait_for(lambda: footprint(stand.nic) == (before[0], before[1], before[2] + 1), "simnic's helpers to end")
    fe, guest = arrival.guest.fe, arrival.guest
    guest.rings[1].wait()
    fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
    os.close(advise(fe))
    assert fe.ask("POSTCOPY_END") == u64(0)
    guest.transmit(5)
    arrival.close()


def test_queues_that_wait_for_a_page_go_on(stand):
    """Pages that the front-end placed, and did not wake us for."""
    arrival = Arrival(stand.guest(), deaf=True)
    offer_frame(arrival.guest)
    arrival.start()
    wait_for(lambda: arrival.asked, "a page to be asked for")
    os.pwrite(arrival.memory.fd, arrival.guest.memory.map[:], 0)
    arrival.end()
    arrival.move_guest()
    arrival.guest.rings[1].wait()
    arrival.close()


def test_it_is_too_early_before_the_acknowledgement(stand):
    arrival = Arrival(stand.guest())
    arrival.listen()
    arrival.tell_memory()
    arrival.guest.fe.send("POSTCOPY_END")
    assert arrival.guest.fe.is_closed()
    arrival.close()
