# SPDX-License-Identifier: BSD-2-Clause
"""The file that a test shares with fault.c, and which error each kind of call may have."""
import errno
import mmap
import os
import struct

# As in fault.c; the errors are those that the call can have for no fault of its caller's. Not among them:
# ENOMEM of poll(2), which allocates nothing for so few descriptors, and EAGAIN of recvmsg(2) with something
# to be received.
ERRORS = {
    "malloc": "ENOMEM", "calloc": "ENOMEM", "realloc": "ENOMEM", "mmap": "ENOMEM",
    "recvmsg": "EINTR ENOMEM ECONNRESET", "sendmsg": "EINTR ENOMEM EPIPE EAGAIN",
    "recv": "EINTR ENOMEM ECONNRESET", "send": "EINTR ENOBUFS EPIPE EAGAIN",
    "read": "EINTR EIO EAGAIN", "write": "EAGAIN", "pread": "EIO EINTR", "pwrite": "ENOSPC EIO",
    "preadv2": "EINTR EIO EOPNOTSUPP", "pwritev2": "EINTR EPIPE EOPNOTSUPP",
    "fcntl": "EMFILE ENOMEM", "fstat": "EIO ENOMEM", "fstatfs": "EIO ENOMEM", "readlink": "ENOMEM EACCES",
    "epoll_create": "EMFILE ENOMEM", "epoll_ctl": "ENOSPC ENOMEM", "epoll_wait": "EINTR",
    "poll": "EINTR", "eventfd": "EMFILE ENOMEM", "timerfd_create": "EMFILE",
    "timerfd_settime": "ENOMEM", "ftruncate": "ENOSPC EINTR", "accept": "EMFILE ECONNABORTED EINTR ENFILE",
    "getsockopt": "ENOBUFS", "setsockopt": "ENOMEM", "shutdown": "ENOTCONN", "socket": "EMFILE",
    "socketpair": "EMFILE ENFILE", "connect": "EAGAIN EINTR", "ioctl": "ENOMEM EINTR",
    "syscall": "ENOMEM EMFILE", "thread": "EAGAIN", "fork": "EAGAIN ENOMEM", "execve": "ENOMEM EACCES",
    "waitid": "EINTR", "sigaction": "EINVAL", "dup2": "EMFILE", "pipe": "EMFILE", "prctl": "EPERM",
    "inotify_add": "ENOSPC", "open": "EMFILE",
    "memfd": "EMFILE ENOMEM",
}
KINDS = list(ERRORS)
HEAD = struct.Struct("=IiIiI")


class Plan:
    """What one program counts, and which of its calls fails."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "fault.plan")
        with open(self.path, "wb") as f:
            f.truncate(4096)
        os.chmod(self.path, 0o666)
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)
        self._set(0)

    def begin(self, kind=None, at=0, error=0):
        """Count from 0 on; the call number @at of @kind fails."""
        self._set(0, kind, at, error)
        self.map[HEAD.size:HEAD.size + 256] = bytes(256)
        self._set(1, kind, at, error)

    def pause(self):
        """Nothing fails, and nothing is counted any more; what was stays to be read."""
        self.map[:4] = bytes(4)

    def _set(self, counting, kind=None, at=0, error=0):
        number = KINDS.index(kind) if kind else -1
        self.map[:HEAD.size] = HEAD.pack(counting, number, at, error, 0)

    def hit(self):
        return bool(HEAD.unpack_from(self.map)[4])

    def calls(self):
        return dict(zip(KINDS, struct.unpack_from(f"={len(KINDS)}I", self.map, HEAD.size)))

    def environ(self, library, program):
        """Of a process that is to load the library."""
        return os.environ | {"LD_PRELOAD": library, "FAULT_FILE": self.path, "FAULT_PROGRAM": program,
                             "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}


def points(calls, most=None):
    """All that may fail: (kind, which call, errno's name). @most: of each kind only so many calls."""
    return [(kind, at, error) for kind, n in calls.items() for at in range(min(n, most or n))
            for error in ERRORS[kind].split()]


def number_of(error):
    return getattr(errno, error)
