"""From the atoms a file lists to all atoms of the cell: space groups, orbits, shared sites.

And back: the operations of a structure and its primitive cell, as spglib finds them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.operations import Symmetry
from debye.crystals.structure.validate import CLOSEST, TOLERANCE, close_pairs
from debye.errors import ComputationError

Site = dict[str, float]
"""Occupancies by symbol of one site."""

SAME = 0.1
"""Å; positions this near are one position written with few digits (1/3 as 0.33 in 20 Å)."""

MOST_TOGETHER = 200
"""Atoms listed in one place that can be one site: all elements there are, and some twice."""


def orbits(
    sites: list[Site], fractional: NDArray[np.float64], cell: NDArray[np.float64], by: Symmetry
) -> tuple[list[Site], NDArray[np.float64], NDArray[np.int64]]:
    """All images of the listed atoms; those within `SAME` of each other are one, their mean.

    Returns:
        Sites and positions of all, and how many images each listed atom has, (listed atoms,).
    """
    if len(by.shifts) == 1 and not by.shifts.any():
        return sites, fractional, np.ones(len(sites), dtype=np.int64)
    group = by.is_group
    found = [_images(position, cell, by, group=group) for position in fractional]
    counts = np.array([len(images) for images in found])
    species = [site for site, n in zip(sites, counts.tolist(), strict=True) for _ in range(n)]
    return species, np.concatenate(found), counts


def _images(
    position: NDArray[np.float64], cell: NDArray[np.float64], by: Symmetry, *, group: bool
) -> NDArray[np.float64]:
    """The distinct images of a position under a symmetry, (N, 3)."""
    images = (by.rotations @ position + by.shifts) % 1.0  # [operation, vector]
    apart = images - images[0]
    apart -= np.round(apart)
    if group and (np.linalg.norm(apart @ cell, axis=-1) < SAME).sum() == 1:
        return images  # a general position: where one image has no other near, none has
    between = images - images[:, None]  # from i to j
    between -= np.round(between)
    near = np.linalg.norm(between @ cell, axis=-1) < SAME
    first = np.flatnonzero(near.argmax(axis=1) == np.arange(len(images)))
    near, between = near[first], between[first]
    shift = (near[..., None] * between).sum(1) / near.sum(1, keepdims=True)
    return np.asarray(images[first] + shift)


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


def group_number(symmetry: Symmetry) -> int | None:
    """The number of a space group by its operations, in whatever cell; None where it is none.

    Example:
        >>> from debye.crystals.structure.operations import symmetry_of
        >>> group_number(symmetry_of("", ["x,y,z", "-x,-y,z+1/2"]))
        4
    """
    import spglib

    rotations = np.rint(symmetry.rotations).astype(np.intc)
    if not np.allclose(rotations, symmetry.rotations):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how spglib tells a failure
        try:
            found = spglib.get_spacegroup_type_from_symmetry(rotations, symmetry.shifts)
        except spglib.SpglibError:
            return None
    return None if found is None else int(found.number)


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
