"""What a measured spectrum may be of: candidates and their predicted spectra."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from debye.crystals.inversion.instrument import seen
from debye.crystals.model.predictor import Prediction, Predictor
from debye.crystals.structures.crystal import Crystal
from debye.crystals.structures.reading import Rejected
from debye.errors import Refusal


@dataclass(frozen=True)
class Candidates:
    """Candidates on one grid, in the order they were given.

    Args:
        labels: Formula of each, C of them.
        sources: Where each came from.
        frequency: The model's grid, cm⁻¹, (F,).
        density: As the instrument weights it, any scale, (C, F).
        warnings: What the model says of each.
        rejected: What could not be read or predicted.
    """

    labels: tuple[str, ...]
    sources: tuple[str, ...]
    frequency: Tensor
    density: Tensor
    warnings: tuple[tuple[str, ...], ...]
    rejected: tuple[Rejected, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def predicted(
    predictor: Predictor, structures: Iterable[Crystal | Rejected], *, neutron: bool = False
) -> Candidates:
    """Predict every structure, and keep what cannot be predicted apart.

    Args:
        predictor: The model.
        structures: As `read_structures` yields them.
        neutron: Weight the partial densities as neutrons do.

    Raises:
        Refusal: There is none, or all of them failed.
    """
    good: list[tuple[Prediction, Tensor]] = []
    bad: list[Rejected] = []
    for item in predictor(structures):
        if isinstance(item, Rejected):
            bad.append(item)
            continue
        try:
            good.append((item, seen(item.sites.density, item.crystal, neutron=neutron)))
        except Refusal as refusal:
            bad.append(Rejected(item.crystal.source or item.crystal.formula, refusal))
    _check_any(len(good), bad)
    return Candidates(
        tuple(p.crystal.formula for p, _ in good),
        tuple(p.crystal.source or p.crystal.name for p, _ in good),
        torch.tensor(predictor.model.frequency, dtype=torch.float64),
        torch.stack([density for _, density in good]).double(),
        tuple(p.warnings for p, _ in good),
        tuple(bad),
    )


def _check_any(good: int, bad: list[Rejected]) -> None:
    if good:
        return
    if bad:
        why = f"all {len(bad)} failed, the first so: {bad[0].refusal.what}: {bad[0].refusal.why}"
        raise Refusal("no candidate can be compared", why=why, fix=bad[0].refusal.fix)
    why = "no structure was found in what was given"
    raise Refusal(
        "there are no candidates", why=why, fix="name files, folders or a screened folder"
    )


def is_screened(path: Path) -> bool:
    """Whether a folder holds parts of a screening."""
    return path.is_dir() and any(path.glob("*.parquet"))


def screened(folder: Path, checksum: str | None) -> Candidates:
    """The candidates of a folder that `debye screen` wrote.

    Args:
        folder: With its parquet parts, whose columns id, source, formula and spectrum (states of
            the cell per cm⁻¹) are read, and the grid from their metadata.
        checksum: Of the model in use, which must have made them; None to take any.

    Raises:
        Refusal: A part cannot be read, has other columns or grids, or comes from another model.
    """
    from pyarrow import ArrowException

    rows: list[dict[str, Any]] = []
    grid: list[float] | None = None
    for part in sorted(folder.glob("*.parquet")):
        try:
            frequency, found = _part(part, checksum)
        except (ArrowException, OSError, KeyError, ValueError) as error:
            what, why = f"cannot read {part} as a part of a screening", str(error)
            raise Refusal(what, why=why, fix="screen again with this version of debye") from error
        if grid is not None and frequency != grid:
            why = f"its grid has {len(frequency)} points, that of the others {len(grid)}"
            raise Refusal(f"cannot use {part}", why=why, fix="screen again into a fresh folder")
        grid, rows = frequency, rows + list(found)
    if not rows:
        raise Refusal(
            f"no spectrum in {folder}",
            why="each of its rows tells an error, or there are none",
            fix="look at the errors of the screening",
        )
    return Candidates(
        tuple(row["formula"] for row in rows),
        tuple(f"{row['source']}" for row in rows),
        torch.tensor(grid, dtype=torch.float64),
        torch.tensor([row["spectrum"] for row in rows], dtype=torch.float64),
        ((),) * len(rows),
    )


def _part(path: Path, checksum: str | None) -> tuple[list[float], Iterator[dict[str, Any]]]:
    """Grid and rows of one part; rows that tell an error have no spectrum."""
    from pyarrow import parquet

    table = parquet.read_table(path, columns=["source", "formula", "spectrum"])
    metadata = table.schema.metadata or {}
    made_by = metadata[b"model_checksum"].decode()
    if checksum is not None and made_by != checksum:
        raise Refusal(
            f"the folder {path.parent} was screened with another model",
            why=f"its checksum is {made_by[:12]}, that of the model in use {checksum[:12]}",
            fix="give that model with --model, or screen again",
        )
    frequency = [float(x) for x in json.loads(metadata[b"frequency"])]
    return frequency, (row for row in table.to_pylist() if row["spectrum"] is not None)
