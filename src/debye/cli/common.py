"""What every verb shares: exit codes, messages, checks of options, progress."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import floor, inf, isfinite
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from debye.core import files
from debye.errors import ComputationError, DebyeError, InputError

if TYPE_CHECKING:
    from rich.progress import Progress

DONE, FAILED, BAD_INPUT, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def tell(message: str) -> None:
    """Say something that is not a result, on stderr."""
    typer.echo(message, err=True)


def warn(message: str) -> None:
    """Say what the user should know but need not act on, on stderr."""
    tell(f"warning: {message}")


def complain(error: DebyeError) -> None:
    """Say what was refused, on stderr."""
    tell(f"error: {error}")


class Warnings:
    """Warnings of many structures: each is said the first few times it comes, then counted.

    Two that differ in their numbers alone are one.
    """

    MOST = 3

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def add(self, source: str, message: str) -> None:
        """Say a warning, unless it has been said often enough."""
        kind = re.sub(r"(?<![\w.-])\d+(\.\d+)?", "…", message)
        self.times[kind] += 1
        if self.times[kind] <= self.MOST:
            warn(f"{source}: {message}")

    def close(self) -> None:
        """Say how often each came that was no longer said."""
        for message, times in self.times.items():
            if times > self.MOST:
                warn(f"{times - self.MOST} more structures: {message}")


def show(text: str, *, needed: bool = True) -> None:
    """Print a result on stdout.

    Args:
        text: What to print.
        needed: A reader that has gone (`debye dos … | head`) ends the verb; if False, because the
            results go into a file too, it does not.
    """
    try:
        typer.echo(text)
    except BrokenPipeError:
        # Nothing may be written to it again, not even by the interpreter when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if needed:
            raise typer.Exit(DONE) from None


def to_json(value: object, indent: int | None = None) -> str:
    """Strict JSON: what is not finite becomes null."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=not indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def verb(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a verb returns or raises into an exit code.

    A verb returns its code, or None for done. A `InputError` is printed and gives its own code; no
    traceback is shown for it, nor where the machine has no more memory or disk.
    """

    @functools.wraps(function)
    def run(*args: object, **kwargs: object) -> None:
        try:
            code = function(*args, **kwargs) or DONE
        except DebyeError as error:
            complain(error)
            code = error.exit_code
        except KeyboardInterrupt:
            tell("interrupted")
            code = INTERRUPTED
        except MemoryError:
            complain(
                ComputationError("out of memory", why="the work is too large", fix="do it in parts")
            )
            code = FAILED
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # of torch, which need not be loaded
                raise
            complain(
                ComputationError(
                    "the device is out of memory",
                    why=str(error).partition(". ")[0],
                    fix="use smaller batches, more processes, or --device cpu",
                )
            )
            code = FAILED
        except OSError as error:
            complain(
                ComputationError("stopped", why=str(error), fix="check the disk and permissions")
            )
            code = FAILED
        raise typer.Exit(code)

    return run


def parse_range(text: str, what: str, least: float = -inf, most: float = inf) -> list[float]:
    """Numbers of ``start:stop:step`` (the stop included), or of ``a,b,c``.

    Args:
        text: What was given.
        what: Which option; named in the error.
        least: None may be less.
        most: None may be more.

    Raises:
        InputError: It is neither, the step leads away from the stop, or a number is out of range.

    Example:
        >>> parse_range("0:1:0.25", "fractions")
        [0.0, 0.25, 0.5, 0.75, 1.0]
        >>> parse_range("300", "temperatures")
        [300.0]
    """
    bad = InputError(
        f"cannot understand {what} {text!r}",
        why="it is neither start:stop:step nor numbers with commas between",
        fix="write for example 0:1000:10, or 77,300",
    )
    try:
        numbers = [float(x) for x in text.split(":" if ":" in text else ",")]
    except ValueError:
        raise bad from None
    if not all(isfinite(x) for x in numbers):
        raise bad
    for number in numbers[:2] if ":" in text else numbers:
        check_range(number, what, least, most)
    if ":" not in text:
        return numbers
    if len(numbers) != 3 or numbers[2] <= 0 or numbers[1] < numbers[0]:
        raise bad
    start, stop, step = numbers
    # Half a step in a million of slack, so that 0:1:0.1 reaches 1 in spite of rounding.
    count = floor((stop - start) / step + 1e-6) + 1
    if count > 1_000_000:
        raise bad
    return [round(start + k * step, 12) for k in range(count)]


def check_range(number: float, what: str, least: float = -inf, most: float = inf) -> None:
    """Refuse an option's number that is not finite or out of range."""
    if not (isfinite(number) and least <= number <= most):
        limits = f"{least:g} or above" if most == inf else f"from {least:g} to {most:g}"
        raise InputError(
            f"cannot use {what} {number:g}", why=f"it must be {limits}", fix="give such a number"
        )


folder = files.folder


def writable(path: Path | None, option: str, suffixes: tuple[str, ...] = ()) -> Path | None:
    """A file that will be written: its name and folder are checked now, before the work.

    Args:
        path: The file, if any.
        option: Which option names it.
        suffixes: What its name may end in; anything if empty.

    Raises:
        InputError: It ends in something else, is a folder, or its folder cannot be written into.
    """
    if path is None:
        return None
    if suffixes and path.suffix.lower() not in suffixes:
        why = f"its name ends in {path.suffix!r}" if path.suffix else "its name has no ending"
        raise InputError(
            f"cannot use {option} {path}", why=why, fix=f"end it in {', '.join(suffixes)}"
        )
    if path.is_dir():
        raise InputError(
            f"cannot use {option} {path}", why="it is a folder", fix="name a file in it"
        )
    folder(path.parent)
    return path


FIGURES = (".png", ".svg", ".pdf")
"""What a figure's name may end in."""


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
        disable=not console.is_terminal,
        transient=True,
    )


@contextmanager
def graceful_stop(
    message: str = "stopping after this step; the checkpoint is being written",
) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM ask for a stop instead of breaking off in the middle.

    Args:
        message: Said when a stop is asked for.

    Yields:
        A function that says whether a stop was asked for. A second Ctrl-C breaks off at once.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # The work must not break off because this came in the middle of another message, or
        # because nobody reads them any more.
        with suppress(RuntimeError, OSError):
            tell(message)

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
