#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Returns each frame that comes out of an interface, with both addresses swapped. Says when it is ready."""
import select
import socket
import sys

ALL_PROTOCOLS = 3
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # which the socket module does not know
BUFFER = 64 << 20  # bytes: a burst waits here, and is not lost


def open_interface(name):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
    sock.bind((name, ALL_PROTOCOLS))
    return sock


def reflect(sock):
    frame, (_, _, kind, _, _) = sock.recvfrom(65536)
    if kind != socket.PACKET_OUTGOING:  # our own are seen, too
        sock.send(frame[6:12] + frame[:6] + frame[12:])


def main():
    socks = [open_interface(name) for name in sys.argv[1:]]
    print("ready", flush=True)
    while True:
        for sock in select.select(socks, [], [])[0]:
            reflect(sock)


if __name__ == "__main__":
    main()
