# SPDX-License-Identifier: BSD-2-Clause
"""The page oracle over real functions: a guest goes from one to the other and back, through the relay, and
every page that was written is named.

The host returns each frame to the function that it came from.
"""
import resource
import shutil
import tempfile

import pytest
from campaign import migrate_often
from device import Device
from stand import WORKER
from traffic import Shape
from vfio import VirtioShim, open_function

FUNCTIONS = (3, 4)
LARGEST = 256  # entries of a ring, of QEMU's functions
MIGRATIONS = 4  # there and back, twice; some fail and begin anew


class FunctionsStand:
    """A worker for each of two functions."""
    hurried = patient = True
    log_offsets = (0, 4096)

    def __init__(self, functions):
        self.folders = [tempfile.mkdtemp() for _ in functions]
        self.shims = []
        for function, folder in zip(functions, self.folders):
            function.give_to("vfio-pci")
            self.shims.append(VirtioShim(WORKER, folder, open_function(function)))
            self.shims[-1].start()

    def device(self, which, shape):
        return Device(self.shims[which].path, shape)

    def stop(self):
        for shim, folder in zip(self.shims, self.folders):
            shim.__exit__()
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def stand(functions, host):
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert host.ask("reflect", numbers=FUNCTIONS) == "ready"
    stand = FunctionsStand([functions[number] for number in FUNCTIONS])
    yield stand
    stand.stop()
    host.ask("bridge", numbers=FUNCTIONS)


@pytest.mark.parametrize("event_idx", [False, True], ids=["no-event-index", "event-index"])
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_a_guest_migrates_there_and_back(stand, packed, indirect, event_idx):
    shape = Shape(packed, indirect, event_idx, largest=LARGEST)
    counts = migrate_often(stand, shape, str(shape), MIGRATIONS)
    print(shape, dict(counts))
    assert counts["migrations"] == MIGRATIONS
