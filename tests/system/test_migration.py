# SPDX-License-Identifier: BSD-2-Clause
"""Live migrations of Linux guests by QEMU.

QEMU 7.2 without KVM loses pages that the guest itself writes while it begins to migrate, the more the
busier the guest's kernel is: after a migration under a bulk transfer the two memories differ in pages
that no device wrote. So these guests do little, and one that is broken afterwards gets another try;
what is said of the device is never tried twice. That each page arrives which a device writes is shown
by the page oracle in tests/migrate.
"""
import contextlib
import os
import re
import signal
import tempfile

import pytest

from frontend import Guest as WireGuest
from guest import Guest, GuestError
from test_control import Peer
from vdpad_fixture import Vdpad
from waiting import wait_for

MACS = {"a": "52:54:00:00:06:01", "peer": "52:54:00:00:06:02", "watcher": "52:54:00:00:06:03"}
RARP = b"\x80\x35"
PINGS_A_SECOND = 10
LONGEST_GAP = 150  # pings in a row without an answer, while QEMU moves the rest of the memory
FEW_FEATURES = hex(1 << 32 | 1 << 5)  # VERSION_1, MAC
KINDS = [pytest.param((1, False), id="split"), pytest.param((1, True), id="packed"),
         pytest.param((2, False), id="split-2-pairs"), pytest.param((2, True), id="packed-2-pairs")]
METHODS = {"device": "dirty_log = yes", "relay": "dirty_log = no"}
INITIAL = {"initial": "start_position = initial",
           "initial-with-a-log": "start_position = initial\ndirty_log = yes"}
NICS = METHODS | INITIAL


class Stand:
    """One vdpad; a guest that migrates, and a peer that it talks to."""

    def __init__(self, nic, queues=1, packed=False, **facts):
        self.folder = tempfile.TemporaryDirectory(prefix="guest-")
        self.vdpad = Vdpad(config=f"[simnic nic0]\n{NICS[nic]}\n")
        self.queues, self.packed, self.facts = queues, packed, facts
        self.n = 0
        self.guests = []
        self.vdpad.start()
        self.peer = self.make("peer", "peer", "10.0.6.2")
        self.guest = self.make("a", "a", "10.0.6.1")
        for guest in self.guests:
            guest.wait_ready()

    def make(self, name, who, address, words=(), **facts):
        """A device and a guest on it that was started."""
        self.vdpad.add(name, MACS[who], "max_vqp", str(self.queues), *words)
        guest = Guest(self.folder.name, name, self.vdpad.run_dir / "vhost" / f"{name}.sock",
                      MACS[who], address, self.queues, self.packed, **self.facts, **facts)
        self.guests.append(guest)
        guest.start()
        return guest

    def destination(self, *words):
        self.n += 1
        return self.make(f"a{self.n}", "a", "10.0.6.1", words, incoming=True)

    def drop(self, guest):
        guest.kill9()
        self.guests.remove(guest)

    def migrate(self):
        """Migrate the guest to a new device; the old one is deleted. Return: QEMU's words."""
        source, target = self.guest, self.destination()
        result = source.migrate_to(target)
        assert result["status"] == "completed", result
        record = self.record(source.name)
        self.drop(source)
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


class Broken(Exception):
    """The guest can't be reached any more."""


def reach(guest, other):
    """Each reaches the other."""
    if not guest.wait_ping(other.address) or not other.wait_ping(guest.address):
        raise Broken(guest.describe("it can't be reached"))


def tell(story, *args, **facts):
    """Run story(stand); again when the guest broke, up to three times."""
    for attempt in range(3):
        stand = Stand(*args, **facts)
        try:
            return story(stand)
        except (Broken, GuestError) as error:
            print(f"attempt {attempt + 1}: {error}")
            last = error
        finally:
            stand.end()
    raise last


@contextlib.contextmanager
def pinged(guest, other):
    """The other one pings the guest all the time, and soon has an answer again."""
    other.run(f"ping -i {1 / PINGS_A_SECOND} {guest.address} >/tmp/ping 2>&1 & sleep 0.5")
    yield
    if not other.wait_ping(guest.address):
        raise Broken(guest.describe("it can't be reached"))
    text = other.run("killall -INT ping; while killall -0 ping 2>/dev/null; do usleep 50000; done; cat /tmp/ping")
    sent = int(re.search(r"(\d+) packets transmitted", text)[1])
    answered = sorted({int(number) for number in re.findall(r"seq=(\d+)", text)})
    gaps = [b - a - 1 for a, b in zip([-1, *answered], [*answered, sent])]
    print(f"of {sent} pings {sent - len(answered)} had no answer, {max(gaps)} in a row")
    assert len(answered) > PINGS_A_SECOND and max(gaps) < LONGEST_GAP, text


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_guest_migrates_and_is_reached_where_it_is(method, kind):
    def story(stand):
        reach(stand.guest, stand.peer)
        for _ in range(2):
            with pinged(stand.guest, stand.peer):
                record = stand.migrate()
            assert record["method"] == method and record["phase"] == "stopped"
            reach(stand.guest, stand.peer)
    tell(story, method, *kind)


class Told(Peer):
    """What the control socket tells of a device's migrations."""

    def __init__(self, vdpad, name):
        super().__init__(vdpad)
        assert self.call("monitor", name=name)["result"] == {}

    def expect(self, name):
        """The next one is migration-NAME. Return: its text."""
        while True:
            event = self.line()
            if event["event"].startswith("migration-"):
                assert event["event"] == f"migration-{name}"
                return event["text"]


def begin_slowly(stand):
    """A migration that takes its time. Return: (destination, its monitor, ours)."""
    target = stand.destination()
    path = f"{stand.folder.name}/slow"
    there, here = target.monitor(), stand.guest.monitor()
    there.call("migrate-incoming", uri=f"unix:{path}")
    here.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
    here.call("migrate", uri=f"unix:{path}")
    return target, there, here


@pytest.mark.parametrize("method", METHODS)
def test_a_migration_that_is_cancelled_leaves_the_guest_as_it_was(method):
    def story(stand):
        reach(stand.guest, stand.peer)
        with Told(stand.vdpad, "a") as told:
            tell_of_it(stand, told)

    def tell_of_it(stand, told):
        target, there, here = begin_slowly(stand)
        with there, here:
            status = stand.vdpad.wait_status("a", lambda status: "migration" in status)
            assert f"({method}, switch " in told.expect("logging")
            assert status["migration"] == {"phase": "logging", "method": method}
            assert status["datapath"] == ("relay" if method == "relay" else "direct")
            reach(stand.guest, stand.peer)
            here.call("migrate_cancel")
            assert here.wait_migrated()["status"] == "cancelled"
            here.call("migrate-set-parameters", **{"max-bandwidth": 10**9})
        status = stand.vdpad.wait_status("a", lambda status: "migration" not in status)
        assert status["datapath"] == "direct"
        assert stand.record("a")["outcome"] == "cancelled"
        reach(stand.guest, stand.peer)
        stand.drop(target)
        told.expect("cancelled")
        stand.migrate()
        for name in ("logging", "stopped", "handed-over"):
            assert f"({method}, switch " in told.expect(name)
        reach(stand.guest, stand.peer)
    tell(story, method)


@pytest.mark.parametrize("method", METHODS)
def test_a_destination_that_refuses_the_guest_leaves_it_where_it_was(method):
    """What the guest uses its device does not offer, which shows when all queues were taken back."""
    def story(stand):
        reach(stand.guest, stand.peer)
        target = stand.destination("device_features", FEW_FEATURES)
        stand.guest.wants_answer_of(target)
        assert stand.guest.migrate_to(target)["status"] == "failed"
        status = stand.vdpad.wait_status("a", lambda status: "migration" not in status)
        assert status["datapath"] == "direct"
        record = stand.record("a")
        assert (record["outcome"], record["method"]) == ("cancelled", method)
        reach(stand.guest, stand.peer)
        stand.drop(target)
        with contextlib.closing(Watcher(stand)) as watcher:
            stand.migrate()
            reach(stand.guest, stand.peer)
            assert watcher.listen() == []  # this guest says itself where it is
    tell(story, method)


class Watcher:
    """A third device on the same NIC, which hears what all do."""

    def __init__(self, stand):
        path = stand.vdpad.add("watcher", MACS["watcher"])
        self.guest = WireGuest(str(path)).setup()
        self.close = self.guest.close
        self.ring = self.guest.rings[0]
        self.announced = []  # addresses, by frames of which
        for _ in range(self.ring.size):
            self.ring.offer(writable=2048)
        self.ring.notify()

    def listen(self):
        while (done := self.ring.take()) is not None:
            frame = self.ring.data(*done)[12:]
            if frame[12:14] == RARP:
                self.announced.append(frame[6:12].hex(":"))
            self.ring.offer(writable=2048)
            self.ring.notify()
        return self.announced


def test_a_guest_that_does_not_announce_itself_is_announced():
    def story(stand):
        with contextlib.closing(Watcher(stand)) as watcher:
            reach(stand.guest, stand.peer)
            assert watcher.listen() == []
            stand.migrate()
            wait_for(watcher.listen, "a RARP on the wire")
            assert set(watcher.announced) == {MACS["a"]}
            reach(stand.guest, stand.peer)
    tell(story, "device", announce=False)


def test_a_worker_may_be_killed_while_its_guest_migrates():
    def story(stand):
        target, there, here = begin_slowly(stand)
        with there, here:
            stand.vdpad.wait_status("a", lambda status: status["datapath"] == "relay")
            for _ in range(3):
                old = stand.vdpad.worker_pid("a")
                os.kill(old, signal.SIGKILL)
                stand.vdpad.wait_status("a", lambda status, old=old: status["worker_pid"] not in
                                        (0, old) and status["datapath"] == "relay")
                reach(stand.guest, stand.peer)
            here.call("migrate-set-parameters", **{"max-bandwidth": 10**9})
            assert here.wait_migrated()["status"] == "completed"
        stand.drop(stand.guest)
        stand.guest = target
        reach(stand.guest, stand.peer)
    tell(story, "relay")


# ---- devices that start in fresh rings only

MIGRATES, STANDS = "the guest migrates, and", "the device can't go on in the middle of a ring"


def wait_relayed(stand, name, why):
    """It is relayed, and its status says why, in both forms."""
    status = stand.vdpad.wait_status(name, lambda status: status["datapath"] == "relay" and
                                     status["datapath_reason"].startswith(why))
    lines = stand.vdpad.cli("dev", "status", "show", name).splitlines()
    assert lines[0].startswith(f"{name}: running relay, ")
    assert f"  relayed: {status['datapath_reason']}" in lines


def wait_direct(stand, name):
    status = stand.vdpad.wait_status(name, lambda status: status["datapath"] == "direct")
    assert "datapath_reason" not in status
    assert "relayed" not in stand.vdpad.cli("dev", "status", "show", name)


@pytest.mark.parametrize("packed", [False, True] if os.environ.get("VDPAD_ALL") else [False])
def test_a_guest_behind_an_iommu_migrates_and_is_reached(packed):
    """The destination knows none of its addresses, and asks."""
    def story(stand):
        reach(stand.guest, stand.peer)
        for _ in range(2):
            assert "ACCESS_PLATFORM" in stand.vdpad.status(stand.guest.name)["features"]
            assert stand.migrate()["method"] == "device"
            reach(stand.guest, stand.peer)
            assert stand.guest.ping(stand.peer.address, 5)
        stand.guest.reload_driver()
        reach(stand.guest, stand.peer)
    tell(story, "device", packed=packed, iommu=True)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize("nic", INITIAL)
def test_a_guest_that_arrives_in_the_middle_of_its_rings_is_relayed_until_it_begins_anew(nic, packed):
    def story(stand):
        wait_direct(stand, stand.guest.name)
        reach(stand.guest, stand.peer)
        for _ in range(2):
            assert stand.migrate()["method"] == "relay"
            wait_relayed(stand, stand.guest.name, STANDS)
            reach(stand.guest, stand.peer)
        stand.guest.reload_driver()
        wait_direct(stand, stand.guest.name)
        reach(stand.guest, stand.peer)
    tell(story, nic, packed=packed)


@pytest.mark.parametrize("nic", INITIAL)
def test_a_guest_whose_migration_was_cancelled_stays_relayed_until_it_begins_anew(nic):
    def story(stand):
        reach(stand.guest, stand.peer)
        wait_direct(stand, "a")
        target, there, here = begin_slowly(stand)
        with there, here:
            wait_relayed(stand, "a", MIGRATES)
            reach(stand.guest, stand.peer)
            here.call("migrate_cancel")
            assert here.wait_migrated()["status"] == "cancelled"
        stand.vdpad.wait_status("a", lambda status: "migration" not in status)
        wait_relayed(stand, "a", STANDS)
        reach(stand.guest, stand.peer)
        stand.drop(target)
        stand.guest.reboot()
        wait_direct(stand, "a")
        reach(stand.guest, stand.peer)
    tell(story, nic)
