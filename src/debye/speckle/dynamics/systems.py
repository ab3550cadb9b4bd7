"""Laws of motion, each an equation with a term.

The term is filled with a known formula or with something learnable; there is no second
"neural" version of a system. `System.vector_field` works out whatever does not depend on the state
(a table of the force, the transform of a kernel) once per solve, and returns f(t, y).

States keep their natural shape: (…, particle, coordinate) or (…, y, x).

Particles that pull and push each other: swarms and swarmalators.

Fields on a lattice: coupled phases, reaction and diffusion.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.dynamics.pairs import PairField, PairList, tabulated
from debye.speckle.dynamics.solver import RightHandSide
from debye.speckle.values import OneLine

Term = Any
"""What fills an equation: a plain function, or a module whose parameters are learned. What it is
called with, and whether it must tell its ``cutoff``, stands with each system."""


class System(OneLine, nn.Module):
    """A law of motion dy/dt = f(t, y)."""

    equation: str
    """The equation, with the term as a letter."""
    state_axes: int
    """How many trailing axes make one state; what stands before them is batch."""
    term_name: str
    """The argument that is the term."""

    @property
    def term(self) -> Any:  # noqa: ANN401 - a function or a module, as the system was made
        """What fills the equation."""
        return getattr(self, self.term_name)

    @property
    def terms(self) -> dict[str, Any]:
        """Every argument that is a module, by name, the term first: what may be learned."""
        named = {self.term_name: self.term}
        return named | {k: v for k, v in self.named_children() if k != self.term_name}

    @abstractmethod
    def vector_field(self) -> RightHandSide:
        """The right-hand side, with all that does not depend on the state worked out."""

    def forward(self, t: float, y: Tensor) -> Tensor:
        """Rate of change of a state (…)."""
        return self.vector_field()(t, y)


class Drift(System):
    """A rigid object whose centre follows a flow: dx/dt = velocity(x).

    Only the coordinates of the centre are integrated; the object is carried by the scattering.

    Args:
        velocity: The term: (…, 2) positions to (…, 2).

    Example:
        >>> import torch
        >>> from debye.speckle.dynamics.known import LotkaVolterra
        >>> Drift(LotkaVolterra(L=2.0))(0.0, torch.zeros(2))
        tensor([-0.3333,  0.0000])
    """

    equation = "dx/dt = v(x)"
    term_name = "velocity"
    state_axes = 1

    def __init__(self, velocity: Term) -> None:
        super().__init__()
        self.velocity = velocity

    def vector_field(self) -> RightHandSide:
        """The velocity itself."""
        return lambda t, x: self.velocity(x)


class RigidMotion(System):
    """A rigid object that drifts and turns: dx/dt = velocity(x), dφ/dt = spin(x).

    The state is (…, 3): the centre and the angle in radians. `RigidCloud` shows it.

    Args:
        velocity: The term: (…, 2) positions to (…, 2).
        spin: How fast it turns there: (…, 2) positions to (…).

    Example:
        >>> still = lambda x: torch.zeros_like(x)
        >>> RigidMotion(still, lambda x: 0 * x[..., 0] + 2)(0.0, torch.zeros(3))
        tensor([0., 0., 2.])
    """

    equation = "dx/dt = v(x), dφ/dt = ω(x)"
    term_name = "velocity"
    state_axes = 1

    def __init__(self, velocity: Term, spin: Term) -> None:
        super().__init__()
        self.velocity, self.spin = velocity, spin

    def vector_field(self) -> RightHandSide:
        """Velocity and spin at the centre."""

        def rhs(t: float, y: Tensor) -> Tensor:
            x = y[..., :2]
            turn = self.spin(x)
            turn = turn if turn.ndim == x.ndim else turn[..., None]
            return torch.cat([self.velocity(x), turn.to(x.dtype)], dim=-1)

        return rhs


class Swarm(System):
    """Particles that attract from afar and repel up close.

    dr_i/dt = (2/L)^D Σ_{j within the cutoff} h(1 − h)(r_j − r_i),   h = interaction(|r_j − r_i|)

    Each unordered pair is met once and acts on both ends. The pair law is tabulated once per
    solve as G(r) = r²·h(1 − h) at ``table`` distances, which is smooth where h itself is 1/r, and
    interpolated linearly; ``table=0`` evaluates h at every pair.

    Args:
        interaction: The term, h(r): (P,) distances to (P,). Its attribute ``cutoff`` is the
            distance from which on it is 0.
        L: Size of the box that sets the scale; boundaries are open.
        D: 2 or 3 dimensions.
        table: Number of tabulated distances.

    Raises:
        InputError: D is neither 2 nor 3.

    Example:
        >>> from debye.speckle.dynamics.known import SwarmForce
        >>> pair = torch.tensor([[0.0, 0.0], [0.3, 0.0]])
        >>> Swarm(SwarmForce())(0.0, pair)  # drawn together, by equal amounts
        tensor([[ 0.0060,  0.0000],
                [-0.0060,  0.0000]])
    """

    equation = "dr_i/dt = (2/L)^D Σ_j h(1 − h) (r_j − r_i)"
    term_name = "interaction"
    state_axes = 2

    def __init__(self, interaction: Term, *, L: float = 5.0, D: int = 2, table: int = 2048) -> None:
        super().__init__()
        if D not in (2, 3):
            raise InputError(
                f"a swarm cannot live in {D} dimensions", why="D is 2 or 3", fix="use 2 or 3"
            )
        self.interaction, self.L, self.D, self.table = interaction, L, D, table

    def pull(self, r: Tensor) -> Tensor:
        """G(r) = r²·h(1 − h): the force on a pair is G(r)/r, directed along it."""
        h = self.interaction(r)
        return r.square() * h * (1 - h)

    def vector_field(self) -> RightHandSide:
        """The pair law tabulated, then summed over the pairs within the cutoff."""
        cutoff = float(self.interaction.cutoff)
        scale, near = (2 / self.L) ** self.D, PairList(cutoff)
        pull = tabulated(lambda r: scale * self.pull(r), cutoff, self.table)

        def force(d: Tensor, i: Tensor, j: Tensor, count: int) -> Tensor:
            d2 = d.square().sum(-1).clamp(min=1e-12)  # two particles in one place feel nothing
            return d * (pull(d2.sqrt()) / d2)[:, None]

        return PairField(near, force)


class Swarmalator(System):
    """Particles that swarm and synchronise: space and phase pull at each other.

    dr_i/dt = (2/L)^D Σ_j h [a(θ_j − θ_i) − h^(D−1)] (r_j − r_i)
    dθ_i/dt = (2/L)^D Σ_j h b(θ_j − θ_i)

    with (a, b) the phase coupling; the truth is a = 1 + J cos, b = K sin (O'Keeffe, Hong &
    Strogatz, Nat. Commun. 8, 1504 (2017), with the pair law of the swarm).

    Args:
        interaction: The term in space, h(r), with its ``cutoff``.
        coupling: The term in phase: (P,) differences to (P, 2), the columns a and b.
        L: Size of the box that sets the scale.
        D: 2 or 3 dimensions. The state is (…, particle, D + 1), the phase last.
    """

    equation = "dr_i/dt = (2/L)^D Σ_j h [a − h^(D−1)] (r_j − r_i), dθ_i/dt = (2/L)^D Σ_j h b"
    term_name = "coupling"
    state_axes = 2

    def __init__(self, interaction: Term, coupling: Term, *, L: float = 5.0, D: int = 2) -> None:
        super().__init__()
        self.interaction, self.coupling, self.L, self.D = interaction, coupling, L, D

    def vector_field(self) -> RightHandSide:
        """Each pair is met once; a is taken even and b as it comes, from both ends."""
        cutoff = float(self.interaction.cutoff)
        interaction, near = tabulated(self.interaction, cutoff, 0), PairList(cutoff)

        def rhs(t: float, y: Tensor) -> Tensor:
            state = y.reshape(-1, *y.shape[-2:])
            i, j, d = near(state[..., : self.D])
            # A learned coupling need not be odd: both ends of a pair are worked out.
            i, j, d = torch.cat([i, j]), torch.cat([j, i]), torch.cat([d, -d])
            flat = state.flatten(0, 1)
            turn = (flat.index_select(0, j) - flat.index_select(0, i))[:, self.D]
            h = interaction(d.square().sum(-1).clamp(min=1e-12).sqrt())
            a, b = self.coupling(turn).unbind(-1)
            move = d * (h * (a - h ** (self.D - 1)))[:, None]
            change = torch.cat([move, (h * b)[:, None]], dim=-1)
            return (2 / self.L) ** self.D * torch.zeros_like(flat).index_add(0, i, change).view_as(
                y
            )

        return rhs


class Kuramoto(System):
    """Phase oscillators on a periodic lattice, coupled through a kernel.

    dθ/dt = ω + K Σ_d k_d Γ(θ_{i+d} − θ_i),  Γ = sin if not told otherwise

    The sum over the kernel is a product in Fourier space, for any size of kernel:
    Σ_d k_d sin m(θ_{i+d} − θ_i) = Im[e^{−imθ} (k ⋆ e^{imθ})], and the cosine is its real part.

    Args:
        coupling: The term: a function of nothing that returns the kernel (…, m, m), m odd, offset
            0 in its middle; as many axes as the lattice has.
        K: Strength.
        omega: Natural frequency: a number, or a term, a function of nothing that returns one
            number (`Constant`) or one for each site (`Sites`).
        axes: Axes of the lattice, 2 or 3.
        harmonics: Phase lag and harmonics of Γ: a term, a function of nothing that returns
            (order, 2) factors of sines and cosines (`Harmonics`); the sine alone if None.

    Example:
        >>> from debye.speckle.dynamics.known import MexicanHat
        >>> theta = torch.zeros(16, 16)
        >>> Kuramoto(MexicanHat())(0.0, theta).abs().max() < 1e-5  # all in phase: nothing moves
        tensor(True)
    """

    equation = "dθ_i/dt = ω + K Σ_d k_d Γ(θ_{i+d} − θ_i)"
    term_name = "coupling"

    def __init__(
        self,
        coupling: Term,
        *,
        K: float = 20.0,
        omega: float | Term = 0.0,
        axes: int = 2,
        harmonics: Term | None = None,
    ) -> None:
        super().__init__()
        self.coupling, self.K, self.omega, self.axes = coupling, K, omega, axes
        self.harmonics = harmonics
        self.state_axes = axes

    def vector_field(self) -> RightHandSide:
        """The kernel transformed once per lattice size."""
        kernel = self.coupling()
        omega = self.omega() if callable(self.omega) else self.omega
        series = ((1.0, 0.0),) if self.harmonics is None else self.harmonics()
        axes = tuple(range(-self.state_axes, 0))
        transfers: dict[torch.Size, Tensor] = {}

        def rhs(t: float, theta: Tensor) -> Tensor:
            shape = theta.shape[-self.state_axes :]
            if shape not in transfers:
                transfers[shape] = transfer_function(kernel.to(theta.dtype), shape)
            rate = (theta.new_zeros(()) + omega).to(theta.dtype)
            for m, (sine, cosine) in enumerate(series, 1):
                wave = torch.polar(torch.ones_like(theta), m * theta)
                mean = torch.fft.ifftn(torch.fft.fftn(wave, dim=axes) * transfers[shape], dim=axes)
                pull = wave.conj() * mean
                rate = rate + self.K * (sine * pull.imag + cosine * pull.real)
            return rate

        return rhs


def transfer_function(kernel: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Fourier multiplier T with Σ_d k_d z_{i+d} = ifft(T · fft(z)) on a periodic lattice.

    Args:
        kernel: (m, …, m), m odd, offset 0 in the middle.
        shape: Size of the lattice, at least m along each axis.

    Returns:
        Complex, of that shape: T(κ) = Σ_d k_d e^{+iκ·d}.

    Raises:
        InputError: The kernel is larger than the lattice.

    Example:
        >>> shift = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
        >>> z = torch.arange(9.0).view(3, 3)
        >>> torch.fft.ifft2(torch.fft.fft2(z) * transfer_function(shift, (3, 3))).real
        tensor([[1., 2., 0.],
                [4., 5., 3.],
                [7., 8., 6.]])
    """
    if any(m > n for m, n in zip(kernel.shape, shape, strict=True)):
        raise InputError(
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
        reaction: The term: u and v (…, y, x) to their rates, a pair of the same shape.
        diffusion: Diffusion constants of u and v, in box units.
        L: Size of the box.
        periodic: Whether the edges meet; otherwise nothing flows through them.

    Example:
        >>> from debye.speckle.dynamics.known import GrayScott
        >>> system = ReactionDiffusion(GrayScott(), diffusion=(1e-5, 5e-6))
        >>> rest = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])
        >>> system(0.0, rest).abs().max().item()
        0.0
    """

    equation = "dc/dt = D_c ∇²c + reaction(u, v)"
    term_name = "reaction"
    state_axes = 3

    def __init__(
        self,
        reaction: Term,
        *,
        diffusion: tuple[float, float],
        L: float = 2.0,
        periodic: bool = True,
    ) -> None:
        super().__init__()
        self.reaction, self.diffusion, self.L, self.periodic = reaction, diffusion, L, periodic

    def vector_field(self) -> RightHandSide:
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
