# SPDX-License-Identifier: BSD-2-Clause
"""POSTCOPY_ADVISE: a reply without a body, and a userfaultfd with it."""
import ctypes
import os
import shutil
import struct

import pytest
from arrival import advise, footprint, reply_with_fd
from stand import BUILD, Stand  # noqa: E402
from frontend import OFFERED_PF, PF
from hostile import hostile
from simnic import Simnic
from unchanged import unchanged
from waiting import wait_for

PAGEFAULT = 1 << PF["PAGEFAULT"]
USERFAULTFD, EPERM = 323, 1


def test_the_answer_is_a_userfaultfd(stand, fe):
    uffd = advise(fe)
    assert os.readlink(f"/proc/self/fd/{uffd}") == "anon_inode:[userfaultfd]"
    assert not os.get_blocking(uffd)
    os.close(uffd)
    assert stand.shim.dump()["device"]["postcopy"] == 1
    assert footprint(stand.nic)[0] == 2  # the front-end's, and the one nobody reads


@hostile(134)
def test_134_it_is_refused_without_its_protocol_feature(stand):
    fe = stand.front_end(negotiate=False)
    fe.negotiate(OFFERED_PF & ~PAGEFAULT)
    with unchanged(stand.shim):
        assert advise(fe) is None


def refuse_userfaultfd():
    """A filter as containers have it: userfaultfd(2) fails with EPERM."""
    def op(code, jt, jf, k):
        return struct.pack("=HBBI", code, jt, jf, k)
    program = (op(0x20, 0, 0, 0) + op(0x15, 0, 1, USERFAULTFD) + op(0x06, 0, 0, 0x50000 | EPERM) +
               op(0x06, 0, 0, 0x7fff0000))
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program)
    filters = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.c_char_p(filters), 0, 0) == 0


@hostile(134)
def test_134_where_the_kernel_gives_none_it_is_not_offered():
    nic = Simnic(BUILD)
    nic.start(preexec_fn=refuse_userfaultfd)
    stand = Stand(nic)
    stand.shim.start()
    fe = stand.front_end(negotiate=False)
    fe.ask_u64("GET_FEATURES")
    assert fe.ask_u64("GET_PROTOCOL_FEATURES") == OFFERED_PF & ~PAGEFAULT
    assert "no postcopy: the kernel gives no userfaultfd: Operation not permitted" in nic.log()
    fe.send("SET_PROTOCOL_FEATURES", struct.pack("=Q", OFFERED_PF & ~PAGEFAULT))
    fe.send("POSTCOPY_ADVISE")
    assert reply_with_fd(fe, "POSTCOPY_ADVISE") == (b"", [])
    stand.close_now()
    nic.stop()
    shutil.rmtree(nic.folder)


@hostile(135)
def test_135_a_second_one_closes_the_first(stand, fe):
    kept = len(stand.shim.kept())
    for _ in range(50):
        os.close(advise(fe))
    assert footprint(stand.nic)[:1] == (2,)
    assert len(stand.shim.kept()) == kept + 1  # that of the last reply
    fe.accepted("SET_OWNER")
    assert len(stand.shim.kept()) == kept


@pytest.mark.parametrize("how", ["end", "disconnect", "worker"])
def test_nothing_of_it_is_left(stand, fe, how):
    before = footprint(stand.nic)
    os.close(advise(fe))
    assert footprint(stand.nic) != before
    if how == "end":
        fe.ask("POSTCOPY_END")
    elif how == "worker":
        fe.accepted("SET_OWNER")
        stand.shim.dump()  # from now on nothing is under way
        stand.shim.restart()
        assert stand.shim.dump()["device"]["postcopy"] == 1
        os.close(advise(fe))
        fe.close()
    else:
        fe.close()
    wait_for(lambda: footprint(stand.nic) == before, "simnic to forget it")


def test_a_device_that_is_away_has_none(own_nic_stand):
    fe = own_nic_stand.front_end()
    own_nic_stand.nic.stop()
    wait_for(lambda: own_nic_stand.shim.has_event("failed"), "the loss of the device")
    assert advise(fe) is None
    fe.accepted("SET_OWNER")
    own_nic_stand.nic.start()  # for the end of the stand


def test_rings_that_run_do_not_mind(stand):
    guest = stand.guest().setup()
    os.close(advise(guest.fe))
    guest.exchange(3)
