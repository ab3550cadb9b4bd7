"""POSCAR and CONTCAR, read as VASP reads them: version 5 and 6, and 4 where its species are clear.

VASP reads each line as Fortran does: as many numbers as it needs, in any form that Fortran
writes, and nothing of what follows. See https://www.vasp.at/wiki/index.php/POSCAR.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from debye.core.numbers import number_of
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS
from debye.crystals.structure.validate import MOST_ATOMS, structure_error
from debye.crystals.structure_io.text import LazyStructure, numbers_of, symbol_of

FROM_TITLE = "it names no species but in its title: {}"
"""The note of a POSCAR of version 4 without symbols on its rows."""


def poscar_structures(text: str, label: str) -> Iterator[LazyStructure]:
    """The one structure of a POSCAR or CONTCAR text."""
    yield LazyStructure(label, partial(_crystal, text.splitlines(), label))


def _crystal(lines: Sequence[str], source: str) -> Crystal:
    if len(lines) < 8:
        why = f"truncated: {len(lines)} lines, a POSCAR has at least 8"
        raise structure_error(source, why, "copy the file again")
    cell, scale = _cell(lines, source)
    names, counts, after = _species(lines, source)
    after += lines[after].strip()[:1] in ("S", "s") if after < len(lines) else 0
    mode = lines[after].strip()[:1].lower() if after < len(lines) else ""
    if mode not in ("d", "f", "c", "k"):
        why = f"line {after + 1} should say Direct or Cartesian"
        raise structure_error(source, why, "repair the file, or copy it again")
    n = sum(counts)
    rows = [_words(line) for line in lines[after + 1 : after + 1 + n]]
    symbols, notes = _symbols(names, counts, rows, lines, source)
    full = sum(len(row) >= 3 for row in rows)
    if full < n:
        why = f"truncated: {full} of {n} positions are there"
        raise structure_error(source, why, "copy the file again")
    words = [word for row in rows for word in row[:3]]  # flat: lists are costly
    positions = numbers_of(words, source, "positions").reshape(-1, 3)
    cartesian = positions @ cell if mode in "df" else positions * scale
    return Crystal(symbols, cartesian, cell, lines[0].strip(), source, notes)


def _words(line: str) -> list[str]:
    """The words of a line, commas between them as Fortran allows; comments stay."""
    return line.replace(",", " ").split()


def _cell(lines: Sequence[str], source: str) -> tuple[NDArray[np.float64], Any]:
    """Lattice vectors, and the factor or three that Cartesian positions need."""
    rows = [_words(line)[:3] for line in lines[2:5]]
    if any(len(row) < 3 for row in rows):
        raise structure_error(source, "lines 2 to 5 hold no scale and cell", "give a POSCAR file")
    vectors = numbers_of(rows, source, "lattice vectors")
    words = list(takewhile(_is_number, _words(lines[1])[:3])) or _words(lines[1])[:1]
    factors = numbers_of(words, source, "scaling factors")
    if factors.size == 3:
        if not (factors > 0).all():
            why = f"of its three scaling factors one is {factors.min():g}"
            raise structure_error(source, why, "give three above zero, as VASP wants them, or one")
        return vectors * factors, factors
    if not factors.size or not factors[0]:
        why = f"its scaling factor is {lines[1].strip()[:40]!r}"
        raise structure_error(source, why, "give one number, or minus the volume of the cell")
    scale = float(factors[0])  # the first of two: VASP reads three or one
    if scale < 0:  # minus the volume
        scale = (-scale / max(abs(float(np.linalg.det(vectors))), 1e-12)) ** (1 / 3)
    return vectors * scale, scale


def _is_number(word: str) -> bool:
    try:
        number_of(word)
    except ValueError:
        return False
    return True


# Species.


def _species(lines: Sequence[str], source: str) -> tuple[list[str], list[int], int]:
    """The words that name species, how many atoms each has, and the index of the next line.

    Version 4 has no line of symbols: then there are no words.
    """
    words, at = _words(re.split(r"[!#%]", lines[5])[0]), 6
    if words and _is_count(words[0]):
        words, at = [], 5
    counts = [int(word) for word in takewhile(_is_count, _words(lines[at]))]
    if not counts or (at == 6 and len(counts) != len(words)):
        why = f"species {' '.join(words)[:40]!r} and counts {lines[at].strip()[:40]!r} do not fit"
        raise structure_error(source, why, "name the species on line 6 and their counts on line 7")
    if sum(counts) > MOST_ATOMS:
        raise structure_error(
            source, f"it claims {sum(counts)} atoms", f"give at most {MOST_ATOMS}"
        )
    return words, counts, at + 1


def _symbols(
    names: Sequence[str],
    counts: Sequence[int],
    rows: Sequence[Sequence[str]],
    lines: Sequence[str],
    source: str,
) -> tuple[list[str], list[str]]:
    """A symbol per atom, and what is to be said of where it comes from.

    VASP goes by line 6 alone. Without it the rows name the species, or the title, if it names as
    many as there are counts: both are customs, which VASP does not read.
    """
    labelled = len(rows) == sum(counts) and all(map(_on_row, rows))
    on_rows = list(map(_on_row, rows)) if labelled else []
    if names:
        symbols = _repeated(names, counts)
        differ = labelled and on_rows != symbols
        note = "its rows name other species than its line 6, which is taken as VASP does"
        return symbols, [note] if differ else []
    if labelled:
        return on_rows, []
    words = lines[0].split()
    if len(words) != len(counts):
        why = f"species {' '.join(words)[:40]!r} and counts {lines[5].strip()[:40]!r} do not fit"
        raise structure_error(source, why, "name the species on line 6 and their counts on line 7")
    symbols = _repeated(words, counts)
    return symbols, [FROM_TITLE.format(" ".join(dict.fromkeys(symbols)))]


def _repeated(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    """The symbols of words such as ``Fe_pv``, ``Fe/3f5a2c``, ``H.5`` and ``Fe1``, for each atom."""
    symbols = [symbol_of(re.split(r"[_/.\d]", name)[0]) for name in names]
    return [s for s, n in zip(symbols, counts, strict=True) for _ in range(n)]


def _on_row(row: Sequence[str]) -> str:
    """The element that a row names behind its position; empty where it does not."""
    words = [word.strip("!#%") for word in row[3:]]
    words = [word for word in words if word and word.upper() not in ("T", "F", ".TRUE.", ".FALSE.")]
    match = re.match(r"[A-Z](?:[a-z]*|[A-Z]*)(?![A-Za-z])", words[0]) if words else None
    symbol = match[0].capitalize() if match else ""  # FE, but not the word "in"
    return symbol if symbol in ATOMIC_NUMBERS else ""


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 9
