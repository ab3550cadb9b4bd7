"""How a verb ends on Ctrl-C or SIGTERM: soon, without a traceback, and with what it has done kept.

A verb that holds nothing leaves at once. One that has something to write is asked to stop, and
left anyway once `GRACE` is over: what it had finished before stands on the disk. A second signal
leaves at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from debye.cli.console import GO_ON, INTERRUPTED, tell

if TYPE_CHECKING:
    from types import FrameType

GRACE = 5.0
"""Seconds from the first signal until a verb is left, wherever it is."""
TWICE = 0.5
"""Seconds within which a second signal is taken for the first."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Leave:
    """A signal's handler that ends the process at once.

    Nothing is unwound: an exception might come up where Python cannot raise it, such as in a
    destructor, and print a traceback there. Only a file that is being written is, which then goes.

    Args:
        message: What is said.
    """

    message: str = "interrupted"

    def __call__(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Leave."""
        if _writes(frame):
            raise KeyboardInterrupt
        cursor = "\x1b[?25h\r\x1b[K" if os.isatty(2) else ""  # a progress bar may have hidden it
        with suppress(OSError):
            os.write(2, f"{cursor}{self.message}\n".encode())
        os._exit(INTERRUPTED)


def _writes(frame: FrameType | None) -> bool:
    """Whether a file is half written, at this point of the work."""
    while frame is not None:
        if frame.f_code.co_name == "_replace" and frame.f_globals["__name__"] == "debye.core.files":
            return True
        frame = frame.f_back
    return False


def leave_at_once(message: str = "interrupted") -> None:
    """From now on, let Ctrl-C and SIGTERM end this process at once."""
    for number in SIGNALS:
        signal.signal(number, Leave(message))


def may_leave() -> bool:
    """Whether this process is the command's own, and not one that has called it, as tests do."""
    return isinstance(signal.getsignal(signal.SIGTERM), Leave)


@contextmanager
def leaving(message: str) -> Iterator[None]:
    """Within it, this is what is said to one who ends the process, if it is the command's own."""
    before = signal.getsignal(signal.SIGTERM)
    if isinstance(before, Leave):
        leave_at_once(message)
    try:
        yield
    finally:
        if isinstance(before, Leave):
            leave_at_once(before.message)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


@contextmanager
def graceful_stop(
    message: str = "stopping after this step; the checkpoint is being written",
    grace: float | None = None,
    apart: float = 0.0,
) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM ask for a stop instead of breaking off in the middle.

    Args:
        message: Said when a stop is asked for.
        grace: Seconds after which the command leaves, wherever it is; `GRACE` if None.
        apart: Seconds within which a second signal is taken for the first, which comes twice to
            a verb that `debye.cli.watched` has in a child.

    Yields:
        A function that says whether a stop was asked for. A second Ctrl-C breaks off at once.
    """
    asked, when, ours = False, 0.0, may_leave()
    with _deadline(GRACE if grace is None else grace, GO_ON) as begin:

        def ask(number: int, frame: FrameType | None) -> None:
            nonlocal asked, when
            if asked and monotonic() - when < apart:
                return
            if asked:
                if ours:
                    Leave(GO_ON)(number, frame)
                raise KeyboardInterrupt
            asked, when = True, monotonic()
            # The work must not break off because this came in the middle of another message, or
            # because nobody reads them any more.
            with suppress(RuntimeError, OSError):
                tell(message)
            if ours:
                begin()

        with _handled(ask):
            yield lambda: asked


@contextmanager
def unwinding() -> Iterator[None]:
    """Within it a signal unwinds the work, so that results still in memory are written."""
    if not may_leave():
        yield
        return
    with _deadline(GRACE, "interrupted") as begin:
        asked: list[float] = []

        def unwind(number: int, frame: FrameType | None) -> None:
            # A terminal's Ctrl-C comes twice: to this process, and again by its parent.
            if asked and monotonic() - asked[0] > TWICE:
                Leave()(number, frame)
            if not asked:
                asked.append(monotonic())
                begin()
                raise KeyboardInterrupt

        with _handled(unwind):
            yield


@contextmanager
def _deadline(grace: float, message: str) -> Iterator[Callable[[], None]]:
    """A function that sets the time after which the process is left, if this is still open then."""
    import threading

    over = threading.Event()

    def wait() -> None:
        if over.wait(grace):
            return
        main = threading.main_thread().ident or 0
        while _writes(sys._current_frames().get(main)) and not over.wait(0.01):
            pass
        Leave(message)()

    try:
        # A thread, because a long step of native code keeps signals from being handled.
        yield lambda: threading.Thread(target=wait, daemon=True).start()
    finally:
        over.set()
