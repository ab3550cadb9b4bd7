"""The smallest cell that repeats into a crystal: found by its translations, not its symmetry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.crystal import Crystal

if TYPE_CHECKING:
    from scipy.spatial import KDTree  # type: ignore[import-untyped,unused-ignore]

SAME = 1e-3
"""Å; how near two sites must lie to be one site, moved."""


def primitive(crystal: Crystal) -> Crystal:
    """The same crystal in a primitive cell.

    A translation is one that brings every site onto a site of the same species; the shortest
    three independent ones, and those of the cell, span the primitive lattice. Orientation and
    origin stay, sites keep their order, and a crystal that is primitive is returned as it is.

    Example:
        >>> cubic = Crystal(["Al"] * 4, 2.02 * np.array(
        ...     [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]), 4.04 * np.eye(3))
        >>> primitive(cubic).n_sites
        1
    """
    found = list(_translations(crystal))
    if not found:
        return crystal
    cell = _reduced(np.vstack([crystal.cell, np.array(found) @ crystal.cell]), len(found) + 1)
    fractional = crystal.positions @ np.linalg.inv(cell)
    kept: list[int] = []
    for i, place in enumerate(fractional):
        apart = place - fractional[kept]
        apart -= np.round(apart)
        if not (np.linalg.norm(apart @ cell, axis=-1) < 2 * SAME).any():
            kept.append(i)
    return replace(
        crystal,
        species=tuple(crystal.species[i] for i in kept),
        positions=crystal.positions[kept],
        cell=cell,
    )


def _translations(crystal: Crystal) -> Iterator[NDArray[np.float64]]:
    """Fractional translations within the cell, other than none, that leave the crystal alike."""
    from scipy.spatial import KDTree  # type: ignore[import-untyped,unused-ignore]

    kinds: dict[tuple[tuple[str, float], ...], list[int]] = {}
    for i, site in enumerate(crystal.species):
        kinds.setdefault(tuple(sorted(site.items())), []).append(i)
    rarest = min(kinds.values(), key=len)
    groups = [_wrapped(crystal.fractional[members]) for members in kinds.values()]
    trees = [KDTree(places, boxsize=1.0) for places in groups] if len(rarest) > 1 else []
    for j in rarest[1:]:
        shift = crystal.fractional[j] - crystal.fractional[rarest[0]]
        if all(
            _maps_onto_itself(tree, places, shift, crystal.cell)
            for tree, places in zip(trees, groups, strict=True)
        ):
            yield shift - np.round(shift)


def _maps_onto_itself(
    tree: KDTree,
    places: NDArray[np.float64],
    shift: NDArray[np.float64],
    cell: NDArray[np.float64],
) -> bool:
    moved = _wrapped(places + shift)
    apart = places[tree.query(moved)[1]] - moved
    apart -= np.round(apart)
    return bool(np.linalg.norm(apart @ cell, axis=-1).max() < SAME)


def _wrapped(fractional: NDArray[np.float64]) -> NDArray[np.float64]:
    """Into [0, 1), which a rounding error below 0 would miss."""
    inside = fractional % 1.0
    return np.where(inside < 1.0, inside, 0.0)


def _reduced(vectors: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Three short vectors that span all given ones, right-handed, (3, 3).

    Args:
        vectors: The three of a cell first, then its translations.
        times: How often the primitive cell fits into that cell.
    """
    volume = abs(np.linalg.det(vectors[:3])) / times
    images = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ vectors[:3]
    candidates = (vectors[:, None] + images).reshape(-1, 3)
    candidates = candidates[np.argsort(np.linalg.norm(candidates, axis=1).round(6), kind="stable")]
    long = candidates[np.linalg.norm(candidates, axis=1) > SAME]
    for i, a in enumerate(long):
        for j, b in enumerate(long[i + 1 :], i + 1):
            normal = np.cross(a, b)
            if np.linalg.norm(normal) < 1e-3 * np.linalg.norm(a) * np.linalg.norm(b):
                continue
            spanned = long[j + 1 :] @ normal
            fits = np.flatnonzero(np.abs(np.abs(spanned) - volume) < 1e-3 * volume)
            if len(fits):
                c = long[j + 1 :][fits[0]]
                return np.array([a, b, c if c @ normal > 0 else -c])
    raise AssertionError("the translations of a lattice span it")
