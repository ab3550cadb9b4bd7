"""How far off single frequencies may be, and how likely a crystal is unstable.

Taught force constants tell the frequencies of crystals that a network never saw. Of each mode the
score is |ω − ω*| / s with

    s(ω) = (σ + 5 cm⁻¹) |ω| / (|ω| + 50 cm⁻¹),

σ the expected error of the crystal's spectrum: sound is slow, and off by little. Conformal
quantiles of the scores make intervals (`debye.crystals.uncertainty.conformal`).

A crystal is unstable if one of its modes is imaginary beyond `UNSTABLE`. By the softest mode ω₀
that the network finds,

    P = 1 / (1 + exp(a + b ω₀)),    b ≥ 0,

is fitted to those that are and those that are not (J. Platt, in Advances in Large Margin
Classifiers, MIT Press, 2000).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.crystals.lattice.site_states import UNSTABLE
from debye.crystals.uncertainty.conformal import conformal_quantiles, row_of

ADDED, SOUND = 5.0, 50.0
"""cm⁻¹; see above."""
SOFTEST = 100.0
"""cm⁻¹, of either sign, beyond which a softest mode says no more."""


class FoundModes(NamedTuple):
    """Of one crystal, what a network found that had not seen it, and what was taught."""

    found: Tensor
    """(K,) cm⁻¹, imaginary modes negative."""
    truth: Tensor
    """(K,) of the same modes."""


@dataclass(frozen=True, eq=False)
class ModesCalibration:
    """Of single frequencies, and of stability.

    Args:
        rows: Crystals it was fitted on.
        quantiles: (levels,) by how much to multiply `scale`.
        offset: a.
        slope: b, per cm⁻¹.
    """

    rows: int
    quantiles: Tensor
    offset: float
    slope: float

    @classmethod
    def fit(cls, each: Sequence[FoundModes], expected_error: Tensor) -> ModesCalibration:
        """Fit to crystals whose force constants are known and were not shown.

        Args:
            each: Of n crystals.
            expected_error: (n,) of their spectra, cm⁻¹.

        Raises:
            InputError: There are fewer than 99.
        """
        most = max(len(x.truth) for x in each)
        scores, weights = torch.zeros(len(each), most), torch.zeros(len(each), most)
        for row, (x, error) in enumerate(zip(each, expected_error, strict=True)):
            count = len(x.truth)
            scores[row, :count] = (x.found - x.truth).abs() / scale(x.found, error)
            weights[row, :count] = 1 / count
        softest = np.array([x.found.min().item() for x in each])
        unstable = np.array([x.truth.min().item() < UNSTABLE for x in each])
        offset, slope = _logistic(softest.clip(-SOFTEST, SOFTEST), unstable)
        quantiles = conformal_quantiles(scores.double(), weights.double())
        return cls(len(each), quantiles, offset, slope)

    def half(self, omega: Tensor, expected_error: Tensor, level: float) -> Tensor:
        """Half the width of the interval around each frequency, cm⁻¹.

        Args:
            omega: (…) frequencies, cm⁻¹.
            expected_error: Of the crystal's spectrum, cm⁻¹.
            level: How often the truth shall lie inside.

        Raises:
            InputError: The level is not tabulated.
        """
        return self.quantiles[row_of(level)].to(omega) * scale(omega, expected_error.to(omega))

    def unstable(self, softest: float) -> float:
        """How likely a crystal is unstable whose softest mode is found at so many cm⁻¹."""
        x = min(max(softest, -SOFTEST), SOFTEST)
        return float(1 / (1 + np.exp(self.offset + self.slope * x)))

    def to_card(self) -> dict[str, Any]:
        """Plain values for JSON."""
        quantiles = [float(f"{q:.5g}") for q in self.quantiles.tolist()]
        line = {"offset": round(self.offset, 5), "slope": round(self.slope, 7)}
        return {"rows": self.rows, "quantiles": quantiles, **line}

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> ModesCalibration:
        """The inverse of `to_card`."""
        quantiles = torch.tensor(card["quantiles"], dtype=torch.float64)
        return cls(int(card["rows"]), quantiles, float(card["offset"]), float(card["slope"]))


def scale(omega: Tensor, expected_error: Tensor) -> Tensor:
    """s(ω) of frequencies (…), cm⁻¹, given the expected error of the crystal's spectrum."""
    size = omega.abs()
    return ((expected_error + ADDED) * size / (size + SOUND)).clamp(min=1e-3)


def _logistic(softest: np.ndarray, unstable: np.ndarray) -> tuple[float, float]:
    """A and b of the most likely line; both targets drawn in a little, as Platt does."""
    from scipy.optimize import minimize

    yes, no = int(unstable.sum()), int((~unstable).sum())
    target = np.where(unstable, (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(line: np.ndarray) -> float:
        z = line[0] + line[1] * softest / SOFTEST
        return float((target * np.logaddexp(0, z) + (1 - target) * np.logaddexp(0, -z)).sum())

    found = minimize(
        loss, np.array([1.0, 1.0]), bounds=[(None, None), (0, None)], method="L-BFGS-B"
    )
    return float(found.x[0]), float(found.x[1] / SOFTEST)
