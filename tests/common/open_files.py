# SPDX-License-Identifier: BSD-2-Clause
"""What a process has open."""
import os


def open_files(pid):
    """{descriptor: what it is, as /proc says}. What is closed while we look is left out; nothing is left of
    a process that has ended."""
    found, folder = {}, f"/proc/{pid}/fd"
    try:
        for fd in os.listdir(folder):
            try:
                found[int(fd)] = os.readlink(f"{folder}/{fd}")
            except FileNotFoundError:
                pass  # closed meanwhile
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found
