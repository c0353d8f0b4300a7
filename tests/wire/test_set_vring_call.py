# SPDX-License-Identifier: BSD-2-Clause
"""SET_VRING_CALL; see also test_vring_fds.py."""
import os
import select

from frontend import NO_FD, eventfd, u64
from waiting import wait_for


def test_a_new_call_descriptor_is_signalled_once_and_used_from_then_on(stand):
    guest = stand.guest().setup()
    fd = eventfd()
    guest.fe.accepted("SET_VRING_CALL", u64(1), [fd])
    assert os.eventfd_read(fd) == 1
    guest.transmit()
    wait_for(lambda: select.select([fd], [], [], 0)[0], "the new eventfd")
    os.close(fd)


def test_a_ring_may_do_without_a_call_descriptor(stand):
    guest = stand.guest().setup()
    guest.fe.accepted("SET_VRING_CALL", u64(1 | NO_FD))
    guest.exchange(3)
