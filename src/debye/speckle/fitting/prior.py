"""What is known of parameters before the frames are seen: a Gaussian, in their own units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Prior(NamedTuple):
    """A Gaussian prior on a vector c of parameters, −ln p(c) = ½ (c − m)ᵀ P (c − m) + const.

    Attributes:
        precision: (P, P) the inverse P of its covariance; a 0 on the diagonal leaves that
            parameter free.
        mean: (P,) the mean m.
        least: (P,) below which a parameter cannot be; no bound if None.
        most: (P,) above which it cannot be.

    Example:
        >>> known = Prior(torch.eye(2).double() / 0.1**2, torch.tensor([1.0, 2.0]).double())
        >>> round(known.cost(torch.tensor([1.1, 2.0]).double()), 3)  # a standard deviation away
        0.5
    """

    precision: Tensor
    mean: Tensor
    least: Tensor | None = None
    most: Tensor | None = None

    def within(self, vector: Tensor) -> Tensor:
        """The parameters, moved to the nearest bound where they are beyond one."""
        for bound, nearest in ((self.least, torch.maximum), (self.most, torch.minimum)):
            vector = vector if bound is None else nearest(vector, bound.to(vector))
        return vector

    def held(self, vector: Tensor, downhill: Tensor) -> Tensor:
        """(P,) True where a parameter stands at a bound and would go beyond it."""
        return self.within(vector + 1e-9 * downhill.sign()) != vector + 1e-9 * downhill.sign()

    def slope(self, vector: Tensor) -> Tensor:
        """(P,) P (c − m), the gradient of the cost."""
        return self.precision.to(vector) @ (vector - self.mean.to(vector))

    def cost(self, vector: Tensor) -> float:
        """½ (c − m)ᵀ P (c − m)."""
        return 0.5 * float((vector - self.mean.to(vector)) @ self.slope(vector))


def ridge(strength: float, size: int) -> Prior:
    """A pull of all of ``size`` parameters towards 0, ½ strength |c|².

    Example:
        >>> ridge(2.0, 3).slope(torch.ones(3))
        tensor([2., 2., 2.])
    """
    return independent([0.0] * size, strength)


def independent(
    mean: Sequence[float] | Tensor, precision: Sequence[float] | Tensor | float
) -> Prior:
    """Parameters that know nothing of each other: each its mean and its 1/σ².

    Example:
        >>> independent([0.0, 1.0], [4.0, 0.0]).precision
        tensor([[4., 0.],
                [0., 0.]], dtype=torch.float64)
    """
    m = torch.as_tensor(mean, dtype=torch.float64)
    p = torch.as_tensor(precision, dtype=torch.float64).to(m.device).expand_as(m)
    return Prior(torch.diag(p), m)


def joined(priors: Sequence[Prior]) -> Prior:
    """The prior of several vectors one after the other, which know nothing of each other.

    Example:
        >>> joined([ridge(1.0, 2), ridge(3.0, 1)]).precision.diagonal()
        tensor([1., 1., 3.], dtype=torch.float64)
    """
    return Prior(
        torch.block_diag(*(p.precision for p in priors)),
        torch.cat([p.mean for p in priors]),
        torch.cat([_bound(p.mean, p.least, -torch.inf) for p in priors]),
        torch.cat([_bound(p.mean, p.most, torch.inf) for p in priors]),
    )


def _bound(like: Tensor, bound: Tensor | None, none: float) -> Tensor:
    return torch.full_like(like, none) if bound is None else bound
