"""What the Poisson deviance of a true prediction comes to, exactly, at any number of photons.

The unit deviance d(n, λ) = 2 [λ − n + n ln(n/λ)] of a count n about its mean λ has a mean of 1 and
a variance of 2 where photons are many. Where they are few it has not, and a goodness of fit that
takes them for granted is wrong: at λ = 0.01 the mean is 0.09.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

LOWEST, HIGHEST, STEP = -30.0, 8.0, 0.02
"""Where ln λ is tabulated; beyond, the mean and variance are those of many photons."""
DARKEST = math.exp(LOWEST)
"""The least λ that a photon is held against: from nothing at all its deviance is infinite."""


class Moments(NamedTuple):
    """Mean and variance of the unit deviance under its own λ."""

    mean: Tensor
    variance: Tensor


def unit_deviance(rate: Tensor, counts: Tensor) -> Tensor:
    """d(n, λ) = 2 [λ − n + n ln(n/λ)], infinite where a photon came from nothing.

    Example:
        >>> unit_deviance(torch.tensor([2.0, 2.0, 0.0]), torch.tensor([2.0, 0.0, 0.0]))
        tensor([0., 4., 0.])
    """
    lam = rate.clamp(min=0)
    return 2 * (lam - counts + torch.xlogy(counts, counts) - torch.xlogy(counts, lam))


def moments(rate: Tensor) -> Moments:
    """Mean and variance of d(n, λ) for n ~ Poisson(λ).

    Args:
        rate: (…) λ of 0 or more.

    Example:
        >>> few, many = (moments(torch.tensor(x, dtype=torch.float64)) for x in (0.01, 1e4))
        >>> round(few.mean.item(), 3), round(many.mean.item(), 3), round(many.variance.item(), 2)
        (0.092, 1.0, 2.0)
    """
    lam = rate.detach().double()
    x = (lam.clamp(min=1e-30).log().clamp(LOWEST, HIGHEST) - LOWEST) / STEP
    low = x.floor().clamp(max=len(_table()) - 2)
    rows = _table().to(lam.device)
    made = torch.lerp(rows[low.long()], rows[low.long() + 1], (x - low)[..., None]).exp()
    return Moments(*torch.where(lam[..., None] > 0, made, 0.0).unbind(-1))


@lru_cache(maxsize=1)
def _table() -> Tensor:
    """(ln λ, 2) logarithms of mean and variance, summed over all counts that occur."""
    rows = []
    for lam in torch.arange(LOWEST, HIGHEST + STEP / 2, STEP, dtype=torch.float64).exp():
        spread = 12 * lam.sqrt() + 20
        n = torch.arange(max(0, int(lam - spread)), int(lam + spread) + 1, dtype=torch.float64)
        p = (torch.xlogy(n, lam) - lam - torch.lgamma(n + 1)).exp()
        d = unit_deviance(lam, n)
        mean = p @ d
        rows.append(torch.stack([mean, p @ (d - mean) ** 2]))
    return torch.stack(rows).log()
