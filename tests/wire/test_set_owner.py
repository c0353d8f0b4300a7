# SPDX-License-Identifier: BSD-2-Clause
"""SET_OWNER, and RESET_OWNER, which does as little."""
from unchanged import unchanged
from hostile import hostile


@hostile(52)
def test_set_owner_and_reset_owner_change_nothing(stand):
    guest = stand.guest().setup()
    with unchanged(stand.shim):
        guest.fe.accepted("SET_OWNER")
        guest.fe.accepted("RESET_OWNER")
    guest.exchange()
