"""Who is within the cutoff of whom, and the sum back onto the centres.

An edge runs from a *center* to an *other* particle that lies within the cutoff, periodic images
included, and carries the vector from one to the other. Edges are sorted by center.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor


class Pairs(NamedTuple):
    """Directed pairs within the cutoff: every pair stands twice, once from each end."""

    center: np.ndarray
    """(E,) index of the particle that looks."""
    other: np.ndarray
    """(E,) index of the particle that is seen."""
    vector: np.ndarray
    """(E, 3) from center to other, in the unit of the positions."""
    shift: np.ndarray
    """(E, 3) cell shifts: ``vector = r[other] − r[center] + shift @ cell``."""


def pairs_within(positions: np.ndarray, cell: np.ndarray | None, cutoff: float) -> Pairs:
    """All pairs at a distance below ``cutoff``.

    Args:
        positions: (N, 3) coordinates.
        cell: (3, 3), rows are the lattice vectors; None for open boundaries.
        cutoff: Cutoff distance, in the unit of the positions.

    Returns:
        The pairs, sorted by center; a particle sees its own images but not itself.

    Example:
        A simple cubic lattice has six nearest neighbours at one lattice constant.

        >>> pairs = pairs_within(np.zeros((1, 3)), 3.0 * np.eye(3), cutoff=3.1)
        >>> len(pairs.center)
        6
    """
    from vesin import NeighborList

    box = np.zeros((3, 3)) if cell is None else np.ascontiguousarray(cell, dtype=float)
    search = NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    center, other, vector, shift = search.compute(
        points=np.ascontiguousarray(positions, dtype=float),
        box=box,
        periodic=cell is not None,
        quantities="ijDS",
    )
    return Pairs(center.astype(np.int64), other.astype(np.int64), vector, shift)


def sum_onto(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Sum rows that share an index: ``out[k] = Σ_{e: index[e] = k} values[e]``.

    Args:
        index: (E,) integers below ``size``.
        values: (E, …).
        size: Number of rows of the result.

    Returns:
        (size, …).

    Example:
        >>> import torch
        >>> sum_onto(torch.tensor([0, 2, 2]), torch.tensor([1.0, 2.0, 3.0]), 3)
        tensor([1., 0., 5.])
    """
    return values.new_zeros(size, *values.shape[1:]).index_add(0, index, values)


def half_pairs(positions: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """Every unordered pair within ``cutoff`` once, for a batch of clouds with open boundaries.

    All pairs are looked at, which for clouds of up to a thousand particles is as fast as a
    search by cells and stays on the tensor's device.

    Args:
        positions: (B, N, D); pairs are sought within each of the B clouds.
        cutoff: Cutoff distance.

    Returns:
        Two (P,) index tensors into the flattened (B·N) particles. A pair within rounding of
        ``cutoff`` may be in or out: what acts between them should vanish there.

    Example:
        >>> import torch
        >>> i, j = half_pairs(torch.tensor([[[0.0], [1.0], [3.0]]]), cutoff=1.5)
        >>> i, j
        (tensor([0]), tensor([1]))
    """
    size = positions.shape[1]
    # Centred, because |a|² + |b|² − 2a·b cancels badly far from the origin.
    r = positions.detach() - positions.detach().mean(dim=1, keepdim=True)
    square = r.square().sum(-1)  # [batch, particle]
    apart = (square[:, :, None] + square[:, None, :]).baddbmm(r, r.mT, alpha=-2)  # [batch, i, j]
    b, i, j = (apart < cutoff**2).triu_(1).nonzero(as_tuple=True)
    return b * size + i, b * size + j
