# SPDX-License-Identifier: BSD-2-Clause
"""Tests of the command: the real program talks to a daemon of ours."""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "common")]

from fake_daemon import FakeDaemon  # noqa: E402
from logs import assert_clean  # noqa: E402

ROOT = HERE.parents[1]
PROGRAM = ROOT / os.environ.get("VDPAD_BUILD", "build") / "tools/vdpa/vdpa"
GOLDEN = HERE / "golden"


class Command:
    """Runs `vdpa`; the daemon's socket comes from the environment."""

    def __init__(self, folder):
        self.folder = folder
        self.socket = str(folder / "control.sock")

    def environment(self, **more):
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("VDPAD_SOCKET", "POSIXLY_CORRECT")}
        return environment | {"VDPAD_SOCKET": self.socket, "TZ": "UTC", "LC_ALL": "C"} | more

    def start(self, *words, environment=None, program=PROGRAM, **more):
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, "cwd": self.folder}
        return subprocess.Popen(["vdpa", *words], executable=program,
                                env=self.environment(**(environment or {})), **streams | more)

    def __call__(self, *words, timeout=60, **more):
        """Return: exit status, output, complaints."""
        process = self.start(*words, **more)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        err = err.decode()
        assert_clean(err)
        return process.returncode, out, err

    def complaint(self, *words, **more):
        """Of a command that has to fail, without any output."""
        status, out, err = self(*words, **more)
        assert status == 1
        assert out == b""
        return err


@pytest.fixture
def folder():
    # Short, for paths of sockets; and with a way for other users.
    path = Path(tempfile.mkdtemp(prefix="vdpa-cli-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def vdpa(folder):
    return Command(folder)


@pytest.fixture
def daemon(vdpa):
    fake = FakeDaemon(vdpa.socket)
    yield fake
    fake.close()


@pytest.fixture
def golden():
    """Compares bytes with a file of golden/."""
    def compare(data, name):
        assert data.decode() == (GOLDEN / name).read_text(encoding="utf-8")
        assert data == (GOLDEN / name).read_bytes()
    return compare
