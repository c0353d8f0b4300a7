#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Between a front-end and its back-end: passes each message on and says when.

    proxy.py LISTEN BACKEND

Standard output has a line for each message: NANOSECONDS front|back REQUEST FLAGS VALUE, where the
time is that of CLOCK_MONOTONIC before it was passed on, and VALUE the first 32-bit word behind the
header. It serves one connection after the other, until its standard input ends. Packets don't come
by here.
"""
import os
import select
import socket
import struct
import sys
import time

HEADER = struct.Struct("=III")


def receive(sock):
    """(header and payload, descriptors), or None at the end."""
    data, control, _, _ = sock.recvmsg(HEADER.size, socket.CMSG_SPACE(32 * 4))
    fds = [fd for level, kind, body in control
           if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
           for (fd,) in struct.iter_unpack("=i", body[:len(body) // 4 * 4])]
    while data and len(data) < HEADER.size:
        data += sock.recv(HEADER.size - len(data))
    if not data:
        return None
    size = HEADER.unpack(data)[2]
    while len(data) < HEADER.size + size:
        data += sock.recv(HEADER.size + size - len(data))
    return data, fds


def pass_on(source, target, side):
    """False at the end."""
    try:
        message = receive(source)
        now = time.monotonic_ns()
        if message is None:
            return False
        data, fds = message
        socket.send_fds(target, [data], fds)
    except ConnectionError:
        return False
    for fd in fds:
        os.close(fd)
    request, flags, size = HEADER.unpack_from(data)
    value = struct.unpack_from("=I", data, HEADER.size)[0] if size >= 4 else 0
    os.write(1, f"{now} {side} {request} {flags} {value}\n".encode())
    return True


def serve(front, path):
    with front, socket.socket(socket.AF_UNIX) as back:
        back.connect(path)
        ways = {front: (back, "front"), back: (front, "back")}
        while True:
            for ready in select.select([front, back, 0], [], [])[0]:
                if ready == 0:
                    sys.exit(0)
                if not pass_on(ready, *ways[ready]):
                    return


def main():
    path, backend = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        while True:
            ready = select.select([listener, 0], [], [])[0]
            if 0 in ready:
                return
            serve(listener.accept()[0], backend)


if __name__ == "__main__":
    main()
