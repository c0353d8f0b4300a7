# SPDX-License-Identifier: BSD-2-Clause
"""RESET_DEVICE."""
from frontend import table


def test_reset_device_forgets_what_the_driver_set_and_keeps_the_memory(stand):
    guest = stand.guest().setup()
    guest.exchange(2)
    guest.fe.accepted("RESET_DEVICE")
    device = stand.shim.dump()["device"]
    assert device["status"] == 0 and device["features"] == 0 and len(device["memory"]) == 1
    assert not any(ring["size"] or ring["kick"] or ring["enabled"] for ring in device["rings"])
    fresh = stand.guest()
    fresh.fe.close()
    fresh.fe = guest.fe
    for name, payload, fds in fresh.setup_steps():
        guest.fe.accepted(name, payload, fds)
    fresh.exchange(2)
    fresh.fe.accepted("SET_MEM_TABLE", table(fresh.memory), [fresh.memory.fd])
