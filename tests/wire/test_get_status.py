# SPDX-License-Identifier: BSD-2-Clause
"""GET_STATUS."""
from frontend import F_PROTOCOL, F_VERSION_1, u64


def test_status_is_kept(fe):
    assert fe.ask_u64("GET_STATUS") == 0
    fe.accepted("SET_FEATURES", u64(F_PROTOCOL | F_VERSION_1))
    for status in (1, 3, 0xb, 0xf, 0):
        fe.accepted("SET_STATUS", u64(status))
        assert fe.ask_u64("GET_STATUS") == status
