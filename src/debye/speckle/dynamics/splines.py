"""Learnable terms with hundreds of coefficients, which a smoothness prior holds together.

A term that may take any form has more coefficients than frames can tell. What is known beforehand
is that it is smooth: its coefficients are a Gaussian process, c ~ N(0, σ² R(ℓ)), of a strength σ
and a length ℓ that `debye.speckle.fitting.smoothness` chooses from the frames themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.dynamics.learnable import AFFINE, Smooth, bspline

CORE = 0.1
"""Of a cutoff, the distance below which a force may change as fast as at 0."""


def nearby(points: Tensor, length: float) -> Tensor:
    """Correlation of a smooth function's values at points (N, D), Matérn's of order 7/2.

    R_ij = (1 + s + 2s²/5 + s³/15) e^−s,  s = √7 |x_i − x_j|/ℓ

    Such functions have three derivatives. A Gaussian of the distance would take them to be analytic
    with next to nothing in high orders, and be too sure of one that has a tanh, an exponential or a
    pole in it; order 5/2 is less sure than it could be of those that have none.

    Reference: Rasmussen & Williams (2006), equation 4.14; Stein, Interpolation of Spatial Data
    (1999).

    Example:
        >>> nearby(torch.tensor([[0.0], [1.0]]), 1.0)
        tensor([[1.0000, 0.5449],
                [0.5449, 1.0000]])
    """
    s = 7**0.5 * (points[:, None] - points[None]).square().sum(-1).sqrt() / length
    return (1 + s + 0.4 * s.square() + s.pow(3) / 15) * torch.exp(-s)


class SplineFlow(Smooth):
    """Any smooth function of a position: cubic B-splines on a grid over a box.

    v(x) = Σ_ij c_ij B(n u_1 − i) B(n u_2 − j),  u = (x − low)/(high − low)

    In the prior, constant and slope are free and the rest is smooth. Outside the box the value at
    its edge is continued.

    Args:
        low: Lowest corner of the box.
        high: Highest corner.
        knots: Splines along each axis, at least 4.
        outputs: Components of the function; as many as the box has axes if None.

    Raises:
        InputError: The box is empty, or there are fewer than 4 knots.

    Example:
        >>> SplineFlow()(torch.zeros(5, 2)).shape, SplineFlow().size_in_words
        (torch.Size([5, 2]), '338 coefficients')
    """

    def __init__(
        self,
        low: Sequence[float] = (-1.0, -1.0),
        high: Sequence[float] = (1.0, 1.0),
        knots: int = 13,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        self.low, self.high = tuple(map(float, low)), tuple(map(float, high))
        self.knots, self.outputs = knots, outputs
        if (
            knots < 4
            or len(low) != len(high)
            or any(a >= b for a, b in zip(low, high, strict=True))
        ):
            raise InputError(
                f"no spline fits {knots} knots a side from {self.low} to {self.high}",
                why="it needs 4 knots, and a box that is wider than nothing along every axis",
                fix="give the lowest and the highest corner of where the motion goes",
            )
        shape = [knots] * len(self.low) + [outputs or len(self.low)]
        self.coefficients = nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    @classmethod
    def around(cls, states: Tensor, knots: int = 13, margin: float = 0.25) -> SplineFlow:
        """One whose box holds all states (…, D), and a margin of that fraction around them.

        Example:
            >>> SplineFlow.around(torch.tensor([[0.0, 0.0], [2.0, 4.0]])).high
            (2.5, 5.0)
        """
        every = states.reshape(-1, states.shape[-1])
        low, high = every.amin(0), every.amax(0)
        room = (margin * (high - low)).clamp(min=1e-3)
        return cls((low - room).tolist(), (high + room).tolist(), knots)

    def forward(self, x: Tensor) -> Tensor:
        """Values (…, outputs) at positions (…, D)."""
        low, high = x.new_tensor(self.low), x.new_tensor(self.high)
        k = torch.arange(self.knots, dtype=x.dtype, device=x.device)
        u = ((x - low) / (high - low)).clamp(0, 1) * (self.knots - 3) + 1
        waves = bspline(u[..., None] - k)[..., None, :]  # [..., D, 1, knot]
        found = self.coefficients.to(x.dtype).flatten()
        for wave in waves.unbind(-3):  # one axis after the other is summed over
            found = (wave @ found.unflatten(-1, (self.knots, -1)))[..., 0, :]
        return found

    def grid(self) -> Tensor:
        """(N, D) where the splines have their tops, in the order of the coefficients."""
        k = (torch.arange(self.knots, dtype=torch.float64) - 1) / (self.knots - 3)
        axes = [a + (b - a) * k for a, b in zip(self.low, self.high, strict=True)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)

    def prior(self, strength: float, length: float) -> Tensor:
        """Covariance of the coefficients: smooth over ``length``, constant and slope free."""
        points = self.grid()
        middle = (points - points.mean(0)) / points.std(0)
        straight = torch.cat([torch.ones_like(middle[:, :1]), middle], dim=1)
        one = nearby(points, length) + AFFINE**2 * straight @ straight.T
        return strength**2 * torch.kron(one, torch.eye(self.coefficients.shape[-1]).double())

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The components."""
        return (
            torch.arange(self.coefficients.numel()).view(-1, self.coefficients.shape[-1]).unbind(1)
        )

    @property
    def lengths(self) -> tuple[float, float]:
        """The distance of two knots, and thrice the box."""
        sides = [b - a for a, b in zip(self.low, self.high, strict=True)]
        return max(sides) / (self.knots - 3), 3 * max(sides)

    def formula(self) -> str:
        """The grid in words."""
        grid = " × ".join([str(self.knots)] * len(self.low))
        box = " × ".join(f"{a:.4g} … {b:.4g}" for a, b in zip(self.low, self.high, strict=True))
        return f"v(x): {grid} cubic splines on {box}, {self.size_in_words}".replace("-", "−")


class SplineReaction(SplineFlow):
    """Rates of two chemicals, any smooth functions of both concentrations.

    Args:
        low: Lowest concentrations of u and v that occur.
        high: Highest.
        knots: Splines along each.

    Example:
        >>> u, v = SplineReaction(knots=8)(torch.zeros(6, 6), torch.zeros(6, 6))
        >>> u.shape
        torch.Size([6, 6])
    """

    def __init__(
        self,
        low: Sequence[float] = (0.0, 0.0),
        high: Sequence[float] = (1.0, 1.0),
        knots: int = 10,
    ) -> None:
        super().__init__(low, high, knots)

    def forward(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Rates of u and v (…, y, x)."""
        rates = super().forward(torch.stack([u, v], dim=-1))
        return rates[..., 0], rates[..., 1]

    def formula(self) -> str:
        """The grid in words."""
        return super().formula().replace("v(x)", "rates(u, v)")


class PairSpline(Smooth):
    """Any smooth function of a distance that ends at a cutoff, such as the force of a pair.

    f(r) = r^−p Σ_k c_k B(n r/cutoff − k),  k = −1 … n − 2: at the cutoff f and two derivatives
    are 0. Positive values push apart.

    Args:
        cutoff: Distance from which on it is 0, fixed.
        knots: Number of splines n.
        columns: How many such functions: of two species 3, of one 1.
        crowding: The power p. A core that grows like a power of 1/r is smooth without it.

    Raises:
        InputError: The cutoff is not above 0, or there are fewer than 4 knots.

    Example:
        >>> PairSpline(cutoff=1.0)(torch.tensor([0.5, 2.0])).tolist()
        [0.0, 0.0]
    """

    def __init__(
        self, cutoff: float = 1.0, knots: int = 60, columns: int = 1, crowding: float = 1.0
    ) -> None:
        super().__init__()
        if not cutoff > 0 or knots < 4:
            raise InputError(
                f"no spline fits {knots} knots to a cutoff of {cutoff:g}",
                why="it needs 4 knots, and a distance above 0",
                fix="give the distance beyond which nothing acts",
            )
        self.cutoff, self.knots, self.columns = float(cutoff), knots, columns
        self.crowding = crowding
        shape = (knots,) if columns == 1 else (columns, knots)
        self.coefficients = nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    def forward(self, r: Tensor) -> Tensor:
        """Values (P,), or (P, column), at distances ``r`` (P,) above 0."""
        k = torch.arange(self.knots, dtype=r.dtype, device=r.device) - 1
        waves = bspline(r[..., None] * (self.knots / self.cutoff) - k)
        scale = r.clamp(min=1e-6 * self.cutoff) ** -self.crowding
        found = waves @ self.coefficients.to(r.dtype).movedim(-1, 0)
        return found * (scale if self.columns == 1 else scale[..., None])

    def prior(self, strength: float, length: float) -> Tensor:
        """Covariance of the coefficients: smooth over ``length``, and known to end in 0.

        Distances are those of u(r) ∝ ln(1 + r/r_0), r_0 a tenth of the cutoff and u(cutoff) the
        cutoff: a core changes over shorter distances than a tail.
        """
        points = (torch.arange(self.knots + 2, dtype=torch.float64)[:, None] - 1) / self.knots
        u = self.cutoff * torch.log1p(points.clamp(min=-0.5 * CORE) / CORE) / math.log1p(1 / CORE)
        whole = nearby(u, length)
        inner, end = whole[: self.knots, : self.knots], whole[: self.knots, self.knots :]
        known = whole[self.knots :, self.knots :] + 1e-6 * torch.eye(2).double()
        one = inner - end @ torch.linalg.solve(known, end.T)
        return strength**2 * torch.kron(torch.eye(self.columns).double(), one)

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The columns."""
        return torch.arange(self.coefficients.numel()).view(self.columns, -1).unbind(0)

    @property
    def lengths(self) -> tuple[float, float]:
        """The distance of two knots, and thrice the cutoff."""
        return self.cutoff / self.knots, 3 * self.cutoff

    def formula(self) -> str:
        """The spline in words."""
        return f"f(r): a cubic spline of {self.size_in_words} to r = {self.cutoff:.4g}"
