# SPDX-License-Identifier: BSD-2-Clause
"""GET_INFLIGHT_FD: an area for chains in flight, on a simnic that completes in any order."""
import fcntl
import os

import pytest
from inflight_area import SIZE, area, get_area, go_on, guest, packed, part_size
from hostile import hostile
from unchanged import unchanged


@hostile(132)
@pytest.mark.parametrize("head", [20, 24])
def test_an_area_is_made_as_large_as_its_rings_need(guest, packed, head):
    size, offset, fds, rings, ring_size = get_area(guest.fe, 4, head=head)
    assert (offset, len(fds), rings, ring_size) == (0, 1, 4, SIZE)
    assert size == 4 * part_size(packed) == os.fstat(fds[0]).st_size
    assert os.pread(fds[0], size, 0) == bytes(size)
    seals = fcntl.fcntl(fds[0], fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_SHRINK and seals & fcntl.F_SEAL_GROW
    os.close(fds[0])


@hostile(124)
@pytest.mark.parametrize("rings, ring_size", [(0, 64), (5, 64), (65535, 64), (4, 0), (4, 32769), (4, 65535)])
def test_no_area_is_made_for_rings_that_are_not_there(shuffled_stand, guest, rings, ring_size):
    with unchanged(shuffled_stand.shim):
        size, _, fds, _, _ = get_area(guest.fe, rings, ring_size)
        assert size == 0 and not fds


def test_no_area_is_made_while_rings_run(shuffled_stand, guest, area):
    go_on(guest)
    with unchanged(shuffled_stand.shim):
        size, _, fds, _, _ = get_area(guest.fe)
        assert size == 0 and not fds
    guest.exchange(3)


@hostile(125)
def test_areas_one_after_the_other_leave_nothing_behind(shuffled_stand, guest):
    os.close(get_area(guest.fe)[2][0])
    guest.fe.ask_u64("GET_FEATURES")  # with the reply its descriptor goes
    before = len(shuffled_stand.shim.kept())
    for _ in range(100):
        os.close(get_area(guest.fe)[2][0])
    guest.fe.ask_u64("GET_FEATURES")
    assert len(shuffled_stand.shim.kept()) == before


def test_a_device_that_completes_in_order_needs_no_area(stand):
    fe = stand.front_end()
    with unchanged(stand.shim):
        size, _, fds, _, _ = get_area(fe)
        assert size == 0 and not fds
