"""Learnable terms of fields on a lattice: kernels, couplings of phases, natural frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.dynamics.learnable import AFFINE, Smooth, polynomial


class Kernel(Smooth):
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

    def prior(self, strength: float, length: float) -> Tensor:
        """Covariance of the weights: smooth over ``length`` pixels."""
        d = torch.arange(self.size, dtype=torch.float64) - self.size // 2
        places = torch.stack(torch.meshgrid(*[d] * self.axes, indexing="ij"), -1).flatten(0, -2)
        first = [int((self.shell == k + 1).nonzero()[0]) for k in range(self.weights.numel())]
        at = places[first]
        if self.symmetric:
            at = at.norm(dim=-1, keepdim=True)
        apart = (at[:, None] - at[None]).square().sum(-1)
        return strength**2 * torch.exp(-0.5 * apart / length**2)

    @property
    def lengths(self) -> tuple[float, float]:
        """From neighbours that have nothing in common to the whole kernel."""
        return 0.3, float(self.size)

    def formula(self) -> str:
        """The kernel's size and sum."""
        shape = " × ".join([str(self.size)] * self.axes)
        total = f"{float(self().detach().sum()):.4g}".replace("-", "−")
        return f"k: {shape} points of {self.size_in_words}, Σk = {total}"


class PhaseSeries(Smooth):
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

    def prior(self, strength: float, length: float) -> Tensor:
        """Covariance of the amplitudes: functions smooth over an angle ``length`` have few."""
        k = torch.arange(1, self.order + 1, dtype=torch.float64)
        return strength**2 * torch.exp(-0.5 * (k * length) ** 2).repeat(2).diag()

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Even and odd harmonics."""
        return torch.arange(2 * self.order).view(2, -1).unbind(0)

    @property
    def lengths(self) -> tuple[float, float]:
        """From the finest harmonic to one only."""
        return 1 / self.order, 2.0

    def formula(self) -> str:
        """Both series in numbers."""
        angles = ["Δ", *(f"{k}Δ" for k in range(2, self.order + 1))]
        even = polynomial([1.0, *self.even.tolist()], ["", *(f"cos {x}" for x in angles)])
        return f"a = {even}, b = {polynomial(self.odd.tolist(), [f'sin {x}' for x in angles])}"


class Harmonics(Smooth):
    """The function of a phase difference through which oscillators pull: lag and harmonics.

    Γ(Δ) = sin Δ + b_1 cos Δ + Σ_{k ≥ 2} a_k sin kΔ + b_k cos kΔ

    The strength of sin Δ is the coupling's. A phase lag α, sin(Δ − α)/cos α, is b_1 = −tan α.

    Args:
        order: Highest harmonic.

    Example:
        >>> Harmonics(2)()
        tensor([[1., 0.],
                [0., 0.]], dtype=torch.float64, grad_fn=<StackBackward0>)
    """

    def __init__(self, order: int = 2) -> None:
        super().__init__()
        self.order = order
        self.sine = nn.Parameter(torch.zeros(order - 1, dtype=torch.float64))
        self.cosine = nn.Parameter(torch.zeros(order, dtype=torch.float64))

    def forward(self) -> Tensor:
        """(order, 2): of each harmonic the factors of its sine and cosine."""
        return torch.stack([torch.cat([self.sine.new_ones(1), self.sine]), self.cosine], dim=-1)

    def prior(self, strength: float, length: float) -> Tensor:
        """Covariance of the amplitudes: functions smooth over an angle ``length`` have few."""
        k = torch.cat([torch.arange(2, self.order + 1), torch.arange(1, self.order + 1)]).double()
        return strength**2 * torch.exp(-0.5 * (k * length) ** 2).diag()

    @property
    def lengths(self) -> tuple[float, float]:
        """From the finest harmonic to one only."""
        return 1 / self.order, 2.0

    def formula(self) -> str:
        """The series in numbers."""
        parts = [
            (f"{name} {k}Δ".replace(" 1Δ", " Δ"), value)
            for k, row in enumerate(self().tolist(), 1)
            for name, value in zip(("sin", "cos"), row, strict=True)
        ]
        names, values = zip(*parts, strict=True)
        return f"Γ = {polynomial(values, names)}"


class Sites(Smooth):
    """A number for every site of a lattice, such as the natural frequency of each oscillator.

    Args:
        shape: Of the lattice.

    Example:
        >>> Sites((8, 8))().shape
        torch.Size([8, 8])
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.values = nn.Parameter(torch.zeros(self.shape, dtype=torch.float64))

    def forward(self) -> Tensor:
        """The numbers, of the lattice's shape."""
        return self.values + 0

    def prior(self, strength: float, length: float) -> Tensor:
        """Covariance over the periodic lattice, ``length`` in sites, with a common mean."""
        each = [torch.arange(n, dtype=torch.float64) for n in self.shape]
        total = torch.zeros((), dtype=torch.float64)
        places = torch.stack(torch.meshgrid(*each, indexing="ij"), -1).flatten(0, -2)
        for x, n in zip(places.T, self.shape, strict=True):
            # Chords of a ring: distances around it would make no covariance.
            total = total + (n / torch.pi * torch.sin(torch.pi / n * (x[:, None] - x))).square()
        return strength**2 * (torch.exp(-0.5 * total / length**2) + AFFINE**2)

    @property
    def lengths(self) -> tuple[float, float]:
        """From sites that have nothing in common to half the lattice."""
        return 0.3, max(self.shape) / 2

    def formula(self) -> str:
        """Mean and spread of the numbers."""
        values = self.values.detach()
        return f"{float(values.mean()):.4g} ± {float(values.std()):.2g} over {len(values)} rows"
