"""Particles under any force of pairs, in a field, between walls, of one species or several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.dynamics.pairs import PairField, PairList, tabulated
from debye.speckle.dynamics.solver import RightHandSide
from debye.speckle.dynamics.systems import System, Term
from debye.speckle.values import OneLine


class Particles(System):
    """Particles that push each other along the line between them.

    dr_i/dt = Σ_{j within the cutoff} f(r_ij) (r_i − r_j)/r_ij + field(r_i) + walls

    f is the force of a pair times the mobility, −dV/dr of a potential V: positive pushes apart,
    negative pulls together. Each unordered pair is met once and acts on both ends. f is tabulated
    once per solve at ``table`` distances and interpolated; ``table=0`` evaluates it at every pair.

    Args:
        force: The term, f(r): (P,) distances to (P,). Its attribute ``cutoff`` is the distance
            from which on it is 0. Of species, (P, column): a pair of species a ≤ b has the column
            b(b + 1)/2 + a, so of two species 0–0, 0–1 and 1–1.
        field: What moves every particle: (…, D) positions to (…, D) velocities.
        wall: Force of a wall at a distance: (P,) to (P,), positive pushes away from it. The walls
            are the sides of the box.
        L: Side of the box, centred, where there are walls or it is periodic.
        species: How many particles are of each species, in their order; all of one if empty.
        table: Number of tabulated distances.
        periodic: Whether the box is repeated: what leaves on one side comes back on the other,
            and a pair feels its nearest images. The cutoff must be below L/2.

    Example:
        >>> from debye.speckle.dynamics.particles import Yukawa
        >>> pair = torch.tensor([[0.0, 0.0], [0.5, 0.0]])
        >>> Particles(Yukawa(A=1.0, kappa=4.0))(0.0, pair)  # pushed apart, by equal amounts
        tensor([[-0.2707,  0.0000],
                [ 0.2707,  0.0000]])
    """

    equation = "dr_i/dt = Σ_j f(r_ij) (r_i − r_j)/r_ij + field(r_i) + walls"
    term_name = "force"
    state_axes = 2

    def __init__(
        self,
        force: Term,
        *,
        field: Term | None = None,
        wall: Term | None = None,
        L: float = 5.0,
        species: Sequence[int] = (),
        table: int = 2048,
        periodic: bool = False,
    ) -> None:
        super().__init__()
        self.force, self.field, self.wall = force, field, wall
        self.L, self.species, self.table, self.periodic = L, tuple(species), table, periodic

    def kinds(self, count: int) -> Tensor:
        """(count,) the species of each particle.

        Raises:
            InputError: The species are of another number of particles.
        """
        if self.species and sum(self.species) != count:
            raise InputError(
                f"the species {self.species} are of {sum(self.species)} particles",
                why=f"the state holds {count}",
                fix="say how many particles of each species there are, in their order",
            )
        return torch.repeat_interleave(torch.tensor(self.species or (count,)))

    def vector_field(self) -> RightHandSide:
        """The force tabulated, then summed over the pairs within the cutoff."""
        cutoff = float(self.force.cutoff)
        push = tabulated(self.force, cutoff, self.table)
        near = PairList(cutoff, self.L if self.periodic else None)

        def force(d: Tensor, i: Tensor, j: Tensor, count: int) -> Tensor:
            apart = d.square().sum(-1).clamp(min=1e-12).sqrt()
            f = push(apart)  # [pair] or [pair, column]
            if f.ndim > 1:
                kind = self.kinds(count).to(i.device)
                f = f.gather(1, column(kind[i % count], kind[j % count])[:, None])[:, 0]
            return d * (-f / apart)[:, None]

        alone = self.field is None and self.wall is None
        return PairField(near, force, None if alone else self.outside)

    def outside(self, r: Tensor) -> Tensor:
        """Velocities that do not come from the other particles."""
        total = torch.zeros_like(r) if self.field is None else self.field(r)
        if self.wall is not None:
            low, high = ((self.L / 2 + s * r).clamp(min=1e-6) for s in (1, -1))
            pushes = [self.wall(d.flatten()).view_as(d) for d in (low, high)]
            total = total + pushes[0] - pushes[1]
        return total


def column(a: Tensor, b: Tensor) -> Tensor:
    """Where pairs of species a and b (P,) stand among all: b(b + 1)/2 + a with a ≤ b.

    Example:
        >>> column(torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1]))
        tensor([0, 1, 1, 2])
    """
    high = torch.maximum(a, b)
    return high * (high + 1) // 2 + torch.minimum(a, b)


class Yukawa(OneLine, nn.Module):
    """A screened repulsion, f(r) = A e^(−κr)/r.

    Args:
        A: Strength; negative attracts.
        kappa: Inverse of the screening length.
        cutoff: Distance from which on it is left out.

    Example:
        >>> Yukawa(A=1.0, kappa=0.0)(torch.tensor([0.5]))
        tensor([2.])
    """

    def __init__(self, A: float = 1.0, kappa: float = 4.0, cutoff: float = 2.5) -> None:
        super().__init__()
        self.A, self.kappa, self.cutoff = A, kappa, cutoff

    def forward(self, r: Tensor) -> Tensor:
        """Values of f at distances ``r`` (P,) above 0."""
        return self.A * torch.exp(-self.kappa * r) / r


class Morse(OneLine, nn.Module):
    """Repulsion and a well: f = −dV/dr of V = D [e^(−2a(r − r_0)) − 2e^(−a(r − r_0))].

    Args:
        D: Depth of the well.
        a: Inverse of its width.
        r_0: Its bottom, where f is 0.
        cutoff: Distance from which on it is left out.

    Example:
        >>> Morse(r_0=0.5)(torch.tensor([0.5]))
        tensor([0.])
    """

    def __init__(
        self, D: float = 0.05, a: float = 6.0, r_0: float = 0.4, cutoff: float = 2.0
    ) -> None:
        super().__init__()
        self.D, self.a, self.r_0, self.cutoff = D, a, r_0, cutoff

    def forward(self, r: Tensor) -> Tensor:
        """Values of f at distances ``r`` (P,)."""
        e = torch.exp(-self.a * (r - self.r_0))
        return 2 * self.a * self.D * (e.square() - e)


class LennardJones(OneLine, nn.Module):
    """A hard core and a tail: f = −dV/dr of V = 4ε [(σ/r)¹² − (σ/r)⁶].

    Args:
        epsilon: Depth ε of the well.
        sigma: Distance σ at which V is 0.
        cutoff: Distance from which on it is left out.

    Example:
        >>> abs(LennardJones(sigma=0.5)(torch.tensor([0.5 * 2 ** (1 / 6)])).item()) < 1e-4
        True
    """

    def __init__(self, epsilon: float = 0.05, sigma: float = 0.3, cutoff: float = 1.5) -> None:
        super().__init__()
        self.epsilon, self.sigma, self.cutoff = epsilon, sigma, cutoff

    def forward(self, r: Tensor) -> Tensor:
        """Values of f at distances ``r`` (P,) above 0."""
        s6 = (self.sigma / r) ** 6
        return 24 * self.epsilon * (2 * s6.square() - s6) / r
