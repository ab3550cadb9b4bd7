"""Shards and the worker: structures cut into units of work, each one part of the results.

The cut depends on the files and the size alone, so that a run that goes on cuts as it did before.
A worker runs on another core or machine and is given all by its arguments: it reads, builds
neighbour lists and runs the network for its own shard on one thread, so that with several of them
lists are built while networks run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch

from debye.core import executors
from debye.core.device import pick_device
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.predictor import Predictor
from debye.crystals.predict.record import table
from debye.crystals.screening.store import write_part
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import (
    FailedInput,
    Paths,
    Piece,
    attempt,
    find_files,
    make,
    pieces,
)
from debye.crystals.structure_io.text import LazyStructure
from debye.crystals.uncertainty.uncertainty import LEVEL
from debye.errors import InputError

BYTES_OF_ONE = 16_384
"""A file that is read whole counts as one structure for each so many bytes."""


@dataclass(frozen=True)
class Shard:
    """Structures that are screened together, not yet made; it can be sent to another process.

    Args:
        number: Which shard of the run, from 0.
        pieces: What `debye.crystals.structure_io.read.make` makes crystals of.
        digest: Of the names of its structures, and of the size and date of their files, or of
            the structures themselves.
    """

    number: int
    pieces: tuple[Piece, ...]
    digest: str


def files_of(inputs: Paths) -> list[Path]:
    """The files that inputs mean, each once, in order.

    Raises:
        InputError: An input means no file.

    Example:
        >>> files_of(["nowhere.cif"])
        Traceback (most recent call last):
        debye.errors.InputError: cannot read nowhere.cif
          why: there is no such file
          fix: check the path
    """
    found: dict[Path, None] = {}
    for path in find_files(inputs):
        if isinstance(path, FailedInput):
            raise path.error
        found[path] = None
    return list(found)


def shards(files: Iterable[Path], size: int) -> Iterator[Shard]:
    """Cut files into shards of about ``size`` structures, as they are read.

    A file that streams is cut within; one that is read whole is not, and counts by its bytes.

    Args:
        files: Each once.
        size: Structures of a shard.

    Example:
        >>> from debye.core.files import DEMO
        >>> quartz = DEMO / "quartz.cif"
        >>> [shard.number for shard in shards([quartz, quartz, quartz], size=2)]
        [0, 1]
    """

    def found() -> Iterator[tuple[Piece, str, int]]:
        for path in files:
            stamp = _stamp(path)
            for piece in pieces(path):
                yield piece, f"{stamp}\0{source_of(piece)}", _weight(piece)

    return _cut(found(), size)


def shards_of(structures: Iterable[Crystal | FailedInput], size: int) -> Iterator[Shard]:
    """Cut structures that are there already into shards of ``size``, as they are asked for.

    One without a source, or with that of another, is told from it by its place, ``item 3``.

    Args:
        structures: As `debye.crystals.structure_io.anything.crystals_of` gives them.
        size: Structures of a shard.

    Example:
        >>> carbon = Crystal(["C"], [[0, 0, 0]], [[2, 0, 0], [0, 2, 0], [0, 0, 2]])
        >>> [[piece.source for piece in shard.pieces] for shard in shards_of([carbon] * 3, 2)]
        [['item 0', 'item 1'], ['item 2']]
    """

    def found() -> Iterator[tuple[Piece, str, int]]:
        used = set[str]()
        for i, structure in enumerate(structures):
            if isinstance(structure, FailedInput):
                yield structure, structure.source, 1
                continue
            source = structure.source or f"item {i}"
            named = replace(structure, source=f"{source}, item {i}" if source in used else source)
            used.add(source)
            content = (named.source, named.species, named.positions.tobytes(), named.cell.tobytes())
            yield LazyStructure(named.source, partial(_itself, named)), repr(content), 1

    return _cut(found(), size)


def _itself(crystal: Crystal) -> Crystal:
    return crystal


def _cut(found: Iterable[tuple[Piece, str, int]], size: int) -> Iterator[Shard]:
    """Shards of pieces, each with what tells it from others and how many structures it counts."""
    number, weight, content, known = 0, 0, list[Piece](), hashlib.sha256()
    for piece, mark, counted in found:
        content.append(piece)
        known.update(f"{mark}\n".encode(errors="surrogateescape"))
        weight += counted
        if weight >= size:
            yield Shard(number, tuple(content), known.hexdigest()[:8])
            number, weight, content, known = number + 1, 0, [], hashlib.sha256()
    if content:
        yield Shard(number, tuple(content), known.hexdigest()[:8])


def source_of(piece: Piece) -> str:
    """What a piece is called in errors."""
    return str(piece) if isinstance(piece, Path) else piece.source


def _stamp(path: Path) -> str:
    """Size and date of a file, by which it is seen that it changed."""
    try:
        found = path.stat()
    except OSError:  # it vanished since it was found, which the row of it will say
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _weight(piece: Piece) -> int:
    if not isinstance(piece, Path):
        return 1
    try:
        return max(1, piece.stat().st_size // BYTES_OF_ONE)
    except OSError:
        return 1


LOCAL_NUMBERS = ("PALS_LOCAL_RANKID", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")
"""Where ``mpiexec`` and ``srun`` say it, for workers that they started."""


@dataclass(frozen=True)
class Job:
    """What a run asks of every shard.

    Args:
        folder: Where the parts go; every worker must see it.
        model: Model file, or None for the shipped one.
        checksum: Of the model, which every worker must find.
        temperatures: K.
        partial: ``none``, ``element`` or ``site``.
        device: As of `debye.core.device.pick_device`; ``auto`` shares out the accelerators.
        level: Of the intervals.
        lattice: What cells the structures come in.
    """

    folder: Path
    model: Path | None
    checksum: str
    temperatures: tuple[float, ...]
    partial: str
    device: str
    level: float = LEVEL
    lattice: str = "given"


@dataclass(frozen=True)
class Report:
    """What came of a shard."""

    number: int
    structures: int
    failed: int


def screen_shard(job: Job, shard: Shard) -> Report:
    """Predict a shard and write its part.

    Raises:
        InputError: The model is not the run's, or the part cannot be written.
        ComputationError: The disk is full.
    """
    content = table(predictions(job, shard.pieces), job.temperatures, job.partial, job.level)
    failed = len(content) - content["error"].null_count
    write_part(job.folder, shard.number, shard.digest, content, failed)
    return Report(shard.number, len(content), failed)


def predictions(job: Job, pieces: Iterable[Piece]) -> Iterator[Prediction | FailedInput]:
    """What comes of pieces, in order.

    Raises:
        InputError: The model is not the run's.
    """
    predictor = _predictor(job.model, job.checksum, job.device).on(job.lattice)
    structures = [structure for piece in pieces for structure in make(piece)]
    try:
        yield from list(predictor(structures))
    except (RuntimeError, MemoryError):  # out of memory, or numerics: one of them is to blame
        for structure in structures:
            yield _alone(predictor, structure)


def _alone(predictor: Predictor, structure: Crystal | FailedInput) -> Prediction | FailedInput:
    if isinstance(structure, FailedInput):
        return structure
    return attempt(structure.source, lambda: predictor.predict(structure))


@lru_cache(maxsize=1)
def _predictor(model: Path | None, checksum: str, device: str) -> Predictor:
    """The run's model, loaded once in each process.

    Raises:
        InputError: The file here is another one.
    """
    torch.set_num_threads(1)
    predictor = Predictor.load(model, _shared_out(device))
    if predictor.card["sha256"] != checksum:
        raise InputError(
            f"will not use the model {model or 'that comes with debye'}",
            why="a worker found another one there than the run was started with",
            fix="let every node see the same model file, and the same version of debye",
        )
    return predictor


def _shared_out(device: str) -> str:
    """The device of this worker: of several accelerators, the one whose turn it is."""
    device = pick_device(device)
    if device == "cpu" or ":" in device:
        return device
    count = getattr(torch, device).device_count()
    turn = executors.worker_number
    if turn is None:
        turn = int(next(filter(None, map(os.environ.get, LOCAL_NUMBERS)), 0))
    return f"{device}:{turn % count}" if count > 1 else device
