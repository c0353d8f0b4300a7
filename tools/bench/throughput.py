# SPDX-License-Identifier: BSD-2-Clause
"""Throughput of virtio-user against simnic's loop, and against net_vhost doing the same.

Both ends swap the MAC addresses: simnic's loop does, and its switch sends no frame back to where
it came from.
"""
import time

from figures import load, ratio_text, spread_text
from peers import Testpmd, Vdpad, pin, wait_for

# Frames on the wire have 4 bytes of checksum that virtio doesn't carry.
SIZES = {64: 60, 1518: 1514}
SERVER_CPU, CLIENT_CPU = 1, 0


def measure(folder, path, packed, size, seconds):
    """Millions of frames a second that come back to the front-end."""
    client = Testpmd(folder, "client",
                     [f"net_virtio_user0,path={path},queues=1,packed_vq={int(packed)}"],
                     forward_cpu=CLIENT_CPU, forward="macswap", size=SIZES[size])
    try:
        client.tell("start tx_first 8")
        wait_for("frames", lambda: client.port()[0] > 10000)
        begun, before = time.monotonic(), client.port()[0]
        time.sleep(seconds)
        after, ended = client.port()[0], time.monotonic()
        return (after - before) / (ended - begun) / 1e6
    finally:
        client.end()


def ours(folder, packed, size, seconds):
    vdpad = Vdpad(folder, uplink="loop")
    try:
        _, path = vdpad.add("loop")
        for pid in vdpad.processes("simnic").values():
            pin(pid, SERVER_CPU)
        return measure(folder, path, packed, size, seconds)
    finally:
        vdpad.end()


def theirs(folder, packed, size, seconds):
    path = folder / "peer.sock"
    path.unlink(missing_ok=True)
    server = Testpmd(folder, "server", [f"net_vhost0,iface={path},queues=1"],
                     forward_cpu=SERVER_CPU, forward="macswap")
    try:
        wait_for("the peer's socket", path.exists)
        server.tell("start")
        return measure(folder, path, packed, size, seconds)
    finally:
        server.end()


def throughput(folder, quick):
    for packed in (False, True):
        for size in SIZES:
            a, b = [], []
            for i in range(3 if quick else 11):
                sides = [(ours, a), (theirs, b)]
                for side, results in sides if i % 2 == 0 else reversed(sides):
                    results.append(side(folder, packed, size, 1 if quick else 2))
            print(f"\nloop, {'packed' if packed else 'split'}, {size} bytes, 1 pair, in turn; {load()}")
            print(f"  vdpad {spread_text(a, 'Mpps')}, net_vhost {spread_text(b, 'Mpps')}, "
                  f"{ratio_text(a, b, 1.0, more_is_better=True)}")
