"""Signals that end a run cleanly: Ctrl-C, what a scheduler sends, and a terminal that is closed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")

SAME_S = 1.0
"""Seconds in which a second signal is the same: timeout(1) sends one to the process and one to its
group."""

AGAIN_S = 0.05
"""Seconds after which an interrupt that was lost is raised again, and again until it is not."""


class Stop:
    """What a signal does: the first ends the run, a later one does not wait for that.

    Parameters
    ----------
    clock : callable
        Seconds since some time.

    Notes
    -----
    The interrupt is raised wherever the main thread is. Where that is a finalizer or a callback of
    the garbage collector, Python can only print it, and the run would go on. So it is raised again
    a moment later. A timer of the system does that: to start a thread takes locks, which the
    interrupted code may hold.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since_s: float | None = None
        self.is_over = False
        """Whether the run has ended, and only Python itself is still to end."""

    def __call__(self, number: int, frame: object) -> None:
        """Take a signal; workers are stopped on the way out."""
        now_s = self._clock()
        if self.is_over or (self._since_s is not None and now_s - self._since_s > SAME_S):
            os._exit(128 + number)  # worker processes end when they miss this one
        if self._since_s is None:
            self._since_s = now_s
            # Not `print`: a signal may come in the middle of one.
            os.write(2, b"\nStopping. The same signal again stops at once.\n")
            raise KeyboardInterrupt(number)

    def listen(self) -> None:
        """Take the signals of this process from now on."""
        for name in SIGNALS:
            number = getattr(signal, name, None)
            # Shells let background jobs ignore Ctrl-C, and nohup the end of the terminal.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)
        if hasattr(signal, "setitimer"):
            sys.unraisablehook = self._save_lost

    def _save_lost(self, lost: UnraisableHookArgs) -> None:
        """Raise an interrupt again that nobody could catch; print any other error as ever."""
        error = lost.exc_value
        if self.is_over or not isinstance(error, KeyboardInterrupt):
            sys.__unraisablehook__(lost)
            return

        def raise_again(_: int, frame: object) -> None:
            raise KeyboardInterrupt(*error.args)

        signal.signal(signal.SIGALRM, raise_again)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
