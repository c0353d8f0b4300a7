# SPDX-License-Identifier: BSD-2-Clause
"""Two Linux guests in QEMU, each on a device of one NIC."""
import contextlib
import tempfile

from guest import Guest


@contextlib.contextmanager
def guest_pair(vdpad, macs, addresses, own=None, device=None, queues=1, **facts):
    """Two guests that are up, in the order of @macs; vdpad ends with them. The first knows it as .vdpad.

    @facts: of both guests; @own, @device: more of a guest, and of its device, by name
    """
    with tempfile.TemporaryDirectory(prefix="guest-") as folder:
        pair = []
        try:
            vdpad.start()
            for name, mac in macs.items():
                vdpad.cli("dev", "add", "name", name, "mgmtdev", "sim/nic0", "mac", mac,
                          "max_vqp", str(queues), *(device or {}).get(name, ()))
                pair.append(Guest(folder, name, vdpad.run_dir / "vhost" / f"{name}.sock", mac,
                                  addresses[name], queues, **facts, **(own or {}).get(name, {})))
                pair[-1].start()
            for guest in pair:
                guest.wait_ready()
            pair[0].vdpad = vdpad
            yield pair
        finally:
            for guest in pair:
                guest.end()
            vdpad.stop()
