"""The formulas of the published studies that fill the terms of the systems.

Andrejevic et al., npj Comput. Mater. 10, 225 (2024), and its public code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from debye.speckle.values import OneLine


class SwarmForce(OneLine, nn.Module):
    """h(r) = (r_c/r)·½[1 + tanh(1/(r − r_c) − 1/(r − 2r_c))] for r < r_c, else 0.

    At the cutoff the bracket vanishes with all its derivatives, like exp(−2/(r_c − r)): there
    the public code's form divides by zero, here the distance is held a hair below r_c, where
    the value is 0 to machine precision.

    Args:
        r_c: Cutoff, in the units of the box.

    Example:
        >>> SwarmForce()(torch.tensor([0.15, 0.5, 0.75, 2.0]))
        tensor([0.6783, 0.0037, 0.0000, 0.0000])
    """

    def __init__(self, r_c: float = 0.75) -> None:
        super().__init__()
        self.r_c = r_c

    @property
    def cutoff(self) -> float:
        """The distance from which on h is 0."""
        return self.r_c

    def forward(self, r: Tensor) -> Tensor:
        """Values of h at distances ``r`` (P,) above 0."""
        # exp(−2/0.01) is below the smallest float32: nothing is lost by holding r there.
        x = r.clamp(max=self.r_c - 0.01)
        # ½(1 + tanh x) is a sigmoid of 2x, which does not cancel near −1.
        step = torch.sigmoid(2 / (x - self.r_c) - 2 / (x - 2 * self.r_c))
        return torch.where(r < self.r_c, self.r_c / r * step, torch.zeros_like(r))


class PhaseCoupling(OneLine, nn.Module):
    """a = 1 + J cos Δθ, b = K sin Δθ: the swarmalator's coupling.

    Example:
        >>> PhaseCoupling(J=0.5, K=1.0)(torch.tensor([0.0]))
        tensor([[1.5000, 0.0000]])
    """

    def __init__(self, J: float = 0.0, K: float = 0.0) -> None:
        super().__init__()
        self.J, self.K = J, K

    def forward(self, difference: Tensor) -> Tensor:
        """The columns a and b (P, 2) at phase differences (P,)."""
        return torch.stack([1 + self.J * difference.cos(), self.K * difference.sin()], dim=-1)


class MexicanHat(OneLine, nn.Module):
    """Minus the Laplacian of a Gaussian, on a lattice, without its centre.

    k_d = −(|d|²/s² − n) · exp(−|d|²/2s²) / ((2π)^(n/2) s^(n+2)),  n dimensions, k_0 = 0

    Args:
        size: Points along each axis, odd.
        s: Width, pixels.
        axes: 2 or 3 dimensions.

    Example:
        >>> round(20 * MexicanHat()().sum().item(), 3)  # the published −1.206
        -1.206
    """

    def __init__(self, size: int = 11, s: float = 1.5, axes: int = 2) -> None:
        super().__init__()
        self.size, self.s, self.axes = size, s, axes

    def forward(self) -> Tensor:
        """The kernel, float64, (size, …, size)."""
        d = torch.arange(self.size, dtype=torch.float64) - self.size // 2
        d2 = torch.stack(torch.meshgrid(*[d] * self.axes, indexing="ij")).square().sum(0)
        s, n = self.s, self.axes
        kernel = (n - d2 / s**2) * torch.exp(-d2 / (2 * s**2))
        kernel = kernel / ((2 * torch.pi) ** (n / 2) * s ** (n + 2))
        return torch.where(d2 == 0, torch.zeros_like(kernel), kernel)


class LotkaVolterra(OneLine, nn.Module):
    """Predator and prey in coordinates shifted by half the box: X = x + L/2, Y = y + L/2.

    dX/dt = αX − βXY,  dY/dt = δXY − γY

    Args:
        alpha: Growth of the prey.
        beta: How fast it is eaten.
        gamma: Death of the predator.
        delta: Growth of the predator on the prey.
        L: Size of the box.
    """

    def __init__(
        self,
        alpha: float = 1 / 3,
        beta: float = 2 / 3,
        gamma: float = 0.5,
        delta: float = 0.5,
        L: float = 2.0,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma, self.delta, self.L = alpha, beta, gamma, delta, L

    def forward(self, x: Tensor) -> Tensor:
        """Velocity (…, 2) at positions (…, 2)."""
        X, Y = (x + self.L / 2).unbind(-1)
        return torch.stack(
            [self.alpha * X - self.beta * X * Y, self.delta * X * Y - self.gamma * Y], dim=-1
        )


class Spiral(OneLine, nn.Module):
    """Velocity along a Fermat spiral, r = a√t and φ = w√t, as a flow in the plane.

    dr/dt = a²/2r,  r dφ/dt = wa/2:  v(x) = (a²/2r) r̂ + (wa/2) φ̂

    Time does not appear: √t = r/a. The public code carries √t as a third variable instead.

    Args:
        a: Growth of the radius, length per √time.
        w: Turning, radians per √time.
        centre: Where the spiral starts.

    Example:
        >>> Spiral(a=1.0, w=4.0)(torch.tensor([1.0, 0.0]))
        tensor([0.5000, 2.0000])
    """

    def __init__(
        self, a: float = 1.0, w: float = 4.0, centre: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        super().__init__()
        self.a, self.w, self.centre = a, w, centre

    def forward(self, x: Tensor) -> Tensor:
        """Velocity (…, 2) at positions (…, 2) away from the centre."""
        d = x - x.new_tensor(self.centre)
        out = d / d.square().sum(-1, keepdim=True).clamp(min=1e-12)  # r̂/r
        r = d.norm(dim=-1, keepdim=True)
        around = torch.stack([-out[..., 1], out[..., 0]], dim=-1) * r  # φ̂
        return self.a**2 / 2 * out + self.w * self.a / 2 * around


class GrayScott(OneLine, nn.Module):
    """u + 2v → 3v, fed and drained: −uv² + f(1 − u), uv² − (f + k)v."""

    def __init__(self, f: float = 0.04, k: float = 0.06) -> None:
        super().__init__()
        self.f, self.k = f, k

    def forward(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Rates of u and v."""
        eaten = u * v.square()
        return self.f * (1 - u) - eaten, eaten - (self.f + self.k) * v


class Turing(OneLine, nn.Module):
    """Activator and inhibitor: (u²/(1 + ku²) + f)/v − μ_u u, u² − μ_v v."""

    def __init__(
        self, f: float = 0.1, k: float = 0.25, mu_u: float = 5.0, mu_v: float = 5.0
    ) -> None:
        super().__init__()
        self.f, self.k, self.mu_u, self.mu_v = f, k, mu_u, mu_v

    def forward(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Rates of u and v; v must stay above 0."""
        u2 = u.square()
        return (u2 / (1 + self.k * u2) + self.f) / v - self.mu_u * u, u2 - self.mu_v * v
