"""What a training minimises: how far predicted densities of states are from labelled ones.

An exact relation to train on: heavier isotopes lower every frequency alike.

The force constants Φ do not know the masses, so in ω² = eig(M^{-1/2} Φ M^{-1/2}) a common factor
s on all masses moves every frequency by s^{-1/2}. Each labelled crystal therefore stands for a
family of labelled crystals, and the network is told so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from debye.core.training import check_numbers
from debye.crystals.dos.spectrum import trapezoid_weights
from debye.crystals.graph import Graph
from debye.errors import InputError


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

    def __call__(self, model: nn.Module, batch: LabelledGraph) -> dict[str, Tensor]:
        """Terms of the loss of a `PhononNet` on a batch."""
        totals = batch.graph.totals(model.head_outputs(batch.graph))  # type: ignore[operator]
        weights = trapezoid_weights(torch.tensor(model.frequency)).to(batch.target)
        return self.of_head_outputs(model.heads, totals, batch.target, weights)  # type: ignore[arg-type]

    def of_head_outputs(
        self, kinds: Sequence[str], totals: Tensor, target: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """Terms averaged over heads and crystals.

        Modes are spared the first: they leave bins empty, where its logarithm has no bound.

        Args:
            kinds: Which head gave each output.
            totals: (R, B, F) densities of the crystals.
            target: (B, F) labels.
            weights: (F,) trapezoid weights of the grid.
        """
        head_outputs = zip(kinds, totals, strict=True)
        terms = [(kind, self.terms(total, target, weights)) for kind, total in head_outputs]
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


LOST = 0.005
"""Fraction of the states that may leave the axis when lighter masses stretch a spectrum."""


def stretched(frequency: Tensor, density: Tensor, factor: Tensor) -> Tensor:
    """Spectra with every frequency multiplied by a factor, on the same axis: g'(ω) ∝ g(ω / f).

    Args:
        frequency: (F,) increasing.
        density: (B, F); linear between its points, 0 beyond them.
        factor: (B,).

    Returns:
        (B, F), scaled to a maximum of 1.

    Example:
        >>> omega = torch.tensor([0.0, 20.0, 40.0, 60.0])
        >>> stretched(omega, torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.tensor([2.0]))
        tensor([[0.0000, 0.5000, 1.0000, 0.5000]])
    """
    at = frequency / factor.unsqueeze(-1)  # [b, f]
    right = torch.searchsorted(frequency, at).clamp(1, len(frequency) - 1)
    low, high = frequency[right - 1], frequency[right]
    between = (at - low) / (high - low)
    value = torch.lerp(density.gather(-1, right - 1), density.gather(-1, right), between)
    value = torch.where(at > frequency[-1], 0.0, value)
    return value / value.amax(-1, keepdim=True)


def with_scaled_masses(
    graph: Graph, target: Tensor, frequency: Tensor, scale: Tensor
) -> tuple[Graph, Tensor]:
    """The batch with all masses of a crystal multiplied by its factor, and its spectra to match.

    Args:
        graph: B crystals.
        target: (B, F) spectra, max-1 view.
        frequency: (F,), cm⁻¹.
        scale: (B,) factors s of the masses.
    """
    per_species = scale[graph.crystal[graph.site]]
    heavier = replace(graph, mass=graph.mass * per_species)
    return heavier, stretched(frequency, target, scale.rsqrt())


@dataclass(frozen=True)
class Isotopes:
    """How often, and how far, the masses of training crystals are scaled.

    Attributes:
        fraction: Of the crystals of a batch, how many get a factor; 0 to leave all as they are.
        spread: Largest |ln s| of the factors s, drawn log-uniformly.

    Raises:
        InputError: A number is out of range.
    """

    fraction: float = 0.5
    spread: float = 0.3

    def __post_init__(self) -> None:
        check_numbers("[isotopes]", self, {"fraction": (0.0, 1.0), "spread": (0.0, 1.0)})

    def draw(self, target: Tensor, frequency: Tensor, rng: np.random.Generator) -> Tensor:
        """Factors for the masses of a batch.

        One that would push states over the end of the axis is turned into its inverse.

        Args:
            target: (B, F) spectra.
            frequency: (F,), cm⁻¹.
            rng: Draws them.

        Returns:
            (B,) factors.
        """
        chosen = rng.random(len(target)) < self.fraction
        log = rng.uniform(-self.spread, self.spread, len(target)) * chosen
        scale = torch.from_numpy(np.exp(log)).to(target)
        beyond = frequency > (frequency[-1] * scale.sqrt()).unsqueeze(-1)  # [b, f]
        lost = (target * beyond).sum(-1) / target.sum(-1)
        return torch.where(lost > LOST, 1 / scale, scale)

    def vary(
        self,
        graph: Graph,
        target: Tensor,
        frequency: Tensor,
        seed: Sequence[int],
        part: slice = slice(None),
    ) -> LabelledGraph:
        """A batch with some of its crystals made of other isotopes; a pure function of the seed.

        Args:
            graph: The crystals of ``part``.
            target: (B, F) spectra of all crystals of the batch.
            frequency: (F,), cm⁻¹.
            seed: Of the whole batch, so that a crystal's isotopes do not depend on its part.
            part: Which of the batch's crystals are wanted.
        """
        if self.fraction == 0:
            return LabelledGraph(graph, target[part])
        scale = self.draw(target, frequency, np.random.default_rng(seed))
        return LabelledGraph(*with_scaled_masses(graph, target[part], frequency, scale[part]))
