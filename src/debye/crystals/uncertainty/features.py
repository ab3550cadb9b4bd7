"""What is known of a prediction's quality when it is made: disagreement and distance.

A *head output* is one network's spectrum of a crystal by one of its heads; one head of each
network is its answer, the others serve as second opinions, and a prediction is the mean of the
answers. A calibration row has the head outputs of the one network that never saw it, a new crystal
those of every member of an ensemble. So that both mean the same, head outputs are compared within
each member, and the members' comparisons averaged: in expectation that is what one member gives,
while the mean of the members errs less than one of them. The intervals are the safer for it.

The error to expect of a spectrum, from what is known when it is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.crystals.dos.distances import wasserstein
from debye.crystals.dos.quantities import OnGrid
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.uncertainty.applicability import Applicability

FEATURES = (
    "disagreement",
    "mean_frequency",
    "distance",
    "rarity",
    "cut_off",
)
"""What the expected error is told by; the larger, the worse is expected.

``disagreement``: log of 1 cm⁻¹ + Wasserstein distance between a member's head outputs;
``mean_frequency``: its log; ``distance`` to the nearest training composition; ``rarity``: -log of
1 + training crystals with the least common element; ``cut_off``: density at the end of the axis
over its peak.
"""


class HeadOutputs(NamedTuple):
    """What networks say of B crystals."""

    densities: Tensor
    """(B, M, F) in any normalisation."""
    kinds: tuple[str, ...]
    """(M,) the head of each; the i-th of each kind are one member's."""
    answers: tuple[int, ...]
    """Which are the members' answers."""


class UncertaintyFeatures(NamedTuple):
    """Of B predictions."""

    spectra: OnGrid
    """The predictions themselves, per atom, (B, F)."""
    gap: Tensor
    """(B, F) mean distance between the head outputs of a member at each frequency, per atom."""
    values: Tensor
    """(B, features) in the order of `FEATURES`."""

    @staticmethod
    def of(
        head_outputs: HeadOutputs,
        frequency: Sequence[float],
        applicabilities: Sequence[Applicability],
    ) -> UncertaintyFeatures:
        """Those of some crystals' head outputs.

        Args:
            head_outputs: Of B crystals.
            frequency: Their grid, cm⁻¹.
            applicabilities: Of the crystals.

        Raises:
            InputError: The head outputs are no spectra.
        """
        axis = torch.tensor(frequency, dtype=torch.float64)
        each = Spectrum(axis, head_outputs.densities.double(), normalisation="1").to("3")
        density = each.density[:, list(head_outputs.answers)].mean(1)
        pairs = _within_members(each.density, head_outputs.kinds)
        apart = [wasserstein(Spectrum(axis, a), Spectrum(axis, b)).mean(1) for a, b in pairs]
        gaps = [(a - b).abs().mean(1) for a, b in pairs]
        spectra = OnGrid(tuple(frequency), density)
        columns = [
            (1 + _mean(apart, density[:, 0])).log(),
            spectra.value("mean_frequency").log(),
            torch.tensor([n.distance for n in applicabilities], dtype=torch.float64),
            -torch.tensor([1.0 + n.rarest for n in applicabilities], dtype=torch.float64).log(),
            density[:, -1] / density.amax(-1),
        ]
        return UncertaintyFeatures(spectra, _mean(gaps, density), torch.stack(columns, dim=-1))

    @staticmethod
    def stack(each: Sequence[UncertaintyFeatures]) -> UncertaintyFeatures:
        """Several single ones as a batch."""
        density = torch.stack([one.spectra.density for one in each])
        spectra = OnGrid(each[0].spectra.frequency, density)
        values = torch.stack([one.values for one in each])
        return UncertaintyFeatures(spectra, torch.stack([one.gap for one in each]), values)

    def on(self, spectra: OnGrid) -> UncertaintyFeatures:
        """The same of predictions on another grid, (B, F'), such as a finer one.

        Args:
            spectra: The predictions, per atom.
        """
        old, new = (np.array(grid) for grid in (self.spectra.frequency, spectra.frequency))
        rows = [np.interp(new, old, row, right=0.0) for row in self.gap.reshape(-1, len(old))]
        gap = torch.from_numpy(np.array(rows)).view(*self.gap.shape[:-1], -1)
        return self._replace(spectra=spectra, gap=gap)

    def take(self, rows: Tensor | int) -> UncertaintyFeatures:
        """Some of the predictions, or one of them without the leading axis, of its own memory."""
        frequency, density = self.spectra
        density, gap, values = (x[rows].clone() for x in (density, self.gap, self.values))
        return UncertaintyFeatures(OnGrid(frequency, density), gap, values)


def _within_members(head_outputs: Tensor, kinds: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
    """For every two kinds, the head outputs of both, (B, members, F) each."""
    of_kind = [
        head_outputs[:, [i for i, other in enumerate(kinds) if other == kind]]
        for kind in dict.fromkeys(kinds)
    ]
    return list(combinations(of_kind, 2))


def _mean(values: Sequence[Tensor], like: Tensor) -> Tensor:
    """Zero where there is nothing: a model of one kind of head agrees with itself."""
    return torch.stack([*values]).mean(0) if values else torch.zeros_like(like)


LEAST = 1.0
"""cm⁻¹; Wasserstein distances below it count as it, so that their logarithm is no noise."""


@dataclass(frozen=True, eq=False)
class ExpectedError:
    """σ(x) = exp(a + Σ_k b_k max(f_k, low_k)), b ≥ 0: the Wasserstein distance to expect, cm⁻¹.

    A log-linear regression whose coefficients cannot be negative: what is further from the
    training set, or told in two ways by two heads, is never expected to be better. Below the least
    value of the calibration rows a feature counts as that value.

    Args:
        offset: a.
        weights: b, (features,).
        lowest: low, (features,).
    """

    offset: float
    weights: Tensor
    lowest: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(..., features) in the order of `FEATURES` → (...) cm⁻¹."""
        return (self.offset + torch.maximum(features, self.lowest) @ self.weights).exp()

    @classmethod
    def fit(cls, features: Tensor, distance: Tensor) -> ExpectedError:
        """Least squares in the logarithm, then shifted so that the mean error is right.

        Args:
            features: (n, features).
            distance: (n,) Wasserstein distances found, cm⁻¹.
        """
        from scipy.optimize import nnls  # type: ignore[import-untyped,unused-ignore]

        target = distance.clamp(min=LEAST).log()
        centre, spread = features.mean(0), features.std(0)
        spread = torch.where(spread > 1e-9, spread, torch.inf)  # a constant says nothing
        scaled = (features - centre) / spread
        found, _ = nnls(scaled.numpy(), (target - target.mean()).numpy())
        weights = torch.from_numpy(found) / spread
        fitted = cls(0.0, weights, features.amin(0))
        return cls((distance.mean() / fitted(features).mean()).log().item(), weights, fitted.lowest)

    def to_card(self) -> dict[str, Any]:
        """Plain values for JSON, by the names of the features."""
        rows = zip(FEATURES, self.weights.tolist(), self.lowest.tolist(), strict=True)
        return {"offset": self.offset, **{name: [b, low] for name, b, low in rows}}

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> ExpectedError:
        """The inverse of `to_card`."""
        rows = torch.tensor([card[name] for name in FEATURES], dtype=torch.float64)
        return cls(card["offset"], rows[:, 0], rows[:, 1])
