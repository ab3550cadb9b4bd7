"""What a measured spectrum may be of: candidates and their predicted spectra.

Rank candidates by the likelihood of a measured spectrum under each one's prediction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from debye.crystals.dos_io.measured import Measured
from debye.crystals.inversion.instrument import Resolution, response, seen_of
from debye.crystals.inversion.likelihood import (
    SHIPPED_ERROR,
    Fits,
    ModelError,
    Observation,
    fit,
    normal_half_width,
)
from debye.crystals.lattice.dos import smoother
from debye.crystals.lattice.harmonic import HarmonicCrystal
from debye.crystals.predict.prediction import Prediction
from debye.crystals.predict.predictor import Predictor
from debye.crystals.predict.record import EXPECTED_ERROR
from debye.crystals.screening.store import parts, read_manifest, read_part
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import RESULTS, FailedInput
from debye.crystals.uncertainty.calibration import Calibration
from debye.crystals.uncertainty.uncertainty import LEVEL, Interval
from debye.errors import DebyeError, InputError


@dataclass(frozen=True)
class Candidates:
    """Candidates on one grid, in the order they were given.

    Args:
        labels: Formula of each, C of them.
        sources: Where each came from.
        frequency: The model's grid, cm⁻¹, (F,).
        density: As the instrument weights it, any scale, (C, F).
        warnings: What the model says of each.
        failed: What could not be read or predicted.
        size: Expected error of each over the usual one, (C,); None if the model is not calibrated.
    """

    labels: tuple[str, ...]
    sources: tuple[str, ...]
    frequency: Tensor
    density: Tensor
    warnings: tuple[tuple[str, ...], ...]
    failed: tuple[FailedInput, ...] = ()
    size: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


def predicted(
    predictor: Predictor,
    structures: Iterable[Crystal | HarmonicCrystal | FailedInput],
    *,
    neutron: bool = False,
) -> Candidates:
    """Predict every structure, and keep what cannot be predicted apart.

    Args:
        predictor: The model.
        structures: As `read_structures` yields them.
        neutron: Weight the partial densities as neutrons do.

    Raises:
        InputError: There is none, or all of them failed.
    """
    good: list[tuple[Prediction, Tensor]] = []
    bad: list[FailedInput] = []
    for item in predictor.as_labels()(structures):
        if isinstance(item, FailedInput):
            bad.append(item)
            continue
        try:
            good.append((item, _on_grid(item, predictor.model.frequency, neutron=neutron)))
        except DebyeError as error:
            bad.append(FailedInput(item.crystal.source or item.crystal.formula, error))
    _check_any(len(good), bad)
    known = predictor.calibration is not None
    usual = torch.ones((), dtype=torch.float64)
    sizes = [p.uncertainty.size if p.uncertainty else usual for p, _ in good if known]
    return Candidates(
        tuple(p.crystal.formula for p, _ in good),
        tuple(p.crystal.source or p.crystal.name for p, _ in good),
        torch.tensor(predictor.model.frequency, dtype=torch.float64),
        torch.stack([density for _, density in good]).double(),
        tuple(p.warnings for p, _ in good),
        tuple(bad),
        torch.stack(sizes) if sizes else None,
    )


def _on_grid(prediction: Prediction, grid: Sequence[float], *, neutron: bool) -> Tensor:
    """What an instrument sees, (F,); force constants' modes smoothed as those learned from were."""
    density = seen_of(prediction, neutron=neutron)
    if prediction.given is None:
        return density
    axis = np.asarray(grid, dtype=float)
    matrix = smoother(axis)
    raw = np.interp(
        np.arange(matrix.shape[1]), prediction.total.frequency, density, left=0.0, right=0.0
    )
    return torch.from_numpy((matrix @ raw).clip(min=0.0)).to(density)


def _check_any(good: int, bad: list[FailedInput]) -> None:
    if good:
        return
    if bad:
        why = f"all {len(bad)} failed, the first so: {bad[0].error.what}: {bad[0].error.why}"
        raise InputError("no candidate can be compared", why=why, fix=bad[0].error.fix)
    why = "no structure was found in what was given"
    raise InputError(
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
        InputError: The folder comes from another model or version, cannot be read, or holds no
            spectrum.
    """
    frequency = _screened_grid(folder, model_sha256)
    rows = [row for part in parts(folder).values() for row in _rows(part)]
    if not rows:
        why = "its parts are missing, or every row of them tells an error"
        raise InputError(f"no spectrum in {folder}", why=why, fix="look at the screening's errors")
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
        raise InputError(f"cannot use the screening {folder}", why=why, fix=fix) from error
    if made_by != model_sha256:
        why = f"its model is {made_by[:12]}…, and that in use {model_sha256[:12]}…"
        fix = "give the model that made it with --model, or screen again"
        raise InputError(f"{folder} was screened with another model", why=why, fix=fix)
    return frequency


def _rows(part: Path) -> list[dict[str, Any]]:
    """Rows of a part that hold a spectrum."""
    table = read_part(part, ["id", "formula", "dos", "warnings", EXPECTED_ERROR])
    return [row for row in table.to_pylist() if row["dos"] is not None]


USUAL_MISFIT = 3.7
"""Misfit that 95 % of the true structures of the validation set stay below (see benchmarks)."""
WIDTHS = (0.0, 10.0, 20.0, 40.0)
"""Standard deviations that are tried where the resolution is to be found, cm⁻¹."""


@dataclass(frozen=True)
class Ranking:
    """Candidates in order, the likeliest first.

    Args:
        order: Row of each in ``candidates``, (C,).
        probability: That it is the one, if one of them is, (C,) in this order.
        fits: Scale, background and curve of each, in this order.
        resolution: With which each was compared, in this order.
        candidates: All of them, in the order they were given.
        observed: What they were compared with.
    """

    order: tuple[int, ...]
    probability: Tensor
    fits: Fits
    resolution: tuple[Resolution, ...]
    candidates: Candidates
    observed: Observation

    @property
    def scale(self) -> Tensor:
        """What each candidate's states are multiplied by, in units of the measured file, (C,)."""
        return self.fits.coefficients[:, 0] * self.observed.area

    def scale_interval(self, level: float = LEVEL) -> Interval:
        """Where each scale lies, its posterior taken as normal, (C,).

        Raises:
            InputError: The level is no fraction between 0 and 1.
        """
        width = self.fits.covariance[:, 0, 0].sqrt() * self.observed.area
        half = normal_half_width(level) * width
        return Interval(self.scale - half, self.scale + half)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before believing the first."""
        if float(self.fits.misfit[0]) > USUAL_MISFIT:
            return (
                "even the best candidate fits worse than true structures usually do "
                f"(misfit {float(self.fits.misfit[0]):.2g}, of which 95 % stay below "
                f"{USUAL_MISFIT:g}): the right one may be missing",
            )
        return ()


def rank(
    measured: Measured,
    candidates: Candidates,
    *,
    resolutions: Sequence[Resolution] = (Resolution(),),
    background: str = "linear",
    error: ModelError | None = SHIPPED_ERROR,
    window: tuple[float, float] | None = None,
) -> Ranking:
    """Rank candidates: P(c | y) ∝ max_σ p(y | c, σ), scale and background fitted to each.

    Every candidate is as likely as any other before the measurement.

    Args:
        measured: The spectrum.
        candidates: With their predicted densities.
        resolutions: The instrument's, or several of which the best is taken for each candidate.
        background: ``none``, ``constant`` or ``linear``.
        error: Of the model; None if its predictions are exact.
        window: Part of the axis to compare, cm⁻¹.

    Raises:
        InputError: Nothing to compare, see `Observation.of`, or no candidate fits at all.
    """
    observed = Observation.of(measured, candidates.frequency, window)
    tried = [
        fit(
            observed,
            candidates.density @ response(candidates.frequency, observed.frequency, width).T,
            background=background,
            error=error,
            size=candidates.size,
        )
        for width in resolutions
    ]
    likelihoods = torch.stack([fits.log_likelihood for fits in tried])
    best, which = likelihoods.max(0)
    if not bool(best.isfinite().any()):
        why = "each would have to be turned upside down to fit"
        fix = "allow less background, or check that the measurement is a density of states"
        raise InputError("no candidate explains the spectrum", why=why, fix=fix)
    order = best.argsort(descending=True, stable=True)
    columns = [torch.stack([vars(f)[name] for f in tried]) for name in vars(tried[0])]
    chosen = Fits(*(column[which[order], order] for column in columns))
    return Ranking(
        tuple(order.tolist()),
        torch.softmax(chosen.log_likelihood, 0),
        chosen,
        tuple(resolutions[i] for i in which[order].tolist()),
        candidates,
        observed,
    )
