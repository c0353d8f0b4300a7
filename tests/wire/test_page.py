# SPDX-License-Identifier: BSD-2-Clause
"""A state page that a predecessor left, damaged or hostile."""
import mmap
import os
import struct

import pytest
from frontend import eventfd, u64
from shimside import PAGE_SIZE, SLOT_CONN, SLOT_DEVICE, SLOT_HEALTH, SLOT_LISTEN, SLOT_PAGE

DESC = 0x5eed0fa0000  # tells ring 0 in the page
KICK_SLOT = 44  # of struct ring_state, vdpa/device.h


@pytest.mark.parametrize("slot", [SLOT_HEALTH, SLOT_LISTEN, SLOT_CONN, SLOT_DEVICE, 7, SLOT_PAGE])
def test_a_page_that_names_a_slot_of_the_shims_is_begun_anew(stand, fe, slot):
    kick = eventfd()
    fe.accepted("SET_VRING_ADDR", struct.pack("=IIQQQQ", 0, 0, DESC, DESC + 4096, DESC + 8192, 0))
    fe.accepted("SET_VRING_KICK", u64(0), [kick])
    stand.shim.dump()
    stand.shim.kill()
    with mmap.mmap(stand.shim.slots[SLOT_PAGE], PAGE_SIZE) as page:
        at = page.find(struct.pack("=Q", DESC))
        assert at > 0
        while at > 0:  # in the section, and perhaps in the journal
            struct.pack_into("=i", page, at + KICK_SLOT, slot)
            at = page.find(struct.pack("=Q", DESC), at + 1)
    stand.shim.start()
    assert "beginning anew" in stand.shim.log()
    assert fe.is_closed()
    again = stand.front_end()
    again.accepted("SET_VRING_KICK", u64(0), [kick])
    assert not stand.shim.errors
    os.close(kick)


def test_a_page_that_names_a_descriptor_that_nobody_has_is_begun_anew(stand):
    """Rings would never run again, and nobody would be told."""
    guest = stand.guest()
    before = set(stand.shim.slots)
    guest.setup().exchange(2)
    stand.shim.dump()
    stand.shim.kill()
    lost = max(set(stand.shim.slots) - before)
    os.close(stand.shim.slots.pop(lost))
    stand.shim.start()
    assert "beginning anew" in stand.shim.log()
    assert guest.fe.is_closed()
    stand.guest().setup().exchange(2)
    assert not stand.shim.errors
