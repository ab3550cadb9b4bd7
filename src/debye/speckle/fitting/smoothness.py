"""How smooth the terms of a system are: strength and length of their priors, from the frames.

Near a point c the frames say ½ (x − c)ᵀ H (x − c) + gᵀ (x − c) of the coefficients x, and with
b = H c − g the evidence of a prior N(0, K), K = L Lᵀ, is, in Laplace's approximation,

    ln Z = ½ bᵀ L A⁻¹ Lᵀ b − ½ ln |A|,   A = 1 + Lᵀ H L

With K = σ² R(ℓ) one decomposition of Lᵀ H L gives it for all strengths σ. It needs no frames, so
strength and length are chosen anew at every Gauss–Newton step.

Reference: MacKay, Neural Comput. 4, 415 (1992); Rasmussen & Williams, Gaussian Processes for
Machine Learning (2006), chapters 3 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from debye.speckle.dynamics.learnable import Smooth
from debye.speckle.fitting.prior import Prior

LENGTHS = 9
"""Lengths that are tried between the shortest and the longest, and again around the best."""
ROUGH = 1e-8
"""Variance of what is not smooth, as a fraction: without it no covariance could be inverted."""


class Smoothness(NamedTuple):
    """The prior of one term: σ and ℓ, and the logarithm of its evidence."""

    strength: float
    length: float
    log_marginal: float = 0.0


class Block(NamedTuple):
    """A part of a smooth term that has a prior of its own.

    Attributes:
        name: Of the term, and of its part if it has several.
        term: The term.
        part: Which of the term's coefficients these are.
        at: Which of the fitted parameters.
    """

    name: str
    term: Smooth
    part: Tensor
    at: Tensor

    def root(self, length: float) -> Tensor:
        """L of L Lᵀ = R(ℓ), the prior covariance at strength 1."""
        R = self.term.prior(1.0, length)[self.part][:, self.part]
        return torch.linalg.cholesky(R + ROUGH * R.diagonal().mean() * torch.eye(len(R)).to(R))

    def precision(self, smooth: Smoothness) -> Tensor:
        """(P, P) the inverse of the prior covariance."""
        return torch.cholesky_inverse(self.root(smooth.length)) / smooth.strength**2


def blocks_of(model: nn.Module) -> list[Block]:
    """The smooth parts among the fitted parameters of a model, in the order of `to_vector`.

    Example:
        >>> from debye.speckle.dynamics.splines import SplineFlow
        >>> [(b.name, len(b.at)) for b in blocks_of(nn.ModuleDict({"v": SplineFlow()}))]
        [('v.0', 169), ('v.1', 169)]
    """
    where, first = dict[int, Tensor](), 0
    for p in model.parameters():
        if p.requires_grad:
            where[id(p)] = torch.arange(first, first + p.numel())
            first += p.numel()
    found = []
    for name, module in model.named_modules():
        if isinstance(module, Smooth) and all(id(p) in where for p in module.parameters()):
            index = torch.cat([where[id(p)] for p in module.parameters()])
            parts = module.parts
            names = [name] if len(parts) == 1 else [f"{name}.{k}" for k in range(len(parts))]
            found += [Block(n, module, p, index[p]) for n, p in zip(names, parts, strict=True)]
    return found


@dataclass
class Smoother:
    """Chooses the priors of a model's smooth terms.

    Args:
        model: Holds the terms.
        base: What is known of all parameters otherwise; of the smooth terms it is not used.
        exact: Whether the frames hold no noise, so that the misfit is the only noise there is.

    Attributes:
        chosen: Of each part, by name, what was chosen last.
    """

    model: nn.Module
    base: Prior
    exact: bool = False
    chosen: dict[str, Smoothness] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.blocks = blocks_of(self.model)

    def __call__(self, vector: Tensor, H: Tensor, g: Tensor, loss: float) -> Prior:
        """The prior of all parameters that the frames make most probable.

        Args:
            vector: (P,) parameters.
            H: (P, P) curvature of the summed loss there, without any prior.
            g: (P,) its gradient.
            loss: Its mean per pixel: ½ where the misfit is that of the counts alone.
        """
        noise = max(2 * loss, 1e-30 if self.exact else 1.0)
        H, b = H / noise, (H @ vector - g) / noise
        for block in self.blocks:
            self.chosen.setdefault(block.name, alone(block, H, b))
        for block in self.blocks:
            prior = self.prior(noise)
            P, mean = prior.precision.to(H) / noise, prior.mean.to(H)
            self.chosen[block.name] = most_probable(block, *reduced(H, b, block.at, P, mean))
        return self.prior(noise)

    def prior(self, noise: float = 1.0) -> Prior:
        """What is known of all parameters, the smooth ones by what was chosen last.

        Args:
            noise: Factor by which the loss is larger than −ln likelihood.
        """
        precision, mean = self.base.precision.double().clone(), self.base.mean.double().clone()
        for block in self.blocks:
            if block.name in self.chosen:
                put(precision, block.at, noise * block.precision(self.chosen[block.name]))
                mean[block.at] = 0.0
        return self.base._replace(precision=precision, mean=mean)

    def as_json(self) -> dict[str, list[float]]:
        """Strength and length by the name of the part, without its experiment's."""
        return {name: [s.strength, s.length] for name, s in self.chosen.items()}

    def restore(self, chosen: dict[str, list[float]]) -> None:
        """Take up what `as_json` told."""
        self.chosen = {name: Smoothness(*values) for name, values in chosen.items()}


def alone(block: Block, H: Tensor, b: Tensor) -> Smoothness:
    """What a part would choose if nothing else were unknown."""
    at = block.at
    return most_probable(block, H[at[:, None], at], b[at])


def put(matrix: Tensor, index: Tensor, block: Tensor) -> None:
    """Write a block of a symmetric matrix, which is 0 beside it."""
    matrix[index], matrix[:, index] = 0.0, 0.0
    matrix[index[:, None], index] = block.to(matrix)


def reduced(
    H: Tensor, b: Tensor, own: Tensor, precision: Tensor, mean: Tensor
) -> tuple[Tensor, Tensor]:
    """H and b of the parameters ``own``, the rest marginalised under their prior."""
    rest = torch.ones(len(b), dtype=torch.bool)
    rest[own] = False
    if not bool(rest.any()):
        return H[own[:, None], own], b[own]
    P = precision[rest][:, rest]
    A = H[rest][:, rest] + P
    A = A + 1e-12 * A.diagonal().max() * torch.eye(len(A)).to(A)
    across = torch.linalg.solve(A, H[rest][:, own]).mT
    return (
        H[own[:, None], own] - across @ H[rest][:, own],
        b[own] - across @ (b[rest] + P @ mean[rest]),
    )


def most_probable(block: Block, H: Tensor, b: Tensor) -> Smoothness:
    """Strength and length of the largest evidence: a grid of lengths, then a finer one.

    Args:
        block: Whose.
        H: (P, P) curvature of −ln likelihood in its coefficients.
        b: (P,) H c − g.
    """
    short, long = block.term.lengths
    coarse = torch.logspace(0, 1, LENGTHS, base=long / short).double() * short
    best = max(
        (marginal_likelihood(block, float(x), H, b) for x in coarse), key=lambda s: s.log_marginal
    )
    step = (long / short) ** (1 / (LENGTHS - 1))
    fine = [best.length * step**p for p in (-2 / 3, -1 / 3, 1 / 3, 2 / 3)]
    around = [marginal_likelihood(block, x, H, b) for x in fine if short <= x <= long]
    return max([best, *around], key=lambda s: s.log_marginal)


def marginal_likelihood(block: Block, length: float, H: Tensor, b: Tensor) -> Smoothness:
    """The strength of the largest evidence at one length, and that evidence."""
    L = block.root(length).to(H)
    values, vectors = torch.linalg.eigh(L.mT @ H @ L)
    values, w2 = values.clamp(min=0), (vectors.mT @ (L.mT @ b)).square()
    scale = float(w2.sum() / (values @ w2 + 1e-300)) ** 0.5 if bool(w2.any()) else 1.0
    variance = (scale * torch.logspace(-4, 4, 161).to(H)).square()[:, None]
    inner = 1 + variance * values
    lnZ = 0.5 * (variance * w2 / inner - inner.log()).sum(-1)
    k = int(lnZ.argmax())
    return Smoothness(float(variance[k, 0].sqrt()), length, float(lnZ[k]))
