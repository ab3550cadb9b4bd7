"""Work that may end its process, done in a child."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

FORK = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether a child can be forked; on macOS system libraries do not bear it."""


class Child(NamedTuple):
    """A process that was forked, and the pipe by which it says why it could not do its work."""

    number: int
    ear: int


class Limits(NamedTuple):
    """Seconds of a processor, and bytes beyond those of its parent, that a child may use."""

    seconds: int
    room: int


def start(work: Callable[[], object], limits: Limits | None = None) -> Child:
    """Do some work in a child, which has all that this process has.

    Args:
        work: What to do.
        limits: What it may use, however busy the machine is; anything if None.
    """
    ear, mouth = os.pipe()
    with warnings.catch_warnings():  # the child needs no lock that other threads may hold
        warnings.simplefilter("ignore", DeprecationWarning)
        number = os.fork()
    if number == 0:
        _do(work, mouth, limits)
    os.close(mouth)
    return Child(number, ear)


def _do(work: Callable[[], object], mouth: int, limits: Limits | None) -> NoReturn:
    """What the child does; it never comes back."""
    import faulthandler

    code = 1
    try:
        _die_with_parent()
        faulthandler.disable()  # its death is told by who started it
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if limits is not None:
            _limit(limits)
        work()
        code = 0
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
        os.write(mouth, str(error).split("\n")[0][:500].encode())
    finally:
        os._exit(code)


def _limit(limits: Limits) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds))
    with suppress(OSError, ValueError):  # there is no /proc, or its own limit is lower
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + limits.room, used + limits.room))


def _die_with_parent() -> None:
    """Where its parent is killed, a child that is stuck would be so for ever; Linux can tell it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def wait(child: Child, patience: float) -> tuple[int, str]:
    """The exit code of a child, negative for a signal, and what it said; killed after so long."""
    last = time.monotonic() + patience
    done = 0
    while not done:
        done, status = os.waitpid(child.number, os.WNOHANG)
        if not done and time.monotonic() > last:
            os.kill(child.number, signal.SIGKILL)
            done, status = os.waitpid(child.number, 0)
        if not done:
            select.select([child.ear], [], [], 0.02)  # which ends when the child does
            time.sleep(0.0005)
    code = os.waitstatus_to_exitcode(status)
    return code, os.read(child.ear, 1000).decode(errors="replace") if code > 0 else ""


def end(child: Child) -> None:
    """Let go of a child; what it still does is not wanted any more."""
    with suppress(ChildProcessError, ProcessLookupError):
        if os.waitpid(child.number, os.WNOHANG)[0] == 0:
            os.kill(child.number, signal.SIGKILL)
            os.waitpid(child.number, 0)
    os.close(child.ear)


def signal_name(code: int) -> str:
    """The signal that a negative exit code stands for, in words.

    Example:
        >>> signal_name(-11)
        'SIGSEGV'
    """
    if code in (-9, -24):  # killed for its time; Windows names neither SIGKILL nor SIGXCPU
        return "no end in sight"
    return signal.Signals(-code).name if code < 0 else f"code {code:#x}"
