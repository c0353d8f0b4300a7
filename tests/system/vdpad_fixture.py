# SPDX-License-Identifier: BSD-2-Clause
"""A vdpad of the test's own, in a folder of its own, and the CLI to talk to it."""
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from logs import assert_clean
from waiting import alive, wait_for

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / os.environ.get("VDPAD_BUILD", "build")
DEADLINE = 60


class CliError(Exception):
    """A command that failed; `status` and `stderr` say how."""

    def __init__(self, words, done):
        super().__init__(f"vdpa {' '.join(words)}: status {done.returncode}\n{done.stderr}")
        self.status, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr


def cmdline(pid):
    """As /proc has it; empty when the process has ended since."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Vdpad:
    """One supervisor. start() and kill9() as often as one likes; stop() leaves nothing behind."""

    def __init__(self, config=None, build=BUILD):
        self.build = build
        self.folder = Path(tempfile.mkdtemp(prefix="vdpad-", dir="/tmp"))
        os.chmod(self.folder, 0o755)
        self.run_dir = self.folder / "run"
        self.state_dir = self.folder / "state"
        self.log = self.folder / "log"
        self.config = None
        if config is not None:
            self.config = self.folder / "vdpad.conf"
            self.config.write_text(config)
        self.process = None
        self.environment, self.words = {}, []  # more than its own

    def command(self):
        words = [self.build / "tools/vdpad/vdpad", "--run-dir", self.run_dir, "--state-dir",
                 self.state_dir]
        return words + (["--config", self.config] if self.config else []) + self.words

    def spawn(self):
        """Start it; don't wait until it serves."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True,
                                            env=os.environ | self.environment)
        return self

    def start(self):
        """Start it and wait until it serves: it lets nobody in before it has found all."""
        return self.spawn().wait_until_it_serves()

    def wait_until_it_serves(self):
        def serves():
            assert self.process.poll() is None, f"vdpad ended:\n{self.log_text()}"
            return self.try_cli("mgmtdev", "show").returncode == 0
        wait_for(serves, "vdpad to serve")
        return self

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds=60):
        self.process.terminate()
        return self.process.wait(seconds)

    # ---- the CLI

    def try_cli(self, *words, **options):
        command = [self.build / "tools/vdpa/vdpa", "--socket", self.run_dir / "control.sock", *words]
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120, **options)
        assert_clean(done.stderr)
        return done

    def cli(self, *words):
        """Run one command, which has to succeed; what it printed."""
        done = self.try_cli(*words)
        if done.returncode != 0:
            raise CliError(words, done)
        return done.stdout

    def add(self, name, mac, *words, nic="nic0"):
        """A device; the path of its socket."""
        self.cli("dev", "add", "name", name, "mgmtdev", f"sim/{nic}", "mac", mac, *words)
        return self.run_dir / "vhost" / f"{name}.sock"

    def json(self, *words):
        return json.loads(self.cli("-j", *words))

    def status(self, name):
        return self.json("dev", "status", "show", name)["status"][name]

    def wait_status(self, name, condition, seconds=DEADLINE):
        def right():
            status = self.status(name)
            return status if condition(status) else None
        return wait_for(right, f"the status of {name}", seconds, tell=lambda: self.status(name))

    def worker_pid(self, name):
        return self.status(name)["worker_pid"]

    def shim_pid(self, name):
        return self.status(name)["shim_pid"]

    def simnic_pid(self, nic="nic0"):
        """Asked of simnic itself; None while it does not answer."""
        request = struct.pack("=IIiI", 64, 1, 0, 0)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
                link.settimeout(60)
                link.connect(str(self.run_dir / f"sim/{nic}.sock"))
                link.send(request)
                return struct.unpack_from("=I", link.recv(4096), 16 + 28)[0]
        except (OSError, struct.error):
            return None

    # ---- the end

    def processes(self):
        """All that were started from our folder and still run: they name it, or its sockets do."""
        found = set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if str(self.folder) in os.readlink(entry / "fd/2") and alive(int(entry.name)):
                    found.add(int(entry.name))
            except OSError:
                continue
        return found

    def delete(self, name):
        """Also one that is just being started again, which is refused as long as that goes on."""
        wait_for(lambda: self.try_cli("dev", "del", name).returncode == 0 or
                 name not in self.json("dev", "show")["dev"], f"{name} to be deleted", tell=self.log_text)

    def command_lines(self):
        return [cmdline(pid).replace(b"\0", b" ") for pid in self.processes()]

    def stop(self):
        """End everything. Fails when something does not end, or a process broke on the way."""
        try:
            if self.process and self.process.poll() is None:
                for name in list(self.json("dev", "show")["dev"]):
                    self.delete(name)
                assert self.terminate() == 0, self.log_text()
                wait_for(lambda: not self.processes(), "the end of all processes",
                         tell=lambda: f"{self.command_lines()}\n{self.log_text()}")
        finally:
            if self.process and self.process.poll() is None:
                self.kill9()
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):  # a worker ends with its shim
                    os.kill(pid, signal.SIGKILL)
            text = self.log_text()
            shutil.rmtree(self.folder, ignore_errors=True)
        assert_clean(text)
