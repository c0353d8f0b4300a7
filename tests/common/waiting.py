# SPDX-License-Identifier: BSD-2-Clause
"""Waiting for what comes sooner or later."""
import time


def wait_for(condition, what, seconds=60, tell=lambda: ""):
    """Wait until condition() is true, and return what it returned. @tell: more to say if it isn't."""
    deadline, pause = time.monotonic() + seconds, 0.0002
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s for {what} {tell()}"
        time.sleep(pause)
        pause = min(2 * pause, 0.005)  # most of it comes at once


def alive(pid):
    """Whether there is such a process, and it has not ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
