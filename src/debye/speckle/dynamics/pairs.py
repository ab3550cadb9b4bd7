"""Pairs of particles that act on each other, and functions of their distance, for many calls.

A solver asks for the forces hundreds of times while particles hardly move. Pairs are therefore
sought a little beyond the cutoff and kept until some particle has moved half of that margin: until
then no other pair can have come within the cutoff (Verlet, Phys. Rev. 159, 98 (1967)).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from debye.core.neighbors import half_pairs

MARGIN = 0.25
"""How far beyond the cutoff pairs are sought, in units of it."""


class PairList:
    """Pairs within a cutoff, of clouds that move little from call to call.

    Args:
        cutoff: Where forces end.
        box: Side of the periodic box; open boundaries if None.

    Example:
        >>> near = PairList(cutoff=1.0)
        >>> i, j, d = near(torch.tensor([[[0.0, 0.0], [0.9, 0.0], [5.0, 0.0]]]))
        >>> i, j, d
        (tensor([0]), tensor([1]), tensor([[0.9000, 0.0000]]))
    """

    def __init__(self, cutoff: float, box: float | None = None) -> None:
        self.cutoff, self.box = cutoff, box
        self.where: Tensor | None = None
        """(B, N, D) of the particles when pairs were sought."""
        self.pairs: tuple[Tensor, Tensor] = (torch.zeros(0), torch.zeros(0))

    def __call__(self, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every pair once.

        Args:
            r: (B, N, D) positions in each of B clouds.

        Returns:
            Two (P,) indices into the flattened (B·N) particles, and the (P, D) vectors from the
            first to the second.
        """
        if self._moved(r.detach()):
            self.where = r.detach().clone()
            self.pairs = half_pairs(r, (1 + MARGIN) * self.cutoff, self.box)
        i, j = self.pairs
        axes = r.flatten(0, 1).T.contiguous()  # two long rows are gathered faster than short ones
        d = (axes.index_select(1, j) - axes.index_select(1, i)).T
        if self.box is not None:
            d = d - self.box * (d / self.box).round()
        now = (d.detach().square().sum(-1) < self.cutoff**2).nonzero()[:, 0]
        return i.index_select(0, now), j.index_select(0, now), d.T.index_select(1, now).T

    def _moved(self, r: Tensor) -> bool:
        """Whether a pair may have come within the cutoff since they were sought."""
        if self.where is None or self.where.shape != r.shape or self.where.dtype != r.dtype:
            return True
        d = r - self.where
        if self.box is not None:
            d = d - self.box * (d / self.box).round()
        return not float(d.square().sum(-1).max()) < (0.5 * MARGIN * self.cutoff) ** 2


def on_both_ends(force: Tensor, i: Tensor, j: Tensor, state: Tensor) -> Tensor:
    """Sum the forces of pairs (P, D), which pull i, and push j as much, into a state's shape."""
    total = force.new_zeros(state.numel() // state.shape[-1], state.shape[-1])
    return total.index_add(0, i, force).index_add(0, j, -force).view_as(state)


def tabulated(
    function: Callable[[Tensor], Tensor], cutoff: float, size: int
) -> Callable[[Tensor], Tensor]:
    """Replace a function of a distance by linear interpolation in a table, and by 0 from a cutoff.

    The table is worked out at the first distances met, in their precision, and carries the
    gradient to the parameters of ``function``.

    Args:
        function: Maps (P,) distances to (P,), or to (P, column).
        cutoff: Last distance of the table.
        size: Number of intervals; 0 to evaluate the function itself.

    Returns:
        The interpolation, exact at the table's distances.

    Example:
        >>> square = tabulated(torch.square, 1.0, 1000)
        >>> square(torch.tensor([0.5, 0.25, 1.5]))
        tensor([0.2500, 0.0625, 0.0000])
    """
    if not size:
        return lambda r: _within(function(r.clamp(max=cutoff)), r < cutoff)
    table: list[Tensor] = []
    scale = size / cutoff

    def interpolate(r: Tensor) -> Tensor:
        if not table:
            knots = torch.arange(size + 1, dtype=r.dtype, device=r.device) / scale
            value = function(knots.clamp(min=1e-6 * cutoff))
            both = torch.stack([value[:-1], value[1:] - value[:-1]], 1)  # [interval, 2, ...]
            table.append(torch.cat([both, torch.zeros_like(both[:1])]))  # 0 from the cutoff on
        x = r * scale
        k = x.detach().long().clamp_(max=size)
        low, rise = table[0].index_select(0, k).unbind(1)
        part = (x - k).view(-1, *[1] * (low.ndim - 1))
        return torch.addcmul(low, rise, part)

    return interpolate


def _within(values: Tensor, inside: Tensor) -> Tensor:
    """Values (P, …) where they count, else 0, which keeps gradients there finite."""
    return torch.where(inside.view(-1, *[1] * (values.ndim - 1)), values, torch.zeros_like(values))
