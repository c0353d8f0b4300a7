# SPDX-License-Identifier: BSD-2-Clause
"""POSTCOPY_LISTEN: answered always; what is mapped from then on lacks pages."""
import os
import struct

import pytest
from arrival import advise
from frontend import F_LOG_ALL, F_PROTOCOL, F_VERSION_1, Memory, table, u64
from hostile import hostile
from unchanged import unchanged


@pytest.fixture
def advised(fe):
    uffd = advise(fe)
    yield fe
    os.close(uffd)


def listens(stand):
    return stand.shim.dump()["device"]["postcopy"] == 2


@pytest.mark.parametrize("flags", [1, 9], ids=["not-asked-for", "asked-for"])
def test_it_is_answered_asked_for_or_not(stand, advised, flags):
    advised.send("POSTCOPY_LISTEN", flags=flags)
    assert advised.reply("POSTCOPY_LISTEN") == u64(0)
    assert listens(stand)


@hostile(136)
def test_136_without_advise_it_is_refused(stand, fe):
    with unchanged(stand.shim):
        assert fe.ask("POSTCOPY_LISTEN") == u64(1)
    assert not listens(stand)


@hostile(136)
def test_136_with_memory_it_is_refused(stand, advised):
    memory = Memory(1 << 20)
    advised.accepted("SET_MEM_TABLE", table(memory), [memory.fd])
    with unchanged(stand.shim):
        assert advised.ask("POSTCOPY_LISTEN") == u64(1)
    advised.accepted("SET_MEM_TABLE", struct.pack("=Q", 0))
    assert advised.ask("POSTCOPY_LISTEN") == u64(0)
    memory.close()


def test_it_may_come_once_a_pair_of_queues(stand, advised):
    """As QEMU says it; and END, too. After the memory it is too late."""
    for _ in range(3):
        assert advised.ask("POSTCOPY_LISTEN") == u64(0)
    assert listens(stand)
    memory = Memory(1 << 20)
    advised.ask("SET_MEM_TABLE", table(memory), [memory.fd])
    advised.send("SET_MEM_TABLE", u64(0))
    advised.accepted("SET_OWNER")
    with unchanged(stand.shim):
        assert advised.ask("POSTCOPY_LISTEN") == u64(1)
    for _ in range(3):
        assert advised.ask("POSTCOPY_END") == u64(0)
    memory.close()


def test_advise_is_refused_from_then_on(stand, advised):
    assert advised.ask("POSTCOPY_LISTEN") == u64(0)
    with unchanged(stand.shim):
        assert advise(advised) is None


@pytest.mark.parametrize("first", ["log", "listen"])
def test_pages_are_not_logged_meanwhile(stand, advised, first):
    features = F_PROTOCOL | F_VERSION_1
    advised.accepted("SET_FEATURES", u64(features))
    if first == "log":
        advised.accepted("SET_FEATURES", u64(features | F_LOG_ALL))
        with unchanged(stand.shim):
            assert advised.ask("POSTCOPY_LISTEN") == u64(1)
    else:
        assert advised.ask("POSTCOPY_LISTEN") == u64(0)
        with unchanged(stand.shim):
            advised.refused("SET_FEATURES", u64(features | F_LOG_ALL))
        assert advised.ask("POSTCOPY_END") == u64(0)
        advised.accepted("SET_FEATURES", u64(features | F_LOG_ALL))


def test_a_disconnect_ends_it(stand, advised):
    assert advised.ask("POSTCOPY_LISTEN") == u64(0)
    advised.close()
    guest = stand.guest().setup()
    guest.exchange(3)
