"""Uncertainty: intervals and a band around one prediction, or a batch of them.

From a batch's head outputs to the uncertainty of each prediction, and the warnings that go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from debye.crystals.dos.quantities import QUANTITIES, WITH_INTERVALS, kelvins
from debye.crystals.graph import Graph
from debye.crystals.structure.crystal import Crystal
from debye.crystals.uncertainty.applicability import (
    Applicability,
    Shape,
    large_error,
    unlike_training,
)
from debye.crystals.uncertainty.calibration import BAND, Calibration, band_terms
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
        return Uncertainty(
            self.calibration, self.features.take(index), self.expected_error[index], applicability
        )

    @classmethod
    def stack(cls, each: Sequence[Uncertainty]) -> Uncertainty:
        """That of several predictions of one model, as a batch."""
        features = UncertaintyFeatures.stack([one.features for one in each])
        return cls(each[0].calibration, features, torch.stack([u.expected_error for u in each]))

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
