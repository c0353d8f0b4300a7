# SPDX-License-Identifier: BSD-2-Clause
"""vdpa-shim in client mode: it connects to a front-end that listens."""
import os
import select
import socket
import time

import pytest

import shim_client as vdpad
import shim_worker as worker
from shim_stand import client, crash, make_stand, stand  # noqa: F401
from waiting import wait_for


def listen(path, backlog=8):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.settimeout(vdpad.DEADLINE)
    if backlog:
        sock.listen(backlog)
    return sock


def receive_connection(current):
    kind, _, _, (fd,) = current.receive()
    assert kind == worker.CONNECTED
    return socket.socket(fileno=fd)


def assert_joined(a, b):
    a.sendall(b"hello")
    b.settimeout(vdpad.DEADLINE)
    assert b.recv(5) == b"hello"


def test_it_connects_and_the_next_worker_has_the_connection(client):
    front = listen(client.device.vhost_path)
    first = client.working()
    peer, _ = front.accept()
    ours = receive_connection(first)
    assert_joined(peer, ours)
    ours.close()
    first.die()
    second = client.program.serving()
    with socket.socket(fileno=os.dup(second.slots[worker.SLOT_CONN])) as again:
        assert_joined(peer, again)
    peer.close()
    front.close()


def test_it_waits_for_folders_and_socket_without_waking(client):
    deep = os.path.join(client.folder, "a", "b")
    client.device.vhost_path = os.path.join(deep, "sock")
    first = client.working()
    wait_for(client.sleeps, "sleep")
    os.mkdir(os.path.dirname(deep))
    wait_for(client.sleeps, "sleep")
    os.mkdir(deep)
    front = listen(client.device.vhost_path)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    wait_for(client.sleeps, "sleep")
    peer.close()
    front.close()


def test_a_socket_that_is_moved_into_place_is_found(client):
    first = client.working()
    front = listen(client.device.vhost_path + ".new")
    wait_for(client.sleeps, "sleep")
    os.rename(client.device.vhost_path + ".new", client.device.vhost_path)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    peer.close()
    front.close()


def test_a_socket_nobody_listens_at_yet_is_tried_again(client):
    front = listen(client.device.vhost_path, backlog=0)
    first = client.working()
    wait_for(lambda: "Connection refused" in client.device.log(), "the first try")
    front.listen(8)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    peer.close()
    front.close()


@pytest.mark.parametrize("where", ["socket", "folder"])
def test_no_symbolic_link_is_followed(client, where):
    real = os.path.join(client.folder, "real")
    os.mkdir(real)
    front = listen(os.path.join(real, "sock"))
    link = os.path.join(client.folder, "link")
    if where == "folder":
        os.symlink(real, link)
        client.device.vhost_path = os.path.join(link, "sock")
    else:
        os.mkdir(link)
        client.device.vhost_path = os.path.join(link, "sock")
        os.symlink(os.path.join(real, "sock"), client.device.vhost_path)
    first = client.working()
    wait_for(lambda: "symbolic link" in client.device.log(), "the reason in the log")
    wait_for(client.sleeps, "sleep")
    assert not select.select([front], [], [], 0)[0]

    front.close()
    if where == "folder":
        os.unlink(link)
        os.mkdir(link)
    else:
        os.unlink(client.device.vhost_path)
    front = listen(client.device.vhost_path)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    peer.close()
    front.close()


def test_what_is_no_socket_is_left_alone(client):
    with open(client.device.vhost_path, "w", encoding="ascii"):
        pass
    first = client.working()
    wait_for(client.sleeps, "sleep")
    os.unlink(client.device.vhost_path)
    front = listen(client.device.vhost_path)
    peer, _ = front.accept()
    assert_joined(peer, receive_connection(first))
    peer.close()
    front.close()


def test_it_connects_again_and_does_not_spin(client):
    front = listen(client.device.vhost_path)
    current = client.working()
    times = []
    for _ in range(6):
        peer, _ = front.accept()
        times.append(time.monotonic())
        receive_connection(current).close()
        peer.close()
        current.send(worker.DISCONNECTED)
    waits = [b - a for a, b in zip(times, times[1:])]
    assert all(wait > 0.0099 * 2 ** n for n, wait in enumerate(waits)), waits  # each waits longer
    front.close()


def test_given_up_and_revived_it_connects_again(client):
    front = listen(client.device.vhost_path)
    first = client.working()
    peer, _ = front.accept()
    crash(client, first, 5).die()
    client.link.wait_event("given up")
    peer.settimeout(vdpad.DEADLINE)
    assert peer.recv(1) == b""
    wait_for(client.sleeps, "sleep")
    seq = client.link.post(vdpad.DEVICE_FDS)
    revived = client.program.serving()
    assert client.link.answer(seq)[0] == 0
    again, _ = front.accept()
    kind = revived.receive()[0] if worker.SLOT_CONN not in revived.slots else worker.CONNECTED
    assert kind == worker.CONNECTED
    again.close()
    peer.close()
    front.close()


def test_an_idle_shim_does_not_wake(stand):
    stand.working()
    wait_for(stand.sleeps, "sleep")
