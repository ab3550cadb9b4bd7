"""Uncertainty: intervals and a band around one prediction, or a batch of them.

From a batch's head_outputs to the uncertainty of each prediction, and what to say of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from debye.crystals.graph import Graph
from debye.crystals.structure.crystal import Crystal
from debye.crystals.uncertainty.applicability import Applicability, Shape, cautions, doubt
from debye.crystals.uncertainty.calibration import BAND, Calibration, band_terms
from debye.crystals.uncertainty.features import HeadOutputs, UncertaintyFeatures
from debye.crystals.uncertainty.quantities import QUANTITIES

LEVEL = 0.9
"""The level that is shown where none is asked for."""


class Interval(NamedTuple):
    """Where the truth lies, as often as the level says."""

    lower: Tensor
    upper: Tensor

    @property
    def half(self) -> Tensor:
        """Half its width: the number behind ±."""
        return (self.upper - self.lower) / 2


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How far predictions can be trusted; per atom, shapes (...) of a batch, () of one.

    Args:
        calibration: Of the model that predicted.
        evidence: What is known of the predictions.
        expected_error: Wasserstein distance to expect between them and the truth, cm⁻¹, (...).
        applicability: How new the one crystal is; None for a batch.
    """

    calibration: Calibration
    evidence: UncertaintyFeatures
    expected_error: Tensor
    applicability: Applicability | None = None

    @classmethod
    def of(cls, calibration: Calibration, evidence: UncertaintyFeatures) -> Uncertainty:
        """The uncertainty of some predictions."""
        return cls(calibration, evidence, calibration.scales.error(evidence.features))

    def row(self, index: int, applicability: Applicability) -> Uncertainty:
        """That of one prediction of a batch."""
        return Uncertainty(
            self.calibration, self.evidence.take(index), self.expected_error[index], applicability
        )

    @classmethod
    def stack(cls, each: Sequence[Uncertainty]) -> Uncertainty:
        """That of several predictions of one model, as a batch."""
        evidence = UncertaintyFeatures.stack([one.evidence for one in each])
        return cls(each[0].calibration, evidence, torch.stack([u.expected_error for u in each]))

    @property
    def rank(self) -> float:
        """Share of the calibration's crystals of which a smaller error is expected; of one."""
        return self.calibration.rank(self.expected_error.item())

    @property
    def size(self) -> Tensor:
        """Expected error over that of the calibration's median crystal, (...)."""
        return self.calibration.size(self.expected_error)

    def interval(
        self, name: str, temperatures: Sequence[float] = (), *, level: float = LEVEL
    ) -> Interval:
        """Where a quantity lies.

        Args:
            name: ``mean_frequency`` (cm⁻¹), or per mole of atoms ``zero_point_energy`` (kJ),
                ``heat_capacity`` and ``entropy`` (J/K).
            temperatures: K, (T,), for the last two; the others do not ask.
            level: How often the truth shall lie in it, 0.5 to 0.99.

        Returns:
            (...), or (..., T).

        Raises:
            InputError: The level is not tabulated, or a temperature is below zero.
        """
        spectra, quantity = self.evidence.spectra, QUANTITIES[name]
        temperatures = temperatures if quantity.thermal else ()
        middle = spectra.value(name, temperatures)
        half = self.calibration.quantile(name, level, temperatures) * spectra.scale(
            name, self.expected_error, temperatures
        )
        return Interval((middle - half).clamp(min=0.0), (middle + half).clamp(max=quantity.most))

    def band(self, *, level: float = LEVEL) -> Interval:
        """Where the density of states lies at each frequency, states per cm⁻¹ and atom, (..., F).

        At each frequency by itself: of the frequencies up to the last states, a share of
        ``level`` is expected inside, not the whole curve.
        """
        density = self.evidence.spectra.density
        scale = band_terms(self.evidence, self.expected_error) @ self.calibration.scales.band
        half = self.calibration.quantile(BAND, level) * scale
        return Interval((density - half).clamp(min=0.0), density + half)


Doubt = tuple[Uncertainty | None, tuple[str, ...]]
"""The uncertainty of a prediction, if it is known, and words of caution."""


def assess(
    calibration: Calibration,
    crystals: Sequence[Crystal],
    graph: Graph,
    head_outputs: HeadOutputs,
) -> list[Doubt]:
    """How far the predictions of a batch can be trusted.

    A part of the model, such as its fastest member with one head of two, disagrees with
    nobody; its uncertainty is not known.

    Args:
        calibration: Of the model.
        crystals: B of them.
        graph: Theirs.
        head_outputs: Of the model's networks.
    """
    known = calibration.training
    applicabilities = [known.applicability(crystal) for crystal in crystals]
    bond, packing = (values.tolist() for values in Shape.of(graph))
    spoken = [tuple(cautions(*each, known)) for each in zip(crystals, bond, packing, strict=True)]
    if set(head_outputs.kinds) != set(calibration.kinds):
        return [(None, words) for words in spoken]
    evidence = UncertaintyFeatures.of(head_outputs, calibration.frequency, applicabilities)
    batch = Uncertainty.of(calibration, evidence)
    found = [batch.row(i, applicability) for i, applicability in enumerate(applicabilities)]
    return [
        (each, (*words, *doubt(each.expected_error.item(), each.rank)))
        for each, words in zip(found, spoken, strict=True)
    ]
