# SPDX-License-Identifier: BSD-2-Clause
"""tools/demo --migrate: a guest goes to another vdpad and back, and the demo says how that went."""
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


class Demo:
    """A demo that runs; its output goes to a file."""

    def __init__(self, folder):
        self.path = folder / "demo.out"
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen([REPO / "tools/demo", "--migrate"],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            start_new_session=True)

    def text(self):
        return self.path.read_text(errors="replace")

    def wait(self, seconds=240):
        """Its status; nothing of it is left then."""
        status = self.process.wait(seconds)
        folder = re.search(r" in (/tmp/vdpad-demo-\w+);", self.text())[1]
        assert not os.path.exists(folder), self.text()
        assert not named(folder), self.text()
        return status


def test_a_guest_migrates_there_and_back_and_no_byte_is_wrong(tmp_path):
    """QEMU may break the guest: then the demo has to fail and say so, and gets another try."""
    for _ in range(3):
        demo = Demo(tmp_path)
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
def test_a_signal_in_the_middle_leaves_nothing(tmp_path, number, status):
    demo = Demo(tmp_path)
    wait_for(lambda: "migration-logging" in demo.text(), "the migration", 120, demo.text)
    if number == signal.SIGINT:
        os.killpg(demo.process.pid, number)  # as a terminal does
    else:
        demo.process.send_signal(number)
    assert demo.wait() == status
    assert "All as it should be" not in demo.text()
