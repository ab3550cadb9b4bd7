"""What ASE and pymatgen say in their own words, in the words of a Crystal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from debye.crystals.structure.elements import ISOTOPES, SYMBOLS
from debye.crystals.structure.validate import no_cell, structure_error

NOT_PERIODIC = "its periodicity is switched off: treated as periodic"
"""The note for a cell with ``pbc`` off."""


def species_of_numbers(numbers: ArrayLike, label: str) -> list[str]:
    """The symbols of atomic numbers, each 1 to 118."""
    try:
        known = [SYMBOLS[n] for n in np.asarray(numbers).tolist() if n > 0 and n == int(n)]
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise structure_error(
            label, f"its atomic numbers are unusable ({error})", "give 1 to 118"
        ) from error
    if len(known) != np.size(numbers):
        raise structure_error(
            label, "an atomic number is 0, negative or no whole number", "give 1 to 118"
        )
    return known


def with_isotope(symbol: str, mass: float) -> str:
    """D or T where hydrogen has their mass; other custom masses are not kept."""
    for isotope, known in ISOTOPES.items() if symbol == "H" else ():
        if abs(mass - known) < 0.05:
            return isotope
    return symbol


def periodicity_notes(pbc: ArrayLike) -> tuple[str, ...]:
    """What to note of ``pbc``, one switch or three."""
    return () if np.all(pbc) else (NOT_PERIODIC,)


def site_of(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Occupancies by symbol, where one may come twice: Fe2+ and Fe3+ on a site are both Fe."""
    site: dict[str, float] = {}
    for symbol, occupancy in pairs:
        site[symbol] = site.get(symbol, 0.0) + occupancy
    return site


def pymatgen_parts(
    data: Mapping[str, Any], label: str
) -> tuple[list[dict[str, float]], NDArray[np.float64], NDArray[np.float64]]:
    """Species, positions and cell of a pymatgen dict; charges are dropped."""
    if "lattice" not in data:
        raise no_cell(label)
    try:
        cell = np.array(data["lattice"]["matrix"], dtype=np.float64)
        species = [
            site_of((str(kind["element"]), float(kind["occu"])) for kind in site["species"])
            for site in data["sites"]
        ]
        fractional = np.array([site["abc"] for site in data["sites"]], dtype=np.float64)
        return species, fractional.reshape(-1, 3) @ cell, cell
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise structure_error(
            label,
            f"not a pymatgen Structure as as_dict writes it ({type(error).__name__}: {error})",
            "write it again with Structure.as_dict()",
        ) from error
