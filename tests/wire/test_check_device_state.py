# SPDX-License-Identifier: BSD-2-Clause
"""CHECK_DEVICE_STATE: how a transfer ended."""
import fcntl
import os

import pytest
from device_state import F_SETPIPE_SZ, SAVE, begin, begin_load, check, pack, read_all
from hostile import hostile
from waiting import wait_for


@pytest.fixture
def fe(stand):
    return stand.front_end()


@hostile(150)
def test_a_state_that_nobody_reads_is_given_up_when_its_end_is_asked_for(stand, fe):
    read, write = os.pipe()
    fcntl.fcntl(write, F_SETPIPE_SZ, 4096)
    os.write(write, bytes(4096))
    assert begin(fe, SAVE, write)
    assert not check(fe)
    assert not check(fe)
    os.close(write)
    assert len(read_all(read)) == 4096  # there is no other writer any more
    os.close(read)


@hostile(150)
def test_a_state_that_never_ends_is_given_up_when_its_end_is_asked_for(stand, fe):
    write = begin_load(fe)
    os.write(write, pack())
    assert not check(fe)
    with pytest.raises(BrokenPipeError):
        os.write(write, b"more")
    os.close(write)


@hostile(150)
def test_without_a_transfer_there_is_no_end_of_one(stand, fe):
    assert not check(fe)


def test_a_transfer_of_the_front_end_before_is_none_of_this_one_s(stand, fe):
    read, write = os.pipe()
    assert begin(fe, SAVE, write) and check(fe)
    os.close(read)
    os.close(write)
    fe.close()
    wait_for(lambda: not stand.shim.dump()["session"]["connected"], "the end of the connection")
    assert not check(stand.front_end())
