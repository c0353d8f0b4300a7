# SPDX-License-Identifier: BSD-2-Clause
"""Memory that is not what it was said to be."""
from frontend import Memory, state, table, u64
from hostile import hostile


@hostile(96)
def test_tables_that_follow_one_another_while_rings_run_leave_nothing(stand):
    guest = stand.guest().setup()
    more = Memory(1 << 20, gpa=0x80000000)
    for _ in range(200):
        guest.fe.accepted("SET_MEM_TABLE", table(guest.memory, more), [guest.memory.fd, more.fd])
        guest.fe.accepted("SET_MEM_TABLE", table(guest.memory), [guest.memory.fd])
    more.close()
    guest.exchange(3)
    assert len(stand.shim.dump()["device"]["memory"]) == 1
