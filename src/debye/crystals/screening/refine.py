"""A finished screening refined: what is expected to be most wrong goes to a calculator.

Those of the largest expected error are computed by finite displacements, each a task of the same
executors, at the geometry given. Their rows take what comes of it, and say by which calculator;
what fails keeps the row of the model, and says why. Force calls are kept in a folder for each
structure, and a shard's part is written anew when its last one is done: the same call goes on.

    DIR/refined/chosen.json             which structures, by which calculator
    DIR/refined/5a59ce96…/              force calls of one, in the end a calculation of phonopy's
"""

from __future__ import annotations

import hashlib
import heapq
import importlib
import json
import math
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from debye.core.executors import ExecutorPool
from debye.core.files import atomic_write
from debye.crystals.dos.quantities import PROPERTIES
from debye.crystals.lattice.calculate import from_calculator
from debye.crystals.lattice.dos import by_element, smoothed
from debye.crystals.lattice.harmonic import HarmonicCrystal
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.record import EXPECTED_ERROR, UNSTABLE, bounds_of, numbers
from debye.crystals.screening import store
from debye.crystals.screening.worker import Job, Shard, source_of
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import FailedInput, Piece, attempt, make
from debye.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("refined_by", "refine_error")
"""Which calculator a row is of, none where it is the model's; and why it could not be refined."""
COARSE = 15.0
"""Points this far apart are those of smoothed labels, cm⁻¹."""
FOLDER = "refined"
LOST = "a worker died of it, with nothing else in work"

_Task = tuple[int, str, tuple[Piece, ...]]
"""Number of the part, id, and where the structure is."""


@dataclass(frozen=True)
class Refinement:
    """What is to be refined, and by what.

    Args:
        amount: A fraction of the structures, ``25%``, or how many, ``100``.
        calculator: ``module:function``; what the function returns is a calculator of ASE.

    Raises:
        InputError: It is no amount, or there is no such function.
    """

    amount: str
    calculator: str

    def __post_init__(self) -> None:
        self.count(0)
        calculator_named(self.calculator, os.getcwd())

    def count(self, rows: int) -> int:
        """How many of some rows.

        Raises:
            InputError: It is no amount.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", self.amount)
        number, percent = (float(match[1]), bool(match[2])) if match else (math.nan, False)
        if not (0 < number <= 100 if percent else number >= 1 and number == int(number)):
            why = "it is neither a fraction, such as 25%, nor a number of structures"
            raise InputError(f"cannot refine {self.amount!r}", why=why, fix="write for example 25%")
        return math.ceil(rows * number / 100) if percent else min(rows, int(number))


class Refined(NamedTuple):
    """What came of a refinement."""

    chosen: int
    failed: int
    """How many of them keep the row of the model."""
    finished: bool


@lru_cache(maxsize=4)
def calculator_named(name: str, folder: str) -> Callable[[], Any]:
    """The function that a user has named, found in a folder or where Python looks.

    Nothing else than what is named is imported, and only where it was named in so many words.

    Raises:
        InputError: There is none.
    """
    module, colon, function = name.partition(":")
    what, fix = f"cannot use the calculator {name!r}", "name it as module:function"
    if not (module and colon and function):
        raise InputError(what, why="it is not module:function", fix=fix)
    sys.path.insert(0, folder)
    try:
        made = getattr(importlib.import_module(module), function)
    except Exception as error:  # a stranger's module may raise anything
        why = f"importing it raised {type(error).__name__}: {error}"
        raise InputError(what, why=why, fix=fix) from error
    finally:
        sys.path.remove(folder)
    if not callable(made):
        raise InputError(what, why=f"{function} is no function", fix=fix)
    return made


def refine(
    asked: Refinement,
    shards: Iterable[Shard],
    job: Job,
    pool: ExecutorPool,
    *,
    stopping: Callable[[], bool] = lambda: False,
    notify: Callable[[str], None] = lambda message: None,
    progress: Callable[[], None] = lambda: None,
) -> Refined:
    """Refine a screening that is finished, or go on with it.

    Args:
        asked: What.
        shards: Those of the screening, cut anew.
        job: The screening's.
        pool: Who does the work; entered and left here.
        stopping: Asked now and then; once it says yes, what is in work is finished.
        notify: Told how much there is to do before it begins, and which structures fail.
        progress: Called as each structure is done.

    Raises:
        InputError: The model is not calibrated, the folder was refined otherwise, or a part is
            damaged or cannot be written.
        ComputationError: The disk is full.
    """
    if not store.read_manifest(job.folder)["calibrated"]:
        why = "the model is not calibrated, so the error to expect of a row is not known"
        raise InputError("cannot refine", why=why, fix="screen with the shipped ensemble")
    parts = store.parts(job.folder)
    chosen = _chosen(asked, job.folder, parts)
    for part in parts.values():
        _with_columns(part)
    store.note_refined(job.folder, {"amount": asked.amount, "calculator": asked.calculator})
    missing = {n: ids - _refined(parts[n]) for n, ids in chosen.items()}
    total, left = (sum(map(len, group.values())) for group in (chosen, missing))
    notify(f"{left} of {total} chosen structures go to {asked.calculator}")
    with pool:
        for number, found in _computed(asked, shards, job, pool, missing, stopping, progress):
            for source, row in found.items():
                if error := row.get("refine_error"):
                    notify(f"{source} is not refined: {error}")
            _merge(parts[number], found)
    rows = [r for part in parts.values() for r in store.read_part(part, COLUMNS).to_pylist()]
    refined, failed = (sum(1 for row in rows if row[name]) for name in COLUMNS)
    finished = refined + failed >= total
    store.note_refined(
        job.folder,
        {"amount": asked.amount, "calculator": asked.calculator, "structures": refined},
    )
    return Refined(total, failed, finished)


def _chosen(asked: Refinement, folder: Path, parts: dict[int, Path]) -> dict[int, set[str]]:
    """The ids that are to be refined, by the number of their part; kept, so that they stay."""
    path = folder / FOLDER / "chosen.json"
    (folder / FOLDER).mkdir(exist_ok=True)
    if path.exists():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            found = {int(n): set(ids) for n, ids in known["chosen"].items()}
            same = (known["amount"], known["calculator"]) == (asked.amount, asked.calculator)
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            why, fix = f"it is damaged ({error})", "delete it, and run the same again"
            raise InputError(f"cannot read {path}", why=why, fix=fix) from error
        if not same or not found.keys() <= parts.keys():
            why = f"{known['amount']} of it are refined by {known['calculator']}"
            fix = "repeat that, screen into another folder, or add --overwrite to begin anew"
            raise InputError(f"will not refine {folder} otherwise", why=why, fix=fix)
        return found
    errors = [
        (row[EXPECTED_ERROR], row["id"], number)
        for number, part in parts.items()
        for row in store.read_part(part, ["id", EXPECTED_ERROR]).to_pylist()
        if row[EXPECTED_ERROR] is not None
    ]
    groups = defaultdict[int, set[str]](set)
    for _, source, number in heapq.nlargest(asked.count(len(errors)), errors):
        groups[number].add(source)
    kept = {str(n): sorted(ids) for n, ids in sorted(groups.items())}
    record = {"amount": asked.amount, "calculator": asked.calculator, "chosen": kept}
    atomic_write(path, json.dumps(record, indent=1) + "\n")
    return dict(groups)


def _with_columns(part: Path) -> None:
    """Give a part the columns of a refinement."""
    import pyarrow as pa

    content = store.read_part(part)
    missing = [name for name in COLUMNS if name not in content.column_names]
    for name in missing:
        content = content.append_column(name, pa.nulls(len(content), pa.string()))
    if missing:
        store.rewrite_part(part, content)


def _refined(part: Path) -> set[str]:
    """Ids of a part that have been refined."""
    rows = store.read_part(part, ["id", "refined_by"]).to_pylist()
    return {row["id"] for row in rows if row["refined_by"]}


def _merge(part: Path, found: dict[str, dict[str, Any]]) -> None:
    """Put what came of a part's structures into their rows."""
    import pyarrow as pa

    content: pa.Table = store.read_part(part)
    rows = [row | found.get(row["id"], {}) for row in content.to_pylist()]
    store.rewrite_part(part, pa.Table.from_pylist(rows, schema=content.schema))


def _computed(
    asked: Refinement,
    shards: Iterable[Shard],
    job: Job,
    pool: ExecutorPool,
    missing: dict[int, set[str]],
    stopping: Callable[[], bool],
    progress: Callable[[], None],
) -> Iterator[tuple[int, dict[str, dict[str, Any]]]]:
    """Rows of each part as its last structure is done; of what there is when stopped."""
    tasks = (
        (shard.number, source, _pieces_of(shard.pieces, source))
        for shard in shards
        for source in sorted(missing.get(shard.number, ()))
    )
    grid = tuple(store.read_manifest(job.folder)["frequency"])
    found = defaultdict[int, dict[str, dict[str, Any]]](dict)
    flying: dict[Future[dict[str, Any]], _Task] = {}
    lost: list[_Task] = []

    def submit(task: _Task) -> Future[dict[str, Any]]:
        work = (asked.calculator, os.getcwd(), grid)
        return pool.submit(refine_one, job, task[2], task[1], *work)

    while True:
        while len(flying) < pool.width and not stopping() and (task := next(tasks, None)):
            flying[submit(task)] = task
        if not flying:
            break
        for future in wait(flying, return_when=FIRST_COMPLETED).done:
            task = flying.pop(future)
            try:
                found[task[0]][task[1]] = future.result()
            except pool.lost:
                lost.append(task)
                continue
            progress()
            if len(found[task[0]]) == len(missing[task[0]]):
                yield task[0], found.pop(task[0])
    for task in lost if not stopping() else ():  # alone, since another may have been to blame
        try:
            found[task[0]][task[1]] = submit(task).result()
        except pool.lost:
            found[task[0]][task[1]] = {"refine_error": LOST}
        progress()
    yield from found.items()


def _pieces_of(pieces: Sequence[Piece], source: str) -> tuple[Piece, ...]:
    """The pieces that may hold the structure of an id: that one, or a file of several."""
    exact = tuple(piece for piece in pieces if source_of(piece) == source)
    within = tuple(piece for piece in pieces if source.startswith(source_of(piece)))
    return exact or within or tuple(pieces)


def refine_one(
    job: Job,
    pieces: Sequence[Piece],
    source: str,
    calculator: str,
    folder: str,
    grid: Sequence[float],
) -> dict[str, Any]:
    """The columns that a calculator changes in the row of a structure; on a worker.

    Args:
        job: The screening's.
        pieces: Among which the structure is.
        source: Its id.
        calculator: ``module:function``.
        folder: Where it was named.
        grid: Of the screening's spectra, cm⁻¹.
    """

    def work() -> dict[str, Any]:
        crystal = _structure(pieces, source)
        kept = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()[:16]
        given = from_calculator(
            crystal,
            calculator_named(calculator, folder),
            output=job.folder / FOLDER / kept,
        )
        return _columns(job, crystal, given, np.array(grid)) | {
            "refined_by": calculator,
            "refine_error": None,
        }

    found = attempt(source, work)
    if isinstance(found, FailedInput):
        return {"refine_error": f"{found.error.what}: {found.error.why}"}
    return found


def _structure(pieces: Sequence[Piece], source: str) -> Crystal:
    for piece in pieces:
        for item in make(piece):
            if isinstance(item, Crystal) and source == (item.source or item.name):
                return item
    why, fix = "it is no longer where it was", "screen anew, with --overwrite"
    raise InputError(f"cannot refine {source}", why=why, fix=fix)


def _columns(
    job: Job, crystal: Crystal, given: HarmonicCrystal, grid: np.ndarray
) -> dict[str, Any]:
    """What the force constants say, in the columns of the screening and on its grid."""
    raw = Prediction.of_force_constants(given)
    coarse = bool(np.diff(grid).min() >= COARSE)
    sites = smoothed(raw.sites, grid) if coarse else raw.sites.resample(grid)
    cell, times = given.crystal, crystal.n_atoms / given.crystal.n_atoms
    seen = Prediction(
        cell, sites, sites.sum().density[None], raw.kinds, (), raw.warnings, given=given
    )
    quantities = [p.column(T) for T in job.temperatures for p in PROPERTIES.values()]
    unknown = [name for column in quantities for name in bounds_of(column)]
    found: dict[str, Any] = dict.fromkeys(unknown)
    found |= numbers(seen, PROPERTIES.values(), job.temperatures, level=job.level, several=True)
    found |= {
        "dos": (times * seen.total.density).tolist(),
        "warnings": list(raw.warnings),
        "elements_unseen": [],
        EXPECTED_ERROR: None,
        "expected_error_rank": None,
        UNSTABLE: None,
    }
    if job.partial != "none":
        parts = by_element(cell, sites) if job.partial == "element" else None
        if parts is None and times != 1:
            found["partial_dos"] = None  # the sites of the primitive cell are not those of the row
        else:
            rows = sites if parts is None else parts
            density = (times * rows.density).tolist()
            found["partial_dos"] = list(zip(rows.labels, density, strict=True))
    return found
