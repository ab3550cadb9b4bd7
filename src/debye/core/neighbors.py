"""Who is within the cutoff of whom, and the sum back onto the centres.

An edge runs from a *center* to an *other* particle that lies within the cutoff, periodic images
included, and carries the vector from one to the other. Edges are sorted by center.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MOST_BOXES = 1e5
"""Boxes into which vesin sorts the particles, at most; it then makes them larger in proportion."""


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
    if cell is not None and not _boxes_fit(cell, cutoff):
        return pairs_by_tree(positions, cell, cutoff)
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


def _boxes_fit(cell: np.ndarray, cutoff: float) -> bool:
    """Whether vesin has boxes in every direction; in a long flat cell it divides by zero.

    It cuts a cell into boxes as high as the cutoff, and where these are more than `MOST_BOXES`,
    into fewer by the same factor along each vector, which along a short one may leave none.
    """
    boxes = np.maximum(np.floor(heights(cell) / cutoff), 1)
    fewer = (MOST_BOXES / boxes.prod()) ** (1 / 3)
    return bool(fewer >= 1 or (boxes * fewer).min() >= 2)


def heights(cell: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell, (3,): h_k = 1 / |b_k|, b_k in cell⁻¹.

    Example:
        >>> heights(np.diag([2.0, 3.0, 4.0])).round(12).tolist()
        [2.0, 3.0, 4.0]
    """
    return np.asarray(1 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def pairs_by_tree(
    positions: np.ndarray, cell: np.ndarray, cutoff: float, most: float = np.inf
) -> Pairs:
    """What `pairs_within` gives, by a k-d tree: for any cell, and for cutoffs far below it.

    Args:
        positions: (N, 3) coordinates.
        cell: (3, 3), rows are the lattice vectors.
        cutoff: Cutoff distance, in the unit of the positions.
        most: Pairs with which it is enough: the search ends once it has so many.

    Example:
        >>> len(pairs_by_tree(np.zeros((1, 3)), 3.0 * np.eye(3), cutoff=3.1).center)
        6
    """
    from scipy.spatial import cKDTree  # type: ignore[import-untyped,unused-ignore]

    fractional = positions @ np.linalg.inv(cell)
    turns = np.floor(fractional)
    inside = fractional - turns
    image, owner, shift = _images_around(inside, cutoff / heights(cell))
    # Boxes as they are divided, not balanced: many particles in one place are then one leaf.
    tree = cKDTree(image @ cell, balanced_tree=False, compact_nodes=False)
    centers, others, enough = [np.zeros(0, int)], [np.zeros(0, int)], most
    for group in _groups(inside, heights(cell) / cutoff):
        near = cKDTree(inside[group] @ cell).sparse_distance_matrix(
            tree, cutoff, output_type="ndarray"
        )
        center, at = group[near["i"]], near["j"]
        kept = (owner[at] != center) | shift[at].any(axis=1)
        centers.append(center[kept])
        others.append(at[kept])
        enough -= len(centers[-1])
        if enough <= 0:
            break
    center, at = np.concatenate(centers), np.concatenate(others)
    in_order = np.argsort(center, kind="stable")
    center, at = center[in_order], at[in_order]
    other = owner[at]
    step = shift[at] - turns[other] + turns[center]
    vector = positions[other] - positions[center] + step @ cell
    return Pairs(center, other, vector, step.astype(np.int32))


def _images_around(
    inside: np.ndarray, reach: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Particles and those of their images that lie around the cell.

    Args:
        inside: (N, 3) fractional coordinates from 0 to 1.
        reach: (3,) how far around, in units of the lattice vectors.

    Returns:
        Their fractional coordinates, whose images they are, and the shifts.
    """
    image, owner, shift = inside, np.arange(len(inside)), np.zeros_like(inside)
    for axis, far in enumerate(reach * (1 + 1e-9)):
        steps = np.arange(-np.ceil(far), np.ceil(far) + 1)
        place = image[:, axis] + steps[:, None]  # [step, particle]
        step, which = np.nonzero((place >= -far) & (place <= 1 + far))
        image, owner, shift = image[which], owner[which], shift[which]
        image[:, axis] += steps[step]
        shift[:, axis] += steps[step]
    return image, owner, shift


GROUP = 1_000_000
"""Pairs that are looked for together, about: 50 MB."""


def _groups(inside: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """The particles in groups of neighbours, the smaller the more crowded they are."""
    order, filled = _boxed(inside, boxes)
    expected = np.cumsum(np.repeat(5 * filled, filled)) // GROUP
    return np.split(order, np.flatnonzero(np.diff(expected)) + 1)


def _boxed(inside: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of the particles by boxes, so many along each vector, and the boxes' counts."""
    box = np.floor(inside * np.maximum(np.floor(boxes), 1))
    order = np.lexsort(box.T)
    starts = np.flatnonzero((np.diff(box[order], axis=0) != 0).any(axis=1)) + 1
    return order, np.diff([0, *starts.tolist(), len(order)])


def expected_pairs(positions: np.ndarray, cell: np.ndarray, cutoff: float) -> float:
    """About how many pairs `pairs_within` will find, from how many particles share a box.

    P ≈ Σ_b n_b² (4π/3) r³ / v, with n_b particles in a box of volume v, as high as the cutoff r.

    Args:
        positions: (N, 3) coordinates.
        cell: (3, 3), rows are the lattice vectors.
        cutoff: Cutoff distance r, in the unit of the positions.

    Example:
        >>> expected_pairs(np.zeros((1, 3)), 3.0 * np.eye(3), cutoff=30.0)  # it is 4168
        4188.7...
    """
    boxes = np.maximum(np.floor(heights(cell) / cutoff), 1)
    filled = _boxed(positions @ np.linalg.inv(cell) % 1.0, boxes)[1].astype(float)
    volume = abs(np.linalg.det(cell)) / boxes.prod()
    return float((filled**2).sum() * 4 / 3 * np.pi * cutoff**3 / volume)


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


def half_pairs(positions: Tensor, cutoff: float, box: float | None = None) -> tuple[Tensor, Tensor]:
    """Every unordered pair within ``cutoff`` once, for a batch of clouds.

    All pairs are looked at, which for clouds of up to a thousand particles is as fast as a
    search by cells and stays on the tensor's device.

    Args:
        positions: (B, N, D); pairs are sought within each of the B clouds.
        cutoff: Cutoff distance.
        box: Side of the periodic box, in which a pair is as near as its nearest images; open
            boundaries if None.

    Returns:
        Two (P,) index tensors into the flattened (B·N) particles. A pair within rounding of
        ``cutoff`` may be in or out: what acts between them should vanish there.

    Example:
        >>> import torch
        >>> i, j = half_pairs(torch.tensor([[[0.0], [1.0], [3.0]]]), cutoff=1.5)
        >>> i, j
        (tensor([0]), tensor([1]))
        >>> half_pairs(torch.tensor([[[0.0], [1.0], [3.0]]]), cutoff=1.5, box=4.0)[1]
        tensor([1, 2])
    """
    size = positions.shape[1]
    r = positions.detach()
    if box is None:
        # Centred, because |a|² + |b|² − 2a·b cancels badly far from the origin.
        r = r - r.mean(dim=1, keepdim=True)
        square = r.square().sum(-1)  # [batch, particle]
        apart = (square[:, :, None] + square[:, None, :]).baddbmm(
            r, r.mT, alpha=-2
        )  # [batch, i, j]
    else:
        d = r[:, :, None] - r[:, None]
        apart = (d - box * (d / box).round()).square().sum(-1)
    b, i, j = (apart < cutoff**2).triu_(1).nonzero(as_tuple=True)
    return b * size + i, b * size + j
