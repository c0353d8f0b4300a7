# SPDX-License-Identifier: BSD-2-Clause
"""A file whose pages may be slow to come. It is on a disk: who takes only what lives in memory refuses it for the
same reason as a file system that another process serves, which can't be made everywhere."""
import contextlib
import subprocess
import tempfile

import pytest


@contextlib.contextmanager
def slow_file(size):
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        kind = subprocess.check_output(["stat", "-f", "-c", "%T", file.name], text=True).strip()
        if kind == "tmpfs":
            pytest.skip("/var/tmp is in memory")
        file.truncate(size)
        yield file
