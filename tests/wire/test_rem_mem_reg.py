# SPDX-License-Identifier: BSD-2-Clause
"""REM_MEM_REG: regions of the guest's memory go."""
from frontend import single
from hostile import hostile
from looks import mapped
from test_add_mem_reg import number, one
from unchanged import unchanged
from waiting import wait_for


@hostile(99)
def test_removes_exactly_what_was_added(stand, fe, memory):
    fe.accepted("ADD_MEM_REG", number(1, size=8192, offset=4096), [memory.fd])
    fe.accepted("ADD_MEM_REG", number(2), [memory.fd])
    with unchanged(stand.shim):
        for wrong in (number(3), number(1, size=4096), one(gpa=1 << 20, uva=3 << 24, size=8192),
                      one(gpa=2 << 20, uva=2 << 24, size=8192)):
            fe.refused("REM_MEM_REG", wrong)
    fe.accepted("REM_MEM_REG", number(1, size=8192))  # where in its file it was does not matter
    with unchanged(stand.shim):
        fe.refused("REM_MEM_REG", number(1, size=8192))
    assert [part["gpa"] for part in mapped(stand)] == [2 << 20]


@hostile(97, 99)
def test_what_was_added_twice_goes_when_it_was_removed_twice(stand, fe, memory):
    """As by a front-end that says it for each pair of queues."""
    kept = len(stand.shim.kept())
    for _ in range(2):
        fe.accepted("ADD_MEM_REG", number(1), [memory.fd])
    assert len(mapped(stand)) == 1 and len(stand.shim.kept()) == kept + 1
    stand.shim.restart()
    fe.accepted("REM_MEM_REG", number(1))
    assert len(mapped(stand)) == 1
    fe.accepted("REM_MEM_REG", number(1))
    assert mapped(stand) == []
    with unchanged(stand.shim):
        fe.refused("REM_MEM_REG", number(1))


@hostile(99)
def test_a_descriptor_that_comes_with_what_goes_means_nothing(stand, fe, memory):
    before = len(stand.shim.kept())
    fe.accepted("ADD_MEM_REG", one(), [memory.fd])
    fe.accepted("REM_MEM_REG", one(), [memory.fd])
    assert len(stand.shim.kept()) == before


def test_what_is_sent_ahead_is_not_mixed_up(stand, fe, memory):
    """The descriptor of what comes next is not taken for one of what goes."""
    fe.accepted("ADD_MEM_REG", number(1), [memory.fd])
    for _ in range(50):
        fe.send("REM_MEM_REG", number(1))
        fe.send("ADD_MEM_REG", number(1), [memory.fd])
    assert fe.ask_u64("GET_FEATURES") == fe.features
    assert len(mapped(stand)) == 1


@hostile(93)
def test_a_ring_whose_memory_goes_stops_and_runs_again_when_it_is_back(stand):
    guest = stand.guest().setup()
    guest.exchange(3)
    guest.fe.accepted("REM_MEM_REG", single(guest.memory))
    assert not any(ring["running"] for ring in stand.shim.dump()["device"]["rings"])
    assert mapped(stand) == []
    guest.fe.accepted("ADD_MEM_REG", single(guest.memory), [guest.memory.fd])
    wait_for(lambda: stand.shim.dump()["device"]["rings"][0]["running"], "the ring to run")
    guest.exchange(3)
