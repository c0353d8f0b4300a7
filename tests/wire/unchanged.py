# SPDX-License-Identifier: BSD-2-Clause
"""What a refused message must leave alone: everything that a later message could notice."""
import contextlib
import os
import struct

from shimside import PAGE_SIZE, SLOT_PAGE

SECTION_DEVICE = 1


def device_section(shim):
    """The device's bytes in the state page (vdpa/page.c)."""
    page = os.pread(shim.slots[SLOT_PAGE], PAGE_SIZE, 0)
    layout, = struct.unpack_from("=8xQ", page)
    n, _ = struct.unpack_from("=II", page, layout)
    for i in range(n):
        what, _, offset, size = struct.unpack_from("=IIII", page, layout + 8 + 16 * i)
        if what == SECTION_DEVICE:
            return page[layout + offset:layout + offset + size]
    raise AssertionError("the page has no device")


MOVING = ("device", "position", "guest", "relay")  # of a ring, while a guest uses it


def facts(shim):
    dump = shim.dump()
    rings = [{k: v for k, v in ring.items() if k not in MOVING} for ring in dump["device"]["rings"]]
    device = {k: v for k, v in dump["device"].items() if k != "rings"}
    return device, rings, dump["session"]["protocol_features"], shim.kept()


def snapshot(shim):
    return facts(shim), device_section(shim)


def compare(before, after):
    """Fail on what became different between two snapshots."""
    for was, now in zip(before[0], after[0]):
        assert now == was, f"{was} became {now}"
    different = [at for at, (was, now) in enumerate(zip(before[1], after[1])) if was != now]
    assert not different, f"bytes {different} of the state page's device became others"


@contextlib.contextmanager
def unchanged(shim):
    before = snapshot(shim)
    yield
    compare(before, snapshot(shim))
