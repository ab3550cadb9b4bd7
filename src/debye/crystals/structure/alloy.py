"""Alloys: what lies between two parent crystals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.validate import structure_error


def interpolate(a: Crystal, b: Crystal, fraction: float, *, cutoff: float = 1.0) -> Crystal:
    """The alloy a₁₋ₓ bₓ of two parents with the same arrangement of sites (Vegard's law).

    Cell and positions go linearly from ``a`` to ``b``; matched sites share their species,
    ``(1 - x) a + x b``, and stay pure where the parents agree.

    Args:
        a: The parent at fraction 0, or an object of ASE, pymatgen or phonopy.
        b: The parent at fraction 1, likewise, in a cell of the same kind (setting, origin, axes).
        fraction: x, in [0, 1].
        cutoff: How far, in Å, matched sites may lie apart in fractional coordinates times the
            mean cell.

    Raises:
        InputError: The fraction is outside [0, 1], or the parents do not match.

    Example:
        >>> fcc = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
        >>> gold = Crystal(["Au"], [[0, 0, 0]], 4.08 * fcc)
        >>> silver = Crystal(["Ag"], [[0, 0, 0]], 4.09 * fcc)
        >>> interpolate(gold, silver, 0.25).formula
        'Ag0.25Au0.75'
    """
    a, b = Crystal.of(a), Crystal.of(b)
    if not (isinstance(fraction, SupportsFloat) and 0 <= float(fraction) <= 1):
        raise structure_error(f"fraction {fraction}", "it is outside 0 to 1", "give 0 ≤ x ≤ 1")
    x = float(fraction)
    cell = (1 - x) * a.cell + x * b.cell
    order, between = _matched_sites(a, b, cutoff)
    positions = (a.fractional + x * between) @ cell
    species = [_mixed(site, b.species[j], x) for site, j in zip(a.species, order, strict=True)]
    source = f"{a.name or a.formula} to {b.name or b.formula} at {x:g}"
    return Crystal(species, positions, cell, source=source, notes=(*a.notes, *b.notes))


def _matched_sites(a: Crystal, b: Crystal, cutoff: float) -> tuple[list[int], NDArray[np.float64]]:
    """For each site of ``a`` the nearest of ``b``, and the fractional way there."""
    label = f"{a.source or a.formula} and {b.source or b.formula} as parents of an alloy"
    if a.n_sites != b.n_sites:
        raise structure_error(
            label, f"they have {a.n_sites} and {b.n_sites} sites", "give both in the same setting"
        )
    shape = [np.linalg.norm(c.cell, axis=1, keepdims=True) for c in (a, b)]
    angles = [(c.cell / s) @ (c.cell / s).T for c, s in zip((a, b), shape, strict=True)]
    if (
        np.abs(np.log(shape[0] / shape[1])).max() > 0.25
        or np.abs(angles[0] - angles[1]).max() > 0.1
    ):
        raise structure_error(
            label,
            "their lattice vectors differ by more than 25 % or 6°",
            "give both in the same setting",
        )
    between = b.fractional - a.fractional[:, None]  # [site of a, site of b, vector]
    between -= np.round(between)
    distance = np.linalg.norm(between @ ((a.cell + b.cell) / 2), axis=-1)
    order = distance.argmin(axis=1)
    farthest = distance[np.arange(a.n_sites), order].max()
    if len(set(order.tolist())) < a.n_sites or farthest > cutoff:
        raise structure_error(
            label,
            f"their sites do not match one to one within {cutoff:g} Å (farthest {farthest:.2f} Å)",
            "give both with the same origin and the same order of axes",
        )
    return order.tolist(), between[np.arange(a.n_sites), order]


def _mixed(a: Mapping[str, float], b: Mapping[str, float], x: float) -> dict[str, float]:
    amounts = {s: (1 - x) * a.get(s, 0.0) + x * b.get(s, 0.0) for s in (*a, *b)}
    return {s: n for s, n in amounts.items() if n > 0}
