"""What every verb shares: exit codes, messages, ranges, progress."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import floor, isfinite
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from debye.errors import Refusal

if TYPE_CHECKING:
    from rich.progress import Progress

DONE, FAILED, BAD_INPUT, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def tell(message: str) -> None:
    """Say something that is not a result, on stderr."""
    typer.echo(message, err=True)


def warn(message: str) -> None:
    """Say what the user should know but need not act on, on stderr."""
    tell(f"warning: {message}")


def complain(refusal: Refusal) -> None:
    """Say what was refused, on stderr."""
    tell(f"error: {refusal}")


def verb(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a verb returns or raises into an exit code.

    A verb returns its code, or None for done. A `Refusal` is printed and gives its own code; no
    traceback is shown for it.
    """

    @functools.wraps(function)
    def run(*args: object, **kwargs: object) -> None:
        try:
            code = function(*args, **kwargs) or DONE
        except Refusal as refusal:
            complain(refusal)
            code = refusal.exit_code
        except KeyboardInterrupt:
            tell("interrupted")
            code = INTERRUPTED
        except BrokenPipeError:
            # The reader of a pipe has gone (`debye dos … | head`): nothing is left to say, not
            # even by the interpreter when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = DONE
        raise typer.Exit(code)

    return run


def parse_range(text: str, what: str) -> list[float]:
    """Numbers of ``start:stop:step`` (the stop included), or of ``a,b,c``.

    Raises:
        Refusal: It is neither, or the step leads away from the stop.

    Example:
        >>> parse_range("0:1:0.25", "fractions")
        [0.0, 0.25, 0.5, 0.75, 1.0]
        >>> parse_range("300", "temperatures")
        [300.0]
    """
    bad = Refusal(
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


def folder(path: Path) -> Path:
    """A folder to write into, made if missing.

    Raises:
        Refusal: It cannot be made, or is a file, or may not be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(
            f"cannot make the folder {path}", why=str(error), fix="choose another --output"
        ) from error
    if not os.access(path, os.W_OK):
        raise Refusal(
            f"cannot write into {path}",
            why="you have no permission to write there",
            fix="choose another --output",
        )
    return path


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
def graceful_stop() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM ask for a stop instead of breaking off in the middle.

    Yields:
        A function that says whether a stop was asked for. A second Ctrl-C breaks off at once.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        tell("stopping after this step; the checkpoint is being written")

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
