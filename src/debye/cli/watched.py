"""Verbs over many structures outlive native code that dies: their work is done in a child.

    parent (waits)  →  child (reads, predicts, prints)  →  SIGSEGV  →  another child

The child notes where it is in memory shared with its parent. When it dies, the parent starts
another, which takes the structure that was being read for failed, says nothing again that was
said, and goes on. Where the child died in a batch of predictions, the next one predicts structures
one by one, to find out at which. The parent has loaded nothing and so costs nothing.
"""

from __future__ import annotations

import io
import mmap
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from debye.cli.console import FAILED, INTERRUPTED, complain, silent, warn
from debye.cli.stopping import leave_at_once
from debye.errors import ComputationError

if TYPE_CHECKING:
    from types import FrameType

    from debye.crystals.structure_io.read import FailedInput

Result = TypeVar("Result")

VERBS = ("dos", "thermo", "bands", "alloy", "invert", "xpcs", "correlate", "fit", "average")
MOST_DEATHS = 25
"""Children that may die; with more, it is not the structures' fault."""
PATIENCE = 8
"""Seconds that a child has to end after a signal."""

_NUMBERS = struct.Struct("qq?q")  # steps begun, the last that made a structure, within, said
_LABEL = 1024


@dataclass
class Watch:
    """What a child notes for its parent, and what it knows of those before it.

    Args:
        killers: Steps at which a child died, and of what.
        said: Structures of which everything has been said.
        careful: Whether to predict structures one by one.
        shared: Memory of both.
    """

    killers: dict[int, str] = field(default_factory=dict)
    said: int = 0
    careful: bool = False
    shared: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, _NUMBERS.size + _LABEL))
    begun: int = 0
    made: int = 0

    def note(self, label: str, *, within: bool, said: int = 0) -> None:
        """Write down where the child is."""
        _NUMBERS.pack_into(self.shared, 0, self.begun, self.made, within, said)
        if label:
            text = label.encode(errors="replace")[: _LABEL - 1] + b"\0"
            self.shared[_NUMBERS.size : _NUMBERS.size + len(text)] = text

    def read(self) -> tuple[int, int, bool, int, str]:
        """Where a child was when it died: as noted, and the label."""
        text = self.shared[_NUMBERS.size :].partition(b"\0")[0].decode(errors="replace")
        return (*_NUMBERS.unpack_from(self.shared), text)


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


def is_careful() -> bool:
    """Whether structures are to be predicted one by one."""
    watch = _watch.get()
    return watch is not None and watch.careful


def step(label: str, work: Callable[[], Result], *, makes: bool = False) -> Result | FailedInput:
    """Do what may kill the process; a `FailedInput` where it did before.

    Args:
        label: What is read.
        work: How.
        makes: Whether it makes a structure, of which predictions may die too.
    """
    watch = _watch.get()
    if watch is None:
        return work()
    watch.begun += 1
    if makes:
        watch.made = watch.begun
    _, _, _, said, _ = watch.read()
    if watch.begun in watch.killers:
        return _died(label, watch.killers[watch.begun])
    watch.note(label, within=True, said=said)
    try:
        return work()
    finally:
        watch.note("", within=False, said=said)


def _died(label: str, how: str) -> FailedInput:
    from debye.crystals.structure_io.read import FailedInput

    memory = ", perhaps for want of memory" if how == "SIGKILL" else ""
    error = ComputationError(
        f"cannot use {label}",
        why=f"the process that read it died: {how}{memory}",
        fix="leave it out, or write the structure anew",
    )
    return FailedInput(label, error)


@contextmanager
def saying(number: int) -> Iterator[None]:
    """While what there is to say of a structure is said, unless it was before.

    Args:
        number: Which structure, from 0.
    """
    watch = _watch.get()
    if watch is None:
        yield
        return
    before = silent.set(number < watch.said)
    try:
        yield
    finally:
        silent.reset(before)
    watch.note("", within=False, said=max(number + 1, watch.said))


def watch_over() -> None:
    """Have the rest of this process done by a child; only in children does this return."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if (
        words[:1]
        and words[0] in VERBS
        and hasattr(os, "fork")
        and "_DEBYE_COMPLETE" not in os.environ
    ):
        given = sys.stdin.buffer.read() if "-" in sys.argv[2:] else None
        parent = _Parent(given)
        while not parent.is_child_now():
            pass


@dataclass
class _Parent:
    """What the parent knows.

    Args:
        given: What stands on stdin, where the verb reads that.
    """

    given: bytes | None
    watch: Watch = field(default_factory=Watch)
    child: int = 0
    asked: bool = False

    def is_child_now(self) -> bool:
        """Start a child, in which this is true; in the parent, learn from its end."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.watch.note("", within=False, said=self.watch.said)
        alive, held = os.pipe()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        self.child = os.fork()
        if not self.child:
            os.close(held)
            self._begin(alive)
            return True
        os.close(alive)
        status = os.waitpid(self.child, 0)[1]
        os.close(held)
        if os.WIFEXITED(status):
            os._exit(os.WEXITSTATUS(status))
        self._learn(os.WTERMSIG(status))
        return False

    def _begin(self, alive: int) -> None:
        """In the child: take the signals, and end when the parent does."""
        from threading import Thread

        leave_at_once()
        _watch.set(self.watch)
        if self.given is not None:
            sys.stdin = io.TextIOWrapper(io.BytesIO(self.given))

        def follow() -> None:
            os.read(alive, 1)
            os._exit(FAILED)

        Thread(target=follow, daemon=True).start()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """A signal is the child's affair, which has some seconds for it."""
        with suppress(ProcessLookupError):
            os.kill(self.child, number)
        if not self.asked:
            self.asked = True
            signal.signal(signal.SIGALRM, lambda *_: os.kill(self.child, signal.SIGKILL))
            signal.alarm(PATIENCE)

    def _learn(self, number: int) -> None:
        """Find out from where a child died what the next one shall leave out."""
        if self.asked or number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.write(2, b"interrupted\n")
            os._exit(INTERRUPTED)
        watch, how = self.watch, signal.Signals(number).name
        begun, made, within, watch.said, label = watch.read()
        culprit = begun if within else made if watch.careful else 0
        too_many = len(watch.killers) >= MOST_DEATHS
        if too_many or culprit in watch.killers or (not culprit and (watch.careful or not made)):
            what = "cannot go on: too many structures kill the process" if too_many else "failed"
            why = f"the process that did the work died: {how}"
            complain(ComputationError(what, why=why, fix="leave out what it read last: " + label))
            os._exit(FAILED)
        if culprit:
            watch.killers[culprit] = how
        else:
            watch.careful = True
        at = label if culprit else f"predicting a batch up to {label}"
        warn(f"the process died of {how} at {at}; another one goes on")
