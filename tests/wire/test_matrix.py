# SPDX-License-Identifier: BSD-2-Clause
"""Every message, and every one with something wrong, in every state of a device: docs/message-states.md
says what becomes of it, and it does. What is refused leaves the device as it was; see matrix.py."""
import difflib
from functools import lru_cache

import pytest
from matrix import PAGE, STATES, Stage, make_nic, page
from rows import BUILT, ROWS


@lru_cache(maxsize=None)
def outcomes(name):
    with make_nic(name) as nic, Stage(name, nic) as stage:
        return stage.try_all()


@pytest.mark.parametrize("name", STATES)
def test_nothing_with_something_wrong_is_accepted(name):
    good, bad = outcomes(name)
    assert set(good) == set(ROWS) and set(bad) == set(BUILT)
    for message, wrongs in bad.items():
        assert len(wrongs) >= 2
        for wrong, outcome in wrongs.items():
            assert not outcome.accepted and not outcome.fails(), f"{message} with {wrong} was accepted"


def test_each_message_is_accepted_somewhere_if_it_is_served():
    accepted = {message for name in STATES for message, outcome in outcomes(name)[0].items()
                if outcome.accepted}
    assert accepted == set(BUILT)


def test_what_becomes_of_each_message_is_what_the_page_says():
    now = page({name: outcomes(name) for name in STATES})
    different = "\n".join(difflib.unified_diff(PAGE.read_text().splitlines(), now.splitlines(),
                                               "docs/message-states.md", "what happens", "", "", 0, ""))
    assert not different, f"{different}\nIf this is meant: meson compile -C build message-states"
