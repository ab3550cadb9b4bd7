"""What a crystal must satisfy before anything is computed from it.

Each check returns what `Crystal` keeps, or refuses with the value at fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import SupportsFloat

import numpy as np
from numpy.typing import ArrayLike, NDArray

from debye.core.neighbors import heights, pairs_by_tree
from debye.crystals.structure.elements import ATOMIC_NUMBERS
from debye.errors import InputError

Species = str | Mapping[str, float]
"""One site: a symbol, or occupancies by symbol such as ``{"Sb": 0.75, "Bi": 0.25}``."""

CLOSEST = 0.5
"""Å; atoms nearer than this are overlapping. The shortest bond known, in H2, is 0.74 Å."""
SMALLEST_VOLUME = 0.5
"""Å³ per atom; diamond has 5.7, hydrogen at 500 GPa about 1.1."""
SMALLEST_HEIGHT = 0.2
"""Å between two faces of a cell; flatter ones are skewed beyond use, though a lattice they span."""
LARGEST_LENGTH = 1e6
"""Å; beyond it doubles no longer resolve a bond, and no crystal is meant."""
MOST_ATOMS = 200_000
"""Of one structure; more is a damaged count, or nothing that a network here is for."""
MOST_PAIRS = 100_000
"""Of sites too close to each other, up to which all are looked for."""
TOLERANCE = 5e-3
"""How far occupancies may sum over 1: files round thirds to 0.334."""

_PURE = {symbol: {symbol: 1.0} for symbol in ATOMIC_NUMBERS}


def structure_error(label: str, why: str, fix: str) -> InputError:
    """The `InputError` to use what ``label`` names."""
    return InputError(f"cannot use {label}", why=why, fix=fix)


def no_cell(label: str) -> InputError:
    """The `InputError` of a molecule."""
    return structure_error(
        label or "the structure",
        "no cell: it is not periodic in three dimensions",
        "give the lattice vectors; phonon spectra here are of crystals, not molecules",
    )


def type_name(thing: object) -> str:
    """What something is, for errors.

    Example:
        >>> type_name(np.float64(3.5))
        'an object of type numpy.float64'
    """
    kind = type(thing)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"an object of type {module}{kind.__qualname__}"


def checked_species(species: Sequence[Species], label: str) -> tuple[Mapping[str, float], ...]:
    """Occupancies by symbol for each site: known elements, above 0, at most 1 together.

    Raises:
        InputError: A site holds something else.
    """
    if isinstance(species, str | Mapping):
        raise structure_error(
            label, f"one site's species {species!r}, not a list", "give one per site"
        )
    if not isinstance(species, Iterable):
        raise structure_error(label, f"its species are {type_name(species)}", "give one per site")
    sites = tuple(
        _PURE[site] if isinstance(site, str) and site in _PURE else _checked_site(site, i, label)
        for i, site in enumerate(species)
    )
    if not sites:
        raise structure_error(label, "no atoms", "give a structure with at least one atom")
    check_count(len(sites), label)
    return sites


def check_count(n_sites: int, label: str) -> None:
    """Refuse more sites than anybody means, before anything is made of them.

    Raises:
        InputError: They are more than `MOST_ATOMS`.
    """
    if n_sites > MOST_ATOMS:
        raise structure_error(
            label, f"it has {n_sites} sites", f"give at most {MOST_ATOMS}, or the primitive cell"
        )


def _checked_site(site: Species, index: int, label: str) -> Mapping[str, float]:
    if not isinstance(site, str | Mapping):
        why = f"the species of site {index} is {type_name(site)}"
        raise structure_error(label, why, "give a symbol, or occupancies by symbol")
    content = {site: 1.0} if isinstance(site, str) else dict(site)
    for symbol, occupancy in content.items():
        if symbol not in ATOMIC_NUMBERS:
            raise structure_error(
                label,
                f"unknown species {symbol!r} on site {index}",
                "name an element (H to Og, D, T); leave dummy atoms and vacancies out",
            )
        if not (isinstance(occupancy, SupportsFloat) and 0 < float(occupancy) <= 1 + TOLERANCE):
            raise structure_error(
                label,
                f"the occupancy of {symbol} on site {index} is {occupancy!s}",
                "give occupancies above 0 and up to 1",
            )
    total = sum(content.values())
    if not content or total > 1 + TOLERANCE:
        raise structure_error(
            label,
            f"the occupancies of site {index} sum to {total:g}: {_mixture(content)}",
            "give occupancies that sum to 1, or less for vacancies",
        )
    scale = max(total, 1.0)  # 0.334 + 0.667: rounding, not an atom too many
    return {symbol: float(x) / scale for symbol, x in content.items()}


def _mixture(site: Mapping[str, float]) -> str:
    return " + ".join(f"{x:g} {s}" for s, x in site.items()) or "nothing"


def checked_array(
    values: ArrayLike, shape: tuple[int, int], what: str, label: str
) -> NDArray[np.float64]:
    """A read-only float64 copy of the given shape, finite and of lengths that can be Å.

    Raises:
        InputError: It is something else.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise structure_error(
            label, f"its {what} are no table of numbers ({error})", "repair it"
        ) from error
    if array.shape != shape:
        raise structure_error(
            label, f"its {what} have shape {array.shape}, not {shape}", "repair it"
        )
    largest = np.abs(array).max()
    if not np.isfinite(largest):
        raise structure_error(
            label, f"there is NaN or infinity in its {what}", "repair or recompute it"
        )
    if largest > LARGEST_LENGTH:
        raise structure_error(label, f"its {what} reach {largest:.3g} Å", "give lengths in Å")
    array.setflags(write=False)
    return array


def check_volume(cell: NDArray[np.float64], n_atoms: float, label: str) -> None:
    """Refuse a cell that is absent, flat, or too small for its atoms.

    Raises:
        InputError: It is.
    """
    if not cell.any():
        raise no_cell(label)
    volume = abs(np.linalg.det(cell))
    if volume < SMALLEST_VOLUME * n_atoms:
        raise structure_error(
            label,
            f"its cell has a volume of {volume:.3g} Å³ for {n_atoms:g} atoms"
            f" (at least {SMALLEST_VOLUME} Å³ each)",
            "give three lattice vectors in Å that do not lie in one plane",
        )
    height = heights(cell).min()
    if height < SMALLEST_HEIGHT:
        raise structure_error(
            label,
            f"two faces of its cell are {height:.3g} Å apart (at least {SMALLEST_HEIGHT} Å)",
            "give the reduced (Niggli) cell of the same lattice",
        )


def check_overlap(
    species: Sequence[Mapping[str, float]],
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    label: str,
) -> None:
    """Refuse two atoms in one place, which no crystal holds and no network was trained on.

    Raises:
        InputError: Some are nearer than `CLOSEST`.
    """
    pairs = close_pairs(positions, cell, CLOSEST)
    for i, j, distance in pairs:
        a, b = _mixture(species[i]), _mixture(species[j])
        raise structure_error(
            label,
            f"atoms {i} ({a}) and {j} ({b}) overlap: {distance:.3f} Å apart"
            + (f", and {_counted(len(pairs) - 1)} more pairs" if len(pairs) > 1 else ""),
            f"atoms must be at least {CLOSEST} Å apart, periodic images included",
        )


def _counted(more: int) -> str:
    return str(more) if more < MOST_PAIRS - 1 else f"at least {more}"


def close_pairs(
    positions: NDArray[np.float64], cell: NDArray[np.float64], cutoff: float
) -> list[tuple[int, int, float]]:
    """Pairs of sites nearer than ``cutoff``, periodic images and a site's own included.

    Args:
        positions: (sites, 3), Å.
        cell: (3, 3), Å; `check_volume` has seen it.
        cutoff: Å.

    Returns:
        ``(i, j, distance)`` with ``i <= j``, the nearest pair first; where there are more than
        `MOST_PAIRS`, so many of them.

    Example:
        >>> close_pairs(np.array([[0.1, 0, 0], [3.9, 0, 0]]), 4 * np.eye(3), 0.5)
        [(0, 1, 0.2...)]
    """
    inverse = np.linalg.inv(cell)
    most = np.floor(0.5 + cutoff * np.linalg.norm(inverse, axis=0)).astype(int)
    if len(positions) ** 2 * (2 * most + 1).prod() <= ALL_AGAINST_ALL:
        images = list(product(*(range(-n, n + 1) for n in most)))
        found = _among_all(positions @ inverse, images, cell, cutoff)
    else:
        found = _by_tree(positions, cell, cutoff)
    return sorted(((i, j, d) for (i, j), d in found.items()), key=lambda pair: pair[2])


ALL_AGAINST_ALL = 100_000
"""Pairs, images included, up to which it is fastest to look at every one."""

_Distances = dict[tuple[int, int], float]


def _among_all(
    fractional: NDArray[np.float64],
    images: list[tuple[int, ...]],
    cell: NDArray[np.float64],
    cutoff: float,
) -> _Distances:
    """Close pairs of a few sites, every one looked at.

    Rounding fractional differences finds the nearest image exactly where all heights of the
    cell exceed 2 ``cutoff``; for flatter cells the images that could matter are gone through.
    """
    found: _Distances = {}
    between = fractional[:, None] - fractional  # [i, j, vector]
    between -= np.round(between)
    for image in images:
        apart = (between + image if any(image) else between) @ cell
        square = np.einsum("ijx,ijx->ij", apart, apart)
        for i, j in np.argwhere(square < cutoff**2).tolist():
            if i < j or (i == j and any(image)):
                distance = float(square[i, j]) ** 0.5
                found[i, j] = min(distance, found.get((i, j), distance))
    return found


def _by_tree(
    positions: NDArray[np.float64], cell: NDArray[np.float64], cutoff: float
) -> _Distances:
    """Close pairs of many sites; so many, not all, where they are in heaps."""
    pairs = pairs_by_tree(positions, cell, cutoff, most=2 * MOST_PAIRS)
    distance = np.linalg.norm(pairs.vector, axis=1)
    i, j = np.minimum(pairs.center, pairs.other), np.maximum(pairs.center, pairs.other)
    farthest_first = np.argsort(-distance, kind="stable")[-2 * MOST_PAIRS :]
    ordered = (x[farthest_first].tolist() for x in (i, j, distance))
    found = {(a, b): d for a, b, d in zip(*ordered, strict=True)}  # so the nearest image stays
    return dict(list(found.items())[-MOST_PAIRS:])
