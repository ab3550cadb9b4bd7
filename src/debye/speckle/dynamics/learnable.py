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
from debye.errors import InputError
from debye.speckle.values import OneLine


class Learnable(OneLine, nn.Module):
    """A term whose parameters are learned."""

    @property
    def size_in_words(self) -> str:
        """How many numbers it has.

        Example:
            >>> Kernel(5).size_in_words
            '24 coefficients'
        """
        return f"{sum(p.numel() for p in self.parameters())} coefficients"

    @abstractmethod
    def formula(self) -> str:
        """The term in a line, with its numbers where they are few."""


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


class Kernel(Learnable):
    """A convolution kernel of free weights, its centre 0 (an oscillator does not pull itself).

    Args:
        size: Points along each axis, odd.
        axes: 2 or 3 dimensions.
        symmetric: Share one weight among all offsets of equal length, which makes the kernel
            invariant under the rotations and reflections of the lattice.

    Raises:
        InputError: The size is even or below 3.

    Example:
        >>> free, round_ = Kernel(11), Kernel(11, symmetric=True)
        >>> free.weights.numel(), round_.weights.numel()
        (120, 19)
    """

    def __init__(self, size: int = 11, axes: int = 2, *, symmetric: bool = False) -> None:
        super().__init__()
        if size % 2 == 0 or size < 3:
            raise InputError(
                f"a kernel cannot have {size} points a side",
                why="it needs a middle",
                fix="use an odd size of at least 3",
            )
        self.size, self.axes, self.symmetric = size, axes, symmetric
        d = torch.arange(size) - size // 2
        d2 = torch.stack(torch.meshgrid(*[d] * axes, indexing="ij")).square().sum(0).flatten()
        if symmetric:
            _, shell = torch.unique(d2, return_inverse=True)
        else:
            away = (d2 > 0).long()
            shell = away.cumsum(0) * away
        self.shell: Tensor
        self.register_buffer("shell", shell, persistent=False)
        self.weights = nn.Parameter(torch.zeros(int(shell.max()), dtype=torch.float64))

    def forward(self) -> Tensor:
        """The kernel (size, …, size)."""
        table = torch.cat([self.weights.new_zeros(1), self.weights])
        return table.index_select(0, self.shell).view(*[self.size] * self.axes)

    def formula(self) -> str:
        """The kernel's size and sum."""
        shape = " × ".join([str(self.size)] * self.axes)
        total = f"{float(self().detach().sum()):.4g}".replace("-", "−")
        return f"k: {shape} points of {self.size_in_words}, Σk = {total}"


class PhaseSeries(Learnable):
    """A coupling of phases as Fourier series, the pair (a, b) of a swarmalator.

    a(Δ) = 1 + Σ_k α_k cos kΔ,  b(Δ) = Σ_k β_k sin kΔ,  k = 1 … order

    Even and odd by construction, so that action is reaction.

    Args:
        order: Highest harmonic.

    Example:
        >>> PhaseSeries(2)(torch.zeros(3)).shape
        torch.Size([3, 2])
    """

    def __init__(self, order: int = 3) -> None:
        super().__init__()
        self.order = order
        self.even = nn.Parameter(torch.zeros(order, dtype=torch.float64))
        self.odd = nn.Parameter(torch.zeros(order, dtype=torch.float64))

    def forward(self, difference: Tensor) -> Tensor:
        """The columns a and b (P, 2) at phase differences (P,)."""
        k = torch.arange(1, self.order + 1, dtype=difference.dtype, device=difference.device)
        angle = difference[..., None] * k
        a = 1 + angle.cos() @ self.even.to(difference.dtype)
        return torch.stack([a, angle.sin() @ self.odd.to(difference.dtype)], dim=-1)

    def formula(self) -> str:
        """Both series in numbers."""
        angles = ["Δ", *(f"{k}Δ" for k in range(2, self.order + 1))]
        even = polynomial([1.0, *self.even.tolist()], ["", *(f"cos {x}" for x in angles)])
        return f"a = {even}, b = {polynomial(self.odd.tolist(), [f'sin {x}' for x in angles])}"


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
