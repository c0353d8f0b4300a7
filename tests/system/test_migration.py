# SPDX-License-Identifier: BSD-2-Clause
"""Live migrations of Linux guests by QEMU.

QEMU 7.2 without KVM loses pages that the guest itself writes while it begins to migrate, the more the
busier the guest's kernel is: after a migration under a bulk transfer the two memories differ in pages
that no device wrote, whoever is the back-end. So these guests do little; that each page arrives which
a device writes is shown by the page oracle in tests/migrate.
"""
import os
import signal
import tempfile

import pytest

from guest import Guest
from vdpad_fixture import Vdpad, wait_for

MACS = {"a": "52:54:00:00:06:01", "peer": "52:54:00:00:06:02"}
KINDS = [pytest.param((1, False), id="split"), pytest.param((1, True), id="packed"),
         pytest.param((2, False), id="split-2-pairs"), pytest.param((2, True), id="packed-2-pairs")]
METHODS = {"device": "dirty_log = yes", "relay": "dirty_log = no"}


class Stand:
    """One vdpad; a guest that migrates, and a peer that it talks to."""

    def __init__(self, method, queues=1, packed=False, **facts):
        self.folder = tempfile.TemporaryDirectory(prefix="guest-")
        self.vdpad = Vdpad(config=f"[simnic nic0]\n{METHODS[method]}\n")
        self.queues, self.packed, self.facts = queues, packed, facts
        self.n = 0
        self.guests = []
        self.vdpad.start()
        self.peer = self.make("peer", "peer", "10.0.6.2")
        self.guest = self.make("a", "a", "10.0.6.1")
        for guest in self.guests:
            guest.wait_ready()

    def make(self, name, who, address, **facts):
        """A device and a guest on it that was started."""
        self.vdpad.cli("dev", "add", "name", name, "mgmtdev", "sim/nic0", "mac", MACS[who],
                       "max_vqp", str(self.queues))
        guest = Guest(self.folder.name, name, self.vdpad.run_dir / "vhost" / f"{name}.sock",
                      MACS[who], address, self.queues, self.packed, **self.facts, **facts)
        self.guests.append(guest)
        guest.start()
        return guest

    def destination(self):
        self.n += 1
        return self.make(f"a{self.n}", "a", "10.0.6.1", incoming=True)

    def migrate(self):
        """Migrate the guest to a new device; the old one is deleted. Return: QEMU's words."""
        source, target = self.guest, self.destination()
        result = source.migrate_to(target)
        assert result["status"] == "completed", result
        record = self.record(source.name)
        source.kill9()
        self.guests.remove(source)
        self.guest = target
        wait_for(lambda: self.record(source.name)["outcome"] == "handed over", "the record's end")
        return record

    def record(self, name):
        return self.vdpad.json("dev", "migration", "show", name)["migration"][name]

    def end(self):
        for guest in self.guests:
            guest.end()
        self.vdpad.stop()
        self.folder.cleanup()


@pytest.fixture
def make_stand():
    stands = []

    def make(*args, **facts):
        stands.append(Stand(*args, **facts))
        return stands[-1]

    yield make
    for stand in stands:
        stand.end()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_guest_migrates_and_is_reached_where_it_is(make_stand, method, kind):
    stand = make_stand(method, *kind)
    assert stand.guest.ping(stand.peer.address)
    for _ in range(2):
        record = stand.migrate()
        assert record["method"] == method and record["phase"] == "stopped"
        assert stand.guest.wait_ping(stand.peer.address)
        assert stand.peer.wait_ping(stand.guest.address)


@pytest.mark.parametrize("method", METHODS)
def test_a_migration_that_is_cancelled_leaves_the_guest_as_it_was(make_stand, method):
    stand = make_stand(method)
    assert stand.guest.ping(stand.peer.address)
    target = stand.destination()
    path = f"{stand.folder.name}/cancelled"
    with target.monitor() as there, stand.guest.monitor() as here:
        there.call("migrate-incoming", uri=f"unix:{path}")
        here.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
        here.call("migrate", uri=f"unix:{path}")
        status = stand.vdpad.wait_status("a", lambda status: "migration" in status)
        assert status["migration"] == {"phase": "logging", "method": method}
        assert status["datapath"] == ("relay" if method == "relay" else "direct")
        assert stand.guest.ping(stand.peer.address)
        here.call("migrate_cancel")
        assert here.wait_migrated()["status"] == "cancelled"
        here.call("migrate-set-parameters", **{"max-bandwidth": 10**9})
    status = stand.vdpad.wait_status("a", lambda status: "migration" not in status)
    assert status["datapath"] == "direct"
    assert stand.record("a")["outcome"] == "cancelled"
    assert stand.guest.ping(stand.peer.address)
    target.kill9()
    stand.guests.remove(target)
    stand.migrate()
    assert stand.guest.wait_ping(stand.peer.address)


def test_a_guest_that_does_not_announce_itself_is_announced(make_stand):
    stand = make_stand("device", announce=False)
    assert stand.guest.ping(stand.peer.address)
    stand.migrate()
    assert stand.peer.wait_ping(stand.guest.address)


def test_a_worker_may_be_killed_while_its_guest_migrates(make_stand):
    stand = make_stand("relay")
    target = stand.destination()
    path = f"{stand.folder.name}/slow"
    with target.monitor() as there, stand.guest.monitor() as here:
        there.call("migrate-incoming", uri=f"unix:{path}")
        here.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
        here.call("migrate", uri=f"unix:{path}")
        stand.vdpad.wait_status("a", lambda status: status["datapath"] == "relay")
        for _ in range(3):
            old = stand.vdpad.worker_pid("a")
            os.kill(old, signal.SIGKILL)
            stand.vdpad.wait_status("a", lambda status, old=old: status["worker_pid"] not in
                                    (0, old) and status["datapath"] == "relay")
            assert stand.guest.ping(stand.peer.address)
        here.call("migrate-set-parameters", **{"max-bandwidth": 10**9})
        assert here.wait_migrated()["status"] == "completed"
    stand.guest.kill9()
    stand.guests.remove(stand.guest)
    stand.guest = target
    assert target.wait_ping(stand.peer.address)
