# SPDX-License-Identifier: BSD-2-Clause
"""A daemon that does as it is told: it records requests, and answers with what a test gave it."""
import json
import os
import socket
import threading


class Error(Exception):
    """To be answered instead of a result."""

    def __init__(self, code, message):
        super().__init__(message)
        self.answer = {"code": code, "message": message}


class FakeDaemon:
    """Listens on `path`; a thread for each connection.

    `answers` maps a method to its result, to an Error, or to a function of the connection and the
    request, which then does what it likes and returns what to answer, or None. `greeting` is sent
    to whoever connects, before the connection is closed. `piece` is the size of each write.
    """

    def __init__(self, path):
        self.path = path
        self.answers = {}
        self.greeting = None
        self.piece = 1 << 20
        self.requests = []
        self.over = threading.Event()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(16)
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def asked(self):
        """Method and parameters of each request."""
        return [(request["method"], request["params"]) for request in self.requests]

    def close(self):
        self.over.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        self.socket.close()
        os.unlink(self.path)

    def send(self, connection, data):
        if not isinstance(data, bytes):
            data = json.dumps(data).encode() + b"\n"
        for start in range(0, len(data), self.piece):
            connection.sendall(data[start:start + self.piece])

    def _accept(self):
        while not self.over.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection):
        with connection:
            try:
                if self.greeting is not None:
                    self.send(connection, self.greeting)
                    return
                for line in connection.makefile("rb"):
                    self._answer(connection, line)
            except (BrokenPipeError, ConnectionResetError):
                pass

    def _answer(self, connection, line):
        assert line.endswith(b"\n")
        request = json.loads(line)
        self.requests.append(request)
        answer = self.answers.get(request["method"], {})
        if callable(answer):
            answer = answer(connection, request)
        if isinstance(answer, Error):
            self.send(connection, {"id": request["id"], "error": answer.answer})
        elif answer is not None:
            self.send(connection, {"id": request["id"], "result": answer})
