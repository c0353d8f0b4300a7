# SPDX-License-Identifier: BSD-2-Clause
"""GET_MAX_MEM_SLOTS."""
from looks import mapped
from hostile import hostile
from test_add_mem_reg import number
from unchanged import unchanged

SLOTS = 509


@hostile(97)
def test_there_are_as_many_slots_as_the_front_end_is_told(stand, fe, memory):
    assert fe.ask_u64("GET_MAX_MEM_SLOTS") == SLOTS
    before = len(stand.shim.kept())
    for i in range(SLOTS):
        fe.accepted("ADD_MEM_REG", number(i), [memory.fd])
    assert len(mapped(stand)) == SLOTS and len(stand.shim.kept()) == before + SLOTS
    with unchanged(stand.shim):
        fe.refused("ADD_MEM_REG", number(SLOTS), [memory.fd])
    for i in reversed(range(SLOTS)):
        fe.accepted("REM_MEM_REG", number(i))
    assert mapped(stand) == [] and len(stand.shim.kept()) == before
