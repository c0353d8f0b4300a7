# SPDX-License-Identifier: BSD-2-Clause
"""The state of a device, on its way from one to the other."""
import os
import struct

SAVE, LOAD = 0, 1
HEAD = struct.Struct("<8sIIQ")
SECTION = struct.Struct("<HHI")
F_SETPIPE_SZ = 1031


def begin(fe, direction, fd, phase=0):
    """Return: whether it was accepted."""
    word = struct.unpack("=Q", fe.ask("SET_DEVICE_STATE_FD", struct.pack("=II", direction, phase), [fd]))[0]
    assert word in (0x100, 0x101)
    return word == 0x100


def check(fe):
    return struct.unpack("=Q", fe.ask("CHECK_DEVICE_STATE"))[0] == 0


def read_all(fd):
    data = b""
    while part := os.read(fd, 65536):
        data += part
    return data


def save(fe):
    read, write = os.pipe()
    assert begin(fe, SAVE, write)
    os.close(write)
    data = read_all(read)
    os.close(read)
    assert check(fe)
    return data


def begin_load(fe):
    """Return: where the state is to be written."""
    read, write = os.pipe()
    assert begin(fe, LOAD, read)
    os.close(read)
    return write


def load(fe, data):
    """Return: whether the device took it."""
    write = begin_load(fe)
    with os.fdopen(write, "wb", buffering=0) as f:
        f.write(data)
    return check(fe)


def pack(*sections, version=1, magic=b"vdpad-ds", n=None, size=None):
    body = b"".join(SECTION.pack(kind, flags, len(data)) + data for kind, flags, data in sections)
    size = HEAD.size + len(body) if size is None else size
    return HEAD.pack(magic, version, len(sections) if n is None else n, size) + body


def counters(stand):
    return [{key: ring["device"][key] for key in ("received", "completed", "bytes", "drops", "errors")}
            for ring in stand.shim.dump()["device"]["rings"]]


def stopped(guest):
    for ring in guest.rings:
        guest.fe.vring_base(ring.index)
