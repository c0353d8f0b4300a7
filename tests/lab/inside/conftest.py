# SPDX-License-Identifier: BSD-2-Clause
"""Inside the machine: its network functions, and what its host does for us."""
import glob
import json
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in ("../../migrate", "../../common", "../../system", "../../wire"):
    sys.path.insert(0, str(HERE / folder))

PCI = Path("/sys/bus/pci")


class Host:
    """What is asked of the host, and answered."""

    def __init__(self):
        port, = glob.glob("/sys/class/virtio-ports/*")
        self.port = os.open(f"/dev/{os.path.basename(port)}", os.O_RDWR)
        self.rest = b""

    def ask(self, what, **facts):
        os.write(self.port, json.dumps({"do": what, "with": facts}).encode() + b"\n")
        while b"\n" not in self.rest:
            self.rest += os.read(self.port, 65536)
        line, self.rest = self.rest.split(b"\n", 1)
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]


@pytest.fixture(scope="session")
def host():
    return Host()


class Function:
    """A network function, by its place."""

    def __init__(self, number):
        self.number = number
        self.name = f"0000:{number:02x}:00.0"
        self.mac = f"52:54:00:aa:bb:{number:02x}"
        self.folder = PCI / "devices" / self.name

    @property
    def driver(self):
        link = self.folder / "driver"
        return os.path.basename(os.readlink(link)) if link.exists() else None

    def give_to(self, driver):
        """Bind it to a driver; "" for the one that it has by nature."""
        if self.driver == (driver or "virtio-pci"):
            return
        (self.folder / "driver_override").write_text(driver + "\n")
        if self.driver:
            (self.folder / "driver/unbind").write_text(self.name)
        (PCI / "drivers_probe").write_text(self.name)
        assert self.driver == (driver or "virtio-pci")


@pytest.fixture(scope="session")
def functions():
    """All of them, by their number."""
    return {number: Function(number) for number in (1, 2, 3, 4, 5)}
