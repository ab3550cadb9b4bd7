"""Whether intervals hold, how wide they are, and whether the expected error ranks the errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from debye.crystals.dos.quantities import QUANTITIES, WITH_INTERVALS, OnGrid
from debye.crystals.structure.crystal import Crystal
from debye.crystals.uncertainty.calibration import carrying
from debye.crystals.uncertainty.uncertainty import Uncertainty

SHOWN_LEVELS = (0.5, 0.8, 0.9, 0.95)
ROOM_TEMPERATURE = 300.0
"""K; where intervals of heat capacity and entropy are judged."""


class Coverage(NamedTuple):
    """Of each row: what part of it lies inside, and how wide the intervals are."""

    inside: Tensor
    """(n,) 0 or 1; for the density the fraction of the frequencies."""
    width: Tensor
    """(n,) in the unit of the quantity; for the density, its mean over the peak."""


def coverage(uncertainty: Uncertainty, truth: OnGrid, level: float) -> dict[str, Coverage]:
    """How intervals of a level do on rows whose truth is known.

    Args:
        uncertainty: Of n predictions.
        truth: (n, F) per atom.
        level: Of the intervals.

    Returns:
        By the names of `WITH_INTERVALS`, and ``density``.
    """
    found = {}
    for name in WITH_INTERVALS:
        lower, upper = (
            end.reshape(len(truth.density))
            for end in uncertainty.interval(name, [ROOM_TEMPERATURE], level=level)
        )
        T = (ROOM_TEMPERATURE,) if QUANTITIES[name].thermal else ()
        value = truth.value(name, T).reshape(len(truth.density))
        found[name] = Coverage(((lower <= value) & (value <= upper)).double(), upper - lower)
    band, density = uncertainty.band(level=level), uncertainty.features.spectra.density
    weights = carrying(density, truth.density)
    inside = (band.lower <= truth.density) & (truth.density <= band.upper)
    width = (weights * (band.upper - band.lower)).sum(-1) / density.amax(-1)
    return {**found, "density": Coverage((weights * inside).sum(-1), width)}


def coverage_table(
    uncertainty: Uncertainty, truth: OnGrid, levels: Sequence[float] = SHOWN_LEVELS
) -> dict[str, dict[str, float]]:
    """Mean `coverage` at some levels, by quantity and then ``50 %``, ``width 90 %``."""
    table: dict[str, dict[str, float]] = {}
    for level in levels:
        for name, of in coverage(uncertainty, truth, level).items():
            row = table.setdefault(name, {})
            row[f"{100 * level:g} %"] = of.inside.mean().item()
            row[f"width {100 * level:g} %"] = of.width.mean().item()
    return table


def rejection_curve(score: Tensor, error: Tensor) -> Tensor:
    """Mean error of the rows kept when the k rows of the largest score are left out, k = 0 … n - 1.

    With the error itself as the score it is the best there can be, and with anything unrelated
    it stays at the mean.

    Args:
        score: (n,).
        error: (n,).

    Returns:
        (n,).

    Example:
        >>> rejection_curve(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([10.0, 30.0, 20.0]))
        tensor([20., 15., 10.])
    """
    kept = error[score.argsort()]
    return (kept.cumsum(0) / torch.arange(1, len(kept) + 1)).flip(0)


def rejection_gain(score: Tensor, error: Tensor) -> float:
    """Area between the mean error and the `rejection_curve`, over that of the best there can be.

    1 ranks the errors perfectly, 0 says nothing of them.
    """
    best = error.mean() - rejection_curve(error, error)
    return ((error.mean() - rejection_curve(score, error)).sum() / best.sum()).item()


FAMILIES = {
    "oxides": ("O",),
    "halides": ("F", "Cl", "Br", "I"),
    "chalcogenides": ("S", "Se", "Te"),
    "pnictides": ("N", "P", "As", "Sb"),
    "hydrides": ("H",),
}


def family(crystal: Crystal) -> str:
    """What a crystal counts as, by its most electronegative element.

    Example:
        >>> family(Crystal(["Na", "Cl"], [[0, 0, 0], [2.8] * 3], [[5.6, 0, 0], [0, 5.6, 0],
        ...                                                       [0, 0, 5.6]]))
        'halides'
    """
    most = {"D": "H", "T": "H"}.get(crystal.elements[-1], crystal.elements[-1])
    return next((name for name, anions in FAMILIES.items() if most in anions), "others")
