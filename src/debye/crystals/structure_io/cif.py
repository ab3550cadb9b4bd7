"""CIF: the text read by gemmi, the symmetry applied and shared sites put together here.

gemmi was chosen over ASE's reader by measurement: ASE turns atoms on rounded special positions
(0.333 for 1/3) into several, leaves ``.`` as an occupancy, and rejects ``F d -3 m :1``; gemmi reads
these and imports in 20 ms, ASE's reader in 350. What gemmi would pass over in silence (an unknown
space group becomes P1, a bad occupancy 1) is checked here: operations are applied one by one, and
the result is compared with the formula the file itself states.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS, ISOTOPES
from debye.crystals.structure.symmetry import Site, Symmetry, merged, orbits, symmetries_by_name
from debye.crystals.structure.validate import check_volume, structure_error

if TYPE_CHECKING:
    from collections.abc import Callable

    import gemmi

CELL_PARAMETERS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz",
               "_space_group_symop.operation_xyz")  # fmt: skip
_HALL = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_HERMANN_MAUGUIN = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M",
                    "_space_group_name_H-M", "_space_group_name_H-M_full")  # fmt: skip
_NUMBER = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_SYMBOL = re.compile(r"([A-Za-z]{1,2})(?:va|val|\d*\.?\d*[+-]*\d*\.?\d*)")
_DUMMIES = {"vac", "va", "vacancy", "x", "xx", "du", "dum", "dummy", "wat", "lp", "q"}


def cif_blocks(text: str, label: str) -> Iterator[tuple[str, Callable[[], Crystal]]]:
    """The structures of a CIF text, as where each stands and how to make it.

    Blocks without atoms or cell among others that have them (references, texts) are passed over.

    Args:
        text: The whole file.
        label: What to call the file in errors.

    Yields:
        ``(source, make)``; ``make()`` returns the Crystal or refuses.

    Raises:
        InputError: The text has no data block.
    """
    documents = _documents(text)
    if not documents:
        raise structure_error(label, "no data_ block: it is no CIF, or empty", "give a CIF file")
    several = len(documents) > 1
    for i, block in enumerate(documents):
        source = f"{label}[{i}]" if several else label
        yield source, partial(_crystal, block, source)


def _documents(text: str) -> Sequence[gemmi.cif.Block | str]:
    """The blocks with a structure; text for one that does not parse, so that others still do."""
    from gemmi import cif

    try:
        blocks = list(cif.read_string(text))
    except (RuntimeError, ValueError):  # one bad block, or two of one name: each on its own
        pieces = re.findall(r"(?ims)^data_.*?(?=^data_|\Z)", text)
        return [p for p in pieces if "_atom_site_fract_x" in p.lower()] or pieces[:1]
    return [b for b in blocks if b.find_values("_atom_site_fract_x")] or blocks[:1]


def _crystal(block: gemmi.cif.Block | str, source: str) -> Crystal:
    if isinstance(block, str):
        from gemmi import cif

        try:
            block = cif.read_string(block).sole_block()
        except (RuntimeError, ValueError) as error:
            why = str(error).replace("string:", "line ", 1).split("\n")[0]
            raise structure_error(
                source, f"not a valid CIF ({why})", "repair or export it again"
            ) from error
    cell = _cell(block, source)
    check_volume(cell, 1, source)  # before the images of its atoms are gone through
    notes: list[str] = []
    sites, fractional = _listed_sites(block, source, notes)
    symmetries = _symmetries(block, cell, source, notes)
    species, positions = _expanded(sites, fractional, cell, symmetries, block, notes)
    return Crystal(species, positions @ cell, cell, block.name, source, notes)


def _value(block: gemmi.cif.Block, tags: Sequence[str]) -> str:
    """The first of the tags that has a value, without quotes; empty where none has."""
    from gemmi import cif

    found = (block.find_value(tag) for tag in tags)
    return next((cif.as_string(v).strip() for v in found if v and not cif.is_null(v)), "")


def _cell(block: gemmi.cif.Block, source: str) -> NDArray[np.float64]:
    """Lattice vectors as rows: a along x, b in the xy plane."""
    import gemmi

    numbers = [
        gemmi.cif.as_number(block.find_value(f"_cell_{name}") or "?") for name in CELL_PARAMETERS
    ]
    for name, number in zip(CELL_PARAMETERS, numbers, strict=True):
        if not 0 < number < (180 if "angle" in name else np.inf):
            given = block.find_value(f"_cell_{name}")
            why = f"_cell_{name} is {given}" if given else f"no cell: _cell_{name} is missing"
            raise structure_error(source, why, "give all six cell parameters, in Å and degrees")
    a, b, c = numbers[:3]
    alpha, beta, gamma = np.cos(np.deg2rad(numbers[3:]))
    sine = np.sqrt(1 - gamma**2)
    along = (alpha - beta * gamma) / sine
    square = 1 - beta**2 - along**2
    if square <= 0:
        why = "its cell angles cannot meet: the volume would be zero"
        raise structure_error(source, why, "correct _cell_angle_alpha, _beta and _gamma")
    return np.array(
        [[a, 0, 0], [b * gamma, b * sine, 0], [c * beta, c * along, c * np.sqrt(square)]]
    )


# The atoms as listed.


def _listed_sites(
    block: gemmi.cif.Block, source: str, notes: list[str]
) -> tuple[list[Site], NDArray[np.float64]]:
    from gemmi.cif import as_number, as_string, is_null

    columns = [
        "fract_x",
        "fract_y",
        "fract_z",
        "?label",
        "?type_symbol",
        "?occupancy",
        "?calc_flag",
    ]
    known = set(_parse_formula(_value(block, ["_chemical_formula_sum"])))
    sites: list[Site] = []
    positions: list[list[float]] = []
    for row in block.find("_atom_site_", columns):
        label, kind, occupancy, flag = (
            as_string(row[i]) if row.has(i) and not is_null(row[i]) else "" for i in range(3, 7)
        )
        if flag == "dum":
            notes.append(f"dummy atom {label} left out")
            continue
        amount = as_number(occupancy) if occupancy else 1.0
        if amount == 0:
            notes.append(f"atom {label} has occupancy 0: left out")
            continue
        position = [as_number(row[i]) for i in range(3)]
        if not np.isfinite([*position, amount]).all():
            why = f"atom {label or kind} has coordinates {row[0]}, {row[1]}, {row[2]}"
            why += f" and occupancy {occupancy}" if occupancy else ""
            raise structure_error(source, why, "give every atom three numbers, or leave it out")
        sites.append({_symbol(kind, label, known, source): amount})
        positions.append(position)
    if not sites:
        raise structure_error(
            source,
            "no atoms: it has no _atom_site_fract_x, _y and _z",
            "give the structure's CIF, with fractional coordinates",
        )
    return sites, np.array(positions)


def _symbol(kind: str, label: str, known: set[str], source: str) -> str:
    """The element of ``Fe3+``, ``CU``, ``Cval``; from the label ``Fe1A`` where no type is given."""
    letters = re.match(r"[A-Za-z]*", label).group() if not kind else ""  # type: ignore[union-attr]
    match = _SYMBOL.fullmatch(kind or letters[:2])
    if match and letters.lower() not in _DUMMIES:
        word = match[1].capitalize()
        guesses = [s for s in ((word,) if kind else (word, word[0])) if s in ATOMIC_NUMBERS]
        if guesses:
            return next((s for s in guesses if s in known), guesses[0])
    raise structure_error(
        source,
        f"unknown species {kind or label!r} (atom {label!r})",
        "name an element (H to Og, D, T); leave dummy atoms and vacancies out",
    )


# Symmetry.


def _symmetries(
    block: gemmi.cif.Block, cell: NDArray[np.float64], source: str, notes: list[str]
) -> list[Symmetry]:
    """What the file's symmetry may mean, the likeliest first: more than one only without a list."""
    import gemmi

    listed = next((list(block.find_values(t)) for t in _OPERATIONS if block.find_values(t)), [])
    try:
        operations = [gemmi.Op(gemmi.cif.as_string(text)) for text in listed]
        if not operations and _value(block, _HALL):
            operations = list(gemmi.symops_from_hall(_value(block, _HALL)))
    except (RuntimeError, ValueError) as error:
        why = f"a symmetry operation cannot be read ({error})"
        raise structure_error(source, why, "write operations like -x,y+1/2,-z") from error
    if operations:
        found = [Symmetry.of("listed", operations)]
    else:
        found = symmetries_by_name(_value(block, _HERMANN_MAUGUIN), _value(block, _NUMBER), source)
        if not found:
            notes.append("no symmetry is given: read as P 1, every atom listed")
            return [Symmetry.of("P 1", [gemmi.Op("x,y,z")])]
    fitting = [symmetry for symmetry in found if symmetry.fits(cell)]
    if not fitting:
        notes.append("its symmetry does not fit its cell: check the cell and the space group")
    return fitting or found


def _expanded(
    sites: list[Site],
    fractional: NDArray[np.float64],
    cell: NDArray[np.float64],
    symmetries: list[Symmetry],
    block: gemmi.cif.Block,
    notes: list[str],
) -> tuple[list[Site], NDArray[np.float64]]:
    """The cell's content under the first symmetry that gives the file's own formula."""
    outcomes = []
    for symmetry in symmetries:
        remarks: list[str] = []
        content = merged(*orbits(sites, fractional, cell, symmetry), cell, remarks)
        outcomes.append((symmetry.name, content, remarks, _disagreement(content[0], block)))
    agreeing = [outcome for outcome in outcomes if not outcome[-1]]
    name, content, remarks, disagreement = (agreeing or outcomes)[0]
    if len(outcomes) > 1 and len(agreeing) != 1:
        notes.append(f"the setting of its space group is left open: read as {name}")
    notes.extend([*remarks, disagreement] if disagreement else remarks)
    return content


# The file's own formula.


def _parse_formula(text: str) -> dict[str, float]:
    """``"O2 Si"`` as amounts, hydrogen isotopes as H; empty where it is no plain formula."""
    parts = re.findall(r"([A-Z][a-z]?)\s*(\d*\.?\d*)", text)
    amounts: dict[str, float] = {}
    for symbol, number in parts:
        key = "H" if symbol in ISOTOPES else symbol
        amounts[key] = amounts.get(key, 0.0) + (float(number) if number not in ("", ".") else 1.0)
    return amounts if all(s in ATOMIC_NUMBERS for s in amounts) else {}


def _disagreement(species: Sequence[Mapping[str, float]], block: gemmi.cif.Block) -> str:
    """How the atoms differ from ``_chemical_formula_sum`` (up to a factor) and Z; else empty."""
    from gemmi.cif import as_number

    stated = _parse_formula(_value(block, ["_chemical_formula_sum"]))
    total = sum(stated.values())
    if not total:
        return ""
    found: dict[str, float] = {}
    for site in species:
        for symbol, x in site.items():
            key = "H" if symbol in ISOTOPES else symbol
            found[key] = found.get(key, 0.0) + x
    units = sum(found.values()) / total
    wrong = [
        s for s in {**stated, **found}
        if abs(found.get(s, 0.0) - units * stated.get(s, 0.0)) > 0.01 * sum(found.values())
    ]  # fmt: skip
    if wrong:
        listed = " ".join(f"{s}{x:g}" for s, x in found.items())
        said = " ".join(f"{s}{x:g}" for s, x in stated.items())
        return f"its atoms make {listed}, its _chemical_formula_sum says {said}: check the file"
    z = as_number(_value(block, ["_cell_formula_units_Z"]) or "?")
    if z > 0 and min(abs(units - z), abs(units - 1)) > 0.02 * units:  # pymatgen: the cell's sum
        return f"its cell holds {units:g} formula units, its _cell_formula_units_Z says {z:g}"
    return ""
