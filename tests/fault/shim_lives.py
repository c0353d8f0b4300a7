# SPDX-License-Identifier: BSD-2-Clause
"""A shim of which one call fails, with workers that work, while its device is made, used and deleted."""
import os
import select
import shutil
import tempfile
import time

import shim_client as vdpad
from aftermath import Footprint
from frontend import OFFERED_PF, Closed, Guest, Hopeless
from lives import PATIENCE, Bench, Finding, wait_for_nothing
from stand import BUILD, WORKER
from waiting import alive, wait_for

SHIM = os.path.join(BUILD, "tools/shim/vdpa-shim")


class Refused(Exception):
    """The shim said no, or ended, before it had a device."""


def has_ended(fe):
    """The connection, of a front-end that waits for no answer."""
    return bool(select.select([fe.sock], [], [], 0)[0])


def kill_worker(device):
    """The one that there is; a fault may have ended it already."""
    try:
        if pid := device.link.hello().worker_pid:
            os.kill(pid, 9)
    except ProcessLookupError:
        pass


class Device(vdpad.Device):
    """vdpad's side; what the shim refuses, or its end before it is configured, is allowed."""

    def __enter__(self):
        try:
            return super().__enter__()
        except ConnectionRefusedError as error:
            status = self.process.wait(PATIENCE)
            if status <= 0:
                raise Finding(f"the shim ended before it began, {status}:\n{self.log()[-3000:]}") from error
            raise Refused from error

    def begin(self, mailbox):
        try:
            if self.configure([mailbox]) != 0:
                raise Refused
            wait_for(self.works, "a worker", PATIENCE)
        except (ConnectionResetError, BrokenPipeError, TimeoutError) as error:
            raise Refused from error

    def works(self):
        state = self.link.hello()
        if state.state == vdpad.GIVEN_UP:
            raise Refused
        return state.state == vdpad.WORKING

    def settle(self):
        """A worker serves, perhaps another one; vdpad's connection is made again if it was ended."""
        try:
            return self.works()
        except (ConnectionResetError, BrokenPipeError):
            self.relink()
            return False

    def revive(self, mailbox):
        self.link.ask(vdpad.DEVICE_FDS, fds=[mailbox])


class ShimBench(Bench):
    program = "vdpa-shim"

    def life(self, fault):
        name, mailbox = self.nic.add()
        folder = tempfile.mkdtemp(prefix="vdpad-fault-", dir="/tmp")
        os.chmod(folder, 0o755)
        device = Device(SHIM, WORKER, folder)
        device.environ = self.faulty
        self.plan.begin(*(fault or ()))
        try:
            try:
                device.__enter__()
            except Refused:
                return "no device"
            try:
                return self.use(device, mailbox, fault)
            except Refused:
                return "no device"
            finally:
                self.stop_counting()
                self.check_end(device)
        finally:
            self.stop_counting()
            os.close(mailbox)
            self.nic.delete(name)
            shutil.rmtree(folder, ignore_errors=True)

    def use(self, device, mailbox, fault):
        device.begin(mailbox)
        good = True
        try:
            with Guest(device.vhost_path, offered=OFFERED_PF) as guest:
                for ring in guest.rings:
                    ring.hopeless = lambda: has_ended(guest.fe)
                guest.setup().exchange(2)
                kill_worker(device)
                guest.exchange(2)
                wait_for(device.settle, "another worker", PATIENCE)
                guest.exchange(2)
                device.link.ask(vdpad.UPGRADE)
                guest.exchange(2)
        except (Closed, Hopeless, BrokenPipeError, ConnectionResetError):
            good = False
        self.stop_counting()
        self.check_shim(device, fault)
        return "nothing" if good else "refused"

    def check_shim(self, device, fault):
        """It is there, its worker serves the next front-end, and nothing is left."""
        if not alive(device.process.pid):
            raise Finding(f"the shim ended, {device.process.wait()}:\n{device.log()[-3000:]}")
        wait_for(device.settle, "a worker", PATIENCE)
        wait_for(lambda: self.next_one(device), "the next front-end", PATIENCE)
        if fault is None:
            self.before["shim"] = Footprint(device.process.pid)
            return
        left = wait_for_nothing(lambda: Footprint(device.process.pid).excess(self.before["shim"], 1 << 30))
        if left:
            raise Finding("shim: " + "; ".join(left))

    def next_one(self, device):
        """It may be turned away as long as the last one's end is not known."""
        try:
            with Guest(device.vhost_path, offered=OFFERED_PF) as guest:
                guest.setup().exchange(2)
            return True
        except (Closed, BrokenPipeError, ConnectionResetError):
            time.sleep(0.05)
            return False

    def check_end(self, device):
        """However it ends, its worker ends with it, and no signal was the cause."""
        status = device.process.poll()
        worker = None
        if status is None:
            try:
                worker = device.link.hello().worker_pid
            except (OSError, ConnectionResetError):
                pass
        device.__exit__()
        if status is not None and status < 0:
            raise Finding(f"the shim ended by signal {-status}:\n{device.log()[-3000:]}")
        if worker:
            wait_for(lambda: not alive(worker), "the worker's end", PATIENCE)
