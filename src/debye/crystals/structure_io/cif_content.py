"""What a CIF says of its content, held against the atoms that were read from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.elements import ATOMIC_NUMBERS, ISOTOPES, MASSES
from debye.crystals.structure.symmetry import Site
from debye.crystals.structure_io.cif_block import Block
from debye.crystals.structure_io.cif_sites import Listed
from debye.units import U_PER_A3_TO_G_PER_CM3

DENSITY = 0.05
"""How far a stated density may be from that of the atoms."""
VOLUME = 0.01
"""Likewise the stated volume of the cell from that of its lengths and angles."""


class Stated(NamedTuple):
    """What a block says of its content; 0 or empty where it says nothing.

    Args:
        formula: Atoms of each element, hydrogen isotopes as H.
        tag: Where the formula stands.
        units: Formula units in the cell (Z).
        density: Mass over volume, g/cm³.
        volume: Of the cell, Å³.
    """

    formula: Mapping[str, float]
    tag: str
    units: float
    density: float
    volume: float


def stated_content(block: Block) -> Stated:
    """What a block says of its content."""
    formula, tag = parse_formula(block.value("_chemical_formula_sum")), "_chemical_formula_sum"
    if not formula:
        formula, tag = (
            _moieties(block.value("_chemical_formula_moiety")),
            "_chemical_formula_moiety",
        )
    tags = ("_cell_formula_units_Z", "_exptl_crystal_density_diffrn", "_cell_volume")
    numbers = [block.number(name) for name in tags]
    return Stated(formula, tag, *(x if x > 0 and np.isfinite(x) else 0.0 for x in numbers))


def parse_formula(text: str) -> dict[str, float]:
    """``"O2 Si"`` as amounts, hydrogen isotopes as H; empty where it is no plain formula.

    Example:
        >>> parse_formula("Fe2 O3"), parse_formula("(C6 H6)n")
        ({'Fe': 2.0, 'O': 3.0}, {'C': 6.0, 'H': 6.0})
        >>> parse_formula("2(H2 O)")
        {}
    """
    plain = re.sub(r"^\((.*)\)[nx]?$", r"\1", text.strip())
    if not re.fullmatch(r"(?:[A-Z][a-z]?\s*\d*\.?\d*(?:\(\d+\))?\s*)+", plain):
        return {}
    amounts: dict[str, float] = {}
    for symbol, number in re.findall(r"([A-Z][a-z]?)\s*(\d*\.?\d*)", plain):
        key = "H" if symbol in ISOTOPES else symbol
        amounts[key] = amounts.get(key, 0.0) + (float(number) if number not in ("", ".") else 1.0)
    return amounts if all(s in ATOMIC_NUMBERS for s in amounts) else {}


def _moieties(text: str) -> dict[str, float]:
    """The sum of ``C12 H10 O2, 2(H2 O)``; empty where a part of it is not clear."""
    amounts: dict[str, float] = {}
    for moiety in filter(None, map(str.strip, text.split(","))):
        match = re.fullmatch(r"(\d*\.?\d*)\s*\(?([^()]*?)(?:\s+\d*[+-])?\)?", moiety)
        part = parse_formula(match[2]) if match else {}
        if not part:
            return {}
        for symbol, x in part.items():
            times = float(match[1]) if match and match[1] not in ("", ".") else 1.0
            amounts[symbol] = amounts.get(symbol, 0.0) + times * x
    return amounts


# Held against what was read.


def disagreements(
    species: Sequence[Site],
    counts: NDArray[np.int64],
    operations: int,
    cell: NDArray[np.float64],
    listed: Listed,
    stated: Stated,
) -> list[str]:
    """What the file says of its content and its atoms do not bear out.

    Args:
        species: Of all atoms in the cell.
        counts: Images of each listed atom, (listed atoms,).
        operations: How many there are.
        cell: Lattice vectors as rows, Å.
        listed: The atoms as listed.
        stated: What the file says.
    """
    found = (
        _formula(species, stated),
        _multiplicities(counts, operations, listed),
        _density(species, cell, stated),
    )
    return [text for text in found if text]


def volume_note(cell: NDArray[np.float64], stated: Stated) -> Iterator[str]:
    """What is to be said of a stated volume that is not the cell's."""
    volume = abs(float(np.linalg.det(cell)))
    if stated.volume and abs(stated.volume / volume - 1) > VOLUME:
        yield (
            f"its cell has {volume:.5g} Å³, its _cell_volume says {stated.volume:g}: check the cell"
        )


def _formula(species: Sequence[Site], stated: Stated) -> str:
    """How the atoms differ from the formula (up to a factor) and Z; else empty."""
    total = sum(stated.formula.values())
    if not total:
        return ""
    found: dict[str, float] = {}
    for site in species:
        for symbol, x in site.items():
            key = "H" if symbol in ISOTOPES else symbol
            found[key] = found.get(key, 0.0) + x
    units = sum(found.values()) / total
    wrong = [
        s for s in {**stated.formula, **found}
        if abs(found.get(s, 0.0) - units * stated.formula.get(s, 0.0)) > 0.01 * sum(found.values())
    ]  # fmt: skip
    if wrong:
        listed = " ".join(f"{s}{x:g}" for s, x in found.items())
        said = " ".join(f"{s}{x:g}" for s, x in stated.formula.items())
        return f"its atoms make {listed}, its {stated.tag} says {said}: check the file"
    z = stated.units
    whole = z and all(x % z == 0 for x in stated.formula.values())  # pymatgen: the cell's sum
    if z and min(abs(units - z), abs(units - 1) if whole else np.inf) > 0.02 * units:
        return f"its cell holds {units:g} formula units, its _cell_formula_units_Z says {z:g}"
    return ""


def _multiplicities(counts: NDArray[np.int64], operations: int, listed: Listed) -> str:
    """An atom whose multiplicity is neither how many there are nor its site's order; else empty.

    The dictionary means the first; SHELX wrote the second, 1 for an atom in a general position.
    """
    said = listed.multiplicities
    wrong = (said > 0) & (said != counts)
    if not wrong.any() or (said * counts == operations)[said > 0].all():
        return ""
    i = int(np.flatnonzero(wrong)[0])
    return (
        f"its symmetry makes {counts[i]} atoms of {listed.labels[i]}, its"
        f" _atom_site_symmetry_multiplicity says {said[i]}: check the operations"
    )


def _density(species: Sequence[Site], cell: NDArray[np.float64], stated: Stated) -> str:
    """How the density differs from the stated one; else empty."""
    mass = sum(x * MASSES[symbol] for site in species for symbol, x in site.items())
    density = mass / abs(float(np.linalg.det(cell))) * U_PER_A3_TO_G_PER_CM3
    if not stated.density or abs(density / stated.density - 1) < DENSITY:
        return ""
    return (
        f"its atoms make {density:.4g} g/cm³, its _exptl_crystal_density_diffrn says"
        f" {stated.density:g}: check the atoms and the operations"
    )
