# SPDX-License-Identifier: BSD-2-Clause
"""What the device says by itself reaches vdpad and the front-end, whatever the worker does then."""
from shimside import wait_for


def test_an_event_that_comes_while_the_device_is_asked_something_is_not_forgotten(bad_stand):
    """The worker is idle afterwards; nothing but the event itself may be needed to take it."""
    guest = bad_stand.guest()
    guest.fe.negotiate()
    *steps, driver_ok = guest.setup_steps()
    for step in steps:
        guest.fe.accepted(*step)
    bad_stand.order("delay", command="GET_CONFIG", ms=300)  # asked for the health block
    guest.fe.accepted(*driver_ok)
    ring = guest.rings[1]
    guest.memory.map[ring.avail + 2:ring.avail + 4] = b"\x00\x80"  # 32768 of 64 are available
    ring.notify()
    wait_for(lambda: bad_stand.shim.has_event("queue error"), "the event", 5)
