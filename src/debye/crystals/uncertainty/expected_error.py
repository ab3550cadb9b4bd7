"""The error to expect of a spectrum, from what is known when it is predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from debye.crystals.uncertainty.evidence import FEATURES

LEAST = 1.0
"""cm⁻¹; Wasserstein distances below it count as it, so that their logarithm is no noise."""


@dataclass(frozen=True, eq=False)
class ExpectedError:
    """σ(x) = exp(a + Σ_k b_k max(f_k, low_k)), b ≥ 0: the Wasserstein distance to expect, cm⁻¹.

    A log-linear regression whose coefficients cannot be negative: what is further from the
    training set, or read in two ways, is never expected to be better. Below the least value of
    the calibration rows a feature counts as that value.

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
