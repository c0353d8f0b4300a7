# SPDX-License-Identifier: BSD-2-Clause
"""GET_PROTOCOL_FEATURES."""
from frontend import OFFERED_PF


def test_the_offer_is_what_is_built(fe):
    assert fe.ask_u64("GET_PROTOCOL_FEATURES") == OFFERED_PF
