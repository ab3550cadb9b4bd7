"""Fields on a lattice: coupled phases, reaction and diffusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from debye.errors import Refusal
from debye.speckle.dynamics.integrate import RightHandSide
from debye.speckle.dynamics.systems import Hole, System


class Kuramoto(System):
    """Phase oscillators on a periodic lattice, coupled through a kernel.

    dθ/dt = ω + K Σ_d k_d sin(θ_{i+d} − θ_i) = ω + K Im[e^{−iθ} (k ⋆ e^{iθ})]

    The sum over the kernel is a product in Fourier space, for any size of kernel.

    Args:
        coupling: The hole: a function of nothing that returns the kernel (…, m, m), m odd, offset
            0 in its middle; as many axes as the lattice has.
        K: Strength.
        omega: Natural frequency.
        axes: Axes of the lattice, 2 or 3.

    Example:
        >>> from debye.speckle.dynamics.known import MexicanHat
        >>> theta = torch.zeros(16, 16)
        >>> Kuramoto(MexicanHat())(0.0, theta).abs().max() < 1e-5  # all in phase: nothing moves
        tensor(True)
    """

    hole_name = "coupling"

    def __init__(
        self, coupling: Hole, *, K: float = 20.0, omega: float = 0.0, axes: int = 2
    ) -> None:
        super().__init__()
        self.coupling, self.K, self.omega, self.axes = coupling, K, omega, axes
        self.state_axes = axes

    def field(self) -> RightHandSide:
        """The kernel transformed once per lattice size."""
        kernel = self.coupling()
        axes = tuple(range(-self.state_axes, 0))
        transfers: dict[torch.Size, Tensor] = {}

        def rhs(t: float, theta: Tensor) -> Tensor:
            shape = theta.shape[-self.state_axes :]
            if shape not in transfers:
                transfers[shape] = transfer_function(kernel.to(theta.dtype), shape)
            wave = torch.polar(torch.ones_like(theta), theta)
            mean = torch.fft.ifftn(torch.fft.fftn(wave, dim=axes) * transfers[shape], dim=axes)
            return self.omega + self.K * (wave.conj() * mean).imag

        return rhs


def transfer_function(kernel: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Fourier multiplier T with Σ_d k_d z_{i+d} = ifft(T · fft(z)) on a periodic lattice.

    Args:
        kernel: (m, …, m), m odd, offset 0 in the middle.
        shape: Size of the lattice, at least m along each axis.

    Returns:
        Complex, of that shape: T(κ) = Σ_d k_d e^{+iκ·d}.

    Example:
        >>> shift = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
        >>> z = torch.arange(9.0).view(3, 3)
        >>> torch.fft.ifft2(torch.fft.fft2(z) * transfer_function(shift, (3, 3))).real
        tensor([[1., 2., 0.],
                [4., 5., 3.],
                [7., 8., 6.]])
    """
    if any(m > n for m, n in zip(kernel.shape, shape, strict=True)):
        raise Refusal(
            f"a kernel of {tuple(kernel.shape)} does not fit a lattice of {tuple(shape)}",
            why="it would reach around the periodic boundary onto itself",
            fix="use a larger lattice or a smaller kernel",
        )
    axes = tuple(range(kernel.ndim))
    padding = [p for n, m in zip(shape[::-1], kernel.shape[::-1], strict=True) for p in (0, n - m)]
    embedded = nn.functional.pad(kernel, padding)
    embedded = torch.roll(embedded, [-(m // 2) for m in kernel.shape], axes)
    return torch.fft.fftn(embedded, dim=axes).conj()


class ReactionDiffusion(System):
    """Two chemicals that react and spread on a lattice: dc/dt = D_c ∇²c + reaction(u, v).

    The state is (…, 2, y, x); the Laplacian is the five-point one. `GrayScott` and `Turing` in
    `debye.speckle.dynamics.known` are the reactions of the published code.

    Args:
        reaction: The hole: u and v (…, y, x) to their rates, a pair of the same shape.
        diffusion: Diffusion constants of u and v, in box units.
        L: Size of the box.
        periodic: Whether the edges meet; otherwise nothing flows through them.

    Example:
        >>> from debye.speckle.dynamics.known import GrayScott
        >>> law = ReactionDiffusion(GrayScott(), diffusion=(1e-5, 5e-6))
        >>> rest = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])
        >>> law(0.0, rest).abs().max().item()
        0.0
    """

    hole_name = "reaction"
    state_axes = 3

    def __init__(
        self,
        reaction: Hole,
        *,
        diffusion: tuple[float, float],
        L: float = 2.0,
        periodic: bool = True,
    ) -> None:
        super().__init__()
        self.reaction, self.diffusion, self.L, self.periodic = reaction, diffusion, L, periodic

    def field(self) -> RightHandSide:
        """Reaction plus diffusion."""

        def rhs(t: float, y: Tensor) -> Tensor:
            reacted = torch.stack(tuple(self.reaction(y[..., 0, :, :], y[..., 1, :, :])), dim=-3)
            spread = y.new_tensor(self.diffusion)[:, None, None]
            return reacted + spread * laplacian(y, self.L / y.shape[-1], periodic=self.periodic)

        return rhs


def laplacian(f: Tensor, spacing: float, *, periodic: bool) -> Tensor:
    """Five-point Laplacian over the last two axes; edges are periodic or impermeable.

    Example:
        >>> x = torch.arange(5.0).expand(5, 5)
        >>> laplacian(x.square(), 1.0, periodic=False)[2, 1:4]
        tensor([2., 2., 2.])
    """
    around = nn.functional.pad(
        f.reshape(-1, 1, *f.shape[-2:]), (1, 1, 1, 1), mode="circular" if periodic else "replicate"
    ).reshape(*f.shape[:-2], f.shape[-2] + 2, f.shape[-1] + 2)
    cross = (around[..., 1:-1, 2:] + around[..., 1:-1, :-2] + around[..., 2:, 1:-1]) + around[
        ..., :-2, 1:-1
    ]
    return (cross - 4 * f) / spacing**2
