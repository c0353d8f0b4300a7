# SPDX-License-Identifier: BSD-2-Clause
"""GET_QUEUE_NUM."""
import pytest


@pytest.mark.parametrize("pairs", [1, 2, 64])
def test_get_queue_num_counts_pairs(make_stand, pairs):
    assert make_stand(pairs=pairs).front_end().ask_u64("GET_QUEUE_NUM") == pairs
