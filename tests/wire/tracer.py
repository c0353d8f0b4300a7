# SPDX-License-Identifier: BSD-2-Clause
"""Stops a process at every edge of a system call, by ptrace(2). One thread must do it all."""
import ctypes
import os
import signal

SEIZE, INTERRUPT, SYSCALL, DETACH, GETREGS = 0x4206, 0x4207, 24, 17, 12
O_TRACESYSGOOD, O_EXITKILL = 1, 0x100000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
RAX, ORIG_RAX = 10, 15  # places in user_regs_struct, x86-64
NAMES = {0: "read", 1: "write", 7: "poll", 17: "pread64", 44: "sendto", 45: "recvfrom",
         46: "sendmsg", 47: "recvmsg", 232: "epoll_wait", 281: "epoll_pwait", 3: "close",
         54: "setsockopt", 55: "getsockopt", 72: "fcntl", 233: "epoll_ctl", 5: "fstat",
         262: "newfstatat", 270: "pselect6", 271: "ppoll", 288: "accept4", 48: "shutdown"}


def ptrace(request, pid, addr=0, data=0):
    ctypes.set_errno(0)
    if libc.ptrace(request, pid, addr, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


class Tracer:
    def __init__(self, pid):
        self.pid = pid
        ptrace(SEIZE, pid, 0, O_TRACESYSGOOD | O_EXITKILL)
        ptrace(INTERRUPT, pid)
        _, status = os.waitpid(pid, 0x40000000)
        assert os.WIFSTOPPED(status)
        self.inside = False  # of a system call

    def next_edge(self):
        """Run to the next edge. Return: (name, True at its beginning)."""
        while True:
            ptrace(SYSCALL, self.pid)
            _, status = os.waitpid(self.pid, 0x40000000)
            assert os.WIFSTOPPED(status), f"the process ended: {status:#x}"
            if os.WSTOPSIG(status) == signal.SIGTRAP | 0x80:
                break
        regs = (ctypes.c_ulonglong * 27)()
        ptrace(GETREGS, self.pid, 0, ctypes.addressof(regs))
        number = regs[ORIG_RAX]
        name = NAMES.get(number, str(number))
        # At the beginning the result register holds -ENOSYS.
        begins = ctypes.c_longlong(regs[RAX]).value == -38
        return name, begins

    def over_before(self, edge, done):
        """Run to that edge, the first is 0. Return: whether it was done before, and waited for events again."""
        return any(self.next_edge() == ("epoll_wait", True) and done() for _ in range(edge + 1))
