# SPDX-License-Identifier: BSD-2-Clause
"""Ctrl-C and SIGTERM end a demo by an exception, so that it can clean up.

An exception may come between any two instructions. So what is to be ended is made undisturbed(), until it is
known; and one that Python lets vanish, as it does in a destructor, comes again."""
import contextlib
import signal
import sys

AGAIN_SECONDS = 0.05


class Ended(BaseException):
    """Somebody wants the demo to end."""


class End:
    """Of a demo: whether somebody wants it. There is one."""

    def __init__(self):
        self.number = None  # of the signal that came first; others mean nothing then
        self.held = False

    def take_signals(self):
        signal.signal(signal.SIGINT, self.come)
        signal.signal(signal.SIGTERM, self.come)
        signal.signal(signal.SIGALRM, self.throw)
        sys.unraisablehook = self.come_again

    def come(self, number, _frame):
        if self.number is None:
            self.number = number
            self.throw()

    def throw(self, *_):
        if not self.held:
            raise Ended

    def come_again(self, lost):
        if lost.exc_type is Ended:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            sys.__unraisablehook__(lost)

    def hold(self):
        """From now on nothing disturbs."""
        self.held = True

    @contextlib.contextmanager
    def undisturbed(self):
        before, self.held = self.held, True
        try:
            yield
        finally:
            self.held = before
            if self.number is not None:
                self.throw()

    def status(self):
        """What a program ends with that a signal ended; None: none came."""
        return None if self.number is None else 128 + self.number


END = End()
