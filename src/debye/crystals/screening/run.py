"""A screening from beginning to end: shards out, reports back, whatever dies between.

No more shards are read ahead than are worked on. A worker that dies takes the shards with it that
were in work; each of them is done again alone, and if it kills its worker again, the structure
that does is sought by halving and becomes a row with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from pathlib import Path

from debye.core.executors import ExecutorPool
from debye.crystals.screening.shards import Shard, source_of
from debye.crystals.screening.store import counts, parts
from debye.crystals.screening.worker import Job, Report, dry_run, screen
from debye.crystals.structure_io.read import FailedInput, Piece
from debye.errors import ComputationError, InputError

AHEAD = 2
"""Shards in flight for each that can be worked on, so that no worker waits."""
TRIES = 3
"""How often a structure must kill its worker, alone, to be given up."""
MOST_KILLERS = 10
"""Structures of one shard that may be given up; with more, it is not the structures' fault."""


def run_shards(
    shards: Iterable[Shard],
    job: Job,
    executor: ExecutorPool,
    *,
    stopping: Callable[[], bool] = lambda: False,
    notify: Callable[[str], None] = lambda message: None,
) -> Iterator[Report]:
    """Work on the shards whose parts are missing, and report of all as they are done.

    Args:
        shards: In the order of their numbers; read as they are needed.
        job: What to do with each.
        executor: Where; it is entered and left here.
        stopping: Asked now and then; once it says yes, only what is in flight is finished, and
            what a worker takes with it is left for the next run.
        notify: Told what the user should know, such as the death of a worker.

    Yields:
        A report for each shard; those of parts that were there come too.

    Raises:
        InputError: A part is of inputs that have changed since, or cannot be written.
        ComputationError: Workers die whatever they are given, or the disk is full.
    """
    there = parts(job.folder)
    flying: dict[Future[Report], Shard] = {}
    with executor:
        for shard in shards:
            if stopping():
                break
            if shard.number in there:
                yield _known(there.pop(shard.number), shard)
                continue
            flying[executor.submit(screen, job, shard)] = shard
            while len(flying) >= AHEAD * executor.width:
                yield from _landed(flying, job, executor, stopping, notify)
        while flying:
            yield from _landed(flying, job, executor, stopping, notify)
    if there and not stopping():
        raise _changed(next(iter(there.values())), "its inputs are no longer there")


def _known(part: Path, shard: Shard) -> Report:
    """The report of a part that was there, if it is of this shard."""
    if f"-{shard.digest}." not in part.name:
        raise _changed(part, "its inputs have changed since (names, sizes or dates)")
    return Report(shard.number, *counts(part))


def _changed(part: Path, why: str) -> InputError:
    return InputError(
        f"will not go on: {part} is of other structures",
        why=why,
        fix="screen into another folder; or delete this one, to begin anew",
    )


def _landed(
    flying: dict[Future[Report], Shard],
    job: Job,
    executor: ExecutorPool,
    stopping: Callable[[], bool],
    notify: Callable[[str], None],
) -> Iterator[Report]:
    """Reports of what has come back; what was lost is done again, alone."""
    done, _ = wait(flying, return_when=FIRST_COMPLETED)
    lost: list[Shard] = []
    while done:
        for future in done:
            shard = flying.pop(future)
            try:
                yield future.result()
            except executor.lost:
                lost.append(shard)
        # With one worker lost, others' shards may be; and what follows must be alone to tell.
        done = set(wait(flying).done) if lost else set()
    if stopping():  # the signal that asks for a stop may have ended the workers as well
        return
    if lost:
        notify(f"a worker died; {len(lost)} shard{'s'[: len(lost) > 1]} of it are done again")
    for shard in lost:
        yield _alone(shard, job, executor, notify)


def _alone(shard: Shard, job: Job, executor: ExecutorPool, notify: Callable[[str], None]) -> Report:
    """A shard whose worker died, with nothing else in work."""
    for _ in range(TRIES):
        again: Future[Report] = executor.submit(screen, job, shard)
        try:
            return again.result()
        except executor.lost:
            notify(f"shard {shard.number} lost its worker again; what kills it is sought")
        killers = _killers(executor, job, shard.pieces)
        if len(killers) > MOST_KILLERS:
            break
        for killer in killers:
            notify(f"{source_of(killer)} is given up: a worker dies of it")
        kept = [_given_up(piece) if piece in killers else piece for piece in shard.pieces]
        shard = replace(shard, pieces=tuple(kept))
    raise ComputationError(
        f"cannot screen shard {shard.number}",
        why="workers die of it, whichever of its structures they are given",
        fix="use fewer --workers or a smaller --shard-size if memory is short; "
        "run the same command again to go on",
    )


def _survives(executor: ExecutorPool, job: Job, pieces: Sequence[Piece]) -> bool:
    try:
        executor.submit(dry_run, job, pieces).result()
    except executor.lost:
        return False
    return True


def _killers(executor: ExecutorPool, job: Job, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces that kill a worker, by halving what does."""
    if len(pieces) == 1:
        tries = range(TRIES)
        return [] if any(_survives(executor, job, pieces) for _ in tries) else [*pieces]
    if _survives(executor, job, pieces):
        return []
    middle = len(pieces) // 2
    found = _killers(executor, job, pieces[:middle])
    if len(found) <= MOST_KILLERS:
        found += _killers(executor, job, pieces[middle:])
    return found


def _given_up(piece: Piece) -> FailedInput:
    source = source_of(piece)
    return FailedInput(
        source,
        ComputationError(
            f"cannot predict {source}",
            why=f"a worker died of it {TRIES} times, perhaps for want of memory",
            fix="screen it alone, on a machine with more memory",
        ),
    )
