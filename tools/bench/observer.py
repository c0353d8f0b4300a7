#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Ask an address for an echo at a steady pace, whether it answers or not.

    observer.py ADDRESS MILLISECONDS

Standard output has a line for each answer: the nanoseconds of CLOCK_MONOTONIC. It ends when its
standard input does.
"""
import os
import select
import socket
import struct
import sys
import time

ECHO, ANSWER = 8, 0
ICMP = struct.Struct("!BBHHH")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def question(ident, number):
    bare = ICMP.pack(ECHO, 0, 0, ident, number)
    return ICMP.pack(ECHO, 0, checksum(bare), ident, number)


def is_answer(packet, ident):
    kind, _, _, its, _ = ICMP.unpack_from(packet, (packet[0] & 15) * 4)
    return kind == ANSWER and its == ident


def main():
    address, interval = sys.argv[1], float(sys.argv[2]) / 1000
    ident, number = os.getpid() & 0xffff, 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                number = (number + 1) & 0xffff
                try:
                    sock.sendto(question(ident, number), (address, 0))
                except OSError:
                    pass  # nobody there at the moment
                due += interval
            wait = max(0, due - time.monotonic())
            ready = select.select([sock, sys.stdin], [], [], wait)[0]
            if sys.stdin in ready:
                return
            if sock in ready and is_answer(sock.recv(2048), ident):
                os.write(1, f"{time.monotonic_ns()}\n".encode())


if __name__ == "__main__":
    main()
