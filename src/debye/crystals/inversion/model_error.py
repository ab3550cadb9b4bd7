"""How far a predicted spectrum may lie from the true one: the model's part of the misfit.

A network misplaces modes along the axis and misjudges the height of its peaks, and it does both
more for some crystals than for others. The size of such an error e, a difference of densities
that integrate to 1 over the window of the comparison, is measured by

    d²(e) = (1/ω₁) ∫ E(ω)² dω + (1/χ₁) ∫ e(ω)² / (p(ω) + p₀) dω,   E(ω) = ∫₀^ω e

with p the predicted density: states at the wrong place, and a misshape as of Pearson's χ². Over
the crystals its square follows a distribution with a heavy tail,

    L(e) = (1 + d²(e))^-k  =  ∫ dτ τ^(k-1) e^-τ / Γ(k) · exp(-τ d²(e)),

which is a mixture of normal errors of all sizes 1/τ; so measured noise, which is normal, joins
under the integral. p₀ is held where noise does no harm; the
other three numbers are those under which the true structure among decoys has
the highest mean log-probability (`calibrated`); that makes probabilities of a ranking mean what
they say, and counts the points of a spectrum, whose errors go together, as the few they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from debye.crystals.dos.quadrature import trapezoid_weights

NODES = 12
"""Sizes of the model's error that are summed over where there is noise too."""
COVERAGE = 1.4
"""Over the normal approximation: 68 % of the validation rows' mean frequencies lie inside."""


@dataclass(frozen=True)
class ModelError:
    """The distribution of a model's errors; the defaults are the shipped model's.

    Args:
        shift: ω₁, cm⁻¹.
        shape: χ₁.
        floor: p₀, per cm⁻¹.
        order: k.
        count: Independent numbers that an error counts as: 2k ⟨d²/(1 + d²)⟩ over true structures,
            with which their likelihood is highest at the size that they have. Here the misfits'
            quantiles are those of the benchmark, 1.41 for 50 % and 2.87 for 90 %.
    """

    shift: float = 0.32
    shape: float = 0.14
    floor: float = 2e-5
    order: float = 4.0
    count: float = 5.1

    def scaled(self, size: float) -> ModelError:
        """The distribution of errors that are larger by a factor."""
        return replace(self, shift=self.shift * size**2, shape=self.shape * size**2)

    def precision(self, frequency: Tensor, density: Tensor) -> Tensor:
        """Matrix Λ with d²(e) = eᵀ Λ e, (..., n, n).

        Args:
            frequency: Points of comparison, cm⁻¹, (n,).
            density: Predicted densities p, each of integral 1, (..., n).
        """
        w = trapezoid_weights(frequency)
        sums = torch.tril(w.expand(len(w), -1))  # E = sums @ e
        misplaced = sums.T @ (w[:, None] * sums) / self.shift
        misshapen = w / (density.clamp(min=0.0) + self.floor) / self.shape
        return misplaced + torch.diag_embed(misshapen)

    def deviation(self, frequency: Tensor, density: Tensor, kernel: Tensor) -> float:
        """How far Σ K e of a spectrum may be off: in 68 of 100 cases by less than this.

        Args:
            frequency: cm⁻¹, (F,).
            density: Predicted, of integral 1, (F,).
            kernel: K, the change of a property with the density at each point, (F,).
        """
        spread = torch.linalg.inv(self.precision(frequency, density)) / (2 * (self.order - 1))
        w = trapezoid_weights(frequency)
        K = kernel - w * (w @ spread @ kernel) / (w @ spread @ w)  # errors make no states
        return COVERAGE * float(K @ spread @ K) ** 0.5

    def sizes(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes τ of the mixture and the logarithms of their weights, (NODES,) each."""
        log = torch.linspace(-7.0, math.log(8 * self.order), NODES).to(like)
        weight = self.order * log - log.exp() + (log[1] - log[0]).log() - math.lgamma(self.order)
        return log.exp(), weight

    def log_likelihood(self, square: Tensor) -> Tensor:
        """-k log(1 + d²), where there is no noise."""
        return -self.order * torch.log1p(square)


SHIPPED_ERROR = ModelError()
"""The shipped model's, as `benchmarks/inversion.py` finds it."""
