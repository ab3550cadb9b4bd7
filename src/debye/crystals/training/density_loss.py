"""What a training minimises: how far predicted densities of states are from labelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from debye.core.training import check_numbers
from debye.crystals.dos.spectrum import trapezoid_weights
from debye.crystals.graph import Graph
from debye.errors import Refusal


class LabelledGraph(NamedTuple):
    """A batch of crystals and their spectra in the max-1 view, (B, F)."""

    graph: Graph
    target: Tensor


@dataclass(frozen=True)
class DensityLoss:
    """How far a predicted density of states is from the labelled one; weights of three terms.

    With p and q the states per bin of prediction and label, each summing to 1:

    - kl: Σ q ln(q/p), which asks for the right weight in every bin;
    - cdf: mean |Σ_{j≤k} (p_j − q_j)|, the Wasserstein distance in units of the axis, which
      knows how far a peak is off;
    - mse: mean (p̂ − q̂)² of both scaled to a maximum of 1, the published measure.

    Raises:
        Refusal: A weight is negative or no number, or all are 0.
    """

    kl: float = 1.0
    cdf: float = 2.0
    mse: float = 5.0

    def __post_init__(self) -> None:
        check_numbers("[loss]", self, dict.fromkeys(vars(self), (0.0, 1e6)))
        if not any(vars(self).values()):
            raise Refusal(
                "[loss] is 0 in every term", why="nothing would be learned", fix="weigh one or more"
            )

    def __call__(self, model: nn.Module, batch: LabelledGraph) -> dict[str, Tensor]:
        """Terms of the loss of a `PhononNet` on a batch."""
        totals = batch.graph.totals(model.readings(batch.graph))  # type: ignore[operator]
        weights = trapezoid_weights(torch.tensor(model.frequency)).to(batch.target)
        return self.of_readings(model.readouts, totals, batch.target, weights)  # type: ignore[arg-type]

    def of_readings(
        self, kinds: Sequence[str], totals: Tensor, target: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """Terms averaged over readouts and crystals.

        Springs are spared the first: they leave bins empty, where its logarithm has no bound.

        Args:
            kinds: Which readout gave each reading.
            totals: (R, B, F) densities of the crystals.
            target: (B, F) labels.
            weights: (F,) trapezoid weights of the grid.
        """
        readings = zip(kinds, totals, strict=True)
        terms = [(kind, self.terms(total, target, weights)) for kind, total in readings]
        spared = [{**t, "kl": t["kl"] * (kind == "density")} for kind, t in terms]
        return {name: torch.stack([t[name] for t in spared]).mean() for name in spared[0]}

    def terms(self, density: Tensor, target: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Terms between densities (B, F) on a grid of trapezoid weights (F,)."""
        p, q = (_unit_sum(d * weights) for d in (density, target))
        kl = (torch.xlogy(q, q) - q * p.clamp_min(1e-12).log()).sum(-1)
        cdf = (p - q).cumsum(-1).abs().mean(-1)
        mse = (_unit_peak(density) - _unit_peak(target)).square().mean(-1)
        return {
            "kl": self.kl * kl.mean(),
            "cdf": self.cdf * cdf.mean(),
            "mse": self.mse * mse.mean(),
        }


def _unit_sum(x: Tensor) -> Tensor:
    return x / x.sum(-1, keepdim=True)


def _unit_peak(x: Tensor) -> Tensor:
    return x / x.amax(-1, keepdim=True)
