# SPDX-License-Identifier: BSD-2-Clause
"""Every message in every state of a device: what becomes of it, by a real worker.

STATES drive a device somewhere; messages() are well-formed ones, spoilt() the same with one column of
the table violated. Stage.try_all() sends each and notes what happened. docs/message-states.md shows it,
test_matrix.py compares, and `meson compile -C build message-states` writes it anew.
"""
import os
import re
import select
import socket
import struct
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "common")]

from arrival import Arrival, advise  # noqa: E402
from stand import BUILD, Stand  # noqa: E402
from frontend import (F_ACCESS_PLATFORM, F_LOG_ALL, F_PROTOCOL, ID, PF, Guest, eventfd,  # noqa: E402
                      single, state, table, u64)
from rows import BUILT, ROWS  # noqa: E402
from simnic import Simnic  # noqa: E402
from unchanged import compare, snapshot  # noqa: E402
from waiting import wait_for  # noqa: E402

PAGE = HERE.parents[1] / "docs/message-states.md"
RING = 1  # that messages are about; where rings are taken one by one, the one that is to come
LOG_BYTES = 1 << 16  # of a log that reaches beyond the guest's memory
MAC = bytes.fromhex("525400000001")
NEED_REPLY = 9
ASKING = ["GET_FEATURES", "GET_PROTOCOL_FEATURES", "GET_QUEUE_NUM", "GET_CONFIG", "GET_MAX_MEM_SLOTS",
          "GET_STATUS"]  # that change nothing


class Scene:
    """A front-end in one of the states, and the things that its messages need."""

    def __init__(self, stand):
        self.stand, self.shim = stand, stand.shim
        self.guest = Guest(stand.path, offered=stand.offered)
        self.fe = self.guest.fe
        self.features = self.guest.features
        self.pf = stand.offered
        self.arrival = None
        self.event = eventfd()
        self.log = os.memfd_create("log", os.MFD_CLOEXEC)
        os.ftruncate(self.log, LOG_BYTES)
        self.pair = socket.socketpair()
        self.pipe = os.pipe()

    def close(self):
        if self.arrival:
            self.arrival.close()
        for fd in (self.event, self.log, *self.pipe):
            os.close(fd)
        for sock in self.pair:
            sock.close()
        self.guest.close()
        wait_for(lambda: not self.shim.dump()["session"]["connected"], "the end of the connection")

    # ---- ways into states

    def negotiate(self):
        self.fe.negotiate()
        self.fe.accepted("SET_FEATURES", u64(self.features))

    def steps(self, until=None):
        """As QEMU sets up, up to the message @until, without it."""
        self.fe.negotiate()
        for name, payload, fds in self.guest.setup_steps():
            if name == until:
                return
            self.fe.accepted(name, payload, fds)

    def configure(self):
        self.fe.negotiate()
        *steps, _driver_ok = self.guest.setup_steps()
        for step in steps:
            self.fe.accepted(*step)

    def run(self):
        self.guest.setup()

    def log_all(self):
        self.run()
        assert self.fe.ask("SET_LOG_BASE", struct.pack("=QQ", LOG_BYTES, 0), [self.log]) == u64(0)
        self.features |= F_LOG_ALL
        self.fe.accepted("SET_FEATURES", u64(self.features))

    def arrive(self, how_far):
        self.arrival = Arrival(self.guest)
        if how_far == "arriving":
            self.arrival.start()
            return
        self.arrival.listen()
        if how_far == "told":
            self.arrival.tell_memory()

    # ---- messages

    def memory(self):
        return self.arrival.memory if self.arrival else self.guest.memory

    def messages(self):
        """(payload, descriptors) of each message, by name; what is not here has neither."""
        memory, ring = self.memory(), self.guest.rings[RING]
        return {
            "SET_FEATURES": (u64(self.features), []),
            "SET_MEM_TABLE": (table(memory), [memory.fd]),
            "SET_LOG_BASE": (struct.pack("=QQ", LOG_BYTES, 0), [self.log]),
            "SET_LOG_FD": (b"", [self.event]),
            "SET_VRING_NUM": (state(RING, ring.size), []),
            "SET_VRING_ADDR": (ring.addr(), []),
            "SET_VRING_BASE": (state(RING, 0), []),
            "GET_VRING_BASE": (state(RING, 0), []),
            "SET_VRING_KICK": (u64(RING), [ring.kick]),
            "SET_VRING_CALL": (u64(RING), [ring.call]),
            "SET_VRING_ERR": (u64(RING), [ring.err]),
            "SET_PROTOCOL_FEATURES": (u64(self.pf), []),
            "SET_VRING_ENABLE": (state(RING, 1), []),
            "SEND_RARP": (MAC + b"\0\0", []),
            "NET_SET_MTU": (u64(1500), []),
            "SET_BACKEND_REQ_FD": (b"", [self.pair[1].fileno()]),
            "IOTLB_MSG": (struct.pack("=QQQBB6x", 4096, 4096, memory.uva, 3, 2), []),
            "SET_VRING_ENDIAN": (state(RING, 0), []),
            "GET_CONFIG": (struct.pack("=III", 0, 6, 0) + bytes(6), []),
            "SET_CONFIG": (struct.pack("=III", 0, 6, 1) + MAC, []),
            "GET_INFLIGHT_FD": (struct.pack("=QQHHI", 0, 0, 2, 64, 0), []),
            "SET_INFLIGHT_FD": (struct.pack("=QQHHI", LOG_BYTES, 0, 2, 64, 0), [self.log]),
            "CLOSE_CRYPTO_SESSION": (u64(1), []),
            "GPU_SET_SOCKET": (b"", [self.pair[1].fileno()]),
            "VRING_KICK": (state(RING, 0), []),
            "ADD_MEM_REG": (bytes(8) + struct.pack("=QQQQ", 1 << 40, 4096, 1 << 40, 0), [memory.fd]),
            "REM_MEM_REG": (single(memory), []),
            "SET_STATUS": (u64(0xf), []),
            "GET_SHARED_OBJECT": (bytes(range(16)), []),
            "SET_DEVICE_STATE_FD": (struct.pack("=II", 0, 0), [self.pipe[1]]),
        }

    def message(self, name):
        return self.messages().get(name, (b"", []))


def fail(scene):
    """The device fails while a ring is to be stopped."""
    scene.run()
    scene.stand.order("fail", command="STOP", errno=5, times=1000)
    scene.fe.refused("SET_VRING_ENABLE", state(0, 0))
    scene.stand.order("clear")


def save(scene):
    scene.negotiate()
    scene.fe.ask("SET_DEVICE_STATE_FD", struct.pack("=II", 0, 0), [scene.pipe[1]])


def say_little(scene):
    """As a front-end that knows no protocol features."""
    scene.pf = 0
    scene.features &= ~F_PROTOCOL
    scene.fe.ask_u64("GET_FEATURES")
    scene.fe.send("SET_OWNER")
    scene.fe.send("SET_FEATURES", u64(scene.features))
    scene.fe.ask_u64("GET_FEATURES")


def look_away(scene):
    """Without what its messages would need: all protocol features but acknowledgements are refused."""
    scene.pf = 1 << PF["REPLY_ACK"]
    scene.fe.negotiate(scene.pf)
    scene.fe.accepted("SET_FEATURES", u64(scene.features))


def translate(scene):
    scene.guest.features |= F_ACCESS_PLATFORM
    scene.features = scene.guest.features
    scene.run()


def suspend(scene):
    scene.log_all()
    scene.fe.vring_base(0)


def stop(scene):
    scene.log_all()
    for ring in scene.guest.rings:
        scene.fe.vring_base(ring.index)


def stop_one(scene):
    scene.run()
    scene.fe.vring_base(RING)


def advised(scene):
    scene.fe.negotiate()
    os.close(advise(scene.fe))
    scene.fe.accepted("SET_FEATURES", u64(scene.features))


# By name: what it is, and how a front-end gets there. The NIC logs pages itself, or a relay does.
STATES = {
    "fresh": ("connected, and nothing was said", lambda scene: None),
    "no features": ("a front-end without protocol features: SET_OWNER, SET_FEATURES without bit 30",
                    say_little),
    "acks only": ("of the protocol features only REPLY_ACK was accepted", look_away),
    "negotiated": ("features and protocol features are accepted", Scene.negotiate),
    "memory": ("and memory is there", lambda scene: scene.steps("SET_VRING_NUM")),
    "configured": ("and rings are described, and wait for DRIVER_OK", Scene.configure),
    "running": ("all rings run", Scene.run),
    "one stopped": (f"ring {RING}, that the messages are about, was stopped; the other runs", stop_one),
    "logging": ("the device logs pages itself", Scene.log_all),
    "relayed": ("rings run relayed, since pages are logged", Scene.log_all),
    "translated": ("addresses need translations, and there are none yet; the device completes in order",
                   translate),
    "suspended": ("pages are logged, the first GET_VRING_BASE came, and that of ring 1 is to come",
                  suspend),
    "stopped": ("pages are logged, and all rings were stopped by GET_VRING_BASE", stop),
    "saving": ("the device's state is on its way to the front-end", save),
    "advised": ("postcopy was advised", advised),
    "listening": ("the front-end listens for page faults, and there is no memory yet",
                  lambda scene: scene.arrive("listening")),
    "told": ("the memory table was answered with the device's addresses, the acknowledgement is to come",
             lambda scene: scene.arrive("told")),
    "arriving": ("rings run, and pages are missing", lambda scene: scene.arrive("arriving")),
    "failed": ("the device failed", fail),
    "lost": ("the NIC is away", Scene.run),
}
LOGS_ITSELF, LOST, RESTING = ["logging", "translated"], "lost", ["suspended", "stopped"]
IN_ORDER = ["translated"]


# ---- one message

ALIKE = {
    r"protocol feature \S+ was not negotiated": "its protocol feature was not negotiated",
    r"not served: .*": "nobody serves it; [messages.md](messages.md) says why",
}


class Outcome:
    """What became of a message: result, "ok" or an error in words; why; replies; the connection."""

    def __init__(self, accepted, reason, reply, closed):
        self.accepted, self.reason, self.reply, self.closed = accepted, reason, reply, closed

    def word(self):
        if self.accepted:
            return "own" if self.reply == "own" else "yes"
        return "ends" if self.closed else "fails" if self.fails() else "no"

    def fails(self):
        """The device did: what the state says of that is kept."""
        return not self.accepted and self.reason == "the device failed"

    def why(self):
        """The reason, alike for messages that are alike."""
        for pattern, text in ALIKE.items():
            if re.fullmatch(pattern, self.reason):
                return text
        return self.reason


def replies(fe, name):
    """What the front-end was sent: "", "ack" or "own"; and whether the connection is over."""
    data, closed = b"", False
    while select.select([fe.sock], [], [], 0)[0]:
        try:
            part, fds, _, _ = socket.recv_fds(fe.sock, 8192, 8)
        except ConnectionResetError:
            part, fds = b"", []
        for fd in fds:
            os.close(fd)
        if not part:
            closed = True
            break
        data += part
    if not data:
        return "", closed
    request, flags, size = struct.unpack_from("=III", data)
    assert (request, flags, size) == (ID[name], 5, len(data) - 12), f"{name}: {data.hex()}"
    kind = ROWS[name]["reply"]
    return "ack" if kind.startswith("ack") and size == 8 else "own", closed


def handled(shim):
    session = shim.dump()["session"]
    return session["handled"], session


def send(scene, name, payload, fds):
    """Send it, wait until it was handled. Return: its outcome."""
    wait_for(lambda: handled(scene.shim)[1]["connected"], "the connection to be accepted")
    before, _ = handled(scene.shim)
    scene.fe.send(name, payload, fds, flags=NEED_REPLY)

    def done():
        now, session = handled(scene.shim)
        return session if now > before or not session["connected"] else None

    session = wait_for(done, f"{name} to be handled")
    last = session["messages"][-1]
    assert session["handled"] == before + 1 and last["request"] == ID[name], f"{name}: {session}"
    accepted = last["result"] == "ok"
    reply, closed = replies(scene.fe, name)
    assert closed == (not session["connected"]), name
    reason = "" if accepted else session["last_refusal"].split(": ", 1)[1]
    return Outcome(accepted, reason, reply, closed)


def spoilt(name, payload, fds, event):
    """(what is wrong, payload, descriptors): one column of the table violated in each."""
    row = ROWS[name]
    if payload:
        yield "a byte less", payload[:-1], fds
    yield "a byte more", payload + b"\0", fds
    if fds:
        yield "a descriptor less", payload, fds[:-1]
    yield "a descriptor more", payload, fds + [event] * (2 if row["fds"] == "1 or none" else 1)
    if row["ring"]:
        yield "no such ring", struct.pack("=I", 2) + payload[4:], fds


class Stage:
    """Makes scenes of one state, anew when a message may have changed something."""

    def __init__(self, name, nic):
        self.name = name
        self.stand = Stand(nic)
        self.stand.order = lambda what, **facts: nic.order(what, function=self.stand.name, **facts)
        self.stand.shim.start()
        self.scene = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()
        self.stand.close_now()

    def lose_device(self):
        """Its function goes."""
        self.stand.shim.events.clear()
        assert self.stand.nic.delete(self.stand.name) == 0
        wait_for(lambda: self.stand.shim.dump()["device"]["lost"], "the loss of the device")

    def find_device(self):
        _, mailbox = self.stand.nic.add(name=self.stand.name)
        self.stand.shim.device_changed(mailbox)
        wait_for(lambda: not self.stand.shim.dump()["device"]["lost"], "the new device")

    def get(self):
        if not self.scene:
            self.scene = Scene(self.stand)
            STATES[self.name][1](self.scene)
            if self.name == LOST:
                self.lose_device()
        return self.scene

    def drop(self):
        if self.scene:
            self.scene.close()
            if self.name == LOST:
                self.find_device()
        self.scene = None

    def asking(self):
        """Messages that change nothing. Where all rings rest, each but GET_VRING_BASE lets them go on."""
        return [] if self.name in RESTING else ASKING

    def try_one(self, name, wrong=None):
        """The outcome of a message, or of it with something wrong. What is refused changes nothing."""
        scene = self.get()
        payload, fds = scene.message(name)
        if wrong:
            payload, fds = next(case[1:] for case in spoilt(name, payload, fds, scene.event)
                                if case[0] == wrong)
        before = snapshot(scene.shim)
        outcome = send(scene, name, payload, fds)
        if outcome.closed or outcome.fails() or outcome.accepted and name not in self.asking():
            self.drop()
        else:
            compare(before, snapshot(scene.shim))
        return outcome

    def try_all(self):
        """({message: outcome}, {message: {what is wrong: outcome}})."""
        good, bad = {}, {}
        for name in ROWS:
            good[name] = self.try_one(name)
            if name in BUILT:
                scene = self.get()
                wrongs = [case[0] for case in spoilt(name, *scene.message(name), scene.event)]
                bad[name] = {wrong: self.try_one(name, wrong) for wrong in wrongs}
        return good, bad


def outcomes(build=BUILD):
    """What became of all messages, by state: as Stage.try_all()."""
    found = {}
    for name in STATES:
        with make_nic(name, build) as nic, Stage(name, nic) as stage:
            found[name] = stage.try_all()
    return found


def make_nic(name, build=BUILD):
    """One that completes in any order, so that every protocol feature is offered."""
    return Simnic(build, misbehaves=True, shuffled=name not in IN_ORDER, dirty_log=name in LOGS_ITSELF)


# ---- the page

HEAD = """\
# Messages in each state

Made by `meson compile -C build message-states`, which drives a worker into each of these states and
sends it each message; a test ([test_matrix.py](../tests/wire/test_matrix.py)) does the same and compares.
Of each message that is refused it proves that the device is as it was, in the state page and in what a
dump shows. [messages.md](messages.md) has the table of messages.

The front-end has one pair of rings, and the messages that are about a ring are about ring 1. The
device completes in any order unless said otherwise, so that it offers all protocol features that
there are.

| state | |
|---|---|
"""

GOOD_HEAD = """
## Messages as they should be

| | |
|---|---|
| yes | accepted; acknowledged, where that is asked for and possible |
| own | accepted, with a reply of its own |
| no | refused, and the connection goes on: a negative acknowledgement, or a reply that says so |
| ends | refused, and the connection ends, since there is no way to say so |
| fails | the device failed while it was handled, which is kept |

"""

BAD_HEAD = """
## Messages with something wrong

None is accepted in any state. A letter stands for states in which it is otherwise.

"""


def table_line(cells):
    return "| " + " | ".join(cells) + " |\n"


def table_head(cells):
    return table_line(cells) + "|" + "---|" * len(cells) + "\n"


def good_table(found):
    reasons, text = [], table_head(["message", *STATES])
    for message in ROWS:
        cells = [message]
        for name in STATES:
            outcome = found[name][0][message]
            cell = outcome.word()
            if not outcome.accepted:
                if outcome.why() not in reasons:
                    reasons.append(outcome.why())
                cell += f" {reasons.index(outcome.why()) + 1}"
            cells.append(cell)
        text += table_line(cells)
    return text + "\n" + "".join(f"{i}. {reason}\n" for i, reason in enumerate(reasons, 1))


def bad_cell(words, groups):
    """Of one message with one thing wrong: {state: word}."""
    usual = max(words.values(), key=list(words.values()).count)
    others = tuple((word, name) for name, word in words.items() if word != usual)
    if not others:
        return usual
    if others not in groups:
        groups.append(others)
    return f"{usual} ({chr(ord('a') + groups.index(others))})"


def bad_table(found):
    wrongs = ["a byte less", "a byte more", "a descriptor less", "a descriptor more", "no such ring"]
    groups, text = [], table_head(["message", *wrongs])
    for message in BUILT:
        words = [{name: found[name][1][message][wrong].word() for name in STATES}
                 for wrong in wrongs if wrong in found["fresh"][1][message]]
        have = [wrong for wrong in wrongs if wrong in found["fresh"][1][message]]
        text += table_line([message] + [bad_cell(words[have.index(wrong)], groups) if wrong in have else ""
                                        for wrong in wrongs])
    text += "\n"
    for i, others in enumerate(groups):
        by_word = {}
        for word, name in others:
            by_word.setdefault(word, []).append(name)
        text += f"* ({chr(ord('a') + i)}) " + "; ".join(
            f"{word}: {', '.join(names)}" for word, names in by_word.items()) + "\n"
    return text


def page(found):
    states = "".join(table_line([name, what]) for name, (what, _) in STATES.items())
    return HEAD + states + GOOD_HEAD + good_table(found) + BAD_HEAD + bad_table(found)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: VDPAD_BUILD=FOLDER tests/wire/matrix.py --write")
    PAGE.write_text(page(outcomes()))
