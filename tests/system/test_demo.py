# SPDX-License-Identifier: BSD-2-Clause
"""tools/demo, and tools/demo --migrate: what they show, and that nothing is left however they end."""
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from vdpad_fixture import BUILD, REPO
from waiting import wait_for

pytestmark = pytest.mark.skipif(BUILD != REPO / "build", reason="the demo is of build/")


def named(folder):
    """Processes whose command line has it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path] if folder.encode() in path.read_bytes() else []
        except OSError:
            continue
    return found


def of_session(number):
    """Processes that it has, or whose group began in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rsplit(") ", 1)[1].split(" ")[:4]
        except OSError:
            continue
        found += [path] if int(session) == number and state not in "ZX" else []
    return found


class Demo:
    """A demo that runs; its output goes to a file. Its folder is its own, and so is that for small things."""

    def __init__(self, folder, *options):
        self.path = folder / "demo.out"
        self.small = folder / "small"
        self.small.mkdir(exist_ok=True)
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen([REPO / "tools/demo", *options], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, start_new_session=True,
                                            env=os.environ | {"TMPDIR": str(self.small)})

    def text(self):
        return self.path.read_text(errors="replace")

    def signal(self, number):
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)  # as a terminal does
        else:
            self.process.send_signal(number)

    def wait(self, seconds=240):
        """Its status; nothing of it is left then: folders, with all sockets in them, and processes."""
        status = self.process.wait(seconds)
        for folder in re.findall(r" in (/tmp/vdpad-demo-\w+);", self.text()):
            assert not os.path.exists(folder), self.text()
            assert not named(folder), self.text()
            assert folder not in Path("/proc/net/unix").read_text(), self.text()  # a device of it
        assert not of_session(self.process.pid), self.text()
        assert os.listdir(self.small) == []
        return status


def test_two_guests_talk(tmp_path):
    demo = Demo(tmp_path)
    status, text = demo.wait(), demo.text()
    assert status == 0, text
    assert "4 packets transmitted, 4 packets received" in text
    assert "268435456 bytes, every one right" in text
    *_, last = text.split("$ vdpa dev status show\n")
    for name in ("vm1", "vm2"):
        assert f"{name}: running direct, front-end connected" in last
    assert text.index("All as it should be") < text.index("Cleaning up")


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["Starting vdpad", "Making a device", "dev add name vm2", "Booting"])
def test_a_signal_early_on_leaves_nothing(tmp_path, moment, number, status):
    demo = Demo(tmp_path)
    wait_for(lambda: moment in demo.text(), moment, 120, demo.text)
    demo.signal(number)
    assert demo.wait() == status, demo.text()
    assert "Cleaning up" in demo.text() and "All as it should be" not in demo.text()


def test_ctrl_c_while_it_builds_leaves_nothing(tmp_path):
    demo = Demo(tmp_path)
    wait_for(lambda: "Building" in demo.text(), "the build", 120, demo.text)
    demo.signal(signal.SIGINT)
    assert demo.wait() == 130
    assert "Starting" not in demo.text()


def test_a_guest_migrates_there_and_back_and_no_byte_is_wrong(tmp_path):
    """QEMU may break the guest: then the demo has to fail and say so, and gets another try."""
    for _ in range(3):
        demo = Demo(tmp_path, "--migrate")
        status, text = demo.wait(), demo.text()
        print(text)
        if status == 0:
            break
        assert status == 1 and "The migration did not work" in text
        assert "All as it should be" not in text
    assert status == 0
    assert "67108864 bytes, every one right" in text and "All as it should be" in text
    assert re.findall(r"\[(\w+)\] migration-([\w-]+): .*\((\w+),", text) == [
        (host, event, method) for host, method in (("left", "device"), ("right", "relay"))
        for event in ("logging", "stopped", "handed-over")]
    assert text.count("handed over, phase none") == 2
    assert len(re.findall(r"QEMU: .* downtime \d+ ms\nvdpad: no queue ran for \d+ ms\n", text)) == 2
    assert text.count("The bulk transfer goes on") == 2
    sent, lost = map(int, re.search(r"pings: (\d+) sent, (\d+) lost", text).groups())
    assert sent > 0 and lost < sent / 2


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_a_migration_leaves_nothing(tmp_path, number, status):
    demo = Demo(tmp_path, "--migrate")
    wait_for(lambda: "migration-logging" in demo.text(), "the migration", 120, demo.text)
    demo.signal(number)
    assert demo.wait() == status
    assert "All as it should be" not in demo.text()
