# SPDX-License-Identifier: BSD-2-Clause
"""The dirty log: a bit a page, set by the back-end, read and cleared by the front-end."""
import ctypes
import mmap
import os
import re
import struct

from memory import PAGE, address_of, page_of

NOT_ZERO = re.compile(rb"[^\0]")

libatomic = ctypes.CDLL("libatomic.so.1")
libatomic.__atomic_exchange_8.restype = ctypes.c_uint64
libatomic.__atomic_exchange_8.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int]
exchange_u64 = libatomic.__atomic_exchange_8
SEQ_CST = 5


class DirtyLog:
    """end:    the first address that it has no bit for
    offset: where in its file the log begins; there are canaries before and after it
    """

    def __init__(self, end, offset=0):
        self.end, self.offset = end, offset
        self.size = -(-end // (64 * PAGE)) * 8
        file_size = offset + -(-(self.size + 1) // PAGE) * PAGE
        self.fd = os.memfd_create("log", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, file_size)
        self.map = mmap.mmap(self.fd, file_size)
        self.map[:offset] = b"\xa5" * offset
        self.map[offset + self.size:] = b"\xa5" * (file_size - offset - self.size)
        self.n_outside = 0  # bits for addresses that are no memory

    def close(self):
        self.map.close()
        os.close(self.fd)

    def payload(self):
        """Of SET_LOG_BASE."""
        return struct.pack("=QQ", self.size, self.offset)

    def is_empty(self):
        return NOT_ZERO.search(self.map, self.offset, self.offset + self.size) is None

    def take(self):
        """Clear it. Return: the set of pages that were named."""
        pages = set()
        found = NOT_ZERO.finditer(self.map, self.offset, self.offset + self.size)
        words = {(match.start() - self.offset) // 8 for match in found}
        base = address_of(self.map) + self.offset
        for word in words:
            bits = exchange_u64(base + 8 * word, 0, SEQ_CST)
            while bits:
                lowest = bits & -bits
                bits ^= lowest
                page = page_of((64 * word + lowest.bit_length() - 1) * PAGE)
                if page is None:
                    self.n_outside += 1
                else:
                    pages.add(page)
        return pages

    def check_canaries(self):
        outside = self.map[:self.offset] + self.map[self.offset + self.size:]
        assert outside.count(b"\xa5") == len(outside), "somebody wrote beside the log"
