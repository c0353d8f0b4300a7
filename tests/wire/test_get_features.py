# SPDX-License-Identifier: BSD-2-Clause
from frontend import F_LOG_ALL, F_MQ, F_PACKED, F_PROTOCOL, F_VERSION_1


def test_offers_the_device_s_features_and_protocol_features(stand, fe):
    assert fe.features & F_PROTOCOL
    assert fe.features & F_VERSION_1 and fe.features & F_PACKED and fe.features & F_MQ
    assert fe.features & ~(F_PROTOCOL | F_LOG_ALL) == stand.shim.dump()["device"]["offered"]


def test_is_legal_at_any_time_and_always_the_same(stand):
    guest = stand.guest()
    guest.setup()
    assert guest.fe.ask_u64("GET_FEATURES") == guest.fe.features


def test_a_device_with_one_pair_offers_no_multiqueue(make_stand):
    assert not make_stand(pairs=1).front_end().features & F_MQ
