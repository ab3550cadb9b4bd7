"""The atoms that a CIF lists, and which element each is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.elements import ATOMIC_NUMBERS, ISOTOPES
from debye.crystals.structure.symmetry import Site
from debye.crystals.structure.validate import check_count, structure_error
from debye.crystals.structure_io.cif_block import Block

_COLUMNS = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy", "calc_flag")
_MULTIPLICITY = ("_atom_site_site_symmetry_multiplicity", "_atom_site_symmetry_multiplicity")
_SYMBOL = re.compile(r"([A-Za-z]{1,2})(?:va|val|\d*\.?\d*[+-]*\d*\.?\d*)")
_DUMMIES = {"vac", "va", "vacancy", "x", "xx", "du", "dum", "dummy", "wat", "lp", "q"}
_MOST_TOLD = 5
"""Labels that one note names."""
BOND_OF_H = 1.3
"""Å; hydrogen's bonds are shorter, all bonds of Ho, Hf, Hg and He longer."""


class Listed(NamedTuple):
    """The atoms as a file lists them.

    Args:
        sites: Occupancies by symbol of each.
        fractional: Positions in units of the lattice vectors, (N, 3).
        labels: As the file has them, for what is said of them.
        multiplicities: As the file states them; 0 where it does not, (N,).
    """

    sites: list[Site]
    fractional: NDArray[np.float64]
    labels: list[str]
    multiplicities: NDArray[np.int64]


class _Row(NamedTuple):
    label: str
    kind: str
    position: list[float]
    occupancy: float
    multiplicity: int


def listed_atoms(
    block: Block,
    formula: Mapping[str, float],
    cell: NDArray[np.float64],
    source: str,
    notes: list[str],
) -> Listed:
    """The atoms that a block lists; what is left out or guessed is added to the notes.

    Raises:
        InputError: There are none, or one has no position or no element.
    """
    rows = list(_rows(block, source, notes))
    if not rows:
        cartesian = "_atom_site_cartn_x" in block.columns
        has = "only Cartesian coordinates" if cartesian else "no _atom_site_fract_x, _y and _z"
        raise structure_error(
            source,
            f"no atoms: it has {has}",
            "give the structure's CIF, with fractional coordinates",
        )
    if any(value.strip("0.") for value in block.column("_atom_site_attached_hydrogens")):
        notes.append("hydrogens attached to its atoms have no positions: they are not there")
    positions = np.array([row.position for row in rows])
    symbols = _symbols(rows, positions, cell, formula, source, notes)
    return Listed(
        [{symbol: row.occupancy} for symbol, row in zip(symbols, rows, strict=True)],
        positions,
        [row.label or row.kind for row in rows],
        np.array([row.multiplicity for row in rows]),
    )


def _rows(block: Block, source: str, notes: list[str]) -> Iterator[_Row]:
    """The rows of atoms, dummies and empty ones apart."""
    from gemmi.cif import as_number

    columns = [block.column(f"_atom_site_{name}") for name in _COLUMNS]
    columns.append(block.column(*_MULTIPLICITY))
    n = len(columns[2])
    check_count(n, source)
    whole = [column if len(column) == n else [""] * n for column in columns]
    unknown = "_atom_site_occupancy" in block.columns and [
        value.strip() == "?" for value in block.columns["_atom_site_occupancy"]
    ]
    for i, (label, kind, *xyz, occupancy, flag, times) in enumerate(zip(*whole, strict=True)):
        if flag == "dum":
            notes.append(f"dummy atom {label} left out")
            continue
        amount = as_number(occupancy) if occupancy else 1.0
        if amount == 0:
            notes.append(f"atom {label} has occupancy 0: left out")
            continue
        if unknown and len(unknown) == n and unknown[i]:
            notes.append("an occupancy is unknown (?): taken as 1")
        position = [as_number(value or "?") for value in xyz]
        if not all(map(isfinite, (*position, amount))):
            why = f"atom {label or kind} has coordinates {', '.join(x or '?' for x in xyz)}"
            why += f" and occupancy {occupancy}" if occupancy else ""
            raise structure_error(source, why, "give every atom three numbers, or leave it out")
        yield _Row(label, kind, position, amount, int(times) if times.isdecimal() else 0)


# Elements.


def _symbols(
    rows: Sequence[_Row],
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    formula: Mapping[str, float],
    source: str,
    notes: list[str],
) -> list[str]:
    """The element of each atom; labels that could mean another are named in the notes."""
    readings = [_readings(row, formula) for row in rows]
    named = {_chemical(options[0]) for options in readings if options}
    missing = [symbol for symbol in formula if symbol not in named]
    symbols, guessed = [], {}
    for i, (row, read) in enumerate(zip(rows, readings, strict=True)):
        strange = formula and not {_chemical(s) for s in read} & set(formula)
        alone = strange and len(missing) == 1 and not (row.kind and read) and not _is_dummy(row)
        options = [missing[0], *read, ""] if alone else read  # the one that no other label names
        if not options:
            raise structure_error(
                source,
                f"unknown species {row.kind or row.label!r} (atom {row.label!r})",
                "name an element (H to Og, D, T); leave dummy atoms and vacancies out",
            )
        is_h = "H" in options[1:] and _is_bonded(i, positions, cell)
        symbols.append("H" if is_h else options[0])
        if len(options) > 1:
            guessed[row.label or row.kind] = symbols[-1]
    if guessed:
        notes.append(_guesses(guessed))
    return symbols


def _readings(row: _Row, formula: Mapping[str, float]) -> list[str]:
    """The elements that an atom's type, or else its label, may mean, the likeliest first.

    More than one where it is a guess; none where it means no element, or an isotope of hydrogen
    in a formula without hydrogen.
    """
    letters = _letters(row.label) if not row.kind else ""
    match = _SYMBOL.fullmatch(row.kind or letters[:2])
    if not match or letters.lower() in _DUMMIES:
        return []
    word = match[1].capitalize()
    options = [word] if row.kind else [word, word[0]]
    options = [s for s in dict.fromkeys(options) if s in ATOMIC_NUMBERS]
    in_formula = [s for s in options if _chemical(s) in formula]
    if formula and not in_formula and set(options) <= set(ISOTOPES):
        return []
    options = in_formula or options
    if row.kind or len(in_formula) == 1 or not options:
        return options
    spelt = letters == options[0] or (len(options) == 1 and letters.capitalize() == options[0])
    doubtful = options[0] in ISOTOPES or (options[0] != "H" and letters.startswith("H"))
    return options[:1] if spelt and not doubtful else [*options, ""]


def _guesses(guessed: Mapping[str, str]) -> str:
    first = list(guessed.items())[:_MOST_TOLD]
    listed = ", ".join(f"{label} is read as {symbol}" for label, symbol in first)
    more = f" and {len(guessed) - _MOST_TOLD} more" if len(guessed) > _MOST_TOLD else ""
    return f"an element is guessed from a label: {listed}{more} (no _atom_site_type_symbol tells)"


def _chemical(symbol: str) -> str:
    """The symbol that a formula may have instead."""
    return "H" if symbol in ISOTOPES else symbol


def _letters(label: str) -> str:
    return re.match(r"[A-Za-z]*", label).group()  # type: ignore[union-attr]  # it always matches


def _is_dummy(row: _Row) -> bool:
    return bool({_letters(row.label).lower(), row.kind.lower()} & _DUMMIES)


def _is_bonded(index: int, positions: NDArray[np.float64], cell: NDArray[np.float64]) -> bool:
    """Whether another listed atom is as near as only hydrogen's bonds are."""
    apart = np.delete(positions, index, axis=0) - positions[index]
    apart -= np.round(apart)
    return bool((np.linalg.norm(apart @ cell, axis=1) < BOND_OF_H).any())
