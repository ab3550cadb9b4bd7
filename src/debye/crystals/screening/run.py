"""A screening from beginning to end: shards out, reports back, whatever dies between.

    structures → shards → workers → parts → Screening → the best of it

No more shards are read ahead than are worked on. A worker that dies takes the shards with it that
were in work; each of them is done again alone, and if it kills its worker again, its structures
are tried one by one, and what kills becomes a row with an error.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial as partial_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from debye.core import VERSION, executors
from debye.core.checkpoint import read_card
from debye.core.device import pick_device
from debye.core.executors import ExecutorPool
from debye.core.files import folder
from debye.crystals.dos.quantities import kelvins
from debye.crystals.predict.model_files import grid, model_path
from debye.crystals.screening import store
from debye.crystals.screening.alone import killers
from debye.crystals.screening.rank import Query, top
from debye.crystals.screening.refine import Refinement
from debye.crystals.screening.refine import refine as refine_rows
from debye.crystals.screening.store import counts, parts
from debye.crystals.screening.worker import (
    Job,
    Report,
    Shard,
    files_of,
    screen_shard,
    shards,
    shards_of,
    source_of,
)
from debye.crystals.structure.functional import check_lattice
from debye.crystals.structure_io.anything import crystals_of
from debye.crystals.structure_io.read import HOPELESS, FailedInput, Piece
from debye.crystals.uncertainty.conformal import row_of
from debye.crystals.uncertainty.uncertainty import LEVEL
from debye.errors import ComputationError, InputError

if TYPE_CHECKING:
    import pandas

AHEAD = 2
"""Shards in flight for each that can be worked on, so that no worker waits."""
TRIES = 3
"""How often a shard is done again whose worker dies."""

IN_PYTHON = "structures given in Python"
"""What a manifest says of inputs that are no files; the digests of the shards tell them apart."""


@dataclass(frozen=True, repr=False)
class Screening:
    """What a folder of `screen` holds.

    Args:
        folder: Where.
        structures: How many are done.
        failed: How many of them could not be read or predicted; their rows say why.
        finished: Whether all are done; else the same call goes on.
        refined: How many a calculator has refined, and how many it has not, though they were
            chosen; their rows say why.
    """

    folder: Path
    structures: int
    failed: int
    finished: bool
    refined: tuple[int, int] = (0, 0)

    def __repr__(self) -> str:
        state = "finished" if self.finished else "unfinished"
        counted = f"{self.structures} structures, {self.failed} failed"
        return f"Screening({self.folder}, {counted}, {state})"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Screening:
        """What was screened into a folder before.

        Raises:
            InputError: It holds no screening, or a part of it is damaged.
        """
        manifest = store.read_manifest(Path(path))
        found = [counts(part) for part in parts(Path(path)).values()]
        structures, failed = (
            (sum(column) for column in zip(*found, strict=True)) if found else (0, 0)
        )
        return cls(Path(path), structures, failed, "done" in manifest)

    def top(
        self,
        by: str = "heat-capacity-per-kg",
        count: int = 10,
        *,
        temperature: float | None = None,
        contains: Sequence[str] = (),
        without: Sequence[str] = (),
        lowest: bool = False,
        max_error: float | None = None,
    ) -> list[dict[str, Any]]:
        """The best rows, the best first, with the quantity's column and its interval.

        Args:
            by: What to rank by, of `debye.crystals.dos.quantities.PROPERTIES`.
            count: How many.
            temperature: K, one of the screening's; its first if None.
            contains: Elements that all must be there.
            without: Elements of which none may.
            lowest: Whether small values come first.
            max_error: Expected error of the spectrum up to which a row counts, cm⁻¹.

        Raises:
            InputError: It was not screened for that, or a part is damaged.
        """
        asked = Query(self.folder, by, temperature, contains, without, lowest, max_error)
        return top(asked, count)

    def to_pandas(self, columns: Sequence[str] | None = None) -> pandas.DataFrame:
        """All rows as a pandas table.

        Args:
            columns: Some of them, such as ``["id", "mean_frequency_cm-1"]``; all if None.

        Raises:
            InputError: pandas is not installed, there is no such column, or a part is damaged.
        """
        try:
            import pandas as pd
        except ImportError as error:
            why, fix = "pandas is not installed", "run `pip install pandas`, or use top()"
            raise InputError("cannot make a data frame", why=why, fix=fix) from error
        frames = [store.read_part(p, columns).to_pandas() for p in parts(self.folder).values()]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def screen(
    structures: Any,  # noqa: ANN401 - whatever `predict` takes
    output: str | os.PathLike[str],
    *,
    temperatures: ArrayLike = 300.0,
    level: float = LEVEL,
    partial: str = "none",
    lattice: str = "given",
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    workers: int | None = None,
    executor: str = "local",
    executor_config: str | os.PathLike[str] | None = None,
    shard_size: int = 1000,
    overwrite: bool = False,
    refine: str | None = None,
    calculator: str | None = None,
    stopping: Callable[[], bool] = lambda: False,
    progress: Callable[[Report], None] = lambda report: None,
    notify: Callable[[str], None] = warnings.warn,
) -> Screening:
    """Predict many structures, on all cores or on a cluster, into a folder of Parquet files.

    The same call goes on where the last one ended, however it ended, and does what is missing.
    A structure that cannot be read or predicted is a row with its error. In a script it must be
    called under ``if __name__ == "__main__":``, as all that starts processes.

    Args:
        structures: Files, folders and patterns, which workers read; or what `debye.predict` takes,
            read here.
        output: Folder of the results, made if missing.
        temperatures: K, of the thermal quantities: a number or several.
        level: Of the intervals that are kept.
        partial: ``element`` or ``site`` keeps partial spectra too.
        lattice: What cells the structures come in, as for `debye.predict`.
        model: Model file, ``fast`` or ``labels``; the shipped ensemble if None.
        device: Where to compute; ``auto`` shares out the accelerators.
        workers: Shards in work at a time; the cores of this machine, or what the executor's config
            has, if None.
        executor: Who does the work: ``local``, ``parsl`` or ``dask``.
        executor_config: TOML file that describes a Parsl or Dask executor.
        shard_size: Structures of a shard.
        overwrite: Begin anew in a folder that holds a run.
        refine: How many of those with the largest expected error go to a calculator in the end,
            ``25%`` or ``100``; see `debye.crystals.screening.refine`.
        calculator: ``module:function`` of a function that returns a calculator of ASE.
        stopping: Asked now and then; once it says yes, only what is in work is finished.
        progress: Is given the report of each shard.
        notify: Told what one should know, such as the death of a worker.

    Raises:
        InputError: Something asked for cannot be, the folder holds another run, or another run is
            at work there, or the first ten thousand structures have failed, every one.
        ComputationError: Workers die whatever they are given, or the disk is full.

    Example:
        >>> import tempfile
        >>> from debye.core.files import DEMO
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = screen(DEMO / "binaries.extxyz", folder, model="fast", workers=1)
        ...     [row["formula"] for row in found.top("mean-frequency", 2)]
        ['MgO', 'GaAs']
    """
    row_of(level)
    check_lattice(lattice)
    asked = _refinement(refine, calculator)
    if asked and not isinstance(structures, str | os.PathLike | list | tuple):
        structures = list(crystals_of(structures)[0])  # they are read again
    kelvin, card = tuple(dict.fromkeys(kelvins(temperatures))), read_card(model_path(model))
    inputs, cut = _shards(structures, shard_size)
    home = folder(output).resolve()
    chosen = None if model is None else model_path(model).resolve()
    job = Job(home, chosen, card["sha256"], kelvin, _known_partial(partial), device, level, lattice)
    with store.locked(home):
        pool = _pool(executor, executor_config, workers, job)
        if overwrite:
            store.clear(home)
        store.begin(home, _manifest(job, card, inputs, shard_size))
        total = failed = 0
        for report in run_shards(cut, job, pool, stopping=stopping, notify=notify):
            total, failed = total + report.structures, failed + report.failed
            progress(report)
            if total == failed >= HOPELESS:
                raise _hopeless(home, failed)
        if finished := not stopping():
            store.finish(home, total, failed)
        counted = (0, 0)
        if asked and finished:
            cut, pool = (
                _shards(structures, shard_size)[1],
                _pool(executor, executor_config, workers, job),
            )
            done = partial_of(progress, Report(-1, 0, 0))
            found = refine_rows(
                asked, cut, job, pool, stopping=stopping, notify=notify, progress=done
            )
            counted, finished = (found.chosen - found.failed, found.failed), found.finished
    return Screening(Path(output), total, failed, finished, counted)


def _refinement(amount: str | None, calculator: str | None) -> Refinement | None:
    """What is to be refined, if anything."""
    if amount is None and calculator is None:
        return None
    if amount is None or calculator is None:
        why = "it needs both an amount and a calculator"
        fix = "give --refine 25% --calculator module:function, or neither"
        raise InputError("cannot refine", why=why, fix=fix)
    return Refinement(amount, calculator)


def _hopeless(home: Path, failed: int) -> InputError:
    return InputError(
        "will not go on with the screening",
        why=f"the first {failed} structures could not be read or predicted, every one",
        fix=f"see the column error of the parts in {home}, and give other structures",
    )


def _shards(structures: Any, size: int) -> tuple[list[str], Iterator[Shard]]:  # noqa: ANN401
    """What a manifest says of the inputs, and their shards."""
    if size < 1:
        why = "a shard holds a structure at least"
        raise InputError(f"cannot make shards of {size}", why=why, fix="give a larger shard_size")
    one = isinstance(structures, str | os.PathLike)
    given = [structures] if one else structures
    if isinstance(given, list | tuple) and all(map(_is_path, given)):
        return [os.fspath(path) for path in given], shards(files_of(given), size)
    return [IN_PYTHON], shards_of(crystals_of(structures)[0], size)


def _is_path(given: object) -> bool:
    """Whether something is a path or pattern, and no text of a structure."""
    return isinstance(given, os.PathLike) or (isinstance(given, str) and "\n" not in given)


def _known_partial(partial: str) -> str:
    if partial not in (kinds := ("none", "element", "site")):
        why = f"the choices are {', '.join(kinds)}"
        raise InputError(f"cannot split spectra by {partial!r}", why=why, fix="choose one of them")
    return partial


def _manifest(
    job: Job, card: dict[str, Any], inputs: Sequence[str], shard_size: int
) -> dict[str, Any]:
    """What run this is, ready for JSON."""
    return {
        "debye_version": VERSION,
        "model_sha256": job.checksum,
        "inputs": list(inputs),
        "temperatures": list(job.temperatures),
        "partial": job.partial,
        "shard_size": shard_size,
        "frequency_unit": card.get("frequency_unit", "cm-1"),
        "frequency": grid(card),
        "dos_normalisation": "3N",
        "calibrated": "calibration" in card,
        "interval_level": job.level,
        **({} if job.lattice == "given" else {"lattice": job.lattice}),
    }


def _pool(
    name: str, config: str | os.PathLike[str] | None, workers: int | None, job: Job
) -> ExecutorPool:
    """The executor that is asked for, with its config."""
    if name == "local":
        pick_device(job.device)  # elsewhere it is the workers' devices that count
    preload = ["debye.crystals.screening.worker"]
    return executors.named(name, config, workers, job.folder / "parsl", preload)


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
            flying[executor.submit(screen_shard, job, shard)] = shard
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
        fix="screen into another folder, or add --overwrite to begin anew",
    )


def _landed(
    flying: dict[Future[Report], Shard],
    job: Job,
    executor: ExecutorPool,
    stopping: Callable[[], bool],
    notify: Callable[[str], None],
) -> Iterator[Report]:
    """Reports of what has come back; what was lost is done again, alone."""
    lost = yield from executor.landed(flying)
    if stopping():  # the signal that asks for a stop may have ended the workers as well
        return
    if lost:
        notify(f"a worker died; {len(lost)} shard{'s'[: len(lost) > 1]} of it are done again")
    for shard in lost:
        yield _alone(shard, job, executor, notify)


def _alone(shard: Shard, job: Job, executor: ExecutorPool, notify: Callable[[str], None]) -> Report:
    """A shard whose worker died, with nothing else in work."""
    for _ in range(TRIES):
        again: Future[Report] = executor.submit(screen_shard, job, shard)
        with suppress(*executor.lost):
            return again.result()
        notify(f"shard {shard.number} lost its worker again; what kills it is sought")
        search: Future[dict[int, str]] = executor.submit(killers, job, shard.pieces)
        with suppress(*executor.lost):
            shard = replace(shard, pieces=_without(search.result(), shard.pieces, notify))
    raise ComputationError(
        f"cannot screen shard {shard.number}",
        why="workers die of it, whichever of its structures they are given",
        fix="use fewer workers or smaller shards if memory is short, and run the same again to go "
        "on; in a script, call screen() under `if __name__ == '__main__':`",
    )


def _without(
    died: dict[int, str], pieces: Sequence[Piece], notify: Callable[[str], None]
) -> tuple[Piece, ...]:
    """The pieces, with an error in the place of each of which a process died."""
    kept = [*pieces]
    for i, how in died.items():
        source = source_of(pieces[i])
        notify(f"{source} is given up: a worker died of it, {how}")
        memory = ", perhaps for want of memory" if how == "SIGKILL" else ""
        error = ComputationError(
            f"cannot predict {source}",
            why=f"a worker died of it: {how}{memory}",
            fix="leave it out, or screen it alone, on a machine with more memory",
        )
        kept[i] = FailedInput(source, error)
    return tuple(kept)
