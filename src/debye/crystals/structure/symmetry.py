"""From the atoms a file lists to all atoms of the cell: space groups, orbits, shared sites.

The smallest cell that repeats into a crystal: found by its translations, not its symmetry.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.validate import CLOSEST, TOLERANCE, close_pairs, structure_error

if TYPE_CHECKING:
    import gemmi
    from scipy.spatial import KDTree  # type: ignore[import-untyped,unused-ignore]


Site = dict[str, float]
"""Occupancies by symbol of one site."""

SAME = 0.1
"""Å; positions this near are one position written with few digits (1/3 as 0.33 in 20 Å)."""

_ORIGINS = {"S": ":1", "Z": ":2", "H": ":H", "R": ":R"}  # as the ICSD marks settings


class Symmetry(NamedTuple):
    """Operations of one space group on fractional coordinates: x' = rotation x + shift."""

    name: str
    rotations: NDArray[np.float64]  # [operation, 3, 3]
    shifts: NDArray[np.float64]  # [operation, 3]

    @classmethod
    def of(cls, name: str, operations: Sequence[gemmi.Op]) -> Symmetry:
        """The operations as arrays."""
        table = np.array([op.float_seitz() for op in operations])
        return cls(name, table[:, :3, :3], table[:, :3, 3])

    def fits(self, cell: NDArray[np.float64]) -> bool:
        """Whether the operations leave lengths and angles of the cell as they are, to 2 %."""
        metric = cell @ cell.T
        turned = np.swapaxes(self.rotations, 1, 2) @ metric @ self.rotations
        return bool(np.abs(turned - metric).max() < 0.04 * metric.max())


def symmetries_by_name(symbol: str, number: str, source: str) -> list[Symmetry]:
    """Settings that a Hermann–Mauguin symbol or a number may mean; none where both are empty."""
    import gemmi

    text = re.sub(r"\s+([SZHR])$", lambda m: _ORIGINS[m[1]], symbol)
    named = gemmi.find_spacegroup_by_name(text) if text else None
    if named and ":" in text:
        groups = [named]
    elif named:  # the origin or the axes are left open: both, the usual one first
        groups = [g for g in gemmi.spacegroup_table() if g.hm == named.hm]
    elif number.isdigit():
        groups = [g for g in gemmi.spacegroup_table() if g.number == int(number)]
    else:
        groups = []
    if not groups and (symbol or number):
        raise structure_error(
            source,
            f"unknown space group {symbol or number!r}, and no list of operations",
            "give _space_group_symop_operation_xyz, or a symbol like 'F d -3 m :2'",
        )
    groups.sort(key=lambda g: not g.is_reference_setting())
    return [Symmetry.of(g.xhm(), list(g.operations())) for g in groups]


def orbits(
    sites: list[Site], fractional: NDArray[np.float64], cell: NDArray[np.float64], by: Symmetry
) -> tuple[list[Site], NDArray[np.float64]]:
    """All images of the listed atoms; those within `SAME` of each other are one, their mean."""
    if len(by.shifts) == 1:
        return sites, fractional
    species: list[Site] = []
    positions: list[NDArray[np.float64]] = []
    for site, place in zip(sites, fractional, strict=True):
        images = (by.rotations @ place + by.shifts) % 1.0  # [operation, vector]
        between = images - images[:, None]  # from i to j
        between -= np.round(between)
        near = np.linalg.norm(between @ cell, axis=-1) < SAME
        first = np.flatnonzero(near.argmax(axis=1) == np.arange(len(images)))
        near, between = near[first], between[first]
        shift = (near[..., None] * between).sum(1) / near.sum(1, keepdims=True)
        species.extend([site] * len(first))
        positions.append(images[first] + shift)
    return species, np.concatenate(positions)


def merged(
    species: list[Site],
    fractional: NDArray[np.float64],
    cell: NDArray[np.float64],
    notes: list[str],
) -> tuple[list[Site], NDArray[np.float64]]:
    """Atoms that share a place as one site: mixtures, split positions, atoms listed twice."""
    species, fractional = list(species), fractional.copy()
    drop: set[int] = set()
    for members in _clusters(close_pairs(fractional @ cell, cell, CLOSEST)):
        first, *rest = members
        apart = fractional[members] - fractional[first]
        apart -= np.round(apart)
        distances = np.linalg.norm((apart[:, None] - apart) @ cell, axis=-1)
        total = sum(sum(species[i].values()) for i in members)
        if distances.max() > SAME and total > 1 + TOLERANCE:
            continue  # overlapping atoms: Crystal names them
        drop.update(rest)
        if total > 1 + TOLERANCE and all(species[i] == species[first] for i in rest):
            notes.append("atoms listed more than once in the same place are read as one")
            continue
        if distances.max() > SAME:
            notes.append(f"split positions less than {CLOSEST} Å apart are averaged into one site")
        weights = [sum(species[i].values()) for i in members]
        fractional[first] += np.average(apart, axis=0, weights=np.abs(weights))
        mixture: Counter[str] = Counter()
        for i in members:
            mixture.update(species[i])
        species[first] = dict(mixture)
    keep = [i for i in range(len(species)) if i not in drop]
    return [species[i] for i in keep], fractional[keep] % 1.0


def _clusters(pairs: Sequence[tuple[int, int, float]]) -> list[list[int]]:
    """Groups of sites linked by pairs, each sorted."""
    group: dict[int, set[int]] = {}
    for i, j, _ in pairs:
        joined = group.get(i, {i}) | group.get(j, {j})
        group.update(dict.fromkeys(joined, joined))
    return [sorted(g) for g in {min(g): g for g in group.values()}.values() if len(g) > 1]


def operations_of(
    kinds: Sequence[int],
    fractional: NDArray[np.float64],
    cell: NDArray[np.float64],
    tolerance: float = 0.02,
) -> Symmetry:
    """The space group of a structure: each operation of its lattice that maps the sites on theirs.

    Args:
        kinds: A number for each site, the same for sites with the same species.
        fractional: Positions in units of the lattice vectors, (N, 3).
        cell: Lattice vectors as rows, Å, (3, 3).
        tolerance: How far, in Å, an image may lie from the site it falls on.

    Example:
        >>> operations_of([0], np.zeros((1, 3)), np.eye(3)).rotations.shape
        (48, 3, 3)
    """
    kind = np.asarray(kinds)
    values, counts = np.unique(kind, return_counts=True)
    rarest = np.flatnonzero(kind == values[counts.argmin()])
    rotations, shifts = [], []
    for W in _lattice_rotations(cell, tolerance):
        turned = fractional @ W.T
        for target in fractional[rarest]:
            shift = (target - turned[rarest[0]]) % 1.0
            if _maps_onto(turned + shift, fractional, kind, cell, tolerance):
                rotations.append(W)
                shifts.append(shift)
    return Symmetry("", np.array(rotations), np.array(shifts))


def _lattice_rotations(cell: NDArray[np.float64], tolerance: float) -> list[NDArray[np.float64]]:
    """Integer matrices W that leave the lengths and angles of the lattice vectors as they are."""
    metric = cell @ cell.T
    longest = np.sqrt(metric.diagonal().max()) + tolerance
    # A lattice vector no longer than this has components of at most its length over the spacing.
    extent = np.floor(longest * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int)
    axes = np.meshgrid(*(np.arange(-r, r + 1) for r in extent), indexing="ij")
    vectors = np.stack(axes, -1).reshape(-1, 3).astype(float)
    slack = 2 * tolerance * longest
    length = np.einsum("ni,ij,nj->n", vectors, metric, vectors)
    images = [vectors[np.abs(length - metric[i, i]) < slack] for i in range(3)]
    return [
        np.array([a, b, c]).T
        for a in images[0]
        for b in images[1]
        if abs(a @ metric @ b - metric[0, 1]) < slack
        for c in images[2][
            (np.abs(images[2] @ metric @ a - metric[0, 2]) < slack)
            & (np.abs(images[2] @ metric @ b - metric[1, 2]) < slack)
        ]
        if abs(abs(np.linalg.det([a, b, c])) - 1) < 0.5
    ]


def _maps_onto(
    images: NDArray[np.float64],
    fractional: NDArray[np.float64],
    kind: NDArray[np.int64],
    cell: NDArray[np.float64],
    tolerance: float,
) -> bool:
    """Whether every image falls on a site of its own kind."""
    apart = images[:, None] - fractional  # [image, site]
    apart -= np.round(apart)
    near = np.linalg.norm(apart @ cell, axis=-1) < tolerance
    return bool((near & (kind[:, None] == kind)).any(1).all())


COINCIDENT = 1e-3
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
        if not (np.linalg.norm(apart @ cell, axis=-1) < 2 * COINCIDENT).any():
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
    return bool(np.linalg.norm(apart @ cell, axis=-1).max() < COINCIDENT)


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
    long = candidates[np.linalg.norm(candidates, axis=1) > COINCIDENT]
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
