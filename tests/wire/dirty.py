# SPDX-License-Identifier: BSD-2-Clause
"""A log of dirty pages, as a front-end has it."""
import os
import struct

from frontend import F_LOG_ALL, u64

PAGES_A_BYTE = 8 * 4096


class Log:
    """A front-end's log, large enough for a guest's memory."""

    def __init__(self, guest, offset=0, missing=0):
        end = guest.memory.gpa + guest.memory.size
        self.size = -(-end // PAGES_A_BYTE) - missing
        self.offset = offset
        self.fd = os.memfd_create("log", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, offset + self.size)

    def payload(self):
        return struct.pack("=QQ", self.size, self.offset)

    def begin(self, guest):
        """Pages are marked in it from now on."""
        guest.fe.ask("SET_LOG_BASE", self.payload(), [self.fd])
        guest.fe.accepted("SET_FEATURES", u64(guest.features | F_LOG_ALL))

    def marked(self):
        """Pages that are marked."""
        data = os.pread(self.fd, self.size, self.offset)
        return {8 * at + bit for at, byte in enumerate(data) if byte for bit in range(8)
                if byte & 1 << bit}
