"""What a measured spectrum may be of: candidates and their predicted spectra."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from debye.crystals.inversion.instrument import seen_of
from debye.crystals.predict.predictor import Prediction, Predictor
from debye.crystals.predict.rows import EXPECTED_ERROR
from debye.crystals.screening.store import damaged, parts, read_manifest
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import RESULTS, Rejected
from debye.crystals.uncertainty.calibration import Calibration
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
        size: Expected error of each over the usual one, (C,); None if the model is not calibrated.
    """

    labels: tuple[str, ...]
    sources: tuple[str, ...]
    frequency: Tensor
    density: Tensor
    warnings: tuple[tuple[str, ...], ...]
    rejected: tuple[Rejected, ...] = ()
    size: Tensor | None = None

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
            good.append((item, seen_of(item, neutron=neutron)))
        except Refusal as refusal:
            bad.append(Rejected(item.crystal.source or item.crystal.formula, refusal))
    _check_any(len(good), bad)
    sizes = [p.uncertainty.size for p, _ in good if p.uncertainty is not None]
    return Candidates(
        tuple(p.crystal.formula for p, _ in good),
        tuple(p.crystal.source or p.crystal.name for p, _ in good),
        torch.tensor(predictor.model.frequency, dtype=torch.float64),
        torch.stack([density for _, density in good]).double(),
        tuple(p.warnings for p, _ in good),
        tuple(bad),
        torch.stack(sizes) if sizes else None,
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
    """Whether a folder is one that `debye screen` wrote."""
    return (path / RESULTS).is_file()


def screened(folder: Path, model_sha256: str, calibration: Calibration | None = None) -> Candidates:
    """The candidates of a folder that `debye screen` wrote; its failed rows are left out.

    Args:
        folder: With its manifest and ``parts/*.parquet``.
        model_sha256: Checksum in the card of the model in use, which must have made them.
        calibration: Of that model, if it has one.

    Raises:
        Refusal: The folder comes from another model or version, cannot be read, or holds no
            spectrum.
    """
    frequency = _screened_grid(folder, model_sha256)
    rows = [row for part in parts(folder).values() for row in _rows(part)]
    if not rows:
        why = "its parts are missing, or every row of them tells an error"
        raise Refusal(f"no spectrum in {folder}", why=why, fix="look at the screening's errors")
    return Candidates(
        tuple(row["formula"] for row in rows),
        tuple(row["id"] for row in rows),
        frequency,
        torch.tensor([row["dos"] for row in rows], dtype=torch.float64),
        tuple(tuple(row["warnings"] or ()) for row in rows),
        size=_sizes(rows, calibration),
    )


def _sizes(rows: list[dict[str, Any]], calibration: Calibration | None) -> Tensor | None:
    if calibration is None or any(row[EXPECTED_ERROR] is None for row in rows):
        return None
    errors = [row[EXPECTED_ERROR] for row in rows]
    return calibration.size(torch.tensor(errors, dtype=torch.float64))


def _screened_grid(folder: Path, model_sha256: str) -> Tensor:
    """The grid of a screening that the model in use has made."""
    manifest = read_manifest(folder)
    try:
        made_by = str(manifest["model_sha256"])
        frequency = torch.tensor(manifest["frequency"], dtype=torch.float64)
    except (ValueError, KeyError, TypeError) as error:
        why = f"{RESULTS} is incomplete ({error})"
        fix = "screen again with this version of debye"
        raise Refusal(f"cannot use the screening {folder}", why=why, fix=fix) from error
    if made_by != model_sha256:
        why = f"its model is {made_by[:12]}…, and that in use {model_sha256[:12]}…"
        fix = "give the model that made it with --model, or screen again"
        raise Refusal(f"{folder} was screened with another model", why=why, fix=fix)
    return frequency


def _rows(part: Path) -> list[dict[str, Any]]:
    """Rows of a part that hold a spectrum."""
    from pyarrow import ArrowException, parquet

    columns = ["id", "formula", "dos", "warnings", EXPECTED_ERROR]
    try:
        table = parquet.read_table(part, columns=columns)
    except (OSError, ArrowException) as error:
        raise damaged(part, error) from error
    return [row for row in table.to_pylist() if row["dos"] is not None]
