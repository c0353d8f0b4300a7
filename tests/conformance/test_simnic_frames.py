# SPDX-License-Identifier: BSD-2-Clause
"""Frames between functions."""
import simnic_client as sim

BASE = sim.bits(sim.F_VERSION_1, sim.F_MRG_RXBUF)


def two_guests(nic, make_guest, features, **kwargs):
    a = make_guest(nic.add("a", mac=sim.mac(1)), features, **kwargs)
    b = make_guest(nic.add("b", mac=sim.mac(2)), features, **kwargs)
    return a, b


def test_a_frame_goes_from_one_function_to_the_other(nic, make_guest, layout):
    a, b = two_guests(nic, make_guest, BASE | layout)
    b.offer()
    sent = sim.frame(sim.mac(2), sim.mac(1), b"hello")
    a.send(sent)
    a.sent()
    header, received = b.receive()
    assert received == sent
    assert header[10:12] == b"\1\0"
