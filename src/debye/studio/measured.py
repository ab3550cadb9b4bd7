"""A measured spectrum beside the open structures: laid over each, and which explains it best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from debye import Prediction, Predictor
from debye.crystals.dos_io.measured import Measured
from debye.crystals.inversion.instrument import Resolution
from debye.crystals.inversion.rank import WIDTHS, Ranking, predicted, rank


def ranked(measured: Measured, found: Sequence[Prediction], predictor: Predictor) -> dict[str, Any]:
    """The candidates in order, the likeliest first, with the measurement laid over each.

    Args:
        measured: The spectrum.
        found: The candidates.
        predictor: The model they are of.

    Raises:
        InputError: The measured range and the model's hardly overlap, or none of them fits.
    """
    candidates = predicted(predictor, [p.given or p.crystal for p in found])
    widths = [Resolution((width,)) for width in WIDTHS]
    ranking = rank(measured, candidates, resolutions=widths)
    return {
        "unit": measured.unit,
        "notes": [*measured.notes, *ranking.notes],
        "frequency": ranking.observed.frequency.tolist(),
        "candidates": [_candidate(ranking, k) for k in range(len(ranking.order))],
    }


def _candidate(ranking: Ranking, k: int) -> dict[str, Any]:
    i = ranking.order[k]
    return {
        "item": i,
        "formula": ranking.candidates.labels[i],
        "probability": float(ranking.probability[k]),
        "log_likelihood": _finite(float(ranking.fits.log_likelihood[k])),
        "misfit": float(ranking.fits.misfit[k]),
        "resolution": list(ranking.resolution[k].coefficients),
        "states": _in_states(ranking, k),
    }


def _in_states(ranking: Ranking, k: int) -> list[float]:
    """The measurement, its background taken off, as states per cm⁻¹ of a candidate's cell."""
    fits, observed = ranking.fits, ranking.observed
    density = ranking.candidates.density[ranking.order[k]]
    grid = ranking.candidates.frequency
    at = torch.searchsorted(grid.contiguous(), observed.frequency.contiguous() - 1e-6)
    there = density[at.clamp(max=len(grid) - 1)]
    scale = float(fits.coefficients[k, 0])
    if not scale > 0:
        return []
    states = torch.trapezoid(there, observed.frequency)
    rest = (observed.intensity - fits.curve[k]) / scale * states
    found: list[float] = (there + rest).tolist()
    return found


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
