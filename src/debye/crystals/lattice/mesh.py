"""Where in the Brillouin zone to look."""

from __future__ import annotations

import torch
from torch import Tensor

PLASTIC = 1.2207440846057596
"""The real root of x⁴ = x + 1."""


def low_discrepancy(count: int) -> Tensor:
    """Wave vectors that fill the zone evenly, whatever their number.

    q_k = frac(½ + k α), α = (g⁻¹, g⁻², g⁻³) with g⁴ = g + 1: the additive recurrence of Roberts
    (2018), a Kronecker sequence. No point is special, so bands are sampled in general position and
    the error of a mean falls nearly as 1/count.

    Returns:
        (count, 3), in units of the reciprocal lattice vectors.

    Example:
        >>> low_discrepancy(1000).mean(0).sub(0.5).abs().max() < 0.005
        tensor(True)
    """
    alpha = PLASTIC ** -torch.arange(1.0, 4.0, dtype=torch.float64)
    k = torch.arange(1, count + 1, dtype=torch.float64)
    return ((0.5 + k.unsqueeze(-1) * alpha) % 1.0).float()
