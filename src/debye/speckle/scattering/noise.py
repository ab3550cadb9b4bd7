"""Photons: counting them once, and how likely the counts are under a prediction.

Noise belongs to the data, not to the loss: `expose` draws it once, with a seeded generator.
A likelihood compares a predicted mean λ with what was recorded, n. Besides its value it gives
the residual and the weight from which a Gauss–Newton step is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from debye.errors import InputError


def exposure(intensity: Tensor, photons: float, mask: Tensor) -> float:
    """Factor to photons: the brightest open pixel of any first frame expects ``photons``.

    Args:
        intensity: (run, time, qy, qx) in arbitrary units.
        photons: λ_max.
        mask: (qy, qx) True where a pixel counts.

    Raises:
        InputError: The first frames are dark.

    Example:
        >>> exposure(torch.full((1, 2, 2, 2), 4.0), 1000.0, torch.ones(2, 2, dtype=torch.bool))
        250.0
    """
    brightest = float((intensity[:, 0] * mask).max())
    if not brightest > 0:
        raise InputError(
            "cannot expose these frames",
            why="the first frames are dark",
            fix="check the beamstop and the probe: nothing reaches an open pixel",
        )
    return photons / brightest


def expose(intensity: Tensor, generator: torch.Generator) -> Tensor:
    """Poisson counts of expected intensities, the same for the same generator seed.

    Example:
        >>> mean = torch.full((2, 2), 5.0)
        >>> a = expose(mean, torch.Generator().manual_seed(1))
        >>> torch.equal(a, expose(mean, torch.Generator().manual_seed(1)))
        True
    """
    return torch.poisson(intensity, generator=generator)


class Likelihood(NamedTuple):
    """How a prediction λ is compared with a record n, pixel by pixel.

    ``loss(λ, n)`` is minimal at the truth. ``residual`` and ``weight`` whiten it: with J the
    derivative of λ, a step solves (wJ)ᵀ(wJ) δ = −(wJ)ᵀ r.
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    residual: Callable[[Tensor, Tensor], Tensor]
    weight: Callable[[Tensor, Tensor], Tensor]

    def __repr__(self) -> str:
        return f"likelihood({self.name!r})"

    def __reduce__(self) -> tuple[Callable[[str], Likelihood], tuple[str]]:
        return likelihood, (self.name,)  # the formulas are named in the table below


FLOOR = 1e-3
"""Photons added under a logarithm or a square root, below what any pixel resolves."""


def _deviance(rate: Tensor, counts: Tensor) -> Tensor:
    lam = rate + FLOOR
    # The counts' own part is kept out of the logarithm of λ: 0·ln 0 has no gradient.
    return lam - counts - counts * lam.log() + torch.xlogy(counts, counts)


def _root(x: Tensor) -> Tensor:
    return (x + FLOOR).sqrt()


POISSON = Likelihood(
    "poisson",
    loss=_deviance,
    residual=lambda rate, n: (rate + FLOOR - n) / _root(rate),
    weight=lambda rate, n: 1 / _root(rate),
)
"""Half the Poisson deviance, λ − n + n ln(n/λ)."""

# √(n + 3/8) has variance ¼ whatever the mean (Anscombe, Biometrika 35, 246 (1948)), and its mean
# is √(λ + 1/8) to first order: comparing with √λ itself would bias a weak signal.
AMPLITUDE = Likelihood(
    "amplitude",
    loss=lambda rate, n: 2 * ((rate + 0.125).sqrt() - (n + 0.375).sqrt()).square(),
    residual=lambda rate, n: 2 * ((rate + 0.125).sqrt() - (n + 0.375).sqrt()),
    weight=lambda rate, n: 1 / (rate + 0.125).sqrt(),
)
"""Distance of variance-stabilised amplitudes of counts."""

EXACT = Likelihood(
    "exact",
    loss=lambda rate, n: 2 * (_root(rate) - _root(n)).square(),
    residual=lambda rate, n: 2 * (_root(rate) - _root(n)),
    weight=lambda rate, n: 1 / _root(rate),
)
"""Distance of amplitudes √I of frames without noise."""

PLAIN = Likelihood(
    "l1",
    loss=lambda rate, n: (rate - n).abs(),
    residual=lambda rate, n: (rate - n).sign(),
    weight=lambda rate, n: 1 / ((rate - n).abs() + 1).sqrt(),
)
"""|λ − n|, the published choice, for comparison."""

SQUARES = Likelihood(
    "squares",
    loss=lambda rate, n: 0.5 * (rate - n).square(),
    residual=lambda rate, n: rate - n,
    weight=lambda rate, n: torch.ones_like(rate),
)
"""Half the squared difference, for numbers that are not counts."""

LIKELIHOODS = {one.name: one for one in (SQUARES, POISSON, AMPLITUDE, EXACT, PLAIN)}
"""Every likelihood by its name."""


def likelihood(name: str) -> Likelihood:
    """The likelihood of that name.

    Raises:
        InputError: There is none.

    Example:
        >>> likelihood("poisson").loss(torch.tensor(2.0), torch.tensor(2.0)).abs() < 1e-6
        tensor(True)
    """
    if name not in LIKELIHOODS:
        raise InputError(
            f"unknown likelihood {name!r}",
            why=f"there are {', '.join(LIKELIHOODS)}",
            fix="use one of them",
        )
    return LIKELIHOODS[name]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the open pixels only, of (…, qy, qx) with mask (qy, qx) or (…, qy, qx).

    Example:
        >>> masked_mean(torch.tensor([[1.0, 9.0]]), torch.tensor([[True, False]]))
        tensor(1.)
    """
    return (values * mask).sum() / mask.expand_as(values).sum()
