# SPDX-License-Identifier: BSD-2-Clause
"""Linux guests of QEMU that arrive by postcopy: they run at the destination while much of their memory
is at the source. That each page is right is shown by the page oracle, tests/migrate/test_postcopy.py;
this shows that QEMU and the device understand each other.

Several pairs need memory slots: with SET_MEM_TABLE QEMU 7.2 waits for an answer of each pair to a table that
it sends for the first one only, and its start fails with "Expected 5 received 30", with any back-end."""
import os
import signal

import pytest

from guest import GuestError
from test_migration import METHODS, reach, tell
from vdpad_fixture import wait_for

MIB = 1 << 20


def arrive(stand, meanwhile=lambda target: None):
    """Migrate by postcopy; the guest is where it arrived. Return: QEMU's words."""
    source, target = stand.guest, stand.destination()
    path = f"{stand.folder.name}/postcopy"
    with target.monitor() as there, source.monitor() as here:
        for monitor in (there, here):
            monitor.call("migrate-set-capabilities",
                         capabilities=[{"capability": "postcopy-ram", "state": True}])
        here.call("migrate-set-parameters", **{"max-bandwidth": 8 * MIB,
                                               "max-postcopy-bandwidth": 32 * MIB})
        there.call("migrate-incoming", uri=f"unix:{path}")
        here.call("migrate", uri=f"unix:{path}")
        wait_for(lambda: here.call("query-migrate").get("ram", {}).get("transferred", 0) > MIB,
                 "the migration to begin")
        here.call("migrate-start-postcopy")
        stand.vdpad.wait_status(target.name, lambda status: status["state"] == "running")
        meanwhile(target)
        wait_for(lambda: here.call("query-migrate")["status"] != "postcopy-active", "all pages")
        result = here.call("query-migrate")
    if result["status"] != "completed":
        raise GuestError(target.describe(f"{result}; its QEMU says: {target.log.read_text()}"))
    target.serial, target.buffer = source.serial, b""
    source.kill9()
    stand.guests.remove(source)
    stand.guest = target
    return result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("packed, pairs", [(False, 1), (True, 2)], ids=["split-1-pair", "packed-2-pairs"])
def test_a_guest_arrives_and_is_reached(method, packed, pairs):
    def story(stand):
        reach(stand.guest, stand.peer)
        for _ in range(2):
            result = arrive(stand)
            assert result["ram"]["postcopy-requests"] > 0
            reach(stand.guest, stand.peer)
    tell(story, method, pairs, packed)


def test_a_worker_that_dies_meanwhile_is_not_missed():
    def kill_worker(stand, target):
        pid = stand.vdpad.worker_pid(target.name)
        os.kill(pid, signal.SIGKILL)
        stand.vdpad.wait_status(target.name, lambda status: status["worker_pid"] not in (0, pid))

    def story(stand):
        reach(stand.guest, stand.peer)
        arrive(stand, lambda target: kill_worker(stand, target))
        assert stand.vdpad.status(stand.guest.name)["connected"]
        reach(stand.guest, stand.peer)
    tell(story, "relay")
