# SPDX-License-Identifier: BSD-2-Clause
"""Waiting for what comes sooner or later."""
import os
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
    """Whether there is such a process, and it has not ended. While a thread of it is left, its first one may
    have ended, and files and sockets are still open."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            ended = f.read().rsplit(")", 1)[1].split()[0] == "Z"
        return not ended or len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def system_call(pid):
    """The number of the one that its first thread waits in, or "running"."""
    with open(f"/proc/{pid}/syscall", encoding="ascii") as f:
        return f.read().split()[0]


def waits_for_events(pid):
    """Whether that is epoll_wait(2) or epoll_pwait(2), by their numbers on x86-64."""
    return system_call(pid) in ("232", "281")
