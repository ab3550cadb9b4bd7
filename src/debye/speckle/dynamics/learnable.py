"""Learnable terms: smooth functions with few coefficients, and small networks.

Every one is a module whose constructor arguments are its attributes, so that a model file can
build it again, and tells in `Learnable.formula` what it has become.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from debye.core.radial import RadialMLP, smooth_cutoff
from debye.speckle.values import OneLine


class Learnable(OneLine, nn.Module):
    """A term whose parameters are learned."""

    @property
    def size_in_words(self) -> str:
        """How many numbers it has.

        Example:
            >>> RadialSpline(12).size_in_words
            '13 coefficients'
        """
        return f"{sum(p.numel() for p in self.parameters())} coefficients"

    @abstractmethod
    def formula(self) -> str:
        """The term in a line, with its numbers where they are few."""


AFFINE = 3.0
"""How much larger than the rest a mean or a slope may be, before the frames are seen."""


class Smooth(Learnable):
    """A term that is smooth before anything is seen: c ~ N(0, prior(strength, length)).

    Strength and length of the prior are chosen from the frames.
    """

    @abstractmethod
    def prior(self, strength: float, length: float) -> Tensor:
        """Covariance (P, P) of its coefficients, in the order of ``parameters()``.

        Args:
            strength: Size σ of what it describes; the covariance is proportional to σ².
            length: Over what distance ℓ it may change.
        """

    @property
    @abstractmethod
    def lengths(self) -> tuple[float, float]:
        """The shortest and the longest length that make sense."""

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Which coefficients share a strength and a length; parts know nothing of each other."""
        return (torch.arange(sum(p.numel() for p in self.parameters())),)


def polynomial(values: Sequence[float], names: Sequence[str]) -> str:
    """A sum of named functions, those left out that round to 0.

    Example:
        >>> polynomial([0.5, -0.0, -2.0], ["cos Δ", "cos 2Δ", "cos 3Δ"])
        '0.5 cos Δ − 2 cos 3Δ'
    """
    parts = [f"{v:+.4g} {n}".strip() for v, n in zip(values, names, strict=True) if abs(v) > 1e-12]
    line = " ".join(f"{p[0]} {p[1:]}" for p in parts).removeprefix("+ ") or "0"
    return line.replace("-", "−")


def bspline(x: Tensor) -> Tensor:
    """The cardinal cubic B-spline: a smooth bump on |x| < 2 whose shifts by 1 add up to 1.

    Example:
        >>> bspline(torch.tensor([-2.0, 0.0, 1.0]))
        tensor([0.0000, 0.6667, 0.1667])
    """
    far = (2 - x.abs()).clamp(min=0)
    near = (1 - x.abs()).clamp(min=0)
    return (far**3 - 4 * near**3) / 6


class Constant(Learnable):
    """A learned number, or several: a common frequency, a turning, a constant drift.

    Args:
        size: How many numbers; 1 has no axis of its own.
        start: Where to start from.

    Example:
        >>> Constant(start=0.5)().item()
        0.5
    """

    def __init__(self, size: int = 1, start: float = 0.0) -> None:
        super().__init__()
        self.size, self.start = size, start
        shape = () if size == 1 else (size,)
        self.value = nn.Parameter(torch.full(shape, start, dtype=torch.float64))

    def forward(self, x: Tensor | None = None) -> Tensor:
        """The number(s); at positions (…, D) one for each."""
        if x is None:
            return self.value + 0
        return self.value.to(x.dtype).expand(*x.shape[:-1], *self.value.shape)

    def formula(self) -> str:
        """The numbers."""
        return ", ".join(f"{v:.4g}" for v in self.value.flatten().tolist()).replace("-", "−")


class RadialSpline(Learnable):
    """h(r) = g(r)/r with g a cubic spline that vanishes smoothly at its own learned cutoff.

    g(r) = Σ_k c_k B(n r/cutoff − k),  k = −1 … n − 2: at the cutoff g and two derivatives are 0.

    The 1/r is the known crowding of the swarm's law; what multiplies it is free.

    Args:
        size: Number of coefficients n.
        start: Cutoff to start from.

    Example:
        >>> h = RadialSpline(size=8, start=0.95)
        >>> h(torch.tensor([0.2, 0.95, 2.0]))[1:]
        tensor([0., 0.], grad_fn=<SliceBackward0>)
    """

    def __init__(self, size: int = 16, start: float = 0.95) -> None:
        super().__init__()
        self.size, self.start = size, start
        self.stretch = nn.Parameter(torch.zeros((), dtype=torch.float64))
        k = torch.arange(size, dtype=torch.float64) - 1
        # A gentle attraction to begin with: h(1 − h) > 0 nearly everywhere.
        self.coefficients = nn.Parameter(0.1 * start * (1 - (k + 1) / size) ** 2)

    @property
    def cutoff(self) -> float:
        """The learned distance from which on h is 0."""
        return self.start * math.exp(float(self.stretch.detach()))

    def forward(self, r: Tensor) -> Tensor:
        """Values of h at distances ``r`` (P,) above 0."""
        x = r * (self.size / self.start) * torch.exp(-self.stretch.to(r.dtype))
        k = torch.arange(self.size, dtype=r.dtype, device=r.device) - 1
        return bspline(x[..., None] - k) @ self.coefficients.to(r.dtype) / r  # [P, k] [k]

    def formula(self) -> str:
        """The function in words, and its cutoff."""
        return (
            f"h(r) = g(r)/r, g a cubic spline of {self.size} coefficients to r = {self.cutoff:.4g}"
        )


class RadialNetwork(Learnable):
    """h(r) = g(r)/r with g a small network on standing waves, next to a gentle attraction.

    Args:
        cutoff: Where it falls to 0, fixed.
        hidden: Width of the hidden layer.
    """

    def __init__(self, cutoff: float = 0.95, hidden: int = 32) -> None:
        super().__init__()
        self.cutoff, self.hidden = cutoff, hidden
        self.network = RadialMLP(cutoff, 1, hidden=hidden)

    def forward(self, r: Tensor) -> Tensor:
        """Values of h at distances ``r`` (P,) above 0."""
        start = 0.05 * smooth_cutoff(r, self.cutoff)
        return (start + 0.1 * self.network.to(r.dtype)(r)[..., 0]) / r

    def formula(self) -> str:
        """The function in words, and its cutoff."""
        return f"h(r) = g(r)/r, g a network of {self.size_in_words} to r = {self.cutoff:.4g}"


class Flow(Learnable):
    """A smooth velocity field: Chebyshev polynomials of both coordinates up to a total degree.

    v(x) = Σ_{i+j ≤ degree} c_ij T_i(x/scale) T_j(y/scale)

    Args:
        degree: Highest total degree.
        scale: Half width of the region described.

    Example:
        >>> Flow(degree=3)(torch.zeros(5, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(self, degree: int = 5, scale: float = 1.0) -> None:
        super().__init__()
        self.degree, self.scale = degree, scale
        self.orders = [(i, k - i) for k in range(degree + 1) for i in range(k + 1)]
        self.coefficients = nn.Parameter(torch.zeros(len(self.orders), 2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Velocity (…, 2) at positions (…, 2)."""
        u = x / self.scale
        T = [torch.ones_like(u), u]
        for _ in range(2, self.degree + 1):
            T.append(2 * u * T[-1] - T[-2])
        terms = [T[i][..., 0] * T[j][..., 1] for i, j in self.orders]
        return torch.stack(terms, dim=-1) @ self.coefficients.to(x.dtype)

    def formula(self) -> str:
        """The basis in words."""
        return f"v(x) = Σ c_ij T_i T_j to degree {self.degree}, {self.size_in_words}"


class FlowNetwork(Learnable):
    """A velocity field from a small network with smooth units.

    Args:
        hidden: Width of the two hidden layers.
    """

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.hidden = hidden
        self.layers = nn.Sequential(
            nn.Linear(2, hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Velocity (…, 2) at positions (…, 2)."""
        return self.layers.to(x.dtype)(x)

    def formula(self) -> str:
        """The network in words."""
        return f"v(x): a network of {self.size_in_words}"


class RoundFlow(Learnable):
    """A velocity field that looks the same from every direction around a learned centre.

    v(x) = Σ_p (a_p r̂ + b_p φ̂) (r/scale)^p,  p in ``powers``

    A spiral, a vortex and a source are of this form; being told only the symmetry, it carries
    what it learned at small radii to larger ones.

    Args:
        powers: Powers of the radius.
        scale: Length in which the radius is measured.
    """

    def __init__(self, powers: tuple[int, ...] = (-1, 0, 1), scale: float = 1.0) -> None:
        super().__init__()
        self.powers, self.scale = tuple(powers), scale
        self.centre = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.outward = nn.Parameter(torch.zeros(len(powers), dtype=torch.float64))
        self.around = nn.Parameter(torch.zeros(len(powers), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Velocity (…, 2) at positions (…, 2) away from the centre."""
        d = (x - self.centre.to(x.dtype)) / self.scale
        # Held off the centre, where a negative power would outrun any solver.
        r = d.square().sum(-1, keepdim=True).clamp(min=2.5e-3).sqrt()
        out = d / r
        turn = torch.stack([-out[..., 1], out[..., 0]], dim=-1)
        rise = r ** torch.tensor(self.powers, dtype=x.dtype, device=x.device)
        a, b = self.outward.to(x.dtype), self.around.to(x.dtype)
        return (rise @ a)[..., None] * out + (rise @ b)[..., None] * turn

    def formula(self) -> str:
        """Both series in numbers."""
        names = ["" if p == 0 else "ρ" if p == 1 else f"ρ^{p}" for p in self.powers]
        out, turn = (polynomial(c.tolist(), names) for c in (self.outward, self.around))
        x, y = self.centre.tolist()
        return f"v = ({out}) r̂ + ({turn}) φ̂, ρ = |x − ({x:.4g}, {y:.4g})|/{self.scale:g}"
