"""Which structures kill the process that predicts them: each is tried in a child of the worker.

Native code that dies takes its process with it. So a child goes through the structures one by one
and says which it is at; where it dies, another one begins there, and goes on after what kills.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

from debye.core.executors import follow_parent
from debye.crystals.screening.worker import Job, predictions
from debye.crystals.structure_io.read import Piece
from debye.errors import ComputationError

TRIES = 2
"""How often a structure must kill its process to be given up: the first time, another may have
taken its memory."""


def killers(job: Job, pieces: Sequence[Piece]) -> dict[int, str]:
    """The pieces that kill the process which predicts them, by their place, and how it died.

    Raises:
        ComputationError: A process dies before it has begun.
    """
    found: dict[int, str] = {}
    start, tried = 0, 0
    while start < len(pieces):
        at, died = _walked(job, pieces[start:])
        if not died:
            break
        if at is None:
            raise ComputationError(
                "cannot try structures one by one",
                why=f"the process that should have died at once: {died}",
                fix="see that there is memory for one more process, and run the same again",
            )
        tried = tried + 1 if at == 0 else 1
        start += at
        if tried >= TRIES:
            found[start] = died
            start, tried = start + 1, 0
    return found


def _walked(job: Job, pieces: Sequence[Piece]) -> tuple[int | None, str]:
    """The last piece that a child has begun, and what it died of; empty where it did not."""
    # A worker of Dask is a daemon, which multiprocessing allows no children: it would leave them
    # behind. These follow their parent.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    context = multiprocessing.get_context("spawn")  # a fork would share a started accelerator
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_walk, args=(writer, job, pieces))
    child.start()
    writer.close()
    at = None
    try:
        while True:
            at = reader.recv()
    except EOFError:
        child.join()
    return at, _death(child.exitcode or 0)


def _walk(writer: Connection, job: Job, pieces: Sequence[Piece]) -> None:
    """Predict the pieces one by one and keep nothing; in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
    for i, piece in enumerate(pieces):
        writer.send(i)
        for _ in predictions(job, [piece]):
            pass


def _death(code: int) -> str:
    """What an exit code says, as multiprocessing has it: minus the signal.

    Example:
        >>> _death(-11), _death(1), _death(0)
        ('SIGSEGV', 'exit code 1', '')
    """
    names = {-one.value: one.name for one in signal.Signals}
    return names.get(code, f"exit code {code}" if code else "")
