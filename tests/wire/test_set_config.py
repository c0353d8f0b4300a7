# SPDX-License-Identifier: BSD-2-Clause
"""SET_CONFIG."""
from frontend import config
from hostile import hostile
from unchanged import unchanged


@hostile(142)
def test_set_config_has_no_field_that_a_driver_may_write(stand, fe):
    with unchanged(stand.shim):
        for flags in (0, 2):
            fe.refused("SET_CONFIG", config(0, 6, flags, bytes.fromhex("525400000009")))
        fe.refused("SET_CONFIG", config(0, 6, 1, bytes.fromhex("525400000009")))
        fe.refused("SET_CONFIG", config(20, 10, 1))


def test_set_config_of_a_migration_may_repeat_what_is_there(fe):
    fe.accepted("SET_CONFIG", config(0, 6, 1, bytes.fromhex("525400000001")))
