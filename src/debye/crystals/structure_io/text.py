"""The text formats crystals are read from: (ext)xyz, and what it shares with the others.

Each reader yields `LazyStructure`: where one structure stands, and how to make it. So a structure
that cannot be made does not stop the next. Text formats are parsed here, line by line and without
ASE's readers, which take 0.3 s to import and give up a whole file for one bad frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from debye.core.numbers import number_of
from debye.crystals.structure.convert import NOT_PERIODIC, with_isotope
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS, SYMBOLS
from debye.crystals.structure.validate import MOST_ATOMS, no_cell, structure_error

LONGEST_LINE = 10_000_000
"""Characters; a longer line is no structure."""


class LazyStructure(NamedTuple):
    """One structure of a file, not yet made."""

    source: str
    make: Callable[[], Crystal]


def lines_of(stream: IO[str], label: str) -> Iterator[str]:
    """The lines of a text, refused where one is too long to be of a structure.

    Raises:
        InputError: One is.
    """
    while line := stream.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise structure_error(label, "a line is 10 MB long", "give a structure file")
        yield line


# xyz and extended xyz.

_LATTICE = re.compile(r"""\blattice\s*=\s*(?:"([^"]*)"|'([^']*)'|\{([^}]*)\}|\[([^=]*)\])""", re.I)
_PROPERTIES = re.compile(r"""\bproperties\s*=\s*["']?([\w:]+)""", re.I)
_PBC = re.compile(r"""\bpbc\s*=\s*["'\[{]?([\w, ]+?)(?=["'\]}]|\s+\w+=|$)""", re.I)
_NAME = re.compile(r"""\b(?:name|mp_id|material_id|id)\s*=\s*(?:"([^"]*)"|(\S+))""")


def xyz_structures(stream: IO[str], label: str) -> Iterator[LazyStructure]:
    """The frames of an xyz text, read as they are asked for.

    A frame whose rows are bad is one bad frame; a bad count ends the reading, because nobody
    can tell where the next frame starts.

    Args:
        stream: The open file.
        label: What to call the file in errors.

    Yields:
        One structure per frame.

    Raises:
        InputError: A frame does not start with the number of its atoms.
    """
    lines = lines_of(stream, label)
    filled = (line for line in lines if line.strip())
    count, index = next(filled, ""), 0
    while count:
        n = _atom_count(count, f"{label}[{index}]" if index else label)
        frame = list(islice(lines, n + 1))
        count = next(filled, "")
        source = f"{label}[{index}]" if index or count else label
        yield LazyStructure(source, partial(_xyz_crystal, frame, n, source))
        index += 1


def _atom_count(line: str, source: str) -> int:
    text = line.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) <= MOST_ATOMS):
        raise structure_error(
            source,
            f"its first line should be the number of atoms and is {text[:40]!r}"
            + (f", more than {MOST_ATOMS}" if text.isdigit() else ""),
            "repair the file; nothing after this line was read",
        )
    return int(text)


def _xyz_crystal(frame: Sequence[str], n: int, source: str) -> Crystal:
    comment, rows = frame[0] if frame else "", frame[1:]
    if len(rows) < n:
        why = f"truncated: {len(rows)} of {n} atoms are there"
        raise structure_error(source, why, "copy or download the file again")
    lattice = _LATTICE.search(comment)
    if not lattice:
        raise no_cell(source)
    cell = numbers_of(
        re.split(r"[\s,\[\]]+", next(filter(None, lattice.groups()), "")), source, "Lattice"
    )
    if len(cell) != 9:
        raise structure_error(
            source, f"its Lattice has {len(cell)} numbers", "give nine: three vectors"
        )
    at = _xyz_columns(comment, source)
    kind, start, mass = at["species"], at["pos"], at.get("masses")
    species, positions, masses = list[str](), list[str](), list[str]()  # flat: lists are costly
    try:
        for row in rows:
            words = row.split()
            species.append(words[kind])
            positions += (words[start], words[start + 1], words[start + 2])
            if mass is not None:
                masses.append(words[mass])
    except IndexError as error:
        raise structure_error(
            source, "a row of it has too few columns", "repair the row"
        ) from error
    known = {word: symbol_of(word) for word in set(species)}
    symbols = [known[word] for word in species]
    if masses:
        numbers = numbers_of(masses, source, "masses")
        symbols = [with_isotope(s, m) for s, m in zip(symbols, numbers, strict=True)]
    pbc, name = _PBC.search(comment), _NAME.search(comment)
    off = pbc and re.search(r"\b(?:f|false|0)\b", pbc[1], re.I)
    return Crystal(
        symbols,
        numbers_of(positions, source, "positions").reshape(-1, 3),
        np.reshape(cell, (3, 3)),
        (name[1] or name[2] or "") if name else "",
        source,
        [NOT_PERIODIC] if off else [],
    )


def _xyz_columns(comment: str, source: str) -> dict[str, int]:
    """Where each property starts, from ``Properties=species:S:1:pos:R:3:...``."""
    found = _PROPERTIES.search(comment)
    if not found:
        return {"species": 0, "pos": 1}
    words = found[1].split(":")
    columns, start = {}, 0
    for name, count in zip(words[::3], words[2::3], strict=False):
        columns[{"Z": "species", "numbers": "species"}.get(name, name)] = start
        start += int(count) if count.isdigit() and len(count) < 4 else 1
    if not {"species", "pos"} <= columns.keys():
        raise structure_error(
            source, f"its Properties are {found[1]}", "name species:S:1 and pos:R:3"
        )
    return columns


def symbol_of(word: str) -> str:
    """The symbol of a word: itself, ``MG`` for Mg, an atomic number; unknown words as they are."""
    if word in ATOMIC_NUMBERS:
        return word
    if word.isascii() and word.isdigit() and 0 < int(word[:4]) < len(SYMBOLS):
        return SYMBOLS[int(word)]
    return word.capitalize() if word.capitalize() in ATOMIC_NUMBERS else word


def numbers_of(words: Any, source: str, what: str) -> NDArray[np.float64]:  # noqa: ANN401 - words, or rows of them
    """Words, or rows of them, as numbers; Fortran's exponents too.

    Raises:
        InputError: They are none.
    """
    if isinstance(words, list) and words and isinstance(words[0], str):
        words = [word for word in words if word]
    try:
        return np.array(words, dtype=np.float64)
    except ValueError:
        pass
    try:
        return np.array(
            [number_of(w) if isinstance(w, str) else [number_of(x) for x in w] for w in words]
        )
    except ValueError as error:
        raise structure_error(
            source, f"its {what} are no numbers ({error})", "repair the file"
        ) from error
