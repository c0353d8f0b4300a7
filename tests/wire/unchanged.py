# SPDX-License-Identifier: BSD-2-Clause
"""What a refused message must leave alone: everything that a later message could notice."""
import contextlib


def facts(shim):
    dump = shim.dump()
    rings = [{k: v for k, v in ring.items() if k != "device"} for ring in dump["device"]["rings"]]
    device = {k: v for k, v in dump["device"].items() if k != "rings"}
    return device, rings, dump["session"]["protocol_features"], shim.kept()


@contextlib.contextmanager
def unchanged(shim):
    before = facts(shim)
    yield
    after = facts(shim)
    for was, now in zip(before, after):
        assert now == was, f"{was} became {now}"
