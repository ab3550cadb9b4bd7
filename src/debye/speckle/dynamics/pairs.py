"""Pairs of particles that act on each other, and functions of their distance, for many calls.

A solver asks for the forces hundreds of times while particles hardly move. Pairs are therefore
sought a little beyond the cutoff and kept until some particle has moved half of that margin: until
then no other pair can have come within the cutoff (Verlet, Phys. Rev. 159, 98 (1967)).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp

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


class PairField:
    """Right-hand side of particles that move each other in pairs, which knows its own Jacobian.

    dr_i/dt = Σ_j F(r_j − r_i) + G(r_i)

    Args:
        near: The pairs.
        force: F on the first of each pair, the second feels the opposite: the (P, D) vectors from
            the first to the second, which they are (P,) (P,), and how many a cloud has, to (P, D).
        outside: G: (B, N, D) positions to velocities; nothing if None.

    Example:
        >>> spring = PairField(PairList(cutoff=1.0), lambda d, i, j, count: d)
        >>> spring.jacobian(0.0, torch.tensor([[[0.0, 0.0], [0.9, 0.0]]]))[0, 0]
        tensor([-1.,  0.,  1.,  0.])
    """

    def __init__(
        self,
        near: PairList,
        force: Callable[[Tensor, Tensor, Tensor, int], Tensor],
        outside: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.near, self.force, self.outside = near, force, outside

    def __call__(self, t: float, y: Tensor) -> Tensor:
        """Velocities of particles (…, particle, coordinate)."""
        r = y.reshape(-1, *y.shape[-2:])  # [batch, particle, xy]
        i, j, d = self.near(r)  # [pair] [pair] [pair, xy]
        total = on_both_ends(self.force(d, i, j, r.shape[1]), i, j, r)
        return (total if self.outside is None else total + self.outside(r)).view_as(y)

    def jacobian(self, t: float, y: Tensor) -> Tensor:
        """(B, N·D, N·D) derivative of the velocities of clouds (B, N, D) by their positions.

        A pair is differentiated by the vector between its ends, which takes D derivatives and not
        N·D.
        """
        clouds, count, axes = y.shape
        i, j, d = self.near(y)
        alone = torch.arange(clouds * count, device=y.device)
        A = y.new_zeros(clouds * count * count, axes, axes)  # [particle pair, moved, by]
        slopes = along_axes(lambda d: self.force(d, i, j, count), d)
        for here, there in ((i, j), (j, i)):
            A.index_add_(0, here * count + there % count, slopes)
            A.index_add_(0, here * count + here % count, -slopes)
        if self.outside is not None:
            own = along_axes(self.outside, y).flatten(0, 1)
            A.index_add_(0, alone * count + alone % count, own)
        A = A.view(clouds, count, count, axes, axes)
        return A.transpose(2, 3).reshape(clouds, count * axes, count * axes)


def along_axes(function: Callable[[Tensor], Tensor], d: Tensor) -> Tensor:
    """(…, D, D) derivative of a function of vectors (…, D), each by itself, by their coordinates.

    Example:
        >>> along_axes(torch.square, torch.tensor([[1.0, 3.0]]))
        tensor([[[2., 0.],
                 [0., 6.]]])
    """
    axes = torch.eye(d.shape[-1]).to(d)
    return torch.stack([jvp(function, (d,), (e.expand_as(d),))[1] for e in axes], dim=-1)


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
