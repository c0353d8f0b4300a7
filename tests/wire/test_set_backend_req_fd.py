# SPDX-License-Identifier: BSD-2-Clause
"""SET_BACKEND_REQ_FD; what is said on the channel then: test_backend_channel.py."""
import os
import socket

from frontend import eventfd
from hostile import hostile
from unchanged import unchanged


def test_set_backend_req_fd_takes_one_stream_socket_and_replaces_it(stand, fe):
    before = len(stand.shim.kept())
    for _ in range(20):
        ours, theirs = socket.socketpair()
        fe.accepted("SET_BACKEND_REQ_FD", fds=[theirs.fileno()])
        theirs.close()
        ours.close()
    assert len(stand.shim.kept()) == before + 1


@hostile(37)
def test_set_backend_req_fd_refuses_what_is_no_stream_socket(stand, fe, tmp_path):
    datagrams = socket.socketpair(type=socket.SOCK_DGRAM)
    tcp = socket.socket()
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    event = eventfd()
    with unchanged(stand.shim):
        for fd in (datagrams[0].fileno(), tcp.fileno(), file, event):
            fe.refused("SET_BACKEND_REQ_FD", fds=[fd])
        fe.refused("SET_BACKEND_REQ_FD")
        fe.refused("SET_BACKEND_REQ_FD", fds=[event, event])
    os.close(file)
    os.close(event)
    tcp.close()
    for sock in datagrams:
        sock.close()
