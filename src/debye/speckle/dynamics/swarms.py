"""Particles that pull and push each other: swarms and swarmalators."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from debye.core.neighbors import half_pairs
from debye.errors import Refusal
from debye.speckle.dynamics.integrate import RightHandSide
from debye.speckle.dynamics.systems import Hole, System


class Swarm(System):
    """Particles that attract from afar and repel up close.

    dr_i/dt = (2/L)^D Σ_{j in reach} h(1 − h)(r_j − r_i),   h = interaction(|r_j − r_i|)

    Each unordered pair is met once and acts on both ends. The pair law is tabulated once per
    solve as G(r) = r²·h(1 − h) at ``table`` distances, which is smooth where h itself is 1/r, and
    interpolated linearly; ``table=0`` evaluates h at every pair.

    Args:
        interaction: The hole, h(r): (P,) distances to (P,). Its attribute ``reach`` is the
            distance from which on it is 0.
        L: Size of the box that sets the scale; boundaries are open.
        D: 2 or 3 dimensions.
        table: Number of tabulated distances.

    Example:
        >>> from debye.speckle.dynamics.known import SwarmForce
        >>> pair = torch.tensor([[0.0, 0.0], [0.3, 0.0]])
        >>> Swarm(SwarmForce())(0.0, pair)  # drawn together, by equal amounts
        tensor([[ 0.0060,  0.0000],
                [-0.0060,  0.0000]])
    """

    hole_name = "interaction"
    state_axes = 2

    def __init__(self, interaction: Hole, *, L: float = 5.0, D: int = 2, table: int = 2048) -> None:
        super().__init__()
        if D not in (2, 3):
            raise Refusal(
                f"a swarm cannot live in {D} dimensions", why="D is 2 or 3", fix="use 2 or 3"
            )
        self.interaction, self.L, self.D, self.table = interaction, L, D, table

    def pull(self, r: Tensor) -> Tensor:
        """G(r) = r²·h(1 − h): the force on a pair is G(r)/r, directed along it."""
        h = self.interaction(r)
        return r.square() * h * (1 - h)

    def field(self) -> RightHandSide:
        """The pair law tabulated, then summed over the pairs within reach."""
        reach = float(self.interaction.reach)
        pull = tabulated(self.pull, reach, self.table) if self.table else self.pull

        def rhs(t: float, y: Tensor) -> Tensor:
            r = y.reshape(-1, *y.shape[-2:])  # [batch, particle, xy]
            i, j = half_pairs(r, reach)  # [pair]
            flat = r.flatten(0, 1)  # [batch*particle, xy]
            d = flat.index_select(0, j) - flat.index_select(0, i)  # [pair, xy]
            d2 = d.square().sum(-1).clamp(min=1e-12)  # two particles in one place feel nothing
            force = d * (pull(d2.sqrt()) / d2)[:, None]
            total = torch.zeros_like(flat).index_add(0, i, force).index_add(0, j, -force)
            return (2 / self.L) ** self.D * total.view_as(y)

        return rhs


def tabulated(
    function: Callable[[Tensor], Tensor], reach: float, size: int
) -> Callable[[Tensor], Tensor]:
    """Replace a function of a distance by linear interpolation in a table on [0, reach].

    The table is worked out at the first distances met, in their precision, and carries the
    gradient to the parameters of ``function``.

    Args:
        function: Maps (P,) distances to (P,).
        reach: Last distance of the table.
        size: Number of intervals.

    Returns:
        The interpolation, exact at the table's distances.

    Example:
        >>> square = tabulated(torch.square, 1.0, 1000)
        >>> square(torch.tensor([0.5, 0.25]))
        tensor([0.2500, 0.0625])
    """
    table: list[Tensor] = []
    scale = size / reach

    def interpolate(r: Tensor) -> Tensor:
        if not table:
            knots = torch.arange(size + 1, dtype=r.dtype, device=r.device) / scale
            table.append(function(knots.clamp(min=1e-6 * reach)))
        x = r * scale
        k = x.detach().long().clamp(max=size - 1)
        low = table[0].index_select(0, k)
        return torch.lerp(low, table[0].index_select(0, k + 1), x - k)

    return interpolate


class Swarmalator(System):
    """Particles that swarm and synchronise: space and phase pull at each other.

    dr_i/dt = (2/L)^D Σ_j h [a(θ_j − θ_i) − h^(D−1)] (r_j − r_i)
    dθ_i/dt = (2/L)^D Σ_j h b(θ_j − θ_i)

    with (a, b) the phase coupling; the truth is a = 1 + J cos, b = K sin (O'Keeffe, Hong &
    Strogatz, Nat. Commun. 8, 1504 (2017), with the pair law of the swarm).

    Args:
        interaction: The hole in space, h(r), with its ``reach``.
        coupling: The hole in phase: (P,) differences to (P, 2), the columns a and b.
        L: Size of the box that sets the scale.
        D: 2 or 3 dimensions. The state is (…, particle, D + 1), the phase last.
    """

    hole_name = "coupling"
    state_axes = 2

    def __init__(self, interaction: Hole, coupling: Hole, *, L: float = 5.0, D: int = 2) -> None:
        super().__init__()
        self.interaction, self.coupling, self.L, self.D = interaction, coupling, L, D

    def field(self) -> RightHandSide:
        """Each pair is met once; a is taken even and b as it comes, from both ends."""
        reach = float(self.interaction.reach)

        def rhs(t: float, y: Tensor) -> Tensor:
            state = y.reshape(-1, *y.shape[-2:])
            i, j = half_pairs(state[..., : self.D], reach)
            i, j = torch.cat([i, j]), torch.cat([j, i])  # a learned coupling need not be odd
            flat = state.flatten(0, 1)
            d = flat.index_select(0, j) - flat.index_select(0, i)  # [pair, xy θ]
            r = d[:, : self.D].square().sum(-1).clamp(min=1e-12).sqrt()
            h = self.interaction(r)
            a, b = self.coupling(d[:, self.D]).unbind(-1)
            move = d[:, : self.D] * (h * (a - h ** (self.D - 1)))[:, None]
            change = torch.cat([move, (h * b)[:, None]], dim=-1)
            return (2 / self.L) ** self.D * torch.zeros_like(flat).index_add(0, i, change).view_as(
                y
            )

        return rhs
