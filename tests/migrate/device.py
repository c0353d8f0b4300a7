# SPDX-License-Identifier: BSD-2-Clause
"""A device as its front-end sees it: the messages of QEMU, in QEMU's order."""
import os
import struct

from frontend import (F_ACCESS_PLATFORM, F_EVENT_IDX, F_INDIRECT, F_LOG_ALL, F_MQ, F_MRG_RXBUF, F_PACKED,
                      F_PROTOCOL, F_VERSION_1, PF, FrontEnd, eventfd, state, u64)

WANTED_PF = sum(1 << PF[name] for name in ("MQ", "LOG_SHMFD", "REPLY_ACK", "STATUS"))
VRING_LOG = 1
FEATURES_OK, DRIVER_OK = 8, 0xf


def features_of(shape):
    features = F_VERSION_1 | F_PROTOCOL | F_MRG_RXBUF
    features |= F_PACKED if shape.packed else 0
    features |= F_INDIRECT if shape.indirect else 0
    features |= F_EVENT_IDX if shape.event_idx else 0
    features |= F_MQ if shape.pairs > 1 else 0
    features |= F_ACCESS_PLATFORM if shape.iommu else 0
    return features


class Device:
    """One connection at a time to a back-end, for a guest of `shape`."""

    front_end = FrontEnd

    def __init__(self, path, shape):
        self.path, self.shape = path, shape
        self.wanted_pf = WANTED_PF
        self.n_rings = 2 * shape.pairs
        self.fe = None
        self.fds = {"kick": [], "call": [], "err": []}

    # ---- the connection

    def connect(self):
        self.fe = fe = self.front_end(self.path)
        offered = fe.ask_u64("GET_FEATURES")
        missing = (features_of(self.shape) | F_LOG_ALL) & ~offered
        assert not missing, f"features {missing:#x} are not offered"
        protocol = fe.ask_u64("GET_PROTOCOL_FEATURES")
        wanted = self.wanted_pf
        assert protocol & wanted == wanted, f"of the protocol there is only {protocol:#x}"
        fe.send("SET_PROTOCOL_FEATURES", u64(wanted))
        fe.acks = True
        fe.ask_u64("GET_QUEUE_NUM")
        fe.send("SET_OWNER")
        fe.ask_u64("GET_FEATURES")
        self._new_fds()
        for index in range(self.n_rings):
            fe.send("SET_VRING_CALL", u64(index), [self.fds["call"][index]])
            fe.send("SET_VRING_ERR", u64(index), [self.fds["err"][index]])
        if self.shape.pairs == 1:
            self._enable()
        return self

    def close(self):
        if self.fe:
            self.fe.close()
            self.fe = None
        self._close_fds()

    def _new_fds(self):
        self._close_fds()
        for fds in self.fds.values():
            fds += [eventfd() for _ in range(self.n_rings)]

    def _close_fds(self):
        for fds in self.fds.values():
            while fds:
                os.close(fds.pop())

    def _enable(self):
        for index in range(self.n_rings):
            self.fe.send("SET_VRING_ENABLE", state(index, 1))

    # ---- start and stop

    def ring_address(self, ram, ring, flags):
        """Of a packed ring, too, the log address is that of the device's area, as from QEMU."""
        desc, device, driver = (self.address(ram, at) for at in (ring.desc, ring.device, ring.driver))
        return struct.pack("=IIQQQQ", ring.index, flags, desc, device, driver, ram.iova_of(ring.device))

    def address(self, ram, gpa):
        """What rings are called in messages."""
        return ram.memory.uva_of(gpa)

    def start_steps(self, guest, bases, logging=False):
        """Each message of a start. They are sent one by one, so that one may stop between them."""
        fe, ram = self.fe, guest.ram
        features = features_of(self.shape) | (F_LOG_ALL if logging else 0)
        yield fe.accepted("SET_FEATURES", u64(features))
        yield fe.ask_u64("GET_STATUS")
        yield fe.accepted("SET_STATUS", u64(FEATURES_OK))
        yield self.set_memory(ram)
        for ring, base in zip(guest.rings, bases):
            index = ring.index
            flags = VRING_LOG if logging else 0
            yield fe.accepted("SET_VRING_NUM", state(index, ring.size))
            yield fe.accepted("SET_VRING_BASE", state(index, base))
            yield fe.accepted("SET_VRING_ADDR", self.ring_address(ram, ring, flags))
            yield fe.accepted("SET_VRING_KICK", u64(index), [self.fds["kick"][index]])
            yield fe.accepted("SET_VRING_CALL", u64(index), [self.fds["call"][index]])
        yield fe.ask_u64("GET_STATUS")
        yield fe.accepted("SET_STATUS", u64(DRIVER_OK))
        if self.shape.pairs > 1:
            yield self._enable()
        yield fe.ask_u64("GET_FEATURES")

    def start(self, guest, bases, logging=False):
        for _ in self.start_steps(guest, bases, logging):
            pass
        guest.device = self
        for index in range(self.n_rings):  # something may wait in the rings already
            self.kick(index)

    def stop(self, guest, status_after):
        """SET_STATUS 0 comes after so many rings. Return: the rings' positions."""
        guest.device = None
        bases = []
        for index in range(self.n_rings):
            if index == status_after:
                self.fe.accepted("SET_STATUS", u64(0))
            bases.append(self.fe.vring_base(index))
        if status_after >= self.n_rings:
            self.fe.accepted("SET_STATUS", u64(0))
        return bases

    # ---- while it runs

    def set_memory(self, ram):
        self.fe.accepted("SET_MEM_TABLE", ram.table(), [ram.memory.fd] * len(ram.regions()))

    def set_log(self, log):
        self.fe.ask("SET_LOG_BASE", log.payload(), [log.fd])

    def log_all(self, on):
        features = features_of(self.shape) | (F_LOG_ALL if on else 0)
        self.fe.accepted("SET_FEATURES", u64(features))

    def log_rings(self, guest, rings, on):
        for ring in rings:
            self.fe.accepted("SET_VRING_ADDR", self.ring_address(guest.ram, ring,
                                                                 VRING_LOG if on else 0))

    # ---- events

    def kick(self, index):
        os.eventfd_write(self.fds["kick"][index], 1)

    def check_no_errors(self):
        for index, fd in enumerate(self.fds["err"]):
            try:
                os.eventfd_read(fd)
            except BlockingIOError:
                continue
            raise AssertionError(f"the back-end says that queue {index} is broken")
