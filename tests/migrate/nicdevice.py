# SPDX-License-Identifier: BSD-2-Clause
"""A function of simnic as its driver sees it: a Device of device.py without a vhost-user."""
import os

import simnic_client as simnic
from device import features_of
from frontend import eventfd


class NicDevice:
    """nic: a simnic_client.Nic; the function is made by the first connect()"""

    def __init__(self, nic, shape):
        self.nic, self.shape = nic, shape
        self.features = features_of(shape) & simnic.OFFERED  # none of vhost-user's own
        self.queues = range(2 * shape.pairs)
        self.function = None
        self.fds = []

    def connect(self):
        self.fds = [[eventfd() for _ in range(3)] for _ in self.queues]
        if "dev" in (function.name for function in self.nic.functions):
            function = self.nic.functions[0]
            fd = self.nic.attach(function)
            self.function = simnic.Function(self.nic, "dev", fd, {})
            self.nic.functions = [self.function]
        else:
            self.function = self.nic.add("dev", pairs=self.shape.pairs, features=self.features)
        return self

    def close(self):
        if self.function:
            self.function.close()
            self.function = None
        for fds in self.fds:
            while fds:
                os.close(fds.pop())

    def start_steps(self, guest, bases, logging=False):
        ram = guest.ram
        if not logging:
            yield self.function.set_log(0, None)
        yield self.function.set_features(self.features)
        yield self.set_memory(ram)
        for ring, base in zip(guest.rings, bases):
            position = base if self.shape.packed else base | base << 16
            yield self.function.prepare(ring.index, ring.size, ring.desc, ring.driver, ring.device,
                                        position, self.fds[ring.index])
        yield self.function.start(*self.queues)

    def start(self, guest, bases, logging=False):
        for _ in self.start_steps(guest, bases, logging):
            pass
        guest.device = self
        for index in self.queues:
            self.kick(index)

    def stop(self, guest, status_after):
        guest.device = None
        positions = self.function.stop(*self.queues)
        return positions if self.shape.packed else [position & 0xffff for position in positions]

    def set_memory(self, ram):
        for region in ram.regions():
            self.function.map(region.gpa, region.size, ram.memory.fd, region.offset)

    def set_log(self, log):
        self.function.set_log(log.size, log.fd, log.offset)

    def log_all(self, on):
        if not on:
            self.function.set_log(0, None)

    def log_rings(self, guest, rings, on):
        """All that it writes is in the log."""

    def kick(self, index):
        os.eventfd_write(self.fds[index][0], 1)

    def check_no_errors(self):
        assert self.function.channel.events == []
        for index, fds in enumerate(self.fds):
            try:
                os.eventfd_read(fds[2])
            except BlockingIOError:
                continue
            raise AssertionError(f"the NIC says that queue {index} is broken")
