"""What a verb says and how it ends: results, notes, warnings, errors, progress, exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

    from debye.errors import DebyeError

DONE, FAILED, BAD_INPUT, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

GO_ON = "interrupted: run the same command again to go on"
"""What every verb says that keeps what it has done."""

quiet: ContextVar[bool] = ContextVar("quiet", default=False)
"""Whether notes and progress are silent; the option ``--quiet`` sets it for its verb."""
silent: ContextVar[bool] = ContextVar("silent", default=False)
"""Whether nothing at all is said, because another process has said it before it died."""
_said: ContextVar[set[str] | None] = ContextVar("said", default=None)
"""Warnings that are not said again; None where each is said as often as it comes."""


def show(text: str, *, needed: bool = True) -> None:
    """Print a result on stdout.

    Args:
        text: What to print.
        needed: A reader that has gone (`debye dos … | head`) ends the verb; if False, because the
            results go into a file too, it does not.
    """
    if not _written(sys.stdout, text) and needed:
        raise SystemExit(DONE)


def tell(message: str) -> None:
    """Say a note on stderr: something that is not a result; ``--quiet`` silences it."""
    if not quiet.get():
        _written(sys.stderr, message)


def warn(message: str) -> None:
    """Say on stderr what is odd about a result; ``--quiet`` does not silence it."""
    said = _said.get()
    if said is not None:
        if message in said:
            return
        said.add(message)
    _written(sys.stderr, f"warning: {message}")


@contextmanager
def warnings_once() -> Iterator[None]:
    """While several verbs run as one, no warning is said twice."""
    before = _said.set(set())
    try:
        yield
    finally:
        _said.reset(before)


def complain(error: DebyeError) -> None:
    """Say what was refused or failed, on stderr; ``--quiet`` does not silence it."""
    _written(sys.stderr, f"error: {error}")


def interrupted(message: str = GO_ON) -> int:
    """Say how to go on after an interruption; its exit code."""
    _written(sys.stderr, message)
    return INTERRUPTED


def plural(count: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> plural(1, "part"), plural(2, "part")
        ('1 part', '2 parts')
    """
    return f"{count} {noun}{'s'[: count != 1]}"


def _written(stream: TextIO, text: str) -> bool:
    """Whether somebody still reads what is written."""
    if silent.get():
        return True
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except BrokenPipeError:
        leave(stream)
        return False
    return True


def leave(stream: TextIO) -> None:
    """Write to a stream no more, whose reader has gone: not even what is flushed at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Warnings:
    """Warnings of many structures: each is said the first few times it comes, then counted.

    Two that differ in their numbers alone are one.
    """

    MOST = 3

    def __init__(self) -> None:
        self.times: dict[str, int] = {}

    def add(self, source: str, message: str) -> None:
        """Say a warning, unless it has been said often enough."""
        import re

        kind = re.sub(r"(?<![\w.-])\d+(\.\d+)?", "…", message)
        self.times[kind] = self.times.get(kind, 0) + 1
        if self.times[kind] <= self.MOST:
            warn(f"{source}: {message}")

    def close(self) -> None:
        """Say how often each came that was no longer said."""
        for message, times in self.times.items():
            if times > self.MOST:
                warn(f"{plural(times - self.MOST, 'more structure')}: {message}")


def warn_of(structures: Iterable[tuple[str, Iterable[str]]]) -> None:
    """Say the warnings of many structures, each as its source and what is odd about it."""
    warnings = Warnings()
    for source, message in dict.fromkeys((s, m) for s, messages in structures for m in messages):
        warnings.add(source, message)
    warnings.close()


def to_json(value: object, indent: int | None = None) -> str:
    """Strict JSON: what is not finite becomes null."""
    import json

    return json.dumps(_finite(value), indent=indent, ensure_ascii=not indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def progress_bar() -> Progress:
    """A progress bar on stderr with the time left, silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet.get() or not console.is_terminal,
        transient=True,
    )
