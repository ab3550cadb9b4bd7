"""Many scans, each correlated into a result file of its own, on all cores or on a cluster.

A worker that dies takes the scans with it that were in work; each of them is done again alone, and
one that kills its worker again and again is told as failed. What is done stands in its file, so
that the same call goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from debye.core.executors import ExecutorPool
from debye.errors import ComputationError, DebyeError, InputError
from debye.speckle.data.analysis import Analysis, Notify, unheard
from debye.speckle.data.correlate import analysed, runs_of
from debye.speckle.data.locate import split_name
from debye.speckle.data.read_results import asked_of
from debye.speckle.data.results import write_results

AHEAD = 2
"""Scans in flight for each that can be worked on, so that no worker waits."""
TRIES = 2
"""How often a scan is done again whose worker dies."""


@dataclass(frozen=True)
class ScanJob:
    """A scan and the file of its results; it can be sent to another process."""

    frames_of: str | os.PathLike[str]
    output: Path
    how: Analysis
    run: int | None = None

    @property
    def digest(self) -> str:
        """Of what is asked for, and of the size and date of what holds the frames."""
        found = hashlib.sha256()
        for value in (*astuple(self.how), self.run, self.frames_of):
            is_array = isinstance(value, Tensor | np.ndarray)
            found.update(np.asarray(value).tobytes() if is_array else repr(value).encode())
        path = Path(split_name(os.fspath(self.frames_of))[0]).expanduser()
        with suppress(OSError):
            seen = path.stat()
            found.update(f"{seen.st_size} {seen.st_mtime_ns}".encode())
        return found.hexdigest()


@dataclass(frozen=True)
class ScanReport:
    """What became of a scan.

    Attributes:
        job: Which.
        record: Of its correlation; empty if it failed, or was done before.
        notes: What one should know of it.
        error: Why it failed.
    """

    job: ScanJob
    record: dict[str, Any]
    notes: tuple[str, ...] = ()
    error: DebyeError | None = None


def scan_jobs(
    frames_of: Sequence[str | os.PathLike[str]], folder: Path, how: Analysis, run: int | None = None
) -> list[ScanJob]:
    """A job for each scan; its file is called after it, and after its folder where that is needed.

    Args:
        frames_of: What holds the frames of each.
        folder: Of the results.
        how: What is asked for.
        run: Which run of files of several.

    Raises:
        InputError: Two would have one name.

    Example:
        >>> jobs = scan_jobs(["a/run_master.h5", "b/run_master.h5", "c.h5"], Path("r"), Analysis())
        >>> [job.output.name for job in jobs]
        ['a_run_results.hdf', 'b_run_results.hdf', 'c_results.hdf']
    """
    stems = [_stem(spec) for spec in frames_of]
    times = Counter(stems)
    names = [
        stem
        if times[stem] == 1
        else f"{Path(split_name(os.fspath(spec))[0]).resolve().parent.name}_{stem}"
        for spec, stem in zip(frames_of, stems, strict=True)
    ]
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(
                f"cannot write the results of {count} scans to {folder}",
                why=f"all would be called {name}_results.hdf",
                fix="correlate them into folders of their own",
            )
    return [
        ScanJob(_absolute(spec), folder / f"{name}_results.hdf", how, run)
        for spec, name in zip(frames_of, names, strict=True)
    ]


def _absolute(spec: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The same file, wherever a worker is."""
    if not isinstance(spec, str):
        return spec
    path, inside = split_name(spec)
    return f"{Path(path).expanduser().absolute()}{'::' * bool(inside)}{inside}"


def _stem(spec: str | os.PathLike[str]) -> str:
    """What a scan is called."""
    path, inside = split_name(os.fspath(spec))
    stem = Path(path).stem.removesuffix("_master")
    return stem + "".join(f"_{part}" for part in re.findall(r"\w+", inside))


def correlate_scans(
    jobs: Sequence[ScanJob],
    pool: ExecutorPool,
    *,
    overwrite: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    notify: Notify = unheard,
) -> Iterator[ScanReport]:
    """Correlate scans, and report of each as it is done.

    Args:
        jobs: What is to be done; a scan whose file has its results already is not done again.
        pool: Where; it is entered and left here.
        overwrite: Whether files of that name may be replaced.
        stopping: Asked now and then; once it says yes, only what is in work is finished.
        notify: Told what one should know, such as the death of a worker.

    Yields:
        A report for each scan that was done or has failed.

    Raises:
        InputError: A file of that name holds other results.
    """
    left = [job for job in jobs if overwrite or not _is_done(job)]
    if len(left) < len(jobs):
        notify(f"{len(jobs) - len(left)} of {len(jobs)} scans were done before")
    flying: dict[Future[ScanReport], ScanJob] = {}
    if not left:
        return
    with pool:
        for job in left:
            if stopping():
                break
            flying[pool.submit(correlate_scan, job)] = job
            while len(flying) >= AHEAD * pool.width:
                yield from _landed(flying, pool, stopping, notify)
        while flying:
            yield from _landed(flying, pool, stopping, notify)


def _is_done(job: ScanJob) -> bool:
    """Whether a scan's results stand in its file.

    Raises:
        InputError: The file holds something else.
    """
    if not job.output.exists():
        return False
    if asked_of(job.output) != job.digest:
        raise InputError(
            f"cannot write {job.output}",
            why="it exists, and holds results of other frames or options",
            fix="choose another folder, or --overwrite",
        )
    return True


def correlate_scan(job: ScanJob) -> ScanReport:
    """Correlate a scan into its file: the work of a worker.

    Args:
        job: Which.
    """
    torch.set_num_threads(1)  # as many workers as cores
    notes: list[str] = []
    try:
        found = analysed(runs_of(job.frames_of, job.run), job.how, job.run, notes.append)
        about = {**found.about, "asked": job.digest}
        write_results(job.output, replace(found, about=about), overwrite=True)
    except DebyeError as error:
        return ScanReport(job, {}, tuple(notes), error)
    except MemoryError:
        what = f"cannot correlate {job.frames_of}"
        lack = ComputationError(what, why="there is not enough memory", fix="use fewer workers")
        return ScanReport(job, {}, tuple(notes), lack)
    return ScanReport(job, found.as_json(), tuple(notes))


def _landed(
    flying: dict[Future[ScanReport], ScanJob],
    pool: ExecutorPool,
    stopping: Callable[[], bool],
    notify: Notify,
) -> Iterator[ScanReport]:
    """Reports of what has come back; what was lost is done again, alone."""
    lost = yield from pool.landed(flying)
    if stopping():  # the signal that asks for a stop may have ended the workers as well
        return
    if lost:
        notify(f"a worker died; {len(lost)} scan{'s'[: len(lost) > 1]} of it are done again")
    for job in lost:
        yield _alone(job, pool)


def _alone(job: ScanJob, pool: ExecutorPool) -> ScanReport:
    """A scan whose worker died, with nothing else in work."""
    for _ in range(TRIES):
        _tidy(job)
        again: Future[ScanReport] = pool.submit(correlate_scan, job)
        with suppress(*pool.lost):
            return again.result()
    _tidy(job)
    error = ComputationError(
        f"cannot correlate {job.frames_of}",
        why="workers die of it",
        fix="correlate it alone, on a machine with more memory; or leave it out",
    )
    return ScanReport(job, {}, (), error)


def _tidy(job: ScanJob) -> None:
    """Remove what a worker had begun to write when it died."""
    for unfinished in job.output.parent.glob(f".debye-*-{job.output.name[-64:]}.tmp"):
        with suppress(OSError):
            os.unlink(unfinished)
