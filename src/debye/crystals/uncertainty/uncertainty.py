"""Uncertainty of predictions, the warnings that go with it, and whether the intervals hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos.quantities import QUANTITIES, WITH_INTERVALS, OnGrid, kelvins
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.graph import Graph
from debye.crystals.structure.crystal import Crystal
from debye.crystals.uncertainty.applicability import (
    Applicability,
    Shape,
    large_error,
    unlike_training,
)
from debye.crystals.uncertainty.calibration import BAND, Calibration, band_terms, carrying
from debye.crystals.uncertainty.features import HeadOutputs, UncertaintyFeatures
from debye.errors import InputError

LEVEL = 0.9
"""How often the truth lies in the intervals that are shown where no level is asked for."""


class Interval(NamedTuple):
    """Where the truth lies, as often as the level says."""

    lower: Tensor
    upper: Tensor

    @property
    def half(self) -> Tensor:
        """Half its width: the number behind ±."""
        return (self.upper - self.lower) / 2


@dataclass(frozen=True, eq=False, repr=False)
class Uncertainty:
    """The errors to expect of predictions; per atom, shapes (...) of a batch, () of one.

    Args:
        calibration: Of the model that predicted.
        features: What is known of the predictions.
        expected_error: Wasserstein distance to expect between them and the truth, cm⁻¹, (...).
        applicability: How the one crystal stands to the training set; None for a batch.
    """

    calibration: Calibration
    features: UncertaintyFeatures
    expected_error: Tensor
    applicability: Applicability | None = None

    @classmethod
    def of(cls, calibration: Calibration, features: UncertaintyFeatures) -> Uncertainty:
        """The uncertainty of some predictions."""
        return cls(calibration, features, calibration.scales.error(features.values))

    def __repr__(self) -> str:
        if self.expected_error.dim():
            return f"Uncertainty(of {len(self.expected_error)} predictions)"
        return (
            f"Uncertainty(expected error {self.expected_error.item():.3g} cm⁻¹, "
            f"larger than of {100 * self.rank:.0f} % of the calibration's crystals)"
        )

    def row(self, index: int, applicability: Applicability) -> Uncertainty:
        """That of one prediction of a batch."""
        error = self.expected_error[index].clone()
        return Uncertainty(self.calibration, self.features.take(index), error, applicability)

    @classmethod
    def stack(cls, each: Sequence[Uncertainty]) -> Uncertainty:
        """That of several predictions of one model, as a batch."""
        features = UncertaintyFeatures.stack([one.features for one in each])
        return cls(each[0].calibration, features, torch.stack([u.expected_error for u in each]))

    def on(self, spectrum: Spectrum) -> Uncertainty:
        """The same of one prediction on another grid.

        Args:
            spectrum: The prediction.
        """
        axis, density = spectrum.frequency.tolist(), spectrum.to("3").density.cpu().double()
        return replace(self, features=self.features.on(OnGrid(tuple(axis), density)))

    @property
    def rank(self) -> float:
        """Fraction of the calibration's crystals of which a smaller error is expected; of one."""
        return self.calibration.rank(self.expected_error.item())

    @property
    def size(self) -> Tensor:
        """Expected error over that of the calibration's median crystal, (...)."""
        return self.calibration.size(self.expected_error)

    def interval(
        self, name: str, temperatures: Tensor | ArrayLike = (), *, level: float = LEVEL
    ) -> Interval:
        """Where a quantity lies.

        Args:
            name: ``mean_frequency`` (cm⁻¹), or per mole of atoms ``zero_point_energy`` (kJ),
                ``heat_capacity`` and ``entropy`` (J/K).
            temperatures: K: a number or several, (T,), for the last two; the others do not ask.
            level: How often the truth shall lie in it, 0.5 to 0.99.

        Returns:
            (...), or (..., T).

        Raises:
            InputError: There are no intervals of such a quantity, the level is not tabulated, or a
                temperature is below zero.
        """
        if name not in WITH_INTERVALS:
            raise InputError(
                f"no interval of {name!r}",
                why=f"the calibration holds {', '.join(WITH_INTERVALS)}",
                fix="ask for one of these",
            )
        spectra, quantity = self.features.spectra, QUANTITIES[name]
        T = kelvins(temperatures) if quantity.thermal else ()
        middle = spectra.value(name, T)
        half = self.calibration.quantile(name, level, T) * spectra.scale(
            name, self.expected_error, T
        )
        return Interval((middle - half).clamp(min=0.0), (middle + half).clamp(max=quantity.most))

    def band(self, *, level: float = LEVEL) -> Interval:
        """Where the density of states lies at each frequency, states per cm⁻¹ and atom, (..., F).

        At each frequency by itself: of the frequencies up to the last states, a fraction of
        ``level`` is expected inside, not the whole curve.

        Raises:
            InputError: The level is not tabulated.
        """
        density = self.features.spectra.density
        scale = band_terms(self.features, self.expected_error) @ self.calibration.scales.band
        half = self.calibration.quantile(BAND, level) * scale
        return Interval((density - half).clamp(min=0.0), density + half)


WithWarnings = tuple[Uncertainty | None, tuple[str, ...]]
"""The uncertainty of a prediction, if it is known, and what to warn of."""


def uncertainties(
    calibration: Calibration,
    crystals: Sequence[Crystal],
    graph: Graph,
    head_outputs: HeadOutputs,
) -> list[WithWarnings]:
    """The uncertainty of each prediction of a batch, and its warnings.

    A part of the model, such as its fastest member with one head of two, disagrees with
    nobody; its uncertainty is not known.

    Args:
        calibration: Of the model.
        crystals: B of them.
        graph: Theirs.
        head_outputs: Of the model's networks.

    Raises:
        InputError: The head outputs are no spectra.
    """
    known = calibration.training
    applicabilities = [known.applicability(crystal) for crystal in crystals]
    bond, packing = (values.tolist() for values in Shape.of(graph))
    warnings = [
        tuple(unlike_training(*each, known)) for each in zip(crystals, bond, packing, strict=True)
    ]
    if set(head_outputs.kinds) != set(calibration.kinds):
        return [(None, words) for words in warnings]
    features = UncertaintyFeatures.of(head_outputs, calibration.frequency, applicabilities)
    batch = Uncertainty.of(calibration, features)
    found = [batch.row(i, applicability) for i, applicability in enumerate(applicabilities)]
    return [
        (each, (*words, *large_error(each.expected_error.item(), each.rank)))
        for each, words in zip(found, warnings, strict=True)
    ]


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
