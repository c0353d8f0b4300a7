# SPDX-License-Identifier: BSD-2-Clause
"""A life of a front-end, and its programs, of which one has a call that fails.

Whatever fails: messages may be refused, the connection may end, the worker may end and its successor goes
on. Nothing ends by a signal, nothing hangs, nothing is left, and another device's frames go round."""
import os
import socket
import struct
import threading
import time

from aftermath import Auditor, Footprint, disconnected
from arrival import Arrival, offer_frame
from frontend import Closed, Guest, Hopeless
from plan import Plan, number_of
from shimside import Shim
from simnic import Simnic
from stand import BUILD, Stand
from test_hostile_life import Life
from waiting import wait_for

LIBRARY = os.path.join(BUILD, "tests/fault/libfault.so")
MOST_DEATHS = 4  # of workers by one fault
PATIENCE = 30  # seconds for anything


class Finding(Exception):
    """What must not be."""


def reply(fe):
    """The body of the next reply, whatever it is to."""
    request, _, size = struct.unpack("=III", fe.receive(12))
    return request, fe.receive(size)


def tell(fe, name, payload, fds, asks):
    """Return: whether it was accepted."""
    fe.send(name, payload, fds, flags=9 if asks else 1)
    if not asks and not name.startswith("GET_"):
        return True
    _, body = reply(fe)
    if name.startswith("GET_"):
        return len(body) > 0
    return struct.unpack_from("=Q", body)[0] & 0xff == 0


def play(stand, life):
    """Return: whether everything was accepted. Frames go round as long as rings run."""
    fe, good = life.guest.fe, True
    for ring in life.guest.rings:
        ring.hopeless = lambda: stands_still(stand)
    try:
        for i, step in enumerate(life.steps):
            if not callable(step):
                good = tell(fe, *step, i > 3) and good
            elif good:
                step()
    except (Closed, Hopeless, BrokenPipeError, ConnectionResetError):
        return False
    return good


def stands_still(stand):
    """A ring that does not run says why, and so does a device; or the connection has ended."""
    try:
        dump = stand.shim.dump()
    except (AssertionError, OSError):
        return False
    device = dump["device"]
    return not dump["session"]["connected"] or device["failed"] or device["lost"] or any(ring["failed"] for ring in device["rings"])


class Supervised(Shim):
    """Starts a worker again when it ends, as vdpa-shim does."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.deaths = []
        self.ending = False
        self.watcher = None

    def begin(self):
        self._again()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _again(self):
        try:
            self.spawn()
            self.pump()
        except OSError:
            pass  # it ended before it was told everything

    def _watch(self):
        while not self.ending:
            status = self.process.wait()
            if self.ending:
                return
            self.deaths.append(status)
            self._reap()
            if len(self.deaths) >= MOST_DEATHS:
                return
            self._again()

    def request(self, kind, fds=()):
        """As a shim's; it fails when the worker ends meanwhile."""
        sock, self.seq = self.sock, self.seq + 1
        seq = self.seq
        if sock is None:
            raise OSError("there is no worker")
        self.send(kind, fds=fds, seq=seq)
        wait_for(lambda: seq in self.replies or self.sock is not sock, "the worker's reply", PATIENCE)
        if seq not in self.replies:
            raise OSError("the worker ended meanwhile")
        return self.replies[seq]

    def stop(self):
        self.ending = True
        super().stop()
        if self.watcher:
            self.watcher.join(PATIENCE)

    def check(self):
        for status in self.deaths:
            if status < 0:
                raise Finding(f"the worker ended by signal {-status}:\n{self.log()[-3000:]}")
        if len(self.deaths) >= MOST_DEATHS:
            raise Finding(f"workers end again and again:\n{self.log()[-3000:]}")


class FaultStand(Stand):
    make_shim = Supervised


def leave(stand):
    """All front-ends go."""
    for thing in stand.opened:
        thing.close()
    stand.opened.clear()


def arrive(stand):
    """Another guest comes by postcopy. Return: whether everything was accepted."""
    wait_for(lambda: is_free(stand), "the end of the connection", PATIENCE)
    arrival = Arrival(stand.guest())
    guest = arrival.guest
    offer_frame(guest)
    for ring in guest.rings:
        ring.hopeless = lambda: stands_still(stand)
    try:
        try:
            arrival.start()
            guest.rings[1].notify()
            arrival.land()
        except (AssertionError, TypeError, struct.error):  # it takes all for granted
            return False
        guest.rings[1].wait()  # what it sent may be lost: room for it was perhaps still on its way
        return True
    except (Closed, Hopeless, BrokenPipeError, ConnectionResetError):
        return False
    finally:
        arrival.close()
        leave(stand)


def is_free(stand):
    """Nobody is connected, as far as it can be known now."""
    try:
        return stand.shim.ready and disconnected(stand)
    except (OSError, AssertionError):
        return False


def attach_if_lost(stand):
    """As vdpad does when a function was lost."""
    if not stand.shim.dump()["device"]["lost"]:
        return
    stand.shim.device_changed(stand.nic.attach(stand.name))
    wait_for(lambda: not stand.shim.dump()["device"]["lost"], "the device at work", PATIENCE)


def check_stand(stand, before):
    """The next front-end finds all well, and nothing is left of the last one."""
    stand.shim.check()
    wait_for(lambda: is_free(stand), "the end of the connection", PATIENCE)
    attach_if_lost(stand)
    with Guest(stand.path, offered=stand.offered) as guest:
        guest.setup().exchange(3)
    wait_for(lambda: is_free(stand), "the end of the connection", PATIENCE)
    left = wait_for_nothing(lambda: Footprint(stand.shim.process.pid).excess(before["worker"], 1 << 30))
    kept = len(stand.shim.kept())
    if kept != before["kept"]:
        left.append(f"{kept} slots, which were {before['kept']}")
    if left:
        raise Finding("worker: " + "; ".join(left))


def wait_for_nothing(excess):
    """What stays, in words."""
    end = time.monotonic() + 5
    while (found := excess()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


class FaultLife(Life):
    """@inflight: the front-end has a back-end note which chains are in flight, so rings are always relayed."""

    def __init__(self, stand, packed=False, inflight=False):
        super().__init__(stand, packed)
        if inflight:
            names = [None if callable(step) else step[0] for step in self.steps]
            rings = self.guest.rings
            self.steps.insert(names.index("SET_FEATURES") + 1, (
                "GET_INFLIGHT_FD", struct.pack("=QQHHI", 0, 0, len(rings), rings[0].size, 0), []))


class OwnLog:
    """The device logs pages itself; the guest's rings are packed."""
    nic_facts, life_facts = {"dirty_log": True}, {"packed": True}


class AnyOrder:
    """The device completes in any order, behind a relay that notes what is in flight."""
    nic_facts, life_facts = {"shuffled": True}, {"packed": True, "inflight": True}


class Bench:
    """A simnic, another device whose frames go round, and one life after the other."""

    program = None  # whose calls fail
    nic_facts, life_facts = {}, {}

    def __init__(self, folder):
        self.plan = Plan(folder)
        self.nic = self.auditor = None
        self.before = {}
        self.faulty = self.plan.environ(LIBRARY, self.program)
        self.start_nic()
        self.measure()

    def start_nic(self):
        self.nic = Simnic(BUILD, **self.nic_facts)
        self.prepare_nic()
        self.nic.start()
        self.auditor = Auditor(self.nic)
        self.auditor.begin()
        self.auditor.check()

    def prepare_nic(self):
        pass

    def close(self):
        self.auditor.close()
        self.nic.__exit__()

    def measure(self):
        """What a worker and simnic have when nothing is wrong."""
        self.life(None)
        self.before["nic"] = Footprint(self.nic.process.pid)

    def count(self):
        """Return: the calls of a life."""
        self.life(None)
        return self.plan.calls()

    def run(self, kind, at, error):
        """One life with one fault. Return: (whether it was reached, what came of it)."""
        outcome = self.life((kind, at, number_of(error)))
        self.check_others()
        return self.plan.hit(), outcome

    def check_others(self):
        if self.nic.process.poll() is not None:
            raise Finding(f"simnic ended, {self.nic.process.returncode}:\n{self.nic.log()[-3000:]}")
        self.auditor.check()
        self.auditor.begin()
        left = wait_for_nothing(
            lambda: Footprint(self.nic.process.pid).excess(self.before["nic"], 1 << 30))
        if left:
            raise Finding("simnic: " + "; ".join(left))

    def stop_counting(self):
        """Nothing fails from now on; what was counted and hit stays to be read."""
        self.plan.pause()


class WorkerBench(Bench):
    program = "vdpa-worker"

    def life(self, fault):
        stand = FaultStand(self.nic)
        stand.shim.environ = self.faulty
        self.plan.begin(*(fault or ()))
        try:
            good = self.whole_life(stand, fault)
            check_stand(stand, self.before)
            return "nothing" if good and not stand.shim.deaths else \
                "a new worker" if stand.shim.deaths else "refused"
        finally:
            self.stop_counting()
            stand.close_now()

    def whole_life(self, stand, fault):
        """Return: whether all of it went well. Nothing fails any more then."""
        stand.shim.begin()
        connected(stand)
        life = FaultLife(stand, **self.life_facts)
        good = play(stand, life)
        life.close()
        leave(stand)
        good = arrive(stand) and good
        self.stop_counting()
        if fault is None:
            self.note(stand)
        return good

    def note(self, stand):
        wait_for(lambda: is_free(stand), "the end of the connection", PATIENCE)
        self.before["worker"] = Footprint(stand.shim.process.pid)
        self.before["kept"] = len(stand.shim.kept())


def connected(stand):
    """A worker is there, and takes whoever comes. One that lost its function waits for another mailbox,
    which vdpad would bring."""
    begun = time.monotonic()

    def serves():
        stand.shim.check()
        if not stand.shim.ready and time.monotonic() > begun + 5 and not stand.revived:
            stand.revived = True
            stand.shim.device_changed(stand.nic.attach(stand.name))
        return stand.shim.ready

    stand.revived = False
    wait_for(serves, "a worker that is ready", PATIENCE)


class SimnicBench(WorkerBench):
    program = "simnic"

    def prepare_nic(self):
        self.nic.environ = self.faulty

    def life(self, fault):
        self.plan.begin(*(fault or ()))
        try:
            stand = FaultStand(self.nic)
        except (AssertionError, OSError):
            return self.not_made(fault)
        try:
            good = self.whole_life(stand, fault)
            self.admin_again()
            check_stand(stand, self.before)
            return "nothing" if good else "refused"
        finally:
            self.stop_counting()
            self.admin_again()
            stand.close_now()

    def not_made(self, fault):
        self.stop_counting()
        if fault is None:
            raise Finding("no function is made")
        self.admin_again()
        self.nic.delete(f"f{self.nic.names}".encode())
        return "no function"

    def admin_again(self):
        """Another connection, if simnic ended this one."""
        try:
            self.nic.features()
        except (AssertionError, OSError):
            self.nic.sock.close()
            wait_for(self.nic._connect, "simnic's admin socket", PATIENCE)
            assert isinstance(self.nic.sock, socket.socket)


class WorkerOwnLog(OwnLog, WorkerBench):
    pass


class WorkerAnyOrder(AnyOrder, WorkerBench):
    pass


class SimnicOwnLog(OwnLog, SimnicBench):
    pass


class SimnicAnyOrder(AnyOrder, SimnicBench):
    pass
