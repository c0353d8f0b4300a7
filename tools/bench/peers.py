# SPDX-License-Identifier: BSD-2-Clause
"""What is measured: vdpad with all that belongs to it, and testpmd as the peer."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / os.environ.get("VDPAD_BUILD", "build")
FRONTEND = BUILD / "tools/bench/frontend"
TRAFFIC = BUILD / "tools/bench/traffic"
NEIGHBOURS = BUILD / "tools/bench/neighbours"
RELAY_MICRO = BUILD / "tools/bench/relay_micro"
# Handing memory to another process works without huge pages, for both sides alike.
EAL = ["--no-huge", "-m", "192", "--no-pci", "--no-telemetry", "--main-lcore", "0"]


class BenchError(Exception):
    pass


def wait_for(what, condition, seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise BenchError(f"{what} didn't come in {seconds} s")
        time.sleep(0.02)


def pin(pid, cpu):
    """Put each thread of a process on one processor."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {cpu})


class Folder:
    """A temporary folder with a path short enough for sockets."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="vb-", dir="/tmp"))

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Testpmd:
    """DPDK's testpmd, told what to do over its standard input.

    forward_cpu: processor of the one forwarding thread; the other threads get the other one
    locked:      it locks its memory, as it does unless told not to; then each mapping of a guest's
                 memory is filled at once
    """

    def __init__(self, folder, name, devices, queues=1, forward_cpu=1, forward="io", size=None,
                 locked=True):
        self.log = folder / f"{name}.log"
        other = 1 - forward_cpu
        command = ["stdbuf", "-oL", "dpdk-testpmd", *EAL, "--file-prefix", f"{folder.name}{name}",
                   "--lcores", f"0@{other},1@{forward_cpu}", "--log-level=lib.vhost:error"]
        for device in devices:
            command += ["--vdev", device]
        command += ["--", "-i", "--total-num-mbufs=8192", "--nb-cores=1",
                    f"--rxq={queues}", f"--txq={queues}", f"--forward-mode={forward}"]
        command += [] if locked else ["--no-mlockall"]
        command += [f"--txpkts={size}"] if size else []
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        wait_for("testpmd", lambda: self.ready())

    def text(self):
        return self.log.read_text(errors="replace")

    def ready(self):
        if self.process.poll() is not None:
            raise BenchError(f"testpmd ended:\n{self.text()[-2000:]}")
        return "testpmd>" in self.text() or "Done\n" in self.text()

    def tell(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()

    def port(self, number=0):
        """(received, sent) packets of a port, as of now."""
        before = len(self.text())
        self.tell(f"show port stats {number}")
        wanted = re.compile(r"RX-packets:\s*(\d+).*?TX-packets:\s*(\d+).*?Tx-pps", re.DOTALL)
        found = wait_for("port statistics", lambda: wanted.search(self.text()[before:]))
        return int(found[1]), int(found[2])

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        if self.process.poll() is None:
            self.resume()
            self.tell("quit")
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdin.close()


class Traffic:
    """traffic.c on the first processor; `ends` are (address, socket) of one device, or of two."""

    def __init__(self, packed, size, ends):
        words = [word for end in ends for word in end]
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", TRAFFIC, "packed" if packed else "split", str(size), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, command, lines=1):
        """The words of each line that it answers, as numbers where they are."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answers = [self.process.stdout.readline().split() for _ in range(lines)]
        if not all(answers):
            raise BenchError("the front-end ended")
        return answers

    def rate(self, seconds):
        return float(self.tell(f"measure {seconds}")[0][0])

    def end(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


class Proxy:
    """proxy.py between a front-end and `backend`; the front-end connects to `path`."""

    def __init__(self, folder, name, backend):
        self.path = folder / f"{name}.proxy"
        self.path.unlink(missing_ok=True)
        self.log = folder / f"{name}.messages"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("proxy.py"), self.path, backend],
                stdin=subprocess.PIPE, stdout=log, stderr=log)
        wait_for("the proxy", self.path.exists)

    def messages(self):
        """(nanoseconds, side, request, flags, value) of each message so far."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [(int(words[0]), words[1], *map(int, words[2:]))
                for words in map(str.split, lines) if len(words) == 5 and words[0].isdigit()]

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Vdpad:
    """vdpad in a folder of its own, with one simnic, or more of `extra`; names that no other process has.

    tag: tells one vdpad of this bench from another
    """

    def __init__(self, folder, uplink="none", extra="", tag=""):
        self.folder = folder
        self.run = folder / "run"
        config = folder / "vdpad.conf"
        self.nic = f"bench{os.getpid()}{tag and 'n'}{tag}"
        config.write_text(f"[simnic {self.nic}]\nuplink = {uplink}\n{extra}")
        self.log = folder / "vdpad.log"
        self.names = []
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [BUILD / "tools/vdpad/vdpad", "--config", config, "--run-dir", self.run,
                 "--state-dir", folder / "state"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("vdpad", self.answers)

    def answers(self):
        if self.process.poll() is not None:
            raise BenchError(f"vdpad ended:\n{self.log.read_text(errors='replace')[-2000:]}")
        return self.vdpa("mgmtdev", "show", f"sim/{self.nic}", check=False).returncode == 0

    def vdpa(self, *words, check=True):
        done = subprocess.run([BUILD / "tools/vdpa/vdpa", "--socket", self.run / "control.sock",
                               *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise BenchError(f"vdpa {' '.join(words)}: {done.stderr or done.stdout}")
        return done

    def add(self, number, *words, nic=None):
        """Make a device and return (its name, the path of its socket)."""
        name = f"{self.nic}-{number}"
        self.vdpa("dev", "add", "name", name, "mgmtdev", f"sim/{nic or self.nic}", *words)
        self.names.append(name)
        return name, self.run / "vhost" / f"{name}.sock"

    def remove(self, name):
        self.vdpa("dev", "del", name)
        self.names.remove(name)

    def processes(self, program):
        """Pids of this vdpad's NIC or devices that run `program`, by their --name."""
        found = {}
        for entry in os.listdir("/proc"):
            try:
                words = Path(f"/proc/{int(entry)}/cmdline").read_text().split("\0")
            except (OSError, ValueError):
                continue
            if Path(words[0]).name == program and "--name" in words:
                name = words[words.index("--name") + 1]
                if name == self.nic or name.startswith(self.nic + "-"):
                    found[name] = int(entry)
        return found

    def end(self):
        for name in list(self.names):
            self.vdpa("dev", "del", name, check=False)
        self.process.terminate()  # without devices simnic ends, too
        self.process.wait(20)
