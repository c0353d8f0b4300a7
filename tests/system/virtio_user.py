# SPDX-License-Identifier: BSD-2-Clause
"""DPDK's virtio-user as the front-end: pktcheck checks each packet between pairs of devices."""
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / os.environ.get("VDPAD_BUILD", "build")
# Memory that can be handed to another process doesn't need huge pages since DPDK 20.
EAL = ["--no-huge", "-m", "96", "--no-pci", "--no-telemetry", "--lcores", "0@0-1"]
PROGRESS = re.compile(r"port (\d+): sent (\d+) right (\d+) lost (\d+) bad (\d+) queues ([\d ]+)")


class PortProgress:
    """What pktcheck last said of one port."""

    def __init__(self, match):
        (self.port, self.sent, self.right, self.lost, self.bad) = map(int, match.groups()[:5])
        self.queues = [int(word) for word in match[6].split()]


class PktCheck:
    """One pktcheck process. `sockets` and `macs` are one each per port; ports pair up."""

    def __init__(self, sockets, macs, queues=1, packed=False, packets=100000, lossy=False,
                 server=False, extra=""):
        self.folder = tempfile.TemporaryDirectory(prefix="pktcheck-")
        self.log = Path(self.folder.name) / "log"
        devices = []
        for i, (path, mac) in enumerate(zip(sockets, macs)):
            devices += ["--vdev", f"net_virtio_user{i},path={path},mac={mac},queues={queues},"
                        f"packed_vq={int(packed)},server={int(server)}{extra}"]
        prefix = Path(self.folder.name).name
        command = [BUILD / "tests/system/pktcheck", *EAL, "--file-prefix", prefix, *devices, "--",
                   "--queues", str(queues), "--packets", str(packets)]
        command += ["--lossy"] if lossy else []
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(word) for word in command], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)

    def output(self):
        return self.log.read_text(errors="replace")

    def progress(self):
        """The last word of each port, by port; empty before the first."""
        found = {}
        for match in PROGRESS.finditer(self.output()):
            port = PortProgress(match)
            found[port.port] = port
        return found

    def _wait(self, what, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"pktcheck ended before {what}:\n{self.output()}"
            assert time.monotonic() < deadline, f"pktcheck: no {what}:\n{self.output()}"
            time.sleep(0.05)

    def wait_started(self, seconds=60):
        """Until each flow has come through once, both ways."""
        self._wait("start", lambda: "\nstarted\n" in "\n" + self.output(), seconds)
        return self

    def wait_more(self, packets, seconds=60):
        """Until each port has received `packets` more, all of them right."""
        self._wait("progress", self.progress, seconds)
        before = {port: said.right for port, said in self.progress().items()}
        self._wait(f"{packets} more packets", lambda: all(
            said.right >= before[port] + packets for port, said in self.progress().items()), seconds)
        assert all(said.bad == 0 for said in self.progress().values()), self.output()
        return self

    def finish(self, seconds=120):
        """Wait for the end. Fails unless every packet was right; returns each port's last word."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"pktcheck didn't end:\n{self.output()}") from None
        assert status == 0, f"pktcheck: status {status}\n{self.output()}"
        return self.progress()

    def stop(self, seconds=60):
        """Stop sending, then as finish()."""
        self.process.send_signal(signal.SIGTERM)
        return self.finish(seconds)

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        if self.process.poll() is None:
            self.kill9()
