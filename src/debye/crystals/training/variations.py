"""Relations to train on: each labelled crystal stands for a family of labelled crystals.

Heavier isotopes lower every frequency alike. The force constants Φ do not know the masses, so in
ω² = eig(M^{-1/2} Φ M^{-1/2}) a common factor s on all masses moves every frequency by s^{-1/2}:
this relation is exact. A longer lattice softens force constants; how much, a Grüneisen parameter
says in the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from debye.core.training import check_numbers
from debye.crystals.graph import Graph
from debye.crystals.training.examples import LabelledGraph
from debye.crystals.training.lattice_loss import GRUNEISEN

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


@dataclass(frozen=True)
class Strain:
    """How often, and how far, the lattices of training crystals are stretched, labels included.

    ω ∝ V^−γ with γ the Grüneisen parameter, so that Φ ∝ s^−6γ for a lattice s times as long.

    Attributes:
        fraction: Of the crystals of a batch, how many are stretched.
        spread: Standard deviation of ln s.

    Raises:
        InputError: A number is out of range.
    """

    fraction: float = 0.3
    spread: float = 0.012

    def __post_init__(self) -> None:
        check_numbers("[strain]", self, {"fraction": (0.0, 1.0), "spread": (0.0, 0.1)})

    def draw(self, crystals: int, rng: np.random.Generator) -> Tensor:
        """(B,) factors s of the lattices of a batch."""
        chosen = rng.random(crystals) < self.fraction
        return torch.from_numpy(np.exp(rng.normal(0, self.spread, crystals) * chosen)).float()


def stretched_graph(graph: Graph, stretch: Tensor) -> Graph:
    """The same crystals with longer or shorter lattices.

    Args:
        graph: B crystals.
        stretch: (B,) factors.
    """
    of_edge = stretch[graph.crystal[graph.center]]
    return replace(
        graph,
        vector=graph.vector * of_edge.unsqueeze(-1),
        cell=graph.cell * stretch[:, None, None],
    )


class Variation(NamedTuple):
    """By how much the crystals of a batch are changed."""

    stretch: Tensor
    """(B,) factors on their lattices."""
    heavier: Tensor
    """(B,) factors on their masses."""

    def part(self, part: slice) -> Variation:
        """Of some of them."""
        return Variation(self.stretch[part], self.heavier[part])

    def of(self, batch: LabelledGraph, frequency: Tensor) -> LabelledGraph:
        """The batch changed, and its labels to match.

        Args:
            batch: B crystals.
            frequency: (F,) of their spectra, cm⁻¹.
        """
        graph, target = with_scaled_masses(batch.graph, batch.target, frequency, self.heavier)
        softer = (self.stretch ** (-3 * GRUNEISEN)).to(target)
        lesson = batch.lesson and batch.lesson._replace(
            stretch=self.stretch.float(), heavier=self.heavier.float()
        )
        return LabelledGraph(
            stretched_graph(graph, self.stretch.to(graph.vector)),
            stretched(frequency, target, softer),
            lesson,
        )
