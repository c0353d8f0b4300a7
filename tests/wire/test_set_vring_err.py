# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_ERR; see also test_vring_fds.py."""
import select

from waiting import wait_for
from hostile import hostile


@hostile(169)
def test_the_err_descriptor_is_signalled_when_a_ring_breaks_the_rules(stand):
    guest = stand.guest().setup()
    ring = guest.rings[1]
    guest.memory.map[ring.avail + 2:ring.avail + 4] = b"\x00\x80"  # 32768 of 64 are available
    ring.notify()
    wait_for(lambda: select.select([ring.err], [], [], 0)[0], "the err eventfd")
    wait_for(lambda: stand.shim.has_event("queue error"), "the event")
    assert stand.shim.dump()["device"]["rings"][1]["failed"]
    assert guest.fe.vring_base(1) == 0
