"""What a training minimises: how far predicted densities of states are from labelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from debye.core.training import check_numbers
from debye.errors import InputError


@dataclass(frozen=True)
class DensityLoss:
    """How far a predicted density of states is from the labelled one; weights of three terms.

    With p and q the states per bin of prediction and label, each summing to 1:

    - kl: Σ q ln(q/p), which asks for the right weight in every bin;
    - cdf: mean |Σ_{j≤k} (p_j − q_j)|, the Wasserstein distance in units of the axis, which
      knows how far a peak is off;
    - mse: mean (p̂ − q̂)² of both scaled to a maximum of 1, the published measure.

    Raises:
        InputError: A weight is negative or no number, or all are 0.
    """

    kl: float = 1.0
    cdf: float = 2.0
    mse: float = 5.0

    def __post_init__(self) -> None:
        check_numbers("[loss]", self, dict.fromkeys(vars(self), (0.0, 1e6)))
        if not any(vars(self).values()):
            raise InputError(
                "[loss] is 0 in every term", why="nothing would be learned", fix="weigh one or more"
            )

    def of_head_outputs(
        self, kinds: Sequence[str], totals: Tensor, target: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """Terms averaged over heads, summed over labelled crystals and divided by all of them.

        Modes are spared the first: they leave bins empty, where its logarithm has no bound.

        Args:
            kinds: Which head gave each output.
            totals: (R, B, F) densities of the crystals.
            target: (B, F) labels, NaN where there is none.
            weights: (F,) trapezoid weights of the grid.
        """
        known = ~target.isnan().any(-1)
        head_outputs = zip(kinds, totals[:, known], strict=True)
        terms = [(kind, self.terms(total, target[known], weights)) for kind, total in head_outputs]
        spared = [{**t, "kl": t["kl"] * (kind == "density")} for kind, t in terms]
        each = {name: torch.stack([t[name] for t in spared]) for name in spared[0]}  # [r, known]
        return {name: x.mean(0).sum() / len(target) for name, x in each.items()}

    def terms(self, density: Tensor, target: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Terms (B,) between densities (B, F) on a grid of trapezoid weights (F,)."""
        p, q = (_unit_sum(d * weights) for d in (density, target))
        kl = (torch.xlogy(q, q) - q * p.clamp_min(1e-12).log()).sum(-1)
        cdf = (p - q).cumsum(-1).abs().mean(-1)
        mse = (_unit_peak(density) - _unit_peak(target)).square().mean(-1)
        return {
            "kl": self.kl * kl,
            "cdf": self.cdf * cdf,
            "mse": self.mse * mse,
        }


def _unit_sum(x: Tensor) -> Tensor:
    return x / x.sum(-1, keepdim=True)


def _unit_peak(x: Tensor) -> Tensor:
    return x / x.amax(-1, keepdim=True)
