"""From the atoms a file lists to all atoms of the cell: space groups, orbits, shared sites.

And back: the operations of a structure and its primitive cell, as spglib finds them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.validate import CLOSEST, TOLERANCE, close_pairs, structure_error
from debye.errors import ComputationError

if TYPE_CHECKING:
    import gemmi


Site = dict[str, float]
"""Occupancies by symbol of one site."""

SAME = 0.1
"""Å; positions this near are one position written with few digits (1/3 as 0.33 in 20 Å)."""

MOST_TOGETHER = 200
"""Atoms listed in one place that can be one site: all elements there are, and some twice."""

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
    """Settings that a Hermann–Mauguin symbol or a number may mean; none where both are empty.

    Raises:
        InputError: There is no such space group.
    """
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
    for site, position in zip(sites, fractional, strict=True):
        images = (by.rotations @ position + by.shifts) % 1.0  # [operation, vector]
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
        if len(members) > MOST_TOGETHER:
            continue  # overlapping atoms: Crystal names them
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
    group: dict[int, list[int]] = {}
    for i, j, _ in pairs:
        a, b = group.setdefault(i, [i]), group.setdefault(j, [j])
        if a is not b:
            small, large = sorted((a, b), key=len)
            large += small
            group.update(dict.fromkeys(small, large))
    distinct = {id(members): members for members in group.values()}.values()
    return sorted(sorted(members) for members in distinct if len(members) > 1)


# The symmetry of a structure, found by spglib.

COINCIDENT = 1e-3
"""Å; how near two sites must lie to be one site, moved."""


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

    Raises:
        ComputationError: spglib finds none.

    Example:
        >>> operations_of([0], np.zeros((1, 3)), np.eye(3)).rotations.shape
        (48, 3, 3)
    """
    found = _dataset(kinds, fractional, cell, tolerance)
    return Symmetry("", found.rotations.astype(float), found.translations)


def primitive(crystal: Crystal) -> Crystal:
    """The same crystal in a primitive cell.

    A translation is one that brings every site onto a site of the same species, to `COINCIDENT`.
    Orientation and origin stay, sites keep their order, and a crystal that is primitive is
    returned as it is; so is, with a note, one whose translations spglib cannot find.

    Example:
        >>> cubic = Crystal(["Al"] * 4, 2.02 * np.array(
        ...     [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]), 4.04 * np.eye(3))
        >>> primitive(cubic).n_sites
        1
    """
    known: dict[frozenset[tuple[str, float]], int] = {}
    kinds = [known.setdefault(frozenset(site.items()), len(known)) for site in crystal.species]
    try:
        found = _dataset(kinds, crystal.fractional, crystal.cell, COINCIDENT)
    except ComputationError as error:
        return replace(crystal, notes=(*crystal.notes, f"taken as primitive: {error.why}"))
    kept = np.sort(np.unique(found.mapping_to_primitive, return_index=True)[1]).tolist()
    times = crystal.n_sites // len(kept)
    if times == 1:
        return crystal
    # Each vector of the primitive lattice, taken so many times, is one of the cell's.
    steps = np.round(times * found.primitive_lattice @ np.linalg.inv(crystal.cell)) / times
    cell = steps @ crystal.cell
    return replace(
        crystal,
        species=tuple(crystal.species[i] for i in kept),
        positions=crystal.positions[kept],
        cell=cell if np.linalg.det(cell) > 0 else -cell,
    )


def _dataset(
    kinds: Sequence[int],
    fractional: NDArray[np.float64],
    cell: NDArray[np.float64],
    tolerance: float,
) -> Any:  # noqa: ANN401 - spglib's
    """What spglib knows of a structure.

    Raises:
        ComputationError: It fails.
    """
    import spglib

    # spglib 2.7 and 2.8 warn at each call that they do not raise, unless they are told to.
    throws = "_throw" in signature(spglib.get_symmetry_dataset).parameters
    how = {"_throw": True} if throws else {}
    why = "spglib finds no symmetry in it, not even the identity"
    try:
        found = spglib.get_symmetry_dataset((cell, fractional, kinds), tolerance, **how)
    except spglib.SpglibError as error:
        found, why = None, f"spglib finds no symmetry in it ({error})"
    if found is None:
        raise ComputationError(
            "cannot find the symmetry of a structure",
            why=why,
            fix="give its reduced (Niggli) cell, or check its positions",
        )
    return found
