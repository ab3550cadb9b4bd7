"""What a worker does: one shard → predictions → one part of the results.

Everything here runs in processes on other cores or machines, and is told all by its arguments.
Each process reads, builds neighbour lists and runs the network for its own shard on one thread,
so that with several of them lists are built while networks run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from debye.core import executors
from debye.core.device import pick_device
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.predictor import Predictor
from debye.crystals.predict.record import table
from debye.crystals.screening.shards import Shard
from debye.crystals.screening.store import write_part
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import FailedInput, Piece, attempt, make
from debye.crystals.uncertainty.uncertainty import LEVEL
from debye.errors import InputError

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
    """

    folder: Path
    model: Path | None
    checksum: str
    temperatures: tuple[float, ...]
    partial: str
    device: str
    level: float = LEVEL


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
    content = table(_predictions(job, shard.pieces), job.temperatures, job.partial, job.level)
    failed = len(content) - content["error"].null_count
    write_part(job.folder, shard.number, shard.digest, content, failed)
    return Report(shard.number, len(content), failed)


def dry_run(job: Job, pieces: Sequence[Piece]) -> None:
    """Predict and keep nothing, to find out whether a worker survives it.

    Raises:
        InputError: The model is not the run's.
    """
    for _ in _predictions(job, pieces):
        pass


def _predictions(job: Job, pieces: Iterable[Piece]) -> Iterator[Prediction | FailedInput]:
    predictor = _predictor(job.model, job.checksum, job.device)
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
