# SPDX-License-Identifier: BSD-2-Clause
"""SET_PROTOCOL_FEATURES: what was accepted decides which messages are legal."""
import pytest
from frontend import OFFERED_PF, PF, u64
from hostile import hostile
from unchanged import unchanged


@hostile(43, 45)
@pytest.mark.parametrize("bit", [6, 7, 10, 11, 12, 17, 18, 20, 22, 63])
def test_what_was_not_offered_is_refused(stand, fe, bit):
    with unchanged(stand.shim):
        fe.refused("SET_PROTOCOL_FEATURES", u64(OFFERED_PF | 1 << bit))


def test_the_same_again_is_accepted_also_while_rings_run(stand):
    guest = stand.guest().setup()
    guest.fe.accepted("SET_PROTOCOL_FEATURES", u64(OFFERED_PF))
    with unchanged(stand.shim):
        guest.fe.refused("SET_PROTOCOL_FEATURES", u64(OFFERED_PF & ~(1 << PF["STATUS"])))
    guest.exchange()


def test_the_acknowledgement_follows_the_new_value(stand):
    fe = stand.front_end(negotiate=False)
    fe.send("SET_PROTOCOL_FEATURES", u64(OFFERED_PF), flags=9)
    assert fe.reply("SET_PROTOCOL_FEATURES") == u64(0)
    fe.send("SET_PROTOCOL_FEATURES", u64(0), flags=9)
    assert fe.silent()


@hostile(13)
def test_no_acknowledgement_without_the_feature(stand):
    fe = stand.front_end(negotiate=False)
    fe.send("SET_OWNER", flags=9)
    assert fe.silent()


GATED = {"GET_QUEUE_NUM": b"", "SEND_RARP": bytes.fromhex("5254000000010000"),
         "NET_SET_MTU": u64(1500), "SET_BACKEND_REQ_FD": b"", "GET_CONFIG": bytes(12),
         "SET_CONFIG": bytes(12), "RESET_DEVICE": b"", "POSTCOPY_ADVISE": b"",
         "POSTCOPY_LISTEN": b"", "POSTCOPY_END": b"", "SET_STATUS": u64(1), "GET_STATUS": b""}


@pytest.mark.parametrize("name", GATED)
def test_messages_of_a_feature_that_was_not_negotiated_are_refused(stand, name):
    fe = stand.front_end(negotiate=False)
    fe.send(name, GATED[name])
    if name in ("GET_CONFIG", "POSTCOPY_ADVISE"):  # it has a refusal of its own
        assert fe.reply(name) == b""
    elif name in ("POSTCOPY_LISTEN", "POSTCOPY_END"):
        assert fe.reply(name) == u64(1)
    else:
        assert fe.is_closed()
